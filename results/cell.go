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
	console *bounded
	streams map[streamKey]*bounded
}

type streamKey struct {
	run    uint32
	stream wire.Stream
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
	console, err := createBounded(filepath.Join(dir, consoleFile), MaxConsole)
	if err != nil {
		events.Close()
		return nil, fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	w := &CellWriter{dir: dir, events: events, console: console, streams: make(map[streamKey]*bounded)}
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

// Console appends what the guest's serial console said.
func (w *CellWriter) Console(p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(w.console, p)
}

// Chunk appends a piece of a program's output to its file.
func (w *CellWriter) Chunk(c wire.Chunk) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	key := streamKey{c.Run, c.Stream}
	f, ok := w.streams[key]
	if !ok {
		var err error
		f, err = createBounded(filepath.Join(w.dir, programsDir, streamFile(c.Run, c.Stream)), MaxOutput)
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

// ConsoleDropped is how many bytes of the console exceeded MaxConsole.
func (w *CellWriter) ConsoleDropped() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.console.dropped
}

// Close flushes and closes every file of the cell.
func (w *CellWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	errs := []error{w.err, w.events.Sync(), w.events.Close(), w.console.Close()}
	for _, f := range w.streams {
		errs = append(errs, f.Close())
	}
	w.streams = make(map[streamKey]*bounded)
	return errors.Join(errs...)
}

func streamFile(run uint32, s wire.Stream) string {
	suffix := map[wire.Stream]string{wire.Stdout: "out", wire.Stderr: "err", wire.Core: "core"}[s]
	return fmt.Sprintf("%03d.%s", run, suffix)
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

// Console opens the console log; a cell that never booted has an empty one.
func (r *Record) Console() (io.ReadCloser, error) {
	return openOrEmpty(filepath.Join(r.Dir, consoleFile))
}

// Output opens one stream of a program; a program that wrote nothing has an
// empty one.
func (r *Record) Output(run uint32, s wire.Stream) (io.ReadCloser, error) {
	return openOrEmpty(filepath.Join(r.Dir, programsDir, streamFile(run, s)))
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
