// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/results"
	"noiommu-farm/results/report"
	"noiommu-farm/results/site/browser"
	"noiommu-farm/results/verdict"
)

// begun is a run of two cells that nothing was written of.
func begun(t *testing.T, root string) string {
	t.Helper()
	dir, err := results.CreateRun(root, &results.Run{Command: []string{"farm", "run"}, Cells: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// cell is one of a run that goes on.
type cell struct {
	t *testing.T
	*results.CellWriter
}

func start(t *testing.T, run, name string) cell {
	t.Helper()
	program := func(id uint32, name string) results.Program {
		return results.Program{ID: id, Name: name, Tests: []results.Expected{{Name: name + ".T-1", Evidence: []string{"ioctls"}}}}
	}
	w, err := results.CreateCell(results.CellDir(run, name), results.Planned{
		Cell: name, Kernel: results.Kernel{Source: "debian:7.3", Config: "noiommu"}, Machine: results.Machine{Topology: name},
		Programs: []results.Program{program(1, "first"), program(2, "second")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return cell{t, w}
}

func (c cell) events(all ...results.Event) {
	c.t.Helper()
	for _, e := range all {
		if err := c.Event(e); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c cell) ran(id uint32, name, ok string) {
	c.t.Helper()
	c.events(results.Event{Running: &results.Running{ID: id}})
	out := fmt.Sprintf("KTAP version 1\n1..1\n# evidence %s.T-1: ioctls=2\n%s 1 %s.T-1 <b>\n", name, ok, name)
	log := fmt.Sprintf("[    1.0] noiommu-farm: start %d %s\n[    1.1] noiommu-farm: test %s.T-1\n[    1.3] noiommu-farm: done %s.T-1\n[    1.4] noiommu-farm: end %d\n", id, name, name, name, id)
	if err := errors.Join(c.First().Chunk(wire.Chunk{Run: id, Stream: wire.Stdout, Data: []byte(out)}), c.First().Console([]byte(log))); err != nil {
		c.t.Fatal(err)
	}
	code := 0
	if ok != "ok" {
		code = 1
	}
	c.events(results.Event{Agent: &wire.ToHost{Exited: &wire.Exited{ID: id, Code: code, Stdout: int64(len(out))}}})
}

// serve serves a directory. Its second result ends the server and says how it
// ended.
func serve(t *testing.T, dir string) (address string, end func() error) {
	t.Helper()
	s, err := New(dir, filepath.Base, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.pages); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("pages are left behind: %v", err)
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	once := false
	end = func() error {
		cancel()
		if once {
			return nil
		}
		once = true
		return <-ended
	}
	t.Cleanup(func() { end() })
	return "http://" + l.Addr().String(), end
}

// A reader who has a page open sees a run come to its end, and loses neither
// filter, focus nor what is unfolded.
func TestARunGoesOn(t *testing.T) {
	root := t.TempDir()
	run := begun(t, root)
	address, end := serve(t, root)
	tab := browser.Open(t, browser.View{Width: 1280, Height: 900})
	tab.Go(address)
	if got := browser.Eval[string](tab, "document.querySelector('tbody').innerText"); !strings.Contains(got, "not ended") {
		t.Errorf("the list of runs says %q", got)
	}
	tab.Leave(func() { tab.Click("tbody a") })
	going := func(want string) {
		t.Helper()
		tab.Wait(fmt.Sprintf("document.querySelector('.going')?.innerText === %q", want))
	}
	going("0 of 2 cells done, 0 running, 2 waiting")

	tab.Press("/")
	tab.Type("first")
	a := start(t, run, "a")
	a.events(results.Event{Running: &results.Running{ID: 1}})
	going("0 of 2 cells done, 1 running, 1 waiting")
	state := func(row string) string {
		return browser.Eval[string](tab, fmt.Sprintf(`[...document.querySelectorAll(".grid tbody tr")].find((r) => r.cells[0].innerText === %q).cells[1].className`, row))
	}
	if got := state("first") + " " + state("second"); got != "running waiting" {
		t.Errorf("the programs are %s", got)
	}
	if got := browser.Eval[string](tab, `document.activeElement.id + " " + document.activeElement.value + " " + document.querySelector("#found").value`); !strings.HasPrefix(got, "filter first ") || strings.HasSuffix(got, "first ") {
		t.Errorf("the filter is %q", got)
	}
	if got := browser.Eval[string](tab, "document.querySelector('h1').innerText"); strings.Contains(got, "PASS") || strings.Contains(got, "INFRA") {
		t.Errorf("a run that goes on is %q", got)
	}
	a.ran(1, "first", "not ok")
	tab.Wait(`document.querySelector("h1").innerText.includes("FAIL")`)
	tab.Press("Escape")
	tab.Click("details.problem > summary")
	a.ran(2, "second", "ok")
	tab.Wait(`document.querySelectorAll("td.pass").length === 1`)
	if !browser.Eval[bool](tab, `document.querySelector("details.problem").open && document.activeElement.tagName === "SUMMARY"`) {
		t.Error("what was open is closed, or is not in focus any more")
	}
	a.events(results.Event{Ended: &results.Ended{Shutdown: "guest-shutdown"}})
	going("1 of 2 cells done, 0 running, 1 waiting")

	b := start(t, run, "b")
	b.ran(1, "first", "ok")
	b.ran(2, "second", "ok")
	b.events(results.Event{Ended: &results.Ended{Shutdown: "guest-shutdown"}})
	tab.Leave(func() {
		if err := results.WriteJSON(filepath.Join(run, "results.json"), report.Run{Verdict: verdict.Fail}); err != nil {
			t.Fatal(err)
		}
	}) // the last word is a page anew
	if got := browser.Eval[string](tab, `[...document.querySelectorAll("tfoot td")].map((e) => e.innerText).join() + document.querySelectorAll(".going, noscript").length`); got != "F,P0" {
		t.Errorf("in the end: %q", got)
	}
	for _, c := range tab.Complaints {
		if !strings.Contains(c, "/favicon.ico") {
			t.Errorf("the browser says: %s", c)
		}
	}
	for _, r := range tab.Requests {
		if !strings.HasPrefix(r, address) {
			t.Errorf("a page asked for %s", r)
		}
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// A reader does not keep the server from ending.
func TestEnd(t *testing.T) {
	root := t.TempDir()
	name := filepath.Base(begun(t, root))
	address, end := serve(t, root)
	answer, err := http.Get(address + "/" + name + "/changes")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("changes are %s", got)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the reader was left with %v", err)
	}
}

// What holds the lock of a run is alive; what does not is dead, and its cells
// are the farm's failures.
func TestLock(t *testing.T) {
	root := t.TempDir()
	run := begun(t, root)
	lock, err := os.Create(filepath.Join(run, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	look := func() string {
		t.Helper()
		address, _ := serve(t, root)
		_, body := get(t, address+"/"+filepath.Base(run)+"/index.html", "")
		return body
	}
	if got := look(); !strings.Contains(got, "2 waiting") || strings.Contains(got, "INFRA") {
		t.Error("a run that is held is taken for dead")
	}
	// Also when it had ended before, and was resumed.
	if err := results.WriteJSON(filepath.Join(run, "results.json"), report.Run{Verdict: verdict.Pass}); err != nil {
		t.Fatal(err)
	}
	if got := look(); !strings.Contains(got, "2 waiting") {
		t.Error("a run that was resumed is taken for ended")
	}
	if err := os.Remove(filepath.Join(run, "results.json")); err != nil {
		t.Fatal(err)
	}
	lock.Close()
	if got := look(); !strings.Contains(got, "INFRA") || !strings.Contains(got, "no results.json") || strings.Contains(got, `class="going"`) {
		t.Error("a run that nobody holds is taken for alive")
	}
}

func get(t *testing.T, address, host string) (*http.Response, string) {
	t.Helper()
	q, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Host = host
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(body)
}

func TestWhoIsAnswered(t *testing.T) {
	root := t.TempDir()
	run := begun(t, root)
	name := filepath.Base(run)
	if err := os.WriteFile(filepath.Join(root, "secret.html"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	address, _ := serve(t, root)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(address, "http://"))
	for _, c := range []struct {
		path, host string
		code       int
	}{
		{"/", "", 200},
		{"/", "localhost:" + port, 200},
		{"/", "[::1]:" + port, 200},
		{"/", "evil.example", 421}, // whose name points here
		{"/", "evil.example:" + port, 421},
		{"/", "127.0.0.1", 421},
		{"/", "127.0.0.1.evil.example:" + port, 421},
		{"/" + name + "/", "", 200},
		{"/" + name + "/index.html", "", 200},
		{"/" + name + "/tests.html", "", 200},
		{"/" + name + "/cells/001/index.html", "", 200},
		{"/" + name + "/index.html", "evil.example", 421},
		{"/" + name + "/changes", "evil.example", 421},
		{"/" + name + "/nothing.html", "", 404},
		{"/" + name + "/run.json", "", 404},
		{"/" + name + "/..%2f..%2fsecret.html", "", 404},
		{"/" + name + "/%2e%2e/secret.html", "", 404},
		{"/..%2f" + filepath.Base(root) + "%2f" + name + "/index.html", "", 404},
		{"/secret.html", "", 404},
		{"/latest/index.html", "", 404}, // a link
		{"/nosuch/index.html", "", 404},
		{"/nosuch/changes", "", 404},
	} {
		answer, body := get(t, address+c.path, c.host)
		if answer.StatusCode != c.code && (c.code != 404 || answer.StatusCode/100 != 3) {
			t.Errorf("%s as %q: %s", c.path, c.host, answer.Status)
		}
		if strings.Contains(body, "secret") && !strings.Contains(c.path, "secret") {
			t.Errorf("%s tells a secret", c.path)
		}
		for header, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; ", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if answer.StatusCode/100 != 3 && !strings.HasPrefix(answer.Header.Get(header), want) {
				t.Errorf("%s: %s is %q", c.path, header, answer.Header.Get(header))
			}
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		q, err := http.NewRequest(method, address+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", method, answer.Status)
		}
	}

	// A single run.
	one, _ := serve(t, run)
	if answer, _ := get(t, one+"/", ""); answer.Header.Get("Location") != "/"+name+"/index.html" {
		t.Errorf("the first page of a run is %q", answer.Header.Get("Location"))
	}
	if answer, _ := get(t, one+"/"+filepath.Base(begun(t, root))+"/", ""); answer.StatusCode != 404 {
		t.Errorf("another run than the one: %s", answer.Status)
	}
}
