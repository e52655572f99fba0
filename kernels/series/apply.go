// SPDX-License-Identifier: Apache-2.0

package series

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Base is the tree that a series is applied to. It is only read.
type Base interface {
	// Look says what a path is: 'f' a file, 'x' an executable one, 'l' a
	// symbolic link, 'd' a directory, 0 nothing.
	Look(name string) byte
	// Read is the content of a file.
	Read(name string) ([]byte, error)
}

// A File is what a series makes of a path.
type File struct {
	Data       []byte
	Executable bool
	Gone       bool // it is removed, or was made and removed again
}

// Apply computes the files that the series leaves different from those of the
// base: all of it, or an error. A patch that does not fit is a *Refused.
//
// A hunk must match line by line: there is no fuzz, and whitespace counts. It
// may match some lines above or below where its header says, as for git
// apply; notes says where. As for git apply, a hunk without context before or
// after must stand at the start or the end of its file.
func (s Series) Apply(base Base) (files map[string]File, notes []string, err error) {
	a := application{base: base, files: map[string]File{}}
	for i := range s.Patches {
		p := &s.Patches[i]
		for _, c := range p.changes {
			a.refuse = func(hunk, line int, format string, args ...any) error {
				name := c.new
				if name == "" {
					name = c.old
				}
				return &Refused{Index: i + 1, Patch: p.Name(), File: name, Hunk: hunk, Line: line, Because: fmt.Sprintf(format, args...)}
			}
			a.note = func(hunk, says, fits int) {
				notes = append(notes, fmt.Sprintf("%s: %s: hunk %d fits at line %d, not at line %d as it says", p.Name(), c.old, hunk, fits, says))
			}
			if err := a.change(c); err != nil {
				return nil, nil, err
			}
		}
	}
	return a.files, notes, nil
}

// maxWork bounds how many lines are moved and compared for a series: a patch
// of many small hunks to a long file of equal lines could take hours.
const maxWork = 1 << 28

type application struct {
	base   Base
	work   int
	files  map[string]File
	refuse func(hunk, line int, format string, args ...any) error
	note   func(hunk, says, fits int) // line numbers
}

// look is Base.Look after the patches so far.
func (a *application) look(name string) byte {
	if f, ok := a.files[name]; ok {
		switch {
		case f.Gone:
			return 0
		case f.Executable:
			return 'x'
		}
		return 'f'
	}
	kind := a.base.Look(name)
	if kind == 0 {
		for other, f := range a.files {
			if !f.Gone && strings.HasPrefix(other, name+"/") {
				return 'd'
			}
		}
	}
	return kind
}

func (a *application) change(c change) error {
	var lines []mark
	exec := false
	if c.old != "" {
		switch a.look(c.old) {
		case 'f':
		case 'x':
			exec = true
		case 'l':
			return a.refuse(0, c.line, "changes %q, which is a symbolic link", c.old)
		case 'd':
			return a.refuse(0, c.line, "changes %q, which is a directory", c.old)
		default:
			return a.refuse(0, c.line, "changes %q, which does not exist", c.old)
		}
		f, ok := a.files[c.old]
		if !ok {
			var err error
			if f.Data, err = a.base.Read(c.old); err != nil {
				return err
			}
		}
		lines = split(string(f.Data))
	}
	if c.new != "" && c.new != c.old {
		if kind := a.look(c.new); kind != 0 {
			return a.refuse(0, c.line, "makes it, and it exists")
		}
		for dir := path.Dir(c.new); dir != "."; dir = path.Dir(dir) {
			if kind := a.look(dir); kind != 0 && kind != 'd' {
				return a.refuse(0, c.line, "would lie behind %q, which is no directory", dir)
			}
		}
	}
	for i, h := range c.hunks {
		var err error
		if lines, err = a.hunk(lines, i+1, h); err != nil {
			return err
		}
	}
	if c.mode != keep {
		exec = c.mode == executable
	}
	if c.new == "" {
		if len(lines) > 0 {
			return a.refuse(0, c.line, "removes it, but not all that is in it")
		}
		a.files[c.old] = File{Gone: true}
		return nil
	}
	if c.old != "" && c.old != c.new && !c.copy {
		a.files[c.old] = File{Gone: true}
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text)
	}
	a.files[c.new] = File{Data: []byte(b.String()), Executable: exec}
	return nil
}

// A mark is a line of a file, and whether a hunk of the patch wrote it: no
// other hunk may build on it.
type mark struct {
	text    string
	patched bool
}

func split(text string) []mark {
	var lines []mark
	for l := range strings.Lines(text) {
		lines = append(lines, mark{text: l})
	}
	return lines
}

func (a *application) hunk(lines []mark, n int, h hunk) ([]mark, error) {
	var old []string
	var new []mark
	trailing := 0
	for _, l := range h.lines {
		if l.op != '+' {
			old = append(old, l.text)
		}
		if l.op != '-' {
			new = append(new, mark{l.text, true})
		}
		trailing++
		if l.op != ' ' {
			trailing = 0
		}
	}
	expected := max(h.newStart-1, 0)
	a.work += len(lines)
	at, ok := a.find(lines, old, min(expected, len(lines)), h.oldStart <= 1, trailing == 0)
	switch {
	case a.work > maxWork:
		return nil, a.refuse(n, h.line, "takes too long to apply")
	case !ok:
		return nil, a.refuse(n, h.line, "does not fit: %s", obstacle(lines, old, expected))
	}
	if at != expected {
		a.note(n, expected+1, at+1)
	}
	return slices.Replace(lines, at, at+len(old), new...), nil
}

// find is where lines hold old: the place nearest to the one expected, below
// before above. It is git's find_pos.
func (a *application) find(lines []mark, old []string, expected int, atStart, atEnd bool) (int, bool) {
	fits := func(at int) bool {
		if at < 0 || at+len(old) > len(lines) || atStart && at != 0 || atEnd && at+len(old) != len(lines) {
			return false
		}
		for i, l := range old {
			a.work++
			if lines[at+i].text != l || lines[at+i].patched {
				return false
			}
		}
		return true
	}
	for off := 0; off <= len(lines) && a.work <= maxWork; off++ {
		if fits(expected + off) {
			return expected + off, true
		}
		if fits(expected - off) {
			return expected - off, true
		}
	}
	return 0, false
}

// obstacle says which line keeps a hunk from fitting where its header says.
func obstacle(lines []mark, old []string, expected int) string {
	for i, want := range old {
		if expected+i >= len(lines) {
			return fmt.Sprintf("the file ends at line %d", len(lines))
		}
		if got := lines[expected+i].text; got != want {
			return fmt.Sprintf("line %d is %.80q, not %.80q", expected+i+1, strings.TrimSuffix(got, "\n"), strings.TrimSuffix(want, "\n"))
		}
	}
	return "its lines stand elsewhere than at the start or the end of the file"
}
