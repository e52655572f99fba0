// SPDX-License-Identifier: Apache-2.0

// Package symbols says which line of the source a kernel's complaint names.
//
// In goes a vmlinux and lines of a console log; out come the lines with the
// source behind each function+offset. It needs the debug information of the
// build (CONFIG_DEBUG_INFO) and adds nothing where there is none, or where more
// than one function has the name. A module's functions are not in vmlinux. It
// never runs anything.
package symbols

import (
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Table is what a kernel knows of its own source.
type Table struct {
	functions map[string][]elf.Symbol
	data      *dwarf.Data
	known     map[uint64]string // lines by address
}

// ErrNone says that a kernel was built without debug information.
var ErrNone = errors.New("it has no debug information")

// Open reads a vmlinux.
func Open(vmlinux string) (*Table, error) {
	f, err := elf.Open(vmlinux)
	if err != nil {
		return nil, fmt.Errorf("read symbols: %w", err)
	}
	defer f.Close()
	if f.Section(".debug_info") == nil && f.Section(".zdebug_info") == nil {
		return nil, fmt.Errorf("read symbols of %s: %w", vmlinux, ErrNone)
	}
	all, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("read symbols: %w", err)
	}
	t := &Table{functions: make(map[string][]elf.Symbol), known: make(map[uint64]string)}
	for _, s := range all {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			t.functions[s.Name] = append(t.functions[s.Name], s)
		}
	}
	if t.data, err = f.DWARF(); err != nil {
		return nil, fmt.Errorf("read symbols: %w", err)
	}
	return t, nil
}

// frame is func+0x1f/0x320, as %pS and %pB have it (lib/vsprintf.c), and what
// stands after one of a module.
var frame = regexp.MustCompile(`([A-Za-z_.$][\w.$]*)\+0x([0-9a-f]{1,8})/0x([0-9a-f]{1,8})( \[)?`)

// where says that a line is of where the processor was, not where it would have
// returned to.
var where = regexp.MustCompile(`\b(?:RIP|EIP|pc) ?:`)

// Mark puts the source lines into a line of a log: "f+0x1f/0x320 (mm/a.c:12)".
func (t *Table) Mark(line string) string {
	at := frame.FindAllStringSubmatchIndex(line, 8)
	if t == nil || at == nil {
		return line
	}
	back := uint64(1) // into the call that it would have returned from
	if where.MatchString(line) {
		back = 0
	}
	var b strings.Builder
	last := 0
	for _, m := range at {
		if m[8] >= 0 {
			continue
		}
		offset, _ := strconv.ParseUint(line[m[4]:m[5]], 16, 64)
		size, _ := strconv.ParseUint(line[m[6]:m[7]], 16, 64)
		source := t.source(line[m[2]:m[3]], offset, size, back)
		if source == "" {
			continue
		}
		b.WriteString(line[last:m[1]] + " (" + source + ")")
		last = m[1]
	}
	return b.String() + line[last:]
}

// source is the line of an offset in a function of a size; empty where it is not
// known for certain.
func (t *Table) source(function string, offset, size, back uint64) string {
	var found []elf.Symbol
	for _, s := range t.functions[function] {
		// The kernel counts the padding behind a function as a part of it.
		if s.Size <= size && size-s.Size < 64 {
			found = append(found, s)
		}
	}
	if len(found) != 1 || offset >= size {
		return ""
	}
	pc := found[0].Value + offset
	if offset > 0 {
		pc -= back
	}
	source, ok := t.known[pc]
	if !ok {
		source = t.lookUp(pc)
		t.known[pc] = source
	}
	return source
}

func (t *Table) lookUp(pc uint64) string {
	unit, err := t.data.Reader().SeekPC(pc)
	if err != nil {
		return ""
	}
	lines, err := t.data.LineReader(unit)
	if err != nil || lines == nil {
		return ""
	}
	var at dwarf.LineEntry
	if lines.SeekPC(pc, &at) != nil || at.File == nil {
		return ""
	}
	name := path.Clean(at.File.Name)
	if dir, ok := unit.Val(dwarf.AttrCompDir).(string); ok {
		name = strings.TrimPrefix(name, path.Clean(dir)+"/")
	}
	return fmt.Sprintf("%s:%d", name, at.Line)
}
