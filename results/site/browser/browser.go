// SPDX-License-Identifier: Apache-2.0

// Package browser lets a test use a page as a reader does: it opens, clicks,
// types, and looks at what came of it.
//
// In comes an address; out goes what the page says, and everything that the
// browser complained about. It drives a headless Chromium over a pipe, by the
// DevTools protocol (https://chromedevtools.github.io/devtools-protocol/). It is
// for tests alone.
package browser

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// patience is after how long a browser that does not answer fails a test.
const patience = 2 * time.Minute

// Tab is one tab of a browser. Any failure ends the test.
type Tab struct {
	t       testing.TB
	in      io.Writer
	out     chan message
	session string
	last    int
	loads   int
	// Complaints are exceptions, what a policy forbade, and other errors that
	// the browser wrote down; Requests are the addresses that it asked for.
	Complaints, Requests []string
}

type message struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
	SessionID string `json:"sessionId,omitempty"`
}

// View is what a reader sees with.
type View struct {
	Width, Height int // pixels
	Dark          bool
	NoScript      bool
}

// Open starts a browser, for the time of a test. A machine without Chromium
// skips the test.
func Open(t testing.TB, v View) *Tab {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium on this machine")
	}
	args := []string{"--headless", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(), "--remote-debugging-pipe",
		fmt.Sprintf("--window-size=%d,%d", v.Width, v.Height)}
	if os.Getuid() == 0 {
		args = append(args, "--no-sandbox") // it has none as root
	}
	commands, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(chromium, append(args, "about:blank")...)
	cmd.ExtraFiles = []*os.File{commands, out} // 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	commands.Close()
	out.Close()
	tab := &Tab{t: t, in: in, out: make(chan message, 1024)}
	go tab.read(answers)
	t.Cleanup(func() {
		in.Close() // which ends it
		end := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer end.Stop()
		cmd.Wait()
		answers.Close()
	})

	var target struct{ TargetID string }
	tab.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	tab.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	tab.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		tab.call(domain+".enable", nil, nil)
	}
	tab.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": v.Width, "height": v.Height, "deviceScaleFactor": 1, "mobile": v.Width < 600}, nil)
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	tab.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	tab.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": v.NoScript}, nil)
	return tab
}

func (t *Tab) read(from io.Reader) {
	defer close(t.out)
	r := bufio.NewReader(from)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) == nil {
			t.out <- m
		}
	}
}

// next is the browser's next word.
func (t *Tab) next(doing string) message {
	t.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case m, ok := <-t.out:
		if !ok {
			t.t.Fatalf("the browser ended: %s", doing)
		}
		t.note(m)
		return m
	case <-timer.C:
		t.t.Fatalf("the browser says nothing: %s", doing)
	}
	return message{}
}

func (t *Tab) note(m message) {
	var p struct {
		Entry            struct{ Level, Text, URL string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Request struct{ URL string }
	}
	if m.Params != nil && json.Unmarshal(m.Params, &p) != nil {
		return
	}
	switch m.Method {
	case "Page.loadEventFired":
		t.loads++
	case "Network.requestWillBeSent":
		t.Requests = append(t.Requests, p.Request.URL)
	case "Log.entryAdded":
		t.Complaints = append(t.Complaints, p.Entry.Text+" "+p.Entry.URL)
	case "Runtime.exceptionThrown":
		t.Complaints = append(t.Complaints, p.ExceptionDetails.Text+" "+p.ExceptionDetails.Exception.Description)
	}
}

func (t *Tab) send(method string, params any) int {
	t.t.Helper()
	t.last++
	m := map[string]any{"id": t.last, "method": method}
	if params != nil {
		m["params"] = params
	}
	if t.session != "" {
		m["sessionId"] = t.session
	}
	text, err := json.Marshal(m)
	if err == nil {
		_, err = t.in.Write(append(text, 0))
	}
	if err != nil {
		t.t.Fatalf("%s: %v", method, err)
	}
	return t.last
}

func (t *Tab) call(method string, params, result any) {
	t.t.Helper()
	id := t.send(method, params)
	for {
		m := t.next(method)
		if m.ID != id {
			continue
		}
		if m.Error != nil {
			t.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				t.t.Fatalf("%s: %v", method, err)
			}
		}
		return
	}
}

// Go opens an address and waits until it is loaded. Another place on the page
// that is open is there at once: nothing is loaded, and no loader has an id.
func (t *Tab) Go(address string) {
	t.t.Helper()
	before := t.loads
	var gone struct{ LoaderID, ErrorText string }
	t.call("Page.navigate", map[string]any{"url": address}, &gone)
	if gone.ErrorText != "" {
		t.t.Fatalf("%s: %s", address, gone.ErrorText)
	}
	if gone.LoaderID != "" {
		t.loaded(before)
	}
}

// Leave does what leads to another page, and waits until that is loaded.
func (t *Tab) Leave(do func()) {
	t.t.Helper()
	before := t.loads
	do()
	t.loaded(before)
}

func (t *Tab) loaded(before int) {
	t.t.Helper()
	for t.loads == before {
		t.next("waiting for a page to load")
	}
}

// Eval is what an expression is on the page, once it is settled.
func Eval[T any](t *Tab, js string) T {
	t.t.Helper()
	var answer struct {
		Result struct {
			Value       T
			Description string
		}
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	t.call("Runtime.evaluate", map[string]any{"expression": js, "returnByValue": true, "awaitPromise": true}, &answer)
	if answer.ExceptionDetails != nil {
		t.t.Fatalf("%s: %s", js, answer.ExceptionDetails.Exception.Description)
	}
	return answer.Result.Value
}

// Wait waits until an expression is true.
func (t *Tab) Wait(js string) {
	t.t.Helper()
	Eval[bool](t, "new Promise((done) => { const look = () => { if ("+js+") done(true); else requestAnimationFrame(look); }; look(); })")
}

// Click clicks the middle of the first element of a selector.
func (t *Tab) Click(selector string) {
	t.t.Helper()
	quoted, err := json.Marshal(selector)
	if err != nil {
		t.t.Fatal(err)
	}
	at := Eval[[]float64](t, "(() => { const e = document.querySelector("+string(quoted)+"); if (!e) return []; e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getClientRects()[0]; return [r.x + r.width / 2, r.y + r.height / 2]; })()")
	if len(at) != 2 {
		t.t.Fatalf("there is no %s", selector)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		t.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1}, nil)
	}
}

// named are the keys that are no characters: their codes, and the text that
// comes of them.
var named = map[string]struct {
	code int
	text string
}{
	"Enter": {13, "\r"}, "Escape": {27, ""}, "ArrowLeft": {37, ""}, "ArrowUp": {38, ""}, "ArrowRight": {39, ""}, "ArrowDown": {40, ""},
}

// Press presses keys one after the other: "j", "Escape".
func (t *Tab) Press(keys ...string) {
	t.t.Helper()
	for _, key := range keys {
		code, text := 0, key
		if n, ok := named[key]; ok {
			code, text = n.code, n.text
		}
		down := map[string]any{"type": "keyDown", "key": key, "windowsVirtualKeyCode": code}
		if text != "" {
			down["text"] = text
		}
		t.call("Input.dispatchKeyEvent", down, nil)
		t.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "windowsVirtualKeyCode": code}, nil)
	}
}

// Type presses a key for each character.
func (t *Tab) Type(text string) {
	t.t.Helper()
	t.Press(strings.Split(text, "")...)
}

// OnPaper shows the page as it is printed.
func (t *Tab) OnPaper() {
	t.t.Helper()
	t.call("Emulation.setEmulatedMedia", map[string]any{"media": "print"}, nil)
}
