// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// lines calls f for every whole line written to it. A line is cut at maxLine
// bytes: a compiler under attack may print without end.
type lines struct {
	rest []byte
}

const maxLine = 4096

func (l *lines) write(p []byte, f func(line string)) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i]
		}
		if room := maxLine - len(l.rest); room > 0 {
			l.rest = append(l.rest, part[:min(room, len(part))]...)
		}
		if i < 0 {
			return
		}
		f(string(l.rest))
		l.rest = l.rest[:0]
		p = p[i+1:]
	}
}

var (
	compilerError = regexp.MustCompile(`^[^\s:][^:]*:[0-9]+(:[0-9]+)?: (fatal )?error: `)
	linkError     = regexp.MustCompile(`undefined reference to|multiple definition of|modpost: |objtool: .*error|[^ ]+: error: |cannot find -l`)
	makeError     = regexp.MustCompile(`^make(\[[0-9]+\])?: \*\*\* `)
	kconfigError  = regexp.MustCompile(`^[^\s:]*Kconfig[^\s:]*:[0-9]+: |^\S+:[0-9]+: (syntax error|error)|recursive dependency`)
	machineError  = regexp.MustCompile(`No space left on device|Disk quota exceeded|Killed signal terminated program|virtual memory exhausted|Cannot allocate memory|Input/output error|: (not found|command not found)$|Permission denied$`)
	located       = regexp.MustCompile(`^[^\s:][^:]*:[0-9]+(:[0-9]+)?: `)                                          // what follows may quote the source
	notWritten    = regexp.MustCompile(`(?i): fatal error: (error writing|error closing|opening |can't |cannot )`) // located at the end of what was compiled
	fullDisk      = regexp.MustCompile(`No space left on device|Disk quota exceeded`)
	excerpt       = regexp.MustCompile(`^\s*[0-9]*\s*\|`) // of the source, below a compiler's message
	noise         = regexp.MustCompile(`^# make |^make(\[[0-9]+\])?: (Entering|Leaving) directory`)
	step          = regexp.MustCompile(`^  [A-Z][A-Z0-9_]*( \[M\])? +\S`)
)

// findings keeps the lines of a build's output that say why it failed.
type findings struct {
	lines
	compiler, other, makes []string
	machine                string // the machine's fault, not the kernel's
	last                   []string
	shown                  int // lines of source that were kept below the first error; -1 when they ended
}

// How many lines of a kind an error quotes, and of the source below the first.
const (
	maxFindings = 4
	maxExcerpt  = 4
)

func (f *findings) Write(p []byte) (int, error) {
	f.write(p, func(line string) {
		line = strings.ReplaceAll(line, inSource+"/", "") // people know it by another name
		if len(f.compiler) == 1 && f.shown >= 0 {
			if f.shown < maxExcerpt && excerpt.MatchString(line) {
				f.compiler[0] += "\n" + line
				f.shown++
			} else {
				f.shown = -1
			}
		}
		switch {
		case machines(line) && f.machine == "":
			f.machine = line
		case compilerError.MatchString(line):
			f.compiler = appendBounded(f.compiler, line)
		case linkError.MatchString(line) || kconfigError.MatchString(line):
			f.other = appendBounded(f.other, line)
		case makeError.MatchString(line):
			// What make complains of, the line before says why.
			if n := len(f.last); len(f.makes) == 0 && n > 0 && !step.MatchString(f.last[n-1]) && !noise.MatchString(f.last[n-1]) {
				f.makes = append(f.makes, f.last[n-1])
			}
			f.makes = appendBounded(f.makes, line)
		}
		if strings.TrimSpace(line) != "" {
			f.last = append(f.last, line)
			if len(f.last) > maxFindings {
				f.last = f.last[1:]
			}
		}
	})
	return len(p), nil
}

// machines says whether a line complains of the machine, and does not merely
// quote a source that has the words.
func machines(line string) bool {
	return machineError.MatchString(line) && !excerpt.MatchString(line) && (!located.MatchString(line) || notWritten.MatchString(line))
}

func appendBounded(list []string, line string) []string {
	if len(list) < maxFindings {
		list = append(list, line)
	}
	return list
}

// err is the best explanation that the output holds.
func (f *findings) err(exit error) error {
	for _, list := range [][]string{f.compiler, f.other, f.makes, f.last} {
		if len(list) > 0 {
			return errors.New(strings.Join(list, "\n"))
		}
	}
	return fmt.Errorf("it printed nothing: %w", exit)
}

// stopped says of a build that reached a limit what it printed last.
func (f *findings) stopped(limit error) error {
	if len(f.last) == 0 {
		return fmt.Errorf("%w; it had printed nothing", limit)
	}
	return fmt.Errorf("%w; it had printed: %.300s", limit, strings.Join(f.last, "\n"))
}

// counter counts kbuild's steps and guesses when they will be done.
type counter struct {
	lines
	start time.Time
	done  int
	total int
	see   func(step string, done, total int, eta time.Duration)
}

func (c *counter) Write(p []byte) (int, error) {
	c.write(p, func(line string) {
		if !step.MatchString(line) {
			return
		}
		c.done++
		total := c.total
		if total > 0 {
			total = max(total, c.done) // an estimate must not be overtaken
		}
		c.see("compile", c.done, total, c.eta(total))
	})
	return len(p), nil
}

// eta says nothing before it has seen enough to go by.
func (c *counter) eta(total int) time.Duration {
	const enough = 20
	if total == 0 || c.done < enough {
		return 0
	}
	return time.Since(c.start) / time.Duration(c.done) * time.Duration(total-c.done)
}
