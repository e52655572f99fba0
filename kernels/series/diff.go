// SPDX-License-Identifier: Apache-2.0

package series

import (
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bluekeyes/go-gitdiff/gitdiff"
)

// A change is what a patch does to one file.
type change struct {
	old, new string // paths; "" when the file is made or removed
	copy     bool   // old stays
	mode     int    // what the patch says of the mode
	line     int    // of the patch's text, from 1
	hunks    []hunk
}

// What a patch says of a file's mode. It may say nothing: plain is then what
// a new file gets, and what an old one has it keeps.
const (
	keep = iota
	plain
	executable
)

// A hunk is a run of lines. Its numbers are those of its header.
type hunk struct {
	oldStart, newStart int
	lines              []line
	line               int // of the patch's text
}

type line struct {
	op   byte   // ' ', '-' or '+'
	text string // with its \n, if it has one
}

// A diffError is what is wrong with a diff, and where.
type diffError struct {
	file       string
	hunk, line int
	because    string
}

func (e *diffError) Error() string { return e.because }

// Bounds on a diff.
const (
	maxChanges = 5_000
	maxName    = 1024
)

var (
	diffStart  = regexp.MustCompile(`(?m)^(diff --git \S|--- \S.*\n\+\+\+ \S.*\n@@ -)`)
	hunkHeader = regexp.MustCompile(`^@@ -([0-9]{1,9})(?:,([0-9]{1,9}))? \+([0-9]{1,9})(?:,([0-9]{1,9}))? @@`)
	modeLine   = regexp.MustCompile(`^(?:old mode|new mode|new file mode|deleted file mode|index [0-9a-f]+\.\.[0-9a-f]+) ([0-7]+)$`)
	nameLine   = regexp.MustCompile(`^(?:---|\+\+\+|rename from|rename to|rename old|rename new|copy from|copy to) (.*)$`)
	whereIn    = regexp.MustCompile(`^gitdiff: line ([0-9]+): (.*)$`)
)

func hasDiff(text string) bool { return diffStart.MatchString(text) }

// parseDiff splits a patch's text at the start of its diff, and reads that.
func parseDiff(text string) (body, diff string, changes []change, err error) {
	at := diffStart.FindStringIndex(text)
	if at == nil {
		return "", "", nil, errors.New("has no diff")
	}
	body, diff = text[:at[0]], text[at[0]:]
	before := strings.Count(body, "\n")
	w := walk{before: before}
	if err := w.diff(diff); err != nil {
		return "", "", nil, err
	}
	files, _, err := gitdiff.Parse(strings.NewReader(diff))
	if err != nil {
		e := &diffError{because: err.Error()}
		if m := whereIn.FindStringSubmatch(e.because); m != nil {
			n, _ := strconv.Atoi(m[1])
			e.line, e.because = before+n, m[2]
		}
		return "", "", nil, e
	}
	if len(files) > maxChanges {
		return "", "", nil, fmt.Errorf("changes more than %d files", maxChanges)
	}
	for _, f := range files {
		c, err := w.change(f)
		if err != nil {
			return "", "", nil, err
		}
		changes = append(changes, c)
	}
	if len(w.hunks) > 0 || len(w.files) > 0 {
		return "", "", nil, errors.New("its diff can be read in two ways")
	}
	return body, diff, changes, nil
}

// A file is where a file's header starts, and whether it is one of git's: the
// names of others are as diff wrote them, with a directory before them.
type file struct {
	line int
	git  bool
}

// A walk goes through the lines of a diff to see what gitdiff does not say:
// names as they are written, lines that belong to no hunk, and where things
// are.
type walk struct {
	before int // lines before the diff
	files  []file
	hunks  []int // line of each hunk's header
	name   string
	inFile int // hunks of the file so far
}

func (w *walk) bad(i int, format string, args ...any) error {
	return &diffError{file: w.name, hunk: w.inFile, line: w.before + i + 1, because: fmt.Sprintf(format, args...)}
}

func (w *walk) diff(text string) error {
	lines := strings.Split(text, "\n")
	git := false // inside the header of "diff --git"
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		switch {
		case strings.HasPrefix(l, "diff --git "):
			git = true
			w.files, w.inFile = append(w.files, file{w.before + i + 1, true}), 0
			if _, w.name, _ = strings.Cut(l, " b/"); w.name == "" {
				w.name = strings.TrimPrefix(l, "diff --git ")
			}
			if strings.Contains(l, ` /`) || strings.Contains(l, ` "/`) || strings.Contains(l, "//") {
				return w.bad(i, "an absolute name")
			}
		case strings.HasPrefix(l, "@@ -"):
			git = false
			end, err := w.hunk(lines, i)
			if err != nil {
				return err
			}
			w.hunks = append(w.hunks, w.before+i+1)
			i = end
		case strings.HasPrefix(l, "GIT binary patch"), strings.HasPrefix(l, "Binary files ") && strings.HasSuffix(l, " differ"):
			return w.bad(i, "a binary patch")
		case git || strings.HasPrefix(l, "--- ") && i+2 < len(lines) && strings.HasPrefix(lines[i+1], "+++ ") && strings.HasPrefix(lines[i+2], "@@ -"),
			strings.HasPrefix(l, "+++ ") && i > 0 && strings.HasPrefix(lines[i-1], "--- "):
			if !git && strings.HasPrefix(l, "--- ") {
				w.files, w.inFile = append(w.files, file{w.before + i + 1, false}), 0
				w.name = strings.TrimPrefix(l, "--- ")
			}
			if err := w.header(i, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// header looks at a line of a file's header.
func (w *walk) header(i int, l string) error {
	if m := nameLine.FindStringSubmatch(l); m != nil {
		if name := strings.TrimPrefix(m[1], `"`); (strings.HasPrefix(name, "/") || strings.Contains(name, "//")) && name != "/dev/null" && !strings.HasPrefix(name, "/dev/null\t") {
			return w.bad(i, "an absolute name")
		}
	}
	if m := modeLine.FindStringSubmatch(l); m != nil {
		switch m[1] {
		case "100644", "100755":
		case "120000":
			return w.bad(i, "a symbolic link")
		case "160000":
			return w.bad(i, "a submodule")
		default:
			return w.bad(i, "a file of mode %s", m[1])
		}
	}
	return nil
}

// hunk checks that a hunk has as many lines as its header at line i says, and
// returns its last line.
func (w *walk) hunk(lines []string, i int) (end int, err error) {
	w.inFile++
	m := hunkHeader.FindStringSubmatch(lines[i])
	if m == nil {
		return 0, w.bad(i, "%.100q is no header of a hunk", lines[i])
	}
	count := func(s string) int {
		if s == "" {
			return 1
		}
		n, _ := strconv.Atoi(s)
		return n
	}
	old, new := count(m[2]), count(m[4])
	j := i + 1
	for ; old > 0 || new > 0; j++ {
		if j >= len(lines) || j == len(lines)-1 && lines[j] == "" {
			return 0, w.bad(i, "is cut short: %d old and %d new lines are missing", old, new)
		}
		op := byte(' ')
		if lines[j] != "" {
			op = lines[j][0]
		}
		switch op {
		case ' ':
			old, new = old-1, new-1
		case '-':
			old--
		case '+':
			new--
		case '\\':
		default:
			return 0, w.bad(j, "%.100q is no line of a hunk: was it wrapped?", lines[j])
		}
		if old < 0 || new < 0 {
			return 0, w.bad(j, "has more lines than its header says")
		}
	}
	if j < len(lines) && strings.HasPrefix(lines[j], `\ `) {
		j++
	}
	if j < len(lines) && lines[j] != "" {
		rest := lines[j]
		signature := strings.TrimRight(rest, " \r") == "--" || strings.HasPrefix(rest, "--- ")
		if strings.ContainsRune(" +-\t", rune(rest[0])) && !signature {
			return 0, w.bad(j, "has more lines than its header says")
		}
	}
	return j - 1, nil
}

// change takes the next file as gitdiff read it.
func (w *walk) change(f *gitdiff.File) (change, error) {
	c := change{old: f.OldName, new: f.NewName, copy: f.IsCopy}
	if len(w.files) == 0 {
		return c, errors.New("its diff can be read in two ways")
	}
	at := w.files[0]
	c.line, w.files = at.line, w.files[1:]
	if f.IsNew {
		c.old = ""
	}
	if f.IsDelete {
		c.new = ""
	}
	for _, name := range []*string{&c.old, &c.new} {
		if *name == "" {
			continue
		}
		if !at.git {
			_, *name, _ = strings.Cut(*name, "/")
		}
		if why := badName(*name); why != "" {
			return c, &diffError{file: *name, line: c.line, because: why}
		}
	}
	w.name = c.new
	if c.new == "" {
		w.name = c.old
	}
	if f.IsBinary {
		return c, &diffError{file: w.name, line: c.line, because: "a binary patch"}
	}
	if f.NewMode != 0 && (f.NewMode != f.OldMode || f.IsNew) {
		c.mode = plain
		if f.NewMode&os.FileMode(0o111) != 0 {
			c.mode = executable
		}
	}
	for _, t := range f.TextFragments {
		if len(w.hunks) == 0 {
			return c, errors.New("its diff can be read in two ways")
		}
		h := hunk{oldStart: int(t.OldPosition), newStart: int(t.NewPosition), line: w.hunks[0]}
		w.hunks = w.hunks[1:]
		for _, l := range t.Lines {
			h.lines = append(h.lines, line{" -+"[l.Op], l.Line})
		}
		c.hunks = append(c.hunks, h)
	}
	if len(c.hunks) == 0 && c.mode == keep && c.old == c.new {
		return c, &diffError{file: w.name, line: c.line, because: "changes nothing"}
	}
	return c, nil
}

// badName says why a name is none of a file in the tree; "" if it is.
func badName(name string) string {
	switch {
	case name == "":
		return "names no file below the top of the tree"
	case len(name) > maxName:
		return "a name that is too long"
	case path.IsAbs(name):
		return "an absolute name"
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "a name with control characters"
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return "a name that leads out of the tree"
		case part == "" || part == ".":
			return "a name that is not the shortest for its file"
		case strings.EqualFold(part, ".git"):
			return "a name inside git's own directory"
		}
	}
	return ""
}
