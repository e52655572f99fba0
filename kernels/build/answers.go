// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"noiommu-farm/kernels/sandbox"
)

// Kconfig asks the compiler a hundred questions each time that conf runs, and it
// runs twice a build (docs/benchmarks.md has what that costs). What a
// toolchain answered once it answers always, so it is kept, in a file for each
// toolchain: a question, which is the whole command line of the shell that asks
// it, and its answer, a line each.
//
// Only what has something compiled is kept, not what runs a script of the tree or
// looks for another program; and only what was asked for a tree without a series,
// whose Kconfig files nobody else wrote.

// include is where Kconfig's macros are, and asks the line by which all of their
// questions go (scripts/Kconfig.include).
const (
	include = "scripts/Kconfig.include"
	asks    = `if-success = $(shell,{ $(1); } >/dev/null 2>&1 && echo "$(2)" || echo "$(3)")`
)

// looksUp is asks with the table looked at first. A shell cannot quote what it was
// asked, but it can read its own command line.
const looksUp = `if-success = $(shell,IFS= read -r q </proc/$$/cmdline; . /answers/known; { $(1); } >/dev/null 2>&1 && a="$(2)" || a="$(3)"; echo "$a"; . /answers/learn)`

// learns is what a shell does with an answer that was not known.
const learns = `printf '%s\n%s\n' "$q" "$a" >>/answered/new` + "\n"

// Limits of what is kept.
const (
	maxAnswers  = 2000
	maxQuestion = 4 << 10 // bytes
	maxAnswer   = 100     // bytes
)

// withAnswers has conf look its questions up. done keeps what was asked anew; to
// be called when conf is over. A tree that asks in another way asks itself.
func (j Job) withAnswers() (_ Job, done func() error, err error) {
	nothing := func() error { return nil }
	if j.Answers == "" {
		return j, nothing, nil
	}
	macros, err := read(j.Tree, include)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !strings.Contains(string(macros), "\n"+asks+"\n") {
		return j, nothing, nil
	}
	if err != nil {
		return j, nil, err
	}
	known, err := readAnswers(j.Answers)
	if err != nil {
		return j, nil, err
	}
	table, answered := j.Objects+".answers", j.Objects+".answered"
	for _, dir := range []string{table, answered} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return j, nil, err
		}
	}
	learn := ""
	if j.Learn {
		learn = learns
	}
	for name, text := range map[string]string{
		"Kconfig.include": strings.Replace(string(macros), "\n"+asks+"\n", "\n"+looksUp+"\n", 1),
		"known":           known.script(),
		"learn":           learn,
	} {
		if err := os.WriteFile(filepath.Join(table, name), []byte(text), 0o644); err != nil {
			return j, nil, err
		}
	}
	j.asking = []sandbox.Mount{
		{Outside: table, Inside: "/answers"},
		{Outside: answered, Inside: "/answered", Writable: true},
		{Outside: filepath.Join(table, "Kconfig.include"), Inside: inSource + "/" + include},
	}
	return j, func() error {
		if !j.Learn {
			return nil
		}
		text, err := read(answered, "new")
		if errors.Is(err, fs.ErrNotExist) {
			return nil // all was known
		}
		if err != nil {
			return err
		}
		if known.add(string(text)) == 0 {
			return nil
		}
		return known.write(j.Answers)
	}, nil
}

// answers are what a toolchain said, by question.
type answers map[string]string

func readAnswers(path string) (answers, error) {
	a := answers{}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	a.add(string(text))
	return a, nil
}

// add takes what may be kept, and says how many questions are new.
func (a answers) add(text string) int {
	before := len(a)
	lines := strings.Split(text, "\n")
	for i := 0; i+2 < len(lines) && len(a) < maxAnswers; i += 2 { // each line ended
		question, answer := lines[i], lines[i+1]
		if keeps(question, maxQuestion) && keeps(answer, maxAnswer) && compiles(question) {
			a[question] = answer
		}
	}
	return len(a) - before
}

func keeps(line string, limit int) bool {
	return len(line) <= limit && utf8.ValidString(line) && !strings.ContainsFunc(line, unicode.IsControl)
}

// compiles says whether a question is what the compiler makes of a text in a
// language that it is told (-x c, -x assembler-with-cpp).
func compiles(question string) bool {
	return strings.Contains(question, " -x ") && !strings.Contains(question, inSource+"/")
}

func (a answers) write(path string) error {
	var b strings.Builder
	for _, question := range slices.Sorted(maps.Keys(a)) {
		fmt.Fprintf(&b, "%s\n%s\n", question, a[question])
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".answers-")
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path) // others read it meanwhile
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// script ends the shell that reads it with the answer to $q, if there is one.
func (a answers) script() string {
	var b strings.Builder
	b.WriteString("case $q in\n")
	for _, question := range slices.Sorted(maps.Keys(a)) {
		fmt.Fprintf(&b, "%s) echo %s; exit ;;\n", quoted(question), quoted(a[question]))
	}
	b.WriteString("esac\n")
	return b.String()
}

// quoted is a text as one word of a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
