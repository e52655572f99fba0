// SPDX-License-Identifier: Apache-2.0

package kconfig

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// A Symbol is an option as the Kconfig files define it. One name may have
// several definitions.
type Symbol struct {
	Name        string
	Type        string // bool, tristate, string, int, hex; "" when unknown
	Definitions []Definition
	Selects     []Selection // who may force it on
}

// A Definition is one config or menuconfig entry.
type Definition struct {
	File    string
	Line    int
	Prompt  bool     // the user may set it,
	When    string   // if this holds; "" is always
	Depends []string // expressions that must all be y or m: its own, its menus', its ifs'
	Choice  string   // the file:line of the choice it belongs to; ""
}

// A Selection is "select NAME if ..." in the entry of By.
type Selection struct {
	By   string
	If   []string
	File string
	Line int
}

// Symbols is all that a tree's Kconfig files define for an architecture.
type Symbols map[string]*Symbol

const (
	maxKconfigFiles = 10_000
	maxKconfigDepth = 50
)

// ReadSymbols follows the Kconfig files of a tree from its top. arch is the
// directory under arch/.
func ReadSymbols(tree fs.FS, arch string) (Symbols, error) {
	r := reader{tree: tree, arch: arch, symbols: Symbols{}}
	if err := r.file("Kconfig", nil, 0); err != nil {
		return nil, fmt.Errorf("read Kconfig: %w", err)
	}
	return r.symbols, nil
}

// ReadPart follows the Kconfig files of a tree from a text that takes the place
// of its top one.
func ReadPart(tree fs.FS, top, arch string) (Symbols, error) {
	r := reader{tree: tree, arch: arch, symbols: Symbols{}}
	if err := r.text("Kconfig", top, nil, 0); err != nil {
		return nil, fmt.Errorf("read Kconfig: %w", err)
	}
	return r.symbols, nil
}

type reader struct {
	tree    fs.FS
	arch    string
	symbols Symbols
	files   int
}

// A block is an if, menu or choice that is open.
type block struct {
	kind    string
	depends []string
	place   string
}

var (
	ifClause   = regexp.MustCompile(`^(.*?)\s+if\s+(.*)$`)
	promptIf   = regexp.MustCompile(`^(?:"(?:[^"\\]|\\.)*"|'[^']*')\s+if\s+(.*)$`)
	commentEnd = regexp.MustCompile(`\s#.*$`)
)

// file reads one Kconfig file. outer is what the files that source it depend
// on.
func (r *reader) file(name string, outer []block, depth int) error {
	if r.files++; r.files > maxKconfigFiles || depth > maxKconfigDepth {
		return fmt.Errorf("%s: sourced too deep or too often", name)
	}
	data, err := fs.ReadFile(r.tree, name)
	if err != nil {
		return err
	}
	return r.text(name, string(data), outer, depth)
}

func (r *reader) text(name, data string, outer []block, depth int) error {
	blocks := append([]block(nil), outer...)
	var symbol *Symbol // of the open entry
	var entry int      // index of its definition
	lines := strings.Split(data, "\n")
	for i := 0; i < len(lines); i++ {
		n := i + 1
		line := lines[i]
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + " " + lines[i]
		}
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
		rest = strings.TrimSpace(rest)
		place := fmt.Sprintf("%s:%d", name, n)
		switch word {
		case "config", "menuconfig":
			symbol = r.symbol(rest)
			entry = len(symbol.Definitions)
			d := Definition{File: name, Line: n}
			for _, b := range blocks {
				d.Depends = append(d.Depends, b.depends...)
				if b.kind == "choice" {
					d.Choice = b.place
				}
			}
			symbol.Definitions = append(symbol.Definitions, d)
		case "help", "---help---":
			i = skipHelp(lines, i)
		case "if":
			symbol = nil
			blocks = append(blocks, block{kind: "if", depends: []string{condition(rest)}})
		case "menu", "choice":
			symbol = nil
			blocks = append(blocks, block{kind: word, place: place})
		case "endif", "endmenu", "endchoice":
			symbol = nil
			if len(blocks) > len(outer) {
				blocks = blocks[:len(blocks)-1]
			}
		case "comment", "mainmenu":
			symbol = nil
			// A comment's own "depends on" must not reach the menu around it.
			for i+1 < len(lines) && strings.HasPrefix(strings.TrimSpace(lines[i+1]), "depends on") {
				i++
			}
		case "source", "osource", "rsource", "orsource":
			symbol = nil
			if err := r.source(name, word, rest, blocks, depth); err != nil {
				return err
			}
		case "depends":
			expr := condition(strings.TrimSpace(strings.TrimPrefix(rest, "on")))
			switch {
			case symbol != nil:
				d := &symbol.Definitions[entry]
				d.Depends = append(d.Depends, expr)
			case len(blocks) > len(outer):
				b := &blocks[len(blocks)-1]
				b.depends = append(b.depends, expr)
			}
		case "bool", "tristate", "string", "int", "hex", "def_bool", "def_tristate":
			if symbol != nil {
				symbol.Type = strings.TrimPrefix(word, "def_")
				if rest != "" && !strings.HasPrefix(word, "def_") {
					symbol.Definitions[entry].prompt(rest)
				}
			}
		case "prompt":
			if symbol != nil {
				symbol.Definitions[entry].prompt(rest)
			}
		case "select":
			if symbol == nil {
				break
			}
			target, when := rest, ""
			if m := ifClause.FindStringSubmatch(rest); m != nil {
				target, when = m[1], m[2]
			}
			target, _, _ = strings.Cut(target, " ")
			s := Selection{By: symbol.Name, File: name, Line: n}
			if when != "" {
				s.If = []string{condition(when)}
			}
			t := r.symbol(target)
			t.Selects = append(t.Selects, s)
		}
	}
	return nil
}

func (d *Definition) prompt(rest string) {
	d.Prompt = true
	if m := promptIf.FindStringSubmatch(rest); m != nil {
		d.When = condition(m[1])
	}
}

// source reads the files of a source line. The macros in use are only the
// architecture's name.
func (r *reader) source(from, word, rest string, blocks []block, depth int) error {
	name := strings.Trim(commentEnd.ReplaceAllString(rest, ""), `" `)
	name = strings.NewReplacer("$(SRCARCH)", r.arch, "$(HEADER_ARCH)", r.arch, "$(ARCH)", r.arch).Replace(name)
	if strings.HasPrefix(word, "r") || strings.HasPrefix(word, "or") {
		name = path.Join(path.Dir(from), name)
	}
	names := []string{path.Clean(name)}
	if strings.ContainsAny(name, "*?[") {
		var err error
		if names, err = fs.Glob(r.tree, name); err != nil {
			return err
		}
	}
	for _, n := range names {
		if strings.HasPrefix(word, "o") {
			if _, err := fs.Stat(r.tree, n); err != nil {
				continue
			}
		}
		if err := r.file(n, blocks, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) symbol(name string) *Symbol {
	s := r.symbols[name]
	if s == nil {
		s = &Symbol{Name: name}
		r.symbols[name] = s
	}
	return s
}

// condition is an expression without a comment behind it.
func condition(text string) string {
	return strings.TrimSpace(commentEnd.ReplaceAllString(text, ""))
}

// skipHelp is the last line of the help text that starts after line i: the
// text ends before the first line that is indented less than its first.
func skipHelp(lines []string, i int) int {
	indent := -1
	last := i
	for j := i + 1; j < len(lines); j++ {
		if strings.TrimSpace(lines[j]) == "" {
			continue
		}
		width := indentation(lines[j])
		if indent < 0 {
			if width == 0 {
				return i
			}
			indent = width
		}
		if width < indent {
			break
		}
		last = j
	}
	return last
}

func indentation(line string) int {
	width := 0
	for _, c := range line {
		switch c {
		case ' ':
			width++
		case '\t':
			width = (width &^ 7) + 8
		default:
			return width
		}
	}
	return width
}
