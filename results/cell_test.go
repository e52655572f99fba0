// SPDX-License-Identifier: Apache-2.0

package results

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"noiommu-farm/guestagent/wire"
)

func create(t *testing.T) (*CellWriter, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cell")
	w, err := CreateCell(dir, Planned{Cell: "c", Programs: []Program{{ID: 1, Name: "p"}}})
	if err != nil {
		t.Fatal(err)
	}
	return w, dir
}

func text(t *testing.T, open func() (io.ReadCloser, error)) string {
	t.Helper()
	f, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCell(t *testing.T) {
	w, dir := create(t)
	if err := w.Event(Event{Running: &Running{ID: 1, Argv: []string{"/p"}}}); err != nil {
		t.Fatal(err)
	}
	w.First().Console([]byte("one\n"))
	w.First().Console([]byte("two\n"))
	w.First().Chunk(wire.Chunk{Run: 1, Stream: wire.Stdout, Data: []byte("out")})
	w.First().Chunk(wire.Chunk{Run: 1, Stream: wire.Stderr, Data: []byte("err")})
	w.First().Chunk(wire.Chunk{Run: 1, Stream: wire.Stdout, Data: []byte("put")})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	rec, err := ReadCell(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(rec.Events) != 2 || rec.Torn || rec.Planned.Programs[0].Name != "p" || rec.Events[1].Running.Argv[0] != "/p" {
		t.Errorf("record is %+v", rec)
	}
	for want, open := range map[string]func() (io.ReadCloser, error){
		"one\ntwo\n": rec.Console,
		"output":     func() (io.ReadCloser, error) { return rec.Output(1, wire.Stdout) },
		"err":        func() (io.ReadCloser, error) { return rec.Output(1, wire.Stderr) },
		"":           func() (io.ReadCloser, error) { return rec.Output(2, wire.Stdout) },
	} {
		if got := text(t, open); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if _, err := CreateCell(dir, Planned{}); !errors.Is(err, ErrNotRecorded) {
		t.Errorf("a cell's folder was written over: %v", err)
	}
}

// Each guest of a cell has its own console and its own output, and both can be
// read one after the other.
func TestGuests(t *testing.T) {
	w, dir := create(t)
	w.First().Console([]byte("first\n"))
	for n, name := range []string{"", "a", "b"} {
		if n == 0 {
			continue
		}
		g, err := w.Guest(uint32(n), Assigned{Program: 1, Tests: []string{name}, Restored: 1})
		if err != nil {
			t.Fatal(err)
		}
		g.Event(Event{Running: &Running{ID: 1}})
		g.Console([]byte("console " + name + "\n"))
		g.Chunk(wire.Chunk{Run: 1, Stream: wire.Stdout, Data: []byte("out " + name + "\n")})
		if n := g.ConsoleDropped(); n != 0 {
			t.Errorf("%d bytes dropped", n)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Guest(2, Assigned{}); !errors.Is(err, ErrNotRecorded) {
		t.Errorf("a second guest of the same number: %v", err)
	}
	w.Close()
	rec, err := ReadCell(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := rec.Guests(); len(got) != 3 || got[2] != 2 || rec.Events[3].Guest != 2 || rec.Events[3].Assigned.Tests[0] != "b" {
		t.Errorf("guests %v, events %+v", got, rec.Events)
	}
	for want, open := range map[string]func() (io.ReadCloser, error){
		"first\nconsole a\nconsole b\n": rec.Console,
		"console b\n":                   func() (io.ReadCloser, error) { return rec.ConsoleOf(2) },
		"out a\nout b\n":                func() (io.ReadCloser, error) { return rec.Output(1, wire.Stdout) },
		"out a\n":                       func() (io.ReadCloser, error) { return rec.OutputOf(1, 1, wire.Stdout) },
	} {
		if got := text(t, open); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A farm that is killed while it writes leaves events that are whole, and at
// most one torn line that is told of.
func TestTorn(t *testing.T) {
	w, dir := create(t)
	for range 3 {
		w.Event(Event{Running: &Running{ID: 1}})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, eventsFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(0, len(whole)).Draw(r, "bytes left")
		if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
			r.Fatal(err)
		}
		lines := strings.Count(string(whole[:n]), "\n")
		rec, err := ReadCell(dir)
		if lines == 0 {
			if err == nil {
				r.Fatalf("a record without a plan was read")
			}
			return
		}
		if err != nil {
			r.Fatal(err)
		}
		if torn := whole[n-1] != '\n'; rec.Torn != torn || len(rec.Events) != lines {
			r.Fatalf("%d events, torn %v; want %d, %v", len(rec.Events), rec.Torn, lines, torn)
		}
	})
}

func TestReadCellRefuses(t *testing.T) {
	for name, events := range map[string]string{
		"an unknown event": `{"time":"2026-01-01T00:00:00Z","planned":{"cell":"c"}}` + "\n" + `{"time":"2026-01-01T00:00:00Z","surprise":{}}` + "\n",
		"no plan":          `{"time":"2026-01-01T00:00:00Z","ended":{"qemu":"","code":0}}` + "\n",
		"no JSON":          "rubbish\n",
		"an endless line":  strings.Repeat("x", maxEvent+100<<10),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, eventsFile), []byte(events), 0o644); err != nil {
			t.Fatal(err)
		}
		if rec, err := ReadCell(dir); err == nil {
			t.Errorf("%s: read as %+v", name, rec)
		}
	}
}

// The first write that fails is not forgotten.
func TestNotRecorded(t *testing.T) {
	w, _ := create(t)
	w.events.Close()
	if err := w.Event(Event{Running: &Running{ID: 1}}); !errors.Is(err, ErrNotRecorded) {
		t.Fatalf("got %v", err)
	}
	for name, err := range map[string]error{
		"event":   w.Event(Event{Running: &Running{ID: 2}}),
		"console": w.First().Console([]byte("x")),
		"chunk":   w.First().Chunk(wire.Chunk{Run: 1, Stream: wire.Stdout, Data: []byte("x")}),
		"close":   w.Close(),
	} {
		if !errors.Is(err, ErrNotRecorded) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, err := createBounded(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if n, err := f.Write([]byte("abcd")); n != 4 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(path)
	if want := "abcdabcdab\n[6 more bytes were dropped here: limit reached]\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCreateRun(t *testing.T) {
	root := t.TempDir()
	var dirs []string
	for range 2 {
		r := Run{Command: []string{"farm", "run"}}
		dir, err := CreateRun(root, &r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadRun(dir)
		if err != nil || got.ID != r.ID || filepath.Base(dir) != r.ID {
			t.Fatalf("read %+v, %v; want %+v", got, err, r)
		}
		latest, err := filepath.EvalSymlinks(filepath.Join(root, "latest"))
		if real, _ := filepath.EvalSymlinks(dir); err != nil || latest != real {
			t.Errorf("latest is %s (%v), want %s", latest, err, real)
		}
		dirs = append(dirs, dir)
	}
	if dirs[0] == dirs[1] {
		t.Error("two runs share a directory")
	}
}
