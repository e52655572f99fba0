// SPDX-License-Identifier: Apache-2.0

// Package site shows a run as static pages, and as a mail.
//
// In comes a run directory. Out go pages that link to each other by relative
// addresses and to nothing else, readable from a file, without a server, a
// network or a script: the matrix, what fails first, and of each cell its
// programs, tests, output, console, facts and the commands to have it again.
//
// It judges by verdict alone and decides nothing itself. Whatever a guest or a
// patch has written is hostile: it is bounded, made visible, and escaped, and
// each page forbids its reader's browser all but the page's own style and
// script. It never changes the run.
package site

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"noiommu-farm/internal/fault"
	"noiommu-farm/results/report"
	"noiommu-farm/results/site/symbols"
	"noiommu-farm/results/verdict"
)

//go:embed pages/*.html pages/style.css pages/filter.js pages/live.js
var pages embed.FS

// The style and the scripts stand in each page, so that its policy can name them
// by hash: what 'self' means for a page from a file differs between browsers.
var (
	style  = asset("style.css")
	script = asset("filter.js")
	update = asset("live.js")
	policy = fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'", hash(style), hash(script))
	// LivePolicy is that of the pages of a run that goes on: they ask their
	// server for what is new.
	LivePolicy = fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s' '%s'; connect-src 'self'; base-uri 'none'; form-action 'none'", hash(style), hash(script), hash(update))

	templates = template.Must(template.New("").Funcs(template.FuncMap{
		"clean":  func(s string) string { return report.Clean(short(s, 16<<10)) },
		"brief":  func(s string) string { return report.Clean(short(s, 400)) },
		"letter": letter,
		"spent":  spent,
		"plural": plural,
		"upper":  func(v verdict.Verdict) string { return strings.ToUpper(string(v)) },
		"up":     func(path string) string { return strings.Repeat("../", strings.Count(path, "/")) },
	}).ParseFS(pages, "pages/*.html"))
)

func asset(name string) string {
	text, err := pages.ReadFile("pages/" + name)
	if err != nil {
		panic(err) // it is compiled in
	}
	return string(text)
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// letter is a verdict for who does not see colours.
func letter(v verdict.Verdict) string {
	switch v {
	case verdict.Pass, verdict.Skip, verdict.Fail, verdict.Timeout, verdict.Crash, verdict.Infra:
		return strings.ToUpper(string(v[:1]))
	case verdict.XFail:
		return "X"
	case running:
		return "…"
	case waiting:
		return "·"
	}
	return "–"
}

// page is what the frame of each page needs.
type page struct {
	Path          string // below the site, with slashes
	Title         string
	Trail         []link // to here
	Policy        string
	Style, Script template.HTML
	Live          bool
	Run           *Run
	Body          any
}

type link struct{ Text, To string }

// marker is a file of each site, by which the next one knows that it may
// replace it.
const marker = ".noiommu-farm-report"

// writer writes the pages of one site.
type writer struct {
	*Run
	called string // what "farm repro" calls the run
	root   *os.Root
	names  names
	live   bool // a server says when a page has changed

	// The kernel whose symbols were read last: cells of one stand together.
	build string
	table *symbols.Table
}

// Write writes the site of a run into a directory, which must be empty, or
// absent, or hold an older site. called is what "farm repro" is to call the
// run. It returns the path of the first page.
func Write(dir string, r *Run, called string) (index string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	defer root.Close()
	if err := clear(root, dir); err != nil {
		return "", err
	}
	w := &writer{Run: r, called: called, root: root, names: nameCells(r.Cells)}
	if err := w.all(); err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	return filepath.Join(dir, "index.html"), nil
}

// clear removes an older site, and nothing else.
func clear(root *os.Root, dir string) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if _, err := root.Lstat(marker); len(entries) > 0 && errors.Is(err, fs.ErrNotExist) {
		return &fault.Usage{Key: "-o", Value: dir, Err: errors.New("is not empty, and is no report")}
	}
	for _, name := range []string{"cells", "index.html", "tests.html", "failures.html"} {
		if err := root.RemoveAll(name); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return root.WriteFile(marker, nil, 0o644)
}

func (w *writer) all() error {
	if err := w.tests(); err != nil {
		return err
	}
	for i := range w.Cells {
		if err := w.cell(i); err != nil {
			return fmt.Errorf("cell %s: %w", w.Cells[i].Name, err)
		}
	}
	// Last: a site that has it has all that it links to.
	return w.index()
}

// write renders one page.
func (w *writer) write(kind, path, title string, trail []link, body any) error {
	p := page{
		Path: path, Title: title, Trail: trail, Run: w.Run, Body: body, Policy: policy, Live: w.live,
		Style:  template.HTML("<style>" + style + "</style>"),
		Script: template.HTML("<script>" + script + "</script>"),
	}
	if w.live {
		p.Policy = LivePolicy
		p.Script += template.HTML("\n<script>" + update + "</script>")
	}
	var b bytes.Buffer
	err := templates.ExecuteTemplate(&b, kind, p)
	if err != nil {
		return err
	}
	return w.root.WriteFile(path, b.Bytes(), 0o644)
}

// command quotes words for a shell.
func command(words ...string) string {
	for i, s := range words {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%", r)
		}) {
			words[i] = "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// Addresses below the site.

func cellDir(cell int) string { return fmt.Sprintf("cells/%03d/", cell+1) }

// perPage is how many tests a page shows.
const perPage = 500

func programPage(program, test int) string {
	if n := test / perPage; n > 0 {
		return fmt.Sprintf("p%03d-%d.html", program+1, n+1)
	}
	return fmt.Sprintf("p%03d.html", program+1)
}

func testAnchor(program, test int) string {
	return fmt.Sprintf("%s#t%d", programPage(program, test), test+1)
}

// To is where a result stands, below the site.
func (p place) To() string {
	to := cellDir(p.cell)
	switch {
	case p.program < 0:
		return to + "index.html"
	case p.test < 0:
		return to + programPage(p.program, 0)
	}
	return to + testAnchor(p.program, p.test)
}
