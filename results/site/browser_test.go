// SPDX-License-Identifier: Apache-2.0

package site

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"noiommu-farm/results"
	"noiommu-farm/results/site/browser"
	"noiommu-farm/results/site/history"
)

// quiet says whether the browser had nothing to complain of, and asked for
// nothing but files.
func quiet(t *testing.T, tab *browser.Tab) {
	t.Helper()
	for _, c := range tab.Complaints {
		t.Errorf("the browser says: %s", c)
	}
	for _, r := range tab.Requests {
		if !strings.HasPrefix(r, "file://") {
			t.Errorf("a page asked for %s", r)
		}
	}
	tab.Complaints, tab.Requests = nil, nil
}

// What a guest wrote stays text in a browser too.
func TestHostileTextInABrowser(t *testing.T) {
	dir, files := sitePages(t, hostile(t))
	tab := browser.Open(t, browser.View{Width: 1280, Height: 900})
	for _, name := range slices.Sorted(maps.Keys(files)) {
		tab.Go("file://" + dir + "/" + name)
		if n := browser.Eval[int](tab, `document.querySelectorAll("img, script:not(:last-of-type), iframe, [onfocus], [onerror]").length`); n != 0 {
			t.Errorf("%s: a guest's text became %d elements", name, n)
		}
		if browser.Eval[string](tab, "document.dir + getComputedStyle(document.body).direction") != "ltr" {
			t.Errorf("%s: the direction of writing changed", name)
		}
		if wide := browser.Eval[int](tab, "document.documentElement.scrollWidth"); wide > 1280 {
			t.Errorf("%s is %d pixels wide", name, wide)
		}
		if !browser.Eval[bool](tab, `[...document.querySelectorAll(".filter, .keys")].every((e) => !e.hidden)`) {
			t.Errorf("%s: its script did not run", name)
		}
	}
	tab.Go("file://" + dir + "/index.html")
	tab.Go("file://" + dir + "/cells/001/p001.html#t3")
	if !browser.Eval[bool](tab, `document.getElementById("t3").open`) {
		t.Error("a link to a test does not open it")
	}
	// On the same page too, once its script has heard of it.
	tab.Go("file://" + dir + "/cells/001/p001.html#t2")
	tab.Wait(`document.getElementById("t2").open`)
	quiet(t, tab)
}

// large is a run with a history, with 400 results a cell.
func large(t testing.TB, cells int) *Run {
	r := many(t, cells, 20, 20)
	for i, c := range r.Cells {
		c.Kernel.Config = fmt.Sprintf("config-%d", i/5)
		c.Machine.Topology = []string{"none", "intel", "amd", "virtio", "intel-pt"}[i%5]
	}
	root := t.TempDir()
	put(t, root, "now/run.json", "{}")
	for i := range 3 {
		was := many(t, 5, 1, 8)
		for j, c := range was.Cells {
			c.Kernel, c.Machine = r.Cells[j].Kernel, r.Cells[j].Machine
		}
		head := was.Run
		head.Started = time.Unix(int64(i), 0)
		for name, v := range map[string]any{"run.json": head.Run, "results.json": head} {
			if err := os.MkdirAll(filepath.Join(root, fmt.Sprint(i)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := results.WriteJSON(filepath.Join(root, fmt.Sprint(i), name), v); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.Started = time.Unix(100, 0)
	var errs []error
	if r.history, errs = history.Read(filepath.Join(root, "now"), r.Run.Run, r.Cells); len(errs) > 0 {
		t.Fatal(errs)
	}
	return r
}

// A reader with a run of 20,000 results: filter, cell, test, console, history,
// and all of it by keyboard.
func TestReading(t *testing.T) {
	r := large(t, 50)
	dir, _ := sitePages(t, r)
	tab := browser.Open(t, browser.View{Width: 1280, Height: 900})
	tab.Go("file://" + dir + "/index.html")
	title := func() string { return browser.Eval[string](tab, `document.querySelector("h1").innerText`) }
	path := func() string {
		return strings.TrimPrefix(browser.Eval[string](tab, "location.pathname + location.hash"), dir)
	}
	focused := func() string { return browser.Eval[string](tab, "document.activeElement.textContent.trim()") }

	// Of ten problems and of the matrix, without a turn of the wheel.
	if y := browser.Eval[float64](tab, `document.querySelector(".grid td").getBoundingClientRect().bottom`); y > 900 {
		t.Errorf("the matrix begins %v pixels below the top", y)
	}
	if n := browser.Eval[int](tab, `document.querySelectorAll("#matrix ~ .scroll .grid tbody tr").length * document.querySelectorAll("#matrix ~ .scroll .grid thead a, #matrix ~ .scroll .grid thead span").length`); n != 50 {
		t.Errorf("the matrix has %d fields", n)
	}

	// Filter.
	tab.Press("/")
	tab.Type("fail suite1.")
	rows := func() []string {
		return browser.Eval[[]string](tab, `[...document.querySelectorAll("[data-row]")].filter((e) => e.checkVisibility()).map((e) => e.textContent)`)
	}
	shown := rows()
	if len(shown) == 0 || slices.ContainsFunc(shown, func(s string) bool { return !strings.Contains(s, "suite1.") }) {
		t.Errorf("the filter shows %d: %.200q", len(shown), shown)
	}
	tab.Leave(func() { tab.Press("Enter") })
	if got := path(); got != "/tests.html#q=fail%20suite1." {
		t.Errorf("Enter leads to %s", got)
	}
	if got := len(rows()); got != 3 { // every seventh of 20
		t.Errorf("%d rows of tests that fail in suite1", got)
	}
	tab.Press("/", "Escape")
	if got := len(rows()); got != 60 { // what passes everywhere is folded away
		t.Errorf("%d rows without a filter", got)
	}
	tab.Press("/")
	tab.Type("suite19.T-1")
	if got := len(rows()); got != 11 { // and found there
		t.Errorf("%d rows of one test and ten more", got)
	}
	tab.Press("Escape")

	// By keyboard to a failing test of a cell, to its output and to the console.
	tab.Press("j")
	if got := focused(); got != "F" {
		t.Errorf("j goes to %q", got)
	}
	tab.Press("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowLeft")
	if got := focused(); got != "F" {
		t.Errorf("and the arrows to %q", got)
	}
	tab.Leave(func() { tab.Press("Enter") })
	if got := path(); got != "/cells/001/p001.html#t1" {
		t.Errorf("Enter leads to %s", got)
	}
	if !browser.Eval[bool](tab, `document.getElementById("t1").open`) {
		t.Error("the test is not open")
	}
	if got := browser.Eval[string](tab, `document.querySelector("#t1 .spark").getAttribute("aria-label")`); got != "oldest first: fail fail fail fail" {
		t.Errorf("its history is %q", got)
	}
	if got := browser.Eval[string](tab, `document.querySelector("#t1 .soft").innerText`); !strings.HasPrefix(got, "bad in 3 of the 3 runs before") {
		t.Errorf("and in words %q", got)
	}
	if got := browser.Eval[string](tab, `document.querySelector("#t1 .command").innerText`); got != "farm repro 20260101-000000-abcd/debian-7.3_noiommu_0/suite0.T-0\nfarm capsule 20260101-000000-abcd/debian-7.3_noiommu_0/suite0.T-0" {
		t.Errorf("again: %q", got)
	}
	tab.Press("j", "j", "j", "k")
	if got := focused(); !strings.HasPrefix(got, "P pass suite0.T-1") {
		t.Errorf("j and k lead to %q", got)
	}
	tab.Leave(func() { tab.Press("u") })
	if got := title(); !strings.Contains(got, "config-0 IOMMU none") {
		t.Errorf("u leads to %q", got)
	}
	tab.Leave(func() { tab.Click(`a[href="console.html"]`) })
	marked := browser.Eval[[]string](tab, `[...document.querySelectorAll(".log .find")].slice(0, 1).map((e) => e.textContent + getComputedStyle(e).borderLeftStyle)`)
	if len(marked) != 1 || !strings.Contains(marked[0], "cut here") || !strings.HasSuffix(marked[0], "solid") {
		t.Errorf("the console marks %q", marked)
	}
	tab.Press("j")
	if got := browser.Eval[string](tab, "document.activeElement.parentElement.className"); got != "find" {
		t.Errorf("j does not go to a complaint but to %q", got)
	}

	// By mouse from the matrix to a cell.
	tab.Go("file://" + dir + "/index.html")
	tab.Leave(func() { tab.Click("#matrix ~ .scroll .grid tbody td.fail a") })
	if got := path(); got != "/cells/001/index.html" {
		t.Errorf("a click leads to %s", got)
	}
	tab.Leave(func() { tab.Click("td a.bad") })
	if got := path(); got != "/cells/001/p001.html#t1" {
		t.Errorf("a click leads to %s", got)
	}
	quiet(t, tab)
}

// On a phone, in the dark, without a script, and on paper.
func TestElsewhereThanOnAScreen(t *testing.T) {
	r := large(t, 8)
	dir, _ := sitePages(t, r)
	pages := []string{"index.html", "tests.html", "cells/001/index.html", "cells/001/p001.html", "cells/001/console.html"}
	phone := browser.Open(t, browser.View{Width: 375, Height: 812, Dark: true})
	for _, p := range pages {
		phone.Go("file://" + dir + "/" + p)
		if wide := browser.Eval[int](phone, "document.documentElement.scrollWidth"); wide > 375 {
			t.Errorf("%s is %d pixels wide on a phone", p, wide)
		}
		if got := browser.Eval[string](phone, "getComputedStyle(document.body).backgroundColor"); got != "rgb(15, 19, 24)" {
			t.Errorf("%s is %s in the dark", p, got)
		}
	}
	quiet(t, phone)

	// On paper everything is open, and what only a screen can do is not there.
	const folded = `[...document.querySelectorAll("details.test .command")].filter((e) => !e.checkVisibility({ contentVisibilityAuto: true })).length`
	phone.Go("file://" + dir + "/cells/001/p001.html")
	if n := browser.Eval[int](phone, folded); n != 17 {
		t.Errorf("%d of 17 tests that passed are folded away on a screen", n)
	}
	phone.OnPaper()
	if n := browser.Eval[int](phone, folded); n != 0 {
		t.Errorf("%d tests are folded away on paper", n)
	}
	if browser.Eval[bool](phone, `[...document.querySelectorAll(".filter, .keys, .every")].some((e) => e.checkVisibility())`) {
		t.Error("a filter is on paper")
	}

	bare := browser.Open(t, browser.View{Width: 1280, Height: 900, NoScript: true})
	bare.Go("file://" + dir + "/index.html")
	// Evaluated from outside, which is no script of the page.
	if browser.Eval[bool](bare, `document.querySelector(".filter").checkVisibility()`) {
		t.Error("a filter that does nothing is shown")
	}
	bare.Click("details.problem > summary")
	if !browser.Eval[bool](bare, `document.querySelector("details.problem .command").checkVisibility()`) {
		t.Error("a problem does not open without a script")
	}
	bare.Leave(func() { bare.Click("details.problem .where a") })
	bare.Leave(func() { bare.Click("td a.bad") })
	if !browser.Eval[bool](bare, `document.querySelector("#t1").open`) {
		t.Error("a failing test is folded away where there is no script to open it")
	}
}

// BenchmarkOpen says how long a browser takes to open pages of a run of 20,000
// results, in milliseconds from the address to the picture; the median.
func BenchmarkOpen(b *testing.B) {
	dir, _ := sitePages(b, large(b, 50))
	tab := browser.Open(b, browser.View{Width: 1280, Height: 900})
	all := make(map[string][]float64)
	pages := []string{"index.html", "tests.html", "cells/001/index.html"}
	for b.Loop() {
		for _, page := range pages {
			tab.Go("file://" + dir + "/" + page)
			// Once it is drawn.
			all[page] = append(all[page], browser.Eval[float64](tab, "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"))
		}
	}
	for _, page := range pages {
		slices.Sort(all[page])
		b.ReportMetric(all[page][len(all[page])/2], "ms/"+page)
	}
}
