// SPDX-License-Identifier: Apache-2.0

package site

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// evil is script, markup, terminal escapes (CSI, OSC, C1), invalid UTF-8, what
// turns the direction of writing, what shows nothing, and paths.
const evil = "\x1b]0;title\x07\u009b31m\u2066\u200b\u200f\ufeff\u2028<svg onload=alert(6)><!-- ]]> {{.}} ${x} %3Cscript%3E &lt;b&gt; \x1b[31mred\x1b[0m </pre></title><script>alert(1)</script><img src=x onerror=alert(2)> \" onfocus=alert(3) ' \xff\u202e \x00 javascript:alert(4) ../../x"

const oops = "[    1.100000] noiommu-farm: start 1 get_pa\n" +
	"[    1.200000] noiommu-farm: test get_pa.PA-01\n" +
	"[    1.300000] ------------[ cut here ]------------\n" +
	"[    1.300000] WARNING: CPU: 0 PID: 77 at drivers/iommu/iommu.c:3451 iommu_device_release_dma_owner+0x3c/0x50\n" +
	"[    1.300000] RIP: 0010:iommu_device_release_dma_owner+0x3c/0x50\n" +
	"[    1.300000] Call Trace:\n[    1.300000]  <TASK>\n[    1.300000]  iommufd_device_destroy+0x30/0x80\n[    1.300000]  </TASK>\n" +
	"[    1.300000] ---[ end trace 0000000000000000 ]---\n" +
	"[    1.400000] noiommu-farm: done get_pa.PA-01\n"

// put writes a file of a record.
func put(t testing.TB, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// hostile is a run with evil text wherever a guest, a patch or a user has a say.
func hostile(t testing.TB) *Run {
	dir := t.TempDir()
	put(t, dir, "console.log", oops+evil+"\n"+strings.Repeat("x", 50<<20)+"\nlast\n")
	put(t, dir, "programs/001.out", "KTAP version 1\n1..2\n# "+evil+"\nnot ok 1 get_pa.PA-01 # "+evil+"\nok 2 "+evil+"\n"+strings.Repeat("y", 50<<20))
	put(t, dir, "programs/001.err", evil)
	put(t, dir, "qemu.sh", evil)
	finding := console.Finding{Class: console.Warning, Title: evil, First: 3, Lines: []string{evil}}
	c := &verdict.Cell{
		Name: "one", Dir: dir, Verdict: verdict.Crash, Reason: evil,
		Kernel:  results.Kernel{Source: evil, Series: evil, Patches: []string{evil}, Config: evil, Release: evil, Compiler: evil},
		Machine: results.Machine{Topology: evil, Devices: []string{evil}, QEMU: evil, Parameters: []string{evil}},
		Programs: []verdict.Program{
			{ID: 1, Name: "get_pa", Verdict: verdict.Fail, Reason: evil, Findings: []console.Finding{finding}, Tests: []verdict.Test{
				{Name: "get_pa.PA-01", Verdict: verdict.Fail, Reason: evil, Evidence: map[string]int64{evil: 3}, Diagnostics: []string{evil, strings.Repeat("z", 1<<20)}, Findings: []console.Finding{finding}},
				{Name: evil, Verdict: verdict.XFail, Reason: evil, Finding: &contract.Finding{ID: evil, Reason: evil, Link: "javascript:alert(5)", Expires: evil}},
				{Name: strings.Repeat("n", 1<<20), Verdict: verdict.Skip, Reason: evil},
			}},
			{ID: 2, Name: evil, Verdict: verdict.Timeout, Reason: "not run: " + evil},
		},
		Absent:   []results.Absent{{Name: evil, Reason: evil}},
		Findings: []console.Finding{finding}, Tail: []string{evil},
	}
	rec := &results.Record{Dir: dir, Planned: results.Planned{Programs: []results.Program{{ID: 1, Name: "get_pa", Argv: []string{evil}, Env: []string{evil}}}},
		Events: []results.Event{{Agent: &wire.ToHost{Facts: &wire.Facts{Release: evil, Cmdline: evil}}}, {Ended: &results.Ended{QEMU: evil}}}}
	absent := &verdict.Cell{Name: "two", Verdict: verdict.Infra, Reason: "not begun: there is no record of it"}
	return &Run{
		Run:     report.Run{Run: results.Run{ID: "20260101-000000-abcd", Command: []string{"farm", evil}, Versions: map[string]string{evil: evil}}, Dir: dir, Verdict: verdict.Crash, Cells: []*verdict.Cell{c, absent}},
		records: []*results.Record{rec, nil}, Notes: []string{evil},
	}
}

// sitePages writes a site and reads it back.
func sitePages(t testing.TB, r *Run) (dir string, files map[string]string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "site")
	index, err := Write(dir, r, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if index != filepath.Join(dir, "index.html") {
		t.Errorf("the first page is %s", index)
	}
	files = make(map[string]string)
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) != ".html" {
			return err
		}
		text, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		files[filepath.ToSlash(rel)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir, files
}

var (
	tagRE  = regexp.MustCompile(`<([a-zA-Z/!][a-zA-Z0-9]*)((?:[^>"]|"[^"]*")*)>`)
	attrRE = regexp.MustCompile(`([a-zA-Z-]+)(?:="([^"]*)")?`)
)

// known are the elements and attributes that the pages are made of.
const knownTags = " !DOCTYPE html head meta title style body a header nav span main p label input output small h1 h2 h3 b i table thead tbody tfoot tr svg path kbd th td div section ul li strong pre details summary dl dt dd code footer script caption br "
const knownAttrs = " html lang charset http-equiv content name viewport class href aria-label aria-hidden aria-current aria-labelledby id type autocomplete spellcheck placeholder for hidden scope tabindex role title data-row open data-up colspan width height d "

// check holds each page to what is promised of it.
func check(t *testing.T, files map[string]string) {
	t.Helper()
	ids := make(map[string]map[string]bool)
	for name, text := range files {
		ids[name] = make(map[string]bool)
		for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(text, -1) {
			ids[name][m[1]] = true
		}
	}
	links := 0
	for name, text := range files {
		if !utf8.ValidString(text) {
			t.Errorf("%s is not UTF-8", name)
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s has %q", name, text[i:i+1])
		}
		if want := `content="` + html.EscapeString(policy) + `"`; !strings.Contains(strings.ReplaceAll(text, "&#43;", "+"), want) {
			t.Errorf("%s has no policy %s", name, want)
		}
		body := text
		for _, own := range []string{"<style>" + style + "</style>", "<script>" + script + "</script>"} {
			if strings.Count(body, own) != 1 {
				t.Errorf("%s has its style or script not once", name)
			}
			body = strings.Replace(body, own, "", 1)
		}
		if n := strings.Count(body, "<") - len(tagRE.FindAllString(body, -1)); n != 0 {
			t.Errorf("%s has %d < that begin no tag", name, n)
		}
		for _, m := range tagRE.FindAllStringSubmatch(body, -1) {
			if tag := strings.TrimPrefix(m[1], "/"); tag == "script" || tag == "style" || tag != "" && !strings.Contains(knownTags, " "+tag+" ") {
				t.Fatalf("%s has a tag %.80q", name, m[0])
			}
			for _, a := range attrRE.FindAllStringSubmatch(m[2], -1) {
				if !strings.Contains(knownAttrs, " "+a[1]+" ") {
					t.Fatalf("%s has an attribute %q in %.80q", name, a[1], m[0])
				}
				if a[1] != "href" {
					continue
				}
				links++
				to, anchor, _ := strings.Cut(html.UnescapeString(a[2]), "#")
				target := name
				if to != "" {
					target = path.Join(path.Dir(name), to)
				}
				if _, ok := files[target]; !ok {
					t.Errorf("%s links to %q, which is not there", name, a[2])
				} else if strings.HasPrefix(anchor, "q=") && ids[target]["filter"] {
					continue
				} else if anchor != "" && !ids[target][anchor] {
					t.Errorf("%s links to %q, which has no such place", name, a[2])
				}
			}
		}
	}
	if links < len(files) {
		t.Errorf("only %d links in %d pages", links, len(files))
	}
}

func TestHostileText(t *testing.T) {
	_, files := sitePages(t, hostile(t))
	check(t, files)
	for name, text := range files {
		if len(text) > 1<<20 {
			t.Errorf("%s has %d bytes", name, len(text))
		}
	}
	for name, want := range map[string][]string{
		"index.html":              {"CRASH", "not begun", "the whole cell", `\x1b[31mred`, `\x1b]0;title`, `\u2066\u200b\u200f\ufeff\u2028&lt;svg`, "&lt;script&gt;alert(1)"},
		"cells/001/console.html":  {"52424704 bytes more", "last", `class="find"`, "warning: ", `class="mark"`},
		"cells/001/p001-out.html": {`class="bad"`, "52424704 bytes more"},
		"cells/001/p001.html":     {"farm repro 20260101-000000-abcd/one/get_pa.PA-01", `href="p001-out.html#L4"`, `href="console.html#L2"`, `href="console.html#L3"`},
		"cells/002/index.html":    {"not begun"},
	} {
		for _, w := range want {
			if !strings.Contains(files[name], w) {
				t.Errorf("%s has no %q", name, w)
			}
		}
	}
	// The check can fail.
	for _, bad := range []string{"<script>x</script>", `<img src="x">`, `<p onclick="x">`} {
		m := tagRE.FindStringSubmatch(bad)
		tag, attr := m[1], attrRE.FindStringSubmatch(m[2])
		if strings.Contains(knownTags, " "+tag+" ") && tag != "script" && strings.Contains(knownAttrs, " "+attr[1]+" ") {
			t.Errorf("%s would be let through", bad)
		}
	}
}

func TestMailIsClean(t *testing.T) {
	var b strings.Builder
	if err := Mail(&b, hostile(t), "20260101-000000-abcd"); err != nil {
		t.Fatal(err)
	}
	if i := strings.IndexFunc(b.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 || !utf8.ValidString(b.String()) {
		t.Errorf("a mail with %q", b.String()[max(i, 0):][:20])
	}
	top, _, _ := strings.Cut(b.String(), "\n\n")
	if n := strings.Count(top, "\n") + 1; n > mailLines || !strings.HasPrefix(top, "CRASH: run 20260101-000000-abcd: ") {
		t.Errorf("%d lines before the table:\n%s", n, top)
	}
	narrow(t, b.String())
}

// narrow holds a mail to its width.
func narrow(t *testing.T, mail string) {
	t.Helper()
	for _, line := range strings.Split(mail, "\n") {
		if n := utf8.RuneCountInString(line); n > mailColumns && !strings.HasPrefix(line, "  farm repro ") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// The mail of a run with a history of two.
func TestMail(t *testing.T) {
	r := many(t, 6, 2, 20)
	r.Previous = many(t, 6, 2, 20)
	for i := range r.Cells[2].Programs[1].Tests {
		one := &r.Cells[2].Programs[1].Tests[i]
		one.Verdict, one.Reason = verdict.Crash, strings.Repeat("a long reason ", 20)
	}
	r.Cells[2].Verdict, r.Verdict = verdict.Crash, verdict.Crash
	var b strings.Builder
	if err := Mail(&b, r, r.ID); err != nil {
		t.Fatal(err)
	}
	narrow(t, b.String())
	parts := strings.Split(b.String(), "\n\n")
	if len(parts) != 5 {
		t.Fatalf("%d parts:\n%s", len(parts), b.String())
	}
	table := strings.Split(parts[1], "\n")
	if len(table) != 6 || !strings.HasPrefix(table[0], "CRASH    IOMMU machine-2  ") || !strings.HasPrefix(table[1], "FAIL     IOMMU machine-0  ") || !strings.HasPrefix(table[5], "PASS     IOMMU machine-4  40 pass") {
		t.Errorf("the table:\n%s", parts[1])
	}
	for i, want := range []string{"NEWLY FAILING\ncrash suite1: 20 tests was pass\n    a long reason", "FAILING\nfail suite0.T-0\n    value of test 0 = 1, want 2\n  in IOMMU machine-0: suite0.T-0\n"} {
		if !strings.HasPrefix(parts[2+i], want) {
			t.Errorf("%s\ndoes not begin with %q", parts[2+i], want)
		}
	}
	if !strings.Contains(parts[2], "\n  farm repro 20260101-000000-abcd/debian-7.3_noiommu_2/suite1.T-0") {
		t.Errorf("no way to have it again:\n%s", parts[2])
	}
}

// many is a run of cells x programs x tests results, every seventh test of
// every fifth cell failing in a way of its own.
func many(t testing.TB, cells, programs, tests int) *Run {
	dir := t.TempDir()
	put(t, dir, "console.log", strings.Repeat(oops, 20))
	r := &Run{Run: report.Run{Run: results.Run{ID: "20260101-000000-abcd"}, Dir: dir, Verdict: verdict.Fail}}
	for i := range cells {
		c := &verdict.Cell{Name: fmt.Sprintf("debian-7.3_noiommu_%d", i), Dir: dir, Verdict: verdict.Pass, Wall: time.Minute,
			Kernel: results.Kernel{Source: "debian:7.3", Config: "noiommu"}, Machine: results.Machine{Topology: fmt.Sprintf("machine-%d", i)}}
		for j := range programs {
			p := verdict.Program{ID: uint32(j + 1), Name: fmt.Sprintf("suite%d", j), Verdict: verdict.Pass, Wall: time.Second}
			for k := range tests {
				one := verdict.Test{Name: fmt.Sprintf("suite%d.T-%d", j, k), Verdict: verdict.Pass, Evidence: map[string]int64{"ioctls": 4}}
				if i%5 == 0 && k%7 == 0 {
					one.Verdict, one.Reason = verdict.Fail, fmt.Sprintf("value of test %d = 1, want 2", k)
					p.Verdict, c.Verdict = verdict.Fail, verdict.Fail
				}
				p.Tests = append(p.Tests, one)
			}
			c.Programs = append(c.Programs, p)
		}
		r.Cells, r.records = append(r.Cells, c), append(r.records, &results.Record{Dir: dir})
		r.Run.Run.Cells = append(r.Run.Run.Cells, c.Name)
	}
	return r
}

// Every failure is reached from the first page, however many there are.
func TestNoFailureIsHidden(t *testing.T) {
	for _, size := range [][3]int{{6, 2, 20}, {1, 1, 2 * perPage}, {30, 2, 60}} {
		r := many(t, size[0], size[1], size[2])
		_, files := sitePages(t, r)
		check(t, files)
		links := func(names ...string) map[string]bool {
			all := make(map[string]bool)
			for _, name := range names {
				for _, m := range regexp.MustCompile(` href="([^"]*)"`).FindAllStringSubmatch(files[name], -1) {
					all[m[1]] = true
				}
			}
			return all
		}
		every, first := links("tests.html"), links("index.html", "failures.html")
		for i, c := range r.Cells {
			for j, p := range c.Programs {
				for k, one := range p.Tests {
					to := cellDir(i) + testAnchor(j, k)
					if !every[to] {
						t.Fatalf("tests.html does not link to %s", to)
					}
					if !one.Verdict.Good() && !first[to] {
						t.Fatalf("no link to the failure %s in %v", to, size)
					}
				}
			}
		}
	}
}

func TestLoad(t *testing.T) {
	root := t.TempDir()
	make := func(command string, begun bool) string {
		head := results.Run{Command: []string{"farm", command}, Cells: []string{"a", "b"}}
		dir, err := results.CreateRun(root, &head)
		if err != nil {
			t.Fatal(err)
		}
		if begun {
			w, err := results.CreateCell(results.CellDir(dir, "a"), results.Planned{Cell: "a", Kernel: results.Kernel{Source: "debian:7.3"}})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(w.Event(results.Event{Infra: &results.Infra{Err: "no room"}}), w.Close()); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	first := make("run", true)
	make("other", true)
	last := make("run", true)
	r, err := Load(last)
	if err != nil {
		t.Fatal(err)
	}
	if r.Previous == nil || r.Previous.Dir != first {
		t.Errorf("the run before is %+v, want %s", r.Previous, first)
	}
	if r.Verdict != verdict.Infra || len(r.Cells) != 2 || !strings.Contains(r.Cells[0].Reason, "no room") || !strings.HasPrefix(r.Cells[1].Reason, "not begun") {
		t.Errorf("%s: %+v", r.Verdict, r.Cells)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "results.json") {
		t.Errorf("notes %q", r.Notes)
	}
	_, files := sitePages(t, r)
	check(t, files)

	// A run without cells is not green, nor one that the farm failed at.
	empty, err := results.CreateRun(root, &results.Run{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err = Load(empty); err != nil || r.Verdict != verdict.Infra {
		t.Errorf("a run without cells: %v, %v", r.Verdict, err)
	}
	sitePages(t, r)
	var b strings.Builder
	if err := Mail(&b, r, r.ID); err != nil || !strings.HasPrefix(b.String(), "INFRA: ") {
		t.Errorf("%v: %s", err, b.String())
	}
	good := &Run{Run: report.Run{Dir: t.TempDir(), Verdict: verdict.Pass}}
	put(t, good.Dir, "results.json", `{"verdict": "infra"}`)
	if good.concluded(); good.Verdict != verdict.Infra {
		t.Error("what the farm failed at is not told")
	}

	good.Verdict, good.Notes = verdict.Pass, nil
	put(t, good.Dir, "results.json", `{"verdict": "crash"}`)
	if good.concluded(); len(good.Notes) != 1 || !strings.Contains(good.Notes[0], "crash") {
		t.Errorf("that the run was judged otherwise is not told: %q", good.Notes)
	}

	outside, err := results.CreateRun(root, &results.Run{Cells: []string{"../../x"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(outside); err == nil {
		t.Error("a cell outside of the run was read")
	}
}

func TestWriteOverwritesOnlyReports(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "index.html", "mine")
	r := many(t, 1, 1, 1)
	var usage *fault.Usage
	if _, err := Write(dir, r, r.ID); !errors.As(err, &usage) {
		t.Errorf("a directory with a file of the user's: %v", err)
	}
	dir = filepath.Join(t.TempDir(), "new")
	if _, err := Write(dir, many(t, 2, 1, 1), r.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(dir, r, r.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cells/002")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a page of the older report is still there: %v", err)
	}
}

func TestLogIsBounded(t *testing.T) {
	in := strings.Repeat("some text of a guest that talks much\n", 100_000) + "not ok 1 x\n" + strings.Repeat("more\n", 100_000)
	log, err := readOutput(strings.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	if log.Left == 0 || len(log.Lines) > 2*endLines+markLines+3 || log.at["x"] != 100_001 {
		t.Errorf("%d lines, %d left out, x in line %d", len(log.Lines), log.Left, log.at["x"])
	}
	next := 1
	for _, l := range log.Lines {
		if l.Gap > 0 {
			next += l.Gap
			continue
		}
		if l.N != next {
			t.Fatalf("line %d where %d is due", l.N, next)
		}
		next++
	}
	if next != 200_002 {
		t.Errorf("the page ends before line %d", next)
	}
	if empty, err := readOutput(bytes.NewReader(nil)); err != nil || len(empty.Lines) != 0 {
		t.Errorf("%+v, %v", empty, err)
	}
}

// BenchmarkWrite writes the site of a run of 20,000 results. With SITE set it
// leaves the pages there, to be opened.
func BenchmarkWrite(b *testing.B) {
	r := many(b, 50, 20, 20)
	for b.Loop() {
		dir := os.Getenv("SITE")
		if dir == "" {
			dir = b.TempDir()
		}
		if _, err := Write(dir, r, r.ID); err != nil {
			b.Fatal(err)
		}
	}
}
