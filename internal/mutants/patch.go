// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"noiommu-farm/internal/fault"
)

// A mutant is a patch that breaks the kernel on purpose, and what must turn
// red for it.
type mutant struct {
	name   string // of the file, without .patch
	path   string
	text   []byte
	files  []string // that it changes
	hunks  []span   // where, in the kernel without it
	broken []string // ids of the statements that must turn red; nil is not said
	benign bool     // nothing may turn red
	cells  []cell   // where it is tried; nil is wherever something turns red, see [bench.search]
}

// A cell is one kernel and one machine, in the words of farm run.
type cell struct {
	config   string
	topology string
	device   string // "" is the farm's default
	memory   string // in MiB; "" is the farm's default
}

func (c cell) String() string { return c.config + " on " + c.topology }

// maxPatch bounds a patch, in bytes.
const maxPatch = 1 << 20

// hunkHead has the first line and the number of lines in the old file.
var hunkHead = regexp.MustCompile(`^@@ -([0-9]{1,7})(?:,([0-9]{1,7}))? \+`)

var statementID = regexp.MustCompile(`^[A-Z]{2}-[0-9]{2}$`)

// parse reads the lines of a patch's header that say what it breaks:
//
//	Catches: PA-02 PA-05   (none: it is benign, nothing may turn red)
//	Config: noiommu        (a list multiplies the cells, as the next one does)
//	Topology: none
//	Device: edu,igb
//	Memory: 5120
//
// A patch without Catches is tried everywhere; one whose name has the word
// benign is one.
func parse(path string, text []byte) (mutant, error) {
	m := mutant{name: strings.TrimSuffix(filepath.Base(path), ".patch"), path: path, text: text}
	bad := func(format string, args ...any) (mutant, error) {
		return m, &fault.Usage{Key: path, Err: fmt.Errorf(format, args...)}
	}
	head := map[string]string{}
	inHead := true
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxPatch)
	for lines.Scan() {
		line := lines.Text()
		if line == "---" {
			inHead = false
		}
		if file, ok := strings.CutPrefix(line, "+++ b/"); ok {
			if !filepath.IsLocal(file) {
				return bad("changes a file outside the tree: %q", file)
			}
			m.files = append(m.files, file)
		}
		if at := hunkHead.FindStringSubmatch(line); at != nil && len(m.files) > 0 {
			m.hunks = append(m.hunks, newSpan(m.files[len(m.files)-1], at[1], at[2]))
		}
		key, value, ok := strings.Cut(line, ": ")
		if !ok || !inHead || !slices.Contains([]string{"Catches", "Config", "Topology", "Device", "Memory"}, key) {
			continue
		}
		if head[key] != "" {
			return bad("says %s twice", key)
		}
		head[key] = strings.TrimSpace(value)
	}
	if len(m.files) == 0 {
		return bad("is no patch in git's form: it has no line that begins with +++ b/")
	}
	switch catches := head["Catches"]; {
	case catches == "none", catches == "" && strings.Contains(m.name, "benign"):
		m.benign = true
	case catches != "":
		m.broken = strings.Fields(catches)
		for _, id := range m.broken {
			if !statementID.MatchString(id) {
				return bad("catches %q, which is no id of a statement", id)
			}
		}
	}
	if !m.benign && m.broken == nil {
		return m, nil
	}
	for _, topology := range strings.Split(or(head["Topology"], "none"), ",") {
		for config := range strings.FieldsSeq(or(head["Config"], "noiommu")) {
			m.cells = append(m.cells, cell{config: config, topology: topology, device: head["Device"], memory: head["Memory"]})
		}
	}
	if m.benign && head["Topology"] == "" {
		m.cells = append(m.cells, cell{config: "noiommu", topology: "intel"})
	}
	return m, nil
}

// kconfig says whether the patch is to be judged by farm kconfig.
func (m mutant) kconfig() bool {
	return slices.ContainsFunc(m.files, func(f string) bool { return filepath.Base(f) == "Kconfig" })
}

// read finds the patches of directories whose name matches a pattern, in the
// order of their names.
func read(dirs []string, pattern string) ([]mutant, error) {
	if _, err := filepath.Match(pattern, ""); err != nil {
		return nil, &fault.Usage{Key: "-match", Value: pattern, Err: err}
	}
	var all []mutant
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, &fault.Usage{Key: "directory", Value: dir, Err: err}
		}
		sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
		for _, e := range entries {
			name, isPatch := strings.CutSuffix(e.Name(), ".patch")
			if match, _ := filepath.Match(pattern, name); !isPatch || !match {
				continue
			}
			path := filepath.Join(dir, e.Name())
			info, err := os.Stat(path)
			if err != nil {
				return nil, fmt.Errorf("read mutants: %w", err)
			}
			if !info.Mode().IsRegular() || info.Size() > maxPatch {
				return nil, &fault.Usage{Key: path, Err: fmt.Errorf("is no file of at most %d bytes", maxPatch)}
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("read mutants: %w", err)
			}
			m, err := parse(path, text)
			if err != nil {
				return nil, err
			}
			all = append(all, m)
		}
	}
	if len(all) == 0 {
		return nil, &fault.Usage{Key: "-match", Value: pattern, Err: fmt.Errorf("no patch of that name in %s", strings.Join(dirs, ", "))}
	}
	return all, nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
