// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

// A symbolizer knows the source lines of the functions that two builds of one
// kernel have in common: that which ran, and one of the same source and
// configuration with debug information. Compilers give the same code with it,
// and where one did not nothing is said.
type symbolizer struct {
	ran, debug *kernelCode
	lines      *dwarf.Data
	tree       fs.FS // of the source
}

// A kernelCode is a vmlinux whose functions can be found by name.
type kernelCode struct {
	elf       *elf.File
	functions map[string][]elf.Symbol
}

func openCode(path string) (*kernelCode, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	symbols, err := f.Symbols()
	if err != nil {
		f.Close()
		return nil, err
	}
	k := &kernelCode{elf: f, functions: make(map[string][]elf.Symbol)}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			k.functions[s.Name] = append(k.functions[s.Name], s)
		}
	}
	return k, nil
}

// code is what a function consists of.
func (k *kernelCode) code(s elf.Symbol) ([]byte, error) {
	if int(s.Section) >= len(k.elf.Sections) || s.Section == elf.SHN_UNDEF {
		return nil, fmt.Errorf("%s is in no section", s.Name)
	}
	section := k.elf.Sections[s.Section]
	if s.Value < section.Addr || s.Size > section.Size || s.Value-section.Addr > section.Size-s.Size {
		return nil, fmt.Errorf("%s is outside its section", s.Name)
	}
	code := make([]byte, s.Size)
	_, err := section.ReadAt(code, int64(s.Value-section.Addr))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return code, err
}

// newSymbolizer opens the two builds. tree is their source.
func newSymbolizer(ran, debug string, tree fs.FS) (*symbolizer, error) {
	s := &symbolizer{tree: tree}
	var err error
	if s.ran, err = openCode(ran); err != nil {
		return nil, err
	}
	if s.debug, err = openCode(debug); err != nil {
		s.ran.elf.Close()
		return nil, err
	}
	if s.lines, err = s.debug.elf.DWARF(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *symbolizer) close() {
	s.ran.elf.Close()
	s.debug.elf.Close()
}

// frame is a place in the kernel's code as its log writes it.
var frame = regexp.MustCompile(`([A-Za-z_.$][\w.$]*)\+0x([0-9a-f]{1,8})/0x([0-9a-f]{1,8})`)

// annotate is the kernel's log with the source below each place that is known.
func (s *symbolizer) annotate(log []string) []string {
	var all []string
	for _, line := range log {
		all = append(all, line)
		m := frame.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		offset, _ := strconv.ParseUint(m[2], 16, 64)
		size, _ := strconv.ParseUint(m[3], 16, 64)
		// What is on the stack is where a call returns to; it was made before.
		if !strings.HasPrefix(strings.TrimSpace(line), "RIP:") && offset > 0 {
			offset--
		}
		for _, at := range s.places(m[1], offset, size) {
			all = append(all, "    "+at)
		}
	}
	return all
}

// places are the source of a place in a function: the innermost function that
// was inlined there first, the function itself last.
func (s *symbolizer) places(function string, offset, size uint64) []string {
	pc, err := s.find(function, offset, size)
	if err != nil {
		return nil
	}
	frames, err := s.frames(pc)
	if err != nil {
		return nil
	}
	list := make([]string, len(frames))
	for i, f := range frames {
		inlined := ""
		if i < len(frames)-1 {
			inlined = " (inlined)"
		}
		list[i] = fmt.Sprintf("%s at %s:%d%s", f.function, s.file(f.file), f.line, inlined)
	}
	return list
}

// padding is at most behind a function; the kernel's log counts it as part of
// it.
const padding = 64

// find is the address of a place in the build with debug information. It must
// have the same function, at the same address, of the same bytes.
func (s *symbolizer) find(function string, offset, size uint64) (uint64, error) {
	if offset >= size {
		return 0, errors.New("outside the function")
	}
	for _, ran := range s.ran.functions[function] {
		for _, debug := range s.debug.functions[function] {
			if ran.Size != debug.Size || ran.Value != debug.Value || size < ran.Size || size-ran.Size > padding {
				continue
			}
			was, err := s.ran.code(ran)
			if err != nil {
				return 0, err
			}
			is, err := s.debug.code(debug)
			if err != nil {
				return 0, err
			}
			if bytes.Equal(was, is) {
				return debug.Value + offset, nil
			}
		}
	}
	return 0, errors.New("no such function, or not the same in both")
}

// A sourceFrame is a function and the line that it was at.
type sourceFrame struct {
	function, file string
	line           int
}

// frames are those of an address, innermost first.
func (s *symbolizer) frames(pc uint64) ([]sourceFrame, error) {
	r := s.lines.Reader()
	unit, err := r.SeekPC(pc)
	if err != nil {
		return nil, err
	}
	table, err := s.lines.LineReader(unit)
	if err != nil {
		return nil, err
	}
	if table == nil {
		return nil, dwarf.ErrUnknownPC
	}
	var at dwarf.LineEntry
	if err := table.SeekPC(pc, &at); err != nil {
		return nil, err
	}
	around, err := s.around(r, pc)
	if err != nil {
		return nil, err
	}
	files := table.Files()
	file, line := "", at.Line
	if at.File != nil {
		file = at.File.Name
	}
	var all []sourceFrame
	for i := len(around) - 1; i >= 0; i-- {
		name, err := s.name(around[i])
		if err != nil {
			return nil, err
		}
		all = append(all, sourceFrame{name, file, line})
		// Where the next one called this one.
		number, _ := around[i].Val(dwarf.AttrCallFile).(int64)
		called, _ := around[i].Val(dwarf.AttrCallLine).(int64)
		file, line = "", int(called)
		if number >= 0 && int(number) < len(files) && files[number] != nil {
			file = files[number].Name
		}
	}
	if len(all) == 0 {
		return nil, dwarf.ErrUnknownPC
	}
	return all, nil
}

// around are the entries of the function around an address and of those that
// are inlined in it there, outermost first. The reader stands behind the entry
// of the address's unit.
func (s *symbolizer) around(r *dwarf.Reader, pc uint64) ([]*dwarf.Entry, error) {
	var all []*dwarf.Entry
	for depth := 1; depth > 0; {
		e, err := r.Next()
		if err != nil || e == nil {
			return all, err
		}
		into := e.Tag == dwarf.TagLexDwarfBlock
		switch e.Tag {
		case 0:
			if depth--; depth == 1 && len(all) > 0 {
				return all, nil // the function is over
			}
		case dwarf.TagSubprogram, dwarf.TagInlinedSubroutine:
			ranges, err := s.lines.Ranges(e)
			if err != nil {
				return nil, err
			}
			if into = within(ranges, pc); into {
				all = append(all, e)
			}
		}
		switch {
		case into && e.Children:
			depth++
		case e.Children:
			r.SkipChildren()
		}
	}
	return all, nil
}

func within(ranges [][2]uint64, pc uint64) bool {
	for _, r := range ranges {
		if r[0] <= pc && pc < r[1] {
			return true
		}
	}
	return false
}

// maxOrigins bounds how often the name of a function is looked for elsewhere.
const maxOrigins = 8

// name is the name of a function; that of an inlined one, or of a copy, is with
// the one that it came from.
func (s *symbolizer) name(e *dwarf.Entry) (string, error) {
	for range maxOrigins {
		if name, ok := e.Val(dwarf.AttrName).(string); ok {
			return name, nil
		}
		from, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			if from, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset); !ok {
				break
			}
		}
		r := s.lines.Reader()
		r.Seek(from)
		var err error
		if e, err = r.Next(); err != nil {
			return "", err
		}
		if e == nil {
			break
		}
	}
	return "", errors.New("a function without a name")
}

// file is a source file's name below its tree. In the debug information is
// where the compiler read it.
func (s *symbolizer) file(name string) string {
	rest := strings.TrimLeft(name, "/")
	for {
		if _, err := fs.Stat(s.tree, rest); err == nil {
			return rest
		}
		_, after, ok := strings.Cut(rest, "/")
		if !ok {
			return name
		}
		rest = after
	}
}
