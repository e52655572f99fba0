// SPDX-License-Identifier: Apache-2.0

package results

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"noiommu-farm/guestagent/wire"
)

// Limits on what one cell may write, in bytes. A guest that exceeds one is
// told on, not obeyed: the rest is counted and dropped.
const (
	MaxConsole = 64 << 20
	MaxOutput  = 512 << 20 // each stream of each program
	maxEvent   = 8 << 20   // one line of events.jsonl
)

// ErrNotRecorded is in every error of a [CellWriter]: what happened could not
// be written down.
var ErrNotRecorded = errors.New("record cell")

// Files of a cell's folder.
const (
	eventsFile  = "events.jsonl"
	consoleFile = "console.log"
	programsDir = "programs"
	guestsDir   = "guests" // consoles of all guests but the first
)

// CellWriter writes the folder of one cell while the cell runs. Its methods
// may be called from several goroutines. The first write that fails (a full
// disk) is kept: every later call returns it, and Close too, so a cell that
// could not be recorded never looks finished.
type CellWriter struct {
	dir string

	mu      sync.Mutex
	err     error
	events  *os.File
	console map[uint32]*bounded // by guest
	streams map[streamKey]*bounded
}

type streamKey struct {
	guest, run uint32
	stream     wire.Stream
}

// CreateCell makes the folder of a cell and writes its first event.
func CreateCell(dir string, planned Planned) (*CellWriter, error) {
	if err := os.MkdirAll(filepath.Join(dir, programsDir), 0o755); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	events, err := os.OpenFile(filepath.Join(dir, eventsFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	w := &CellWriter{dir: dir, events: events, console: make(map[uint32]*bounded), streams: make(map[streamKey]*bounded)}
	if err := w.openConsole(0); err != nil {
		events.Close()
		return nil, err
	}
	if err := w.Event(Event{Planned: &planned}); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// Event appends one event, stamped with the time now.
func (w *CellWriter) Event(e Event) error {
	e.Time = time.Now().UTC()
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	line = append(line, '\n')
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	// One write call for the whole line: a farm that is killed leaves whole
	// lines, or one torn line at the end.
	if _, err := w.events.Write(line); err != nil {
		w.err = fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	return w.err
}

// openConsole makes the file of a guest's console.
func (w *CellWriter) openConsole(guest uint32) error {
	f, err := createBounded(consolePath(w.dir, guest), MaxConsole)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	w.console[guest] = f
	return nil
}

func consolePath(dir string, guest uint32) string {
	if guest == 0 {
		return filepath.Join(dir, consoleFile)
	}
	return filepath.Join(dir, guestsDir, fmt.Sprintf("%03d.log", guest))
}

// GuestWriter writes what one guest of a cell does and says.
type GuestWriter struct {
	w     *CellWriter
	guest uint32
}

// First writes of the cell's first guest.
func (w *CellWriter) First() *GuestWriter { return &GuestWriter{w, 0} }

// Guest begins to write of another guest, whose number is above 0 and was not
// used before.
func (w *CellWriter) Guest(guest uint32, assigned Assigned) (*GuestWriter, error) {
	w.mu.Lock()
	err := w.err
	if err == nil {
		if mkdirErr := os.MkdirAll(filepath.Join(w.dir, guestsDir), 0o755); mkdirErr != nil {
			err = fmt.Errorf("%w: %w", ErrNotRecorded, mkdirErr)
		} else {
			err = w.openConsole(guest)
		}
		w.err = err
	}
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	g := &GuestWriter{w, guest}
	return g, g.Event(Event{Assigned: &assigned})
}

// Event appends one event of this guest.
func (g *GuestWriter) Event(e Event) error {
	e.Guest = g.guest
	return g.w.Event(e)
}

// Console appends what the guest's serial console said.
func (g *GuestWriter) Console(p []byte) error {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	return g.w.write(g.w.console[g.guest], p)
}

// ConsoleDropped is how many bytes of the console exceeded MaxConsole.
func (g *GuestWriter) ConsoleDropped() int64 {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	return g.w.console[g.guest].dropped
}

// Close closes the files of a guest that has ended.
func (g *GuestWriter) Close() error {
	w := g.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.console[g.guest]; f != nil {
		w.closed(f)
		delete(w.console, g.guest)
	}
	for key, f := range w.streams {
		if key.guest == g.guest {
			w.closed(f)
			delete(w.streams, key)
		}
	}
	return w.err
}

// closed closes a file and remembers that it failed.
func (w *CellWriter) closed(f *bounded) {
	if err := f.Close(); err != nil && w.err == nil {
		w.err = fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
}

// Chunk appends a piece of a program's output to its file.
func (g *GuestWriter) Chunk(c wire.Chunk) error {
	w := g.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	key := streamKey{g.guest, c.Run, c.Stream}
	f, ok := w.streams[key]
	if !ok {
		var err error
		f, err = createBounded(filepath.Join(w.dir, programsDir, streamFile(key)), MaxOutput)
		if err != nil {
			w.err = fmt.Errorf("%w: %w", ErrNotRecorded, err)
			return w.err
		}
		w.streams[key] = f
	}
	return w.write(f, c.Data)
}

func (w *CellWriter) write(f *bounded, p []byte) error {
	if w.err != nil {
		return w.err
	}
	if _, err := f.Write(p); err != nil {
		w.err = fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	return w.err
}

// Close flushes and closes every file of the cell.
func (w *CellWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := []error{w.err, w.events.Sync(), w.events.Close()}
	for _, f := range w.console {
		errs = append(errs, f.Close())
	}
	for _, f := range w.streams {
		errs = append(errs, f.Close())
	}
	clear(w.console)
	clear(w.streams)
	return errors.Join(errs...)
}

func streamFile(k streamKey) string {
	suffix := map[wire.Stream]string{wire.Stdout: "out", wire.Stderr: "err", wire.Core: "core"}[k.stream]
	if k.guest == 0 {
		return fmt.Sprintf("%03d.%s", k.run, suffix)
	}
	return fmt.Sprintf("%03d-%03d.%s", k.run, k.guest, suffix)
}

// bounded is a file that takes so many bytes and counts the rest.
type bounded struct {
	*os.File
	room    int64
	dropped int64
}

func createBounded(path string, limit int64) (*bounded, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return &bounded{File: f, room: limit}, nil
}

func (b *bounded) Write(p []byte) (int, error) {
	keep := p[:min(int64(len(p)), b.room)]
	b.dropped += int64(len(p) - len(keep))
	n, err := b.File.Write(keep)
	b.room -= int64(n)
	return len(p), err
}

func (b *bounded) Close() error {
	if b.dropped > 0 {
		fmt.Fprintf(b.File, "\n[%d more bytes were dropped here: limit reached]\n", b.dropped)
	}
	return b.File.Close()
}

// Record is one cell as its folder tells it.
type Record struct {
	Dir     string
	Planned Planned
	Events  []Event
	Torn    bool // the last line of events.jsonl is not whole
}

// ReadCell reads a cell's folder. A folder whose first event is not whole is an
// error; anything missing after it is for the verdict to say.
func ReadCell(dir string) (*Record, error) {
	f, err := os.Open(filepath.Join(dir, eventsFile))
	if err != nil {
		return nil, fmt.Errorf("read cell: %w", err)
	}
	defer f.Close()
	rec := &Record{Dir: dir}
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := readLine(r)
		if errors.Is(err, io.EOF) {
			rec.Torn = len(line) > 0
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read cell %s: %w", filepath.Base(dir), err)
		}
		var e Event
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("read cell %s: event %d: %w", filepath.Base(dir), len(rec.Events)+1, err)
		}
		rec.Events = append(rec.Events, e)
	}
	if len(rec.Events) == 0 || rec.Events[0].Planned == nil {
		return nil, fmt.Errorf("read cell %s: events.jsonl does not begin with the plan", filepath.Base(dir))
	}
	rec.Planned = *rec.Events[0].Planned
	return rec, nil
}

// readLine reads a whole line without its newline; at the end of the file it
// returns what was left with io.EOF.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		case len(line) > maxEvent:
			return nil, fmt.Errorf("event longer than %d bytes", maxEvent)
		}
	}
}

// Guests are the numbers of all guests of the cell, in order; the first is 0.
func (r *Record) Guests() []uint32 {
	all := []uint32{0}
	for _, e := range r.Events {
		if e.Assigned != nil {
			all = append(all, e.Guest)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Console opens the console logs of all guests, one after the other; a cell
// that never booted has an empty one.
func (r *Record) Console() (io.ReadCloser, error) {
	return r.oneByOne(r.ConsoleOf)
}

// ConsoleOf opens the console log of one guest.
func (r *Record) ConsoleOf(guest uint32) (io.ReadCloser, error) {
	return openOrEmpty(consolePath(r.Dir, guest))
}

// Output opens one stream of a program, that of all guests in which it ran one
// after the other; a program that wrote nothing has an empty one.
func (r *Record) Output(run uint32, s wire.Stream) (io.ReadCloser, error) {
	return r.oneByOne(func(guest uint32) (io.ReadCloser, error) { return r.OutputOf(guest, run, s) })
}

// OutputOf opens one stream of a program in one guest.
func (r *Record) OutputOf(guest, run uint32, s wire.Stream) (io.ReadCloser, error) {
	return openOrEmpty(filepath.Join(r.Dir, programsDir, streamFile(streamKey{guest, run, s})))
}

// oneByOne reads what open opens for each guest.
func (r *Record) oneByOne(open func(guest uint32) (io.ReadCloser, error)) (io.ReadCloser, error) {
	guests := r.Guests()
	if len(guests) == 1 {
		return open(0)
	}
	return &chain{guests: guests, open: open}, nil
}

// chain reads one file after the other, and has one of them open at a time.
type chain struct {
	guests []uint32 // whose files are still to be opened
	open   func(guest uint32) (io.ReadCloser, error)
	now    io.ReadCloser
}

func (c *chain) Read(p []byte) (int, error) {
	for {
		if c.now == nil {
			if len(c.guests) == 0 {
				return 0, io.EOF
			}
			var err error
			if c.now, err = c.open(c.guests[0]); err != nil {
				return 0, err
			}
			c.guests = c.guests[1:]
		}
		n, err := c.now.Read(p)
		if err != io.EOF {
			return n, err
		}
		c.now.Close()
		c.now = nil
		if n > 0 {
			return n, nil
		}
	}
}

func (c *chain) Close() error {
	c.guests = nil
	if c.now == nil {
		return nil
	}
	return c.now.Close()
}

func openOrEmpty(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read cell: %w", err)
	}
	return f, nil
}
