// SPDX-License-Identifier: Apache-2.0

package build

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A Warning is what the compiler, sparse, objtool, modpost or the linker
// complained of while a build went on, without the numbers that move when a line is added above.
type Warning struct {
	Tool     string // compiler, objtool, modpost, linker
	File     string // below the source; of an object or "vmlinux" for the others
	Function string // ""  when it is not said
	Flag     string // -Wunused-variable; what kind of mismatch; ""
	Text     string // as it was printed first
	Unit     string // the object that was being made; "" for what is made every time
}

// String is the text as people look for it.
func (w Warning) String() string { return w.Text }

// kind is what makes two warnings the same one.
func (w Warning) kind() string {
	return strings.Join([]string{w.Tool, w.File, w.Function, w.Flag}, "\x00")
}

// NewWarnings are those of a build that its base has not: of each kind, as
// many as there are more.
func NewWarnings(base, build []Warning) []Warning {
	had := map[string]int{}
	for _, w := range base {
		had[w.kind()]++
	}
	var fresh []Warning
	for _, w := range build {
		if had[w.kind()]--; had[w.kind()] < 0 {
			fresh = append(fresh, w)
		}
	}
	return fresh
}

// Inherit adds to the warnings of a build those of the build that it started
// from, for the objects that were not made again and are still there.
func Inherit(own, older []Warning, compiled []string, exists func(object string) bool) []Warning {
	again := map[string]bool{}
	for _, o := range compiled {
		again[o] = true
	}
	all := slices.Clone(own)
	for _, w := range older {
		if w.Unit != "" && !again[w.Unit] && exists(w.Unit) {
			all = append(all, w)
		}
	}
	return all
}

var (
	inFunction   = regexp.MustCompile(`^([^\s:]+): In (?:member )?function ['‘]([A-Za-z0-9_.]+)`)
	atTopLevel   = regexp.MustCompile(`^([^\s:]+): At top level:`)
	includedFrom = regexp.MustCompile(`^(?:In file included|\s+) from ([^\s:]+):[0-9]+`)
	// What sparse calls an error does not end a build.
	compilerWarn = regexp.MustCompile(`^([^\s:]+):[0-9]+(?::[0-9]+)?: (?:warning|error): (.*?)(?: \[(-W[^\]]+)\])?$`)
	objtoolWarn  = regexp.MustCompile(`^([^\s:]+): warning: objtool: (?:([A-Za-z0-9_.]+)(?:\+0x[0-9a-f]+)?[:(] ?)?(.*)$`)
	sectionWarn  = regexp.MustCompile(`^WARNING: modpost: ([^\s:]+): section mismatch in reference: ([A-Za-z0-9_.]+)\S* .*-> ([A-Za-z0-9_.]+)`)
	modpostWarn  = regexp.MustCompile(`^WARNING: modpost: (.*)$`)
	linkerWarn   = regexp.MustCompile(`^(?:\S*ld(?:\.lld)?(?:-[0-9]+)?): (?:warning: )?(.*warning: .*|.*)$`)
	compileStep  = regexp.MustCompile(`^  (?:CC|AS)(?: \[M\])? +(\S+\.o)$`)
	numbers      = regexp.MustCompile(`0x[0-9a-f]+|[0-9]+`)
)

// maxWarnings is how many are kept: a build that has more has enough.
const maxWarnings = 2000

// warnings collects what a build's output complains of. Two compilers may
// print at once, so a function is remembered by its file.
type warnings struct {
	lines
	found    []Warning
	function map[string]string // file → where the compiler is in it
	from     string            // the last file of the last chain of includes
	made     map[string]bool
}

func (w *warnings) Write(p []byte) (int, error) {
	w.write(p, w.line)
	return len(p), nil
}

func (w *warnings) line(line string) {
	if w.function == nil {
		w.function, w.made = map[string]string{}, map[string]bool{}
	}
	if m := compileStep.FindStringSubmatch(line); m != nil {
		w.made[m[1]] = true
		return
	}
	line = strings.ReplaceAll(line, inSource+"/", "")
	if m := includedFrom.FindStringSubmatch(line); m != nil {
		w.from = m[1]
		return
	}
	if m := inFunction.FindStringSubmatch(line); m != nil {
		w.function[m[1]] = m[2]
		return
	}
	if m := atTopLevel.FindStringSubmatch(line); m != nil {
		delete(w.function, m[1])
		return
	}
	if len(w.found) >= maxWarnings || !strings.Contains(line, "warning: ") && !strings.Contains(line, "WARNING: ") && !strings.Contains(line, ": error: ") {
		return
	}
	add := func(x Warning) {
		x.Text = line
		w.found = append(w.found, x)
	}
	switch {
	case objtoolWarn.MatchString(line):
		m := objtoolWarn.FindStringSubmatch(line)
		add(Warning{Tool: "objtool", File: m[1], Function: m[2], Flag: numbers.ReplaceAllString(m[3], "N"), Unit: unless(m[1], "vmlinux.o")})
	case sectionWarn.MatchString(line):
		m := sectionWarn.FindStringSubmatch(line)
		add(Warning{Tool: "modpost", File: m[1], Function: m[2], Flag: "section mismatch with " + m[3]})
	case modpostWarn.MatchString(line):
		add(Warning{Tool: "modpost", Flag: modpostWarn.FindStringSubmatch(line)[1]})
	case compilerWarn.MatchString(line):
		m := compilerWarn.FindStringSubmatch(line)
		unit := m[1]
		if !strings.HasSuffix(unit, ".c") && !strings.HasSuffix(unit, ".S") {
			unit = w.from
		}
		flag := m[3]
		if flag == "" {
			flag = numbers.ReplaceAllString(m[2], "N")
		}
		add(Warning{Tool: "compiler", File: m[1], Function: w.function[m[1]], Flag: flag, Unit: object(unit)})
	case linkerWarn.MatchString(line):
		add(Warning{Tool: "linker", Flag: numbers.ReplaceAllString(linkerWarn.FindStringSubmatch(line)[1], "N")})
	}
}

// compiled lists the objects that were made.
func (w *warnings) compiled() []string { return slices.Sorted(maps.Keys(w.made)) }

func unless(s, none string) string {
	if s == none {
		return ""
	}
	return s
}

// object is where kbuild puts what it makes of a source file.
func object(source string) string {
	if i := strings.LastIndexByte(source, '.'); i > 0 {
		return source[:i] + ".o"
	}
	return ""
}

// Summary counts warnings by tool: "compiler 2, modpost 1".
func Summary(list []Warning) string {
	count := map[string]int{}
	for _, w := range list {
		count[w.Tool]++
	}
	var parts []string
	for _, tool := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%s %d", tool, count[tool]))
	}
	return strings.Join(parts, ", ")
}
