// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"text/scanner"
	"time"

	"noiommu-farm/kernels/kconfig"
)

// Two things change little and make kbuild compile most of the kernel again:
//
//   - VFIO and iommufd from y to m. include/linux/sched/user.h has a field under
//     IS_ENABLED(CONFIG_IOMMUFD), every file includes it, and kbuild knows only
//     that the option changed. But IS_ENABLED() is the same for y and m.
//   - Intel's IOMMU left out. Whether a processor's feature can be in use is a bit
//     in featureMasks, which nearly every file of x86 includes, and
//     INTEL_IOMMU_SVM decides that of ENQCMD. But cpu_feature_enabled(X) looks at
//     the bit of X alone.
//
// So after syncconfig, what became new (the marker of such an option, the header)
// gets its old time back, and the objects go whose sources can tell the
// difference. What is stale for another reason stays stale.

// featureMasks is a generated header of the features that a kernel can do
// without (the options X86_DISABLED_FEATURE_NAME), a bit each.
const featureMasks = "arch/x86/include/generated/asm/cpufeaturemasks.h"

// A difference is a file of the build directory that objects depend on, and
// that most of them read as before although it is new.
type difference struct {
	path   string
	time   time.Time // that it had
	tells  func(text string) bool
	beside []string // sources that all objects read, which define what tells looks for
}

// syncconfig brings include/config of a cloned build directory up to date.
func (j Job) syncconfig(ctx context.Context) error {
	objects, err := os.OpenRoot(j.Objects)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	defer objects.Close()
	before, err := autoConf(objects)
	if err != nil {
		return err
	}
	target := "syncconfig"
	sync := func() error {
		var f findings
		if err := j.kbuild(ctx, &f, target); err != nil {
			return j.failed("configure", err, &f)
		}
		return nil
	}
	// Compiling begins with it otherwise, and asks the toolchain everything again.
	early := len(j.asking) > 0
	if before == nil { // nothing was built here: nothing is stale
		if early {
			return sync()
		}
		return nil
	}
	text, err := readIn(objects, Config)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	after, err := kconfig.ReadConfig(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	var list []difference
	for _, d := range differences(before, after) {
		fi, err := objects.Lstat(d.path)
		if err != nil || !fi.Mode().IsRegular() {
			continue
		}
		d.time = fi.ModTime()
		list = append(list, d)
		if d.path == featureMasks {
			target = featureMasks // syncconfig comes before it
		}
	}
	if len(list) == 0 && !early {
		return nil
	}
	if err := sync(); err != nil || len(list) == 0 {
		return err
	}
	tree, err := os.OpenRoot(j.Tree)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	defer tree.Close()
	if err := spare(objects, tree, list); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	return nil
}

// differences are the files that a change of options makes new, and that can be
// seen through.
func differences(before, after map[string]string) []difference {
	var list []difference
	var features []string
	required := false // the other half of the header, which more looks at
	for name := range union(before, after) {
		was, is := before[name], after[name]
		if was == is {
			continue
		}
		if was == "y" && is == "m" || was == "m" && is == "y" {
			list = append(list, difference{path: marker(name), tells: func(text string) bool { return namedOtherwise(text, name) }})
		}
		if feature, ok := strings.CutPrefix(name, "X86_DISABLED_FEATURE_"); ok {
			features = append(features, feature)
		}
		required = required || strings.HasPrefix(name, "X86_REQUIRED_FEATURE_")
	}
	if len(features) > 0 && !required {
		list = append(list, difference{
			path:  featureMasks,
			tells: func(text string) bool { return asksFor(text, features) },
			beside: []string{
				featureMasks,
				inSource + "/arch/x86/include/asm/cpufeature.h",  // cpu_feature_enabled()
				inSource + "/arch/x86/include/asm/cpufeatures.h", // the numbers
			},
		})
	}
	return list
}

func union(a, b map[string]string) map[string]bool {
	all := map[string]bool{}
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	return all
}

func marker(option string) string { return "include/config/" + option }

// autoConf reads what the objects of a build directory were made with; nil
// when there are none.
func autoConf(objects *os.Root) (map[string]string, error) {
	text, err := readIn(objects, "include/config/auto.conf")
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	config, err := kconfig.ReadConfig(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	return config, nil
}

// dependencies lists the files that a .cmd file of kbuild names, one a line as
// fixdep writes them: "source_X := FILE", "  FILE \", "  $(wildcard FILE) \".
func dependencies(cmd string) []string {
	var files []string
	for line := range strings.Lines(cmd) {
		if strings.HasPrefix(line, "source_") {
			_, line, _ = strings.Cut(line, ":=")
		}
		line = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), "\\"))
		if file, ok := strings.CutPrefix(line, "$(wildcard "); ok {
			line = strings.TrimSuffix(file, ")")
		}
		if line != "" && !strings.ContainsAny(line, " \t=:$") {
			files = append(files, line)
		}
	}
	return files
}

// spare keeps the objects that read the same in spite of the differences.
func spare(objects, tree *os.Root, list []difference) error {
	told := make([]map[string]bool, len(list)) // by difference: file → it can tell
	for i := range told {
		told[i] = map[string]bool{}
	}
	err := fs.WalkDir(objects.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasPrefix(d.Name(), ".") || !strings.HasSuffix(d.Name(), ".cmd") {
			return err
		}
		text, err := readIn(objects, name)
		if err != nil {
			return err
		}
		files := dependencies(string(text))
		for i, d := range list {
			if !slices.Contains(files, d.path) {
				continue
			}
			for _, file := range files {
				can, known := told[i][file]
				if !known {
					can = d.toldBy(objects, tree, file)
					told[i][file] = can
				}
				if can {
					object := strings.TrimSuffix(strings.TrimPrefix(path.Base(name), "."), ".cmd")
					if err := objects.Remove(path.Join(path.Dir(name), object)); err != nil && !os.IsNotExist(err) {
						return err
					}
					return nil
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range list {
		if err := objects.Chtimes(d.path, d.time, d.time); err != nil {
			return err
		}
	}
	return nil
}

// toldBy says whether a file can tell the difference. One that cannot be read
// may.
func (d difference) toldBy(objects, tree *os.Root, file string) bool {
	root, name := objects, file
	if rest, ok := strings.CutPrefix(file, inSource+"/"); ok {
		root, name = tree, rest
	} else if path.IsAbs(file) {
		return false // the compiler's own headers know neither options nor features
	}
	if strings.HasPrefix(file, marker("")) || slices.Contains(d.beside, file) {
		return false
	}
	text, err := readIn(root, path.Clean(name))
	return err != nil || d.tells(string(text))
}

// namedOtherwise looks for an option as kbuild's fixdep does, and leaves out
// IS_ENABLED(CONFIG_NAME).
func namedOtherwise(text, option string) bool {
	name := "CONFIG_" + option
	for at := 0; ; {
		i := strings.Index(text[at:], name)
		if i < 0 {
			return false
		}
		start := at + i
		end := start + len(name)
		at = end
		if start > 0 && wordByte(text[start-1]) {
			continue
		}
		if rest := text[end:]; rest != "" && wordByte(rest[0]) && !strings.HasPrefix(rest, "_MODULE") {
			continue // a longer name
		}
		if strings.HasSuffix(text[:start], "IS_ENABLED(") && strings.HasPrefix(text[end:], ")") {
			continue
		}
		return true
	}
}

func wordByte(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z'
}

// asksFor says whether C or assembler code may look at a feature's bit: by its
// name, also by the part of it that a macro pastes together; by one that is
// computed; or by the masks as a whole. Comments do not count, unless the text
// is not understood.
func asksFor(text string, features []string) bool {
	words := append([]string{"DISABLED_MASK", "cpu_feature_enabled"}, features...)
	text = strings.ReplaceAll(text, "\\\n", "")
	if !slices.ContainsFunc(words, func(word string) bool { return strings.Contains(text, word) }) {
		return false
	}
	var s scanner.Scanner
	s.Init(strings.NewReader(text))
	s.Mode = scanner.ScanIdents | scanner.ScanStrings | scanner.ScanChars | scanner.ScanComments | scanner.SkipComments
	understood := true
	s.Error = func(*scanner.Scanner, string) { understood = false } // a quote that does not end
	names := func(word string) bool {
		return slices.Contains(features, strings.TrimPrefix(word, "X86_FEATURE_")) || strings.HasPrefix(word, "DISABLED_MASK")
	}
	for token := s.Scan(); token != scanner.EOF; token = s.Scan() {
		if token != scanner.Ident {
			continue
		}
		if names(s.TokenText()) {
			return true
		}
		if s.TokenText() == "cpu_feature_enabled" {
			constant := s.Scan() == '(' && s.Scan() == scanner.Ident && strings.HasPrefix(s.TokenText(), "X86_")
			if !constant || names(s.TokenText()) {
				return true
			}
		}
	}
	return !understood
}
