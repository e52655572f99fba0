// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"bufio"
	"context"
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"noiommu-farm/suites/contract"
)

// A Debugger is a gdb for a guest that waits for it.
type Debugger struct {
	Argv  []string // gdb's, with its name first
	Notes []string // what could not be had
}

// Debug starts a case's guest stopped at its first instruction, with QEMU's
// stub on a unix socket, and goes on when a debugger says so. ready is told how
// to call gdb once the guest is there; what it returns ends the session if it
// is not nil. The outcome is that of the one try.
func Debug(ctx context.Context, c Case, breaks []string, opt Options, ready func(Debugger) error) (Result, error) {
	dir, err := os.MkdirTemp("", "noiommu-farm-gdb-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "gdb")
	repeat := c.repeat
	repeat.More = []string{"-S", "-gdb", "unix:" + socket + ",server=on,wait=off"}
	repeat.Patience = watched
	// Without it the kernel is not where its symbols say.
	repeat.Planned.Machine.Parameters = append(slices.Clone(repeat.Planned.Machine.Parameters), "nokaslr")
	for i := range repeat.Planned.Programs {
		repeat.Planned.Programs[i].Timeout = forever
	}

	d := c.debugger(socket, breaks, opt)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	repeat.Booted = func() {
		go func() {
			if err := ready(d); err != nil {
				cancel(err)
			}
		}()
	}
	result, _, err := c.once(ctx, repeat, opt)
	return result, err
}

// debugger is the gdb for a case: the right symbols, the stub, the kernel's own
// scripts when the build has them, and breakpoints on the functions that the
// test's statement is about.
func (c Case) debugger(socket string, breaks []string, opt Options) Debugger {
	d := Debugger{Argv: []string{"gdb", "-q", c.repeat.Kernel, "-ex", "target remote " + socket}}
	add := func(command string) { d.Argv = append(d.Argv, "-ex", command) }
	if scripts := filepath.Join(filepath.Dir(c.repeat.Kernel), "objects", "vmlinux-gdb.py"); exists(scripts) {
		add("source " + scripts)
	}
	_, id, _ := strings.Cut(c.Test, ".")
	if statement, ok := contract.ByID(id); ok && len(breaks) == 0 {
		tree := os.DirFS(opt.Cache.SourceDir(c.repeat.Planned.Kernel.SourceID))
		for _, at := range statement.Source {
			name, line, _ := strings.Cut(at, ":")
			first, _, _ := strings.Cut(line, "-")
			number, _ := strconv.Atoi(first)
			f, err := tree.Open(name)
			if err != nil {
				d.Notes = append(d.Notes, "no breakpoint for "+at+": the source is not in the cache")
				continue
			}
			function := functionAt(f, number)
			f.Close()
			switch {
			case function == "":
				d.Notes = append(d.Notes, "no breakpoint for "+at+": it is in no function")
			case !slices.Contains(breaks, function):
				breaks = append(breaks, function)
			}
		}
	}
	has, err := functions(c.repeat.Kernel)
	if err != nil {
		d.Notes = append(d.Notes, "no breakpoints: "+err.Error())
		return d
	}
	for _, function := range breaks {
		name := symbolOf(has, function)
		if name == "" {
			d.Notes = append(d.Notes, "no breakpoint on "+function+": the compiler left no such function")
			continue
		}
		add("break " + name)
	}
	return d
}

// symbolOf is what the compiler calls a function: it may have added to its name
// (".isra.0", ".constprop.0").
func symbolOf(has map[string]bool, function string) string {
	if has[function] {
		return function
	}
	for name := range has {
		if strings.HasPrefix(name, function+".") && !strings.HasSuffix(name, ".cold") {
			return "'" + name + "'"
		}
	}
	return ""
}

// functions are those that a kernel has symbols for.
func functions(kernel string) (map[string]bool, error) {
	symbols, err := symbolsOf(kernel)
	if err != nil {
		return nil, err
	}
	has := make(map[string]bool)
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			has[s.Name] = true
		}
	}
	return has, nil
}

// symbolsOf are those of an ELF file.
func symbolsOf(path string) ([]elf.Symbol, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Symbols()
}

// definition is the line at the left margin on which a function's name is, in
// the kernel's style: its body begins with a brace at the left margin too.
var definition = regexp.MustCompile(`^(?:[A-Za-z_][^;=]*?\b)?([A-Za-z_]\w*)\(`)

// functionAt is the function around a line of C, or "".
func functionAt(source io.Reader, number int) string {
	lines := bufio.NewScanner(source)
	var named, inside string
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case line == "{":
			inside = named
		case strings.HasPrefix(line, "}"):
			if n >= number {
				return inside
			}
			inside, named = "", ""
		default:
			if m := definition.FindStringSubmatch(line); m != nil && !strings.HasSuffix(strings.TrimSpace(line), ";") {
				named = m[1]
			}
		}
		if n >= number && inside != "" {
			return inside
		}
	}
	return ""
}
