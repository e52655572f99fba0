// SPDX-License-Identifier: Apache-2.0

package build

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"time"

	"noiommu-farm/kernels/kconfig"
)

// VFIO and iommufd from y to m changes little, and compiles half of the kernel
// again: include/linux/sched/user.h has a field under IS_ENABLED(CONFIG_IOMMUFD),
// every file includes it, and kbuild knows only that the option changed. But
// IS_ENABLED() is the same for y and m. So after syncconfig has made the markers
// of changed options new, the marker of an option that only went between y and
// m gets its old time back, and the objects whose sources speak of it in any
// other way are removed instead.

// syncconfig brings include/config of a cloned build directory up to date.
func (j Job) syncconfig(ctx context.Context) error {
	objects, err := os.OpenRoot(j.Objects)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	defer objects.Close()
	before, err := autoConf(objects)
	if err != nil || before == nil {
		return err // nothing was built here: nothing is stale
	}
	text, err := readIn(objects, Config)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	after, err := kconfig.ReadConfig(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	changed := map[string]time.Time{}
	for name, was := range before {
		if is := after[name]; was == "y" && is == "m" || was == "m" && is == "y" {
			if fi, err := objects.Lstat(marker(name)); err == nil && fi.Mode().IsRegular() {
				changed[name] = fi.ModTime()
			}
		}
	}
	if len(changed) == 0 {
		return nil // kbuild does the same when it compiles
	}
	var f findings
	if err := j.kbuild(ctx, &f, "syncconfig"); err != nil {
		return j.failed("configure", err, &f)
	}
	tree, err := os.OpenRoot(j.Tree)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	defer tree.Close()
	if err := spare(objects, tree, changed); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	return nil
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

var (
	markerInCommand = regexp.MustCompile(`\$\(wildcard include/config/([A-Za-z0-9_]+)\)`)
	fileInCommand   = regexp.MustCompile(`(?m)^(?:source_\S+ :=|deps_\S+ :=)?[ \t]*([^\s$:=\\]+)[ \t]*\\?$`)
)

// spare keeps the objects that read the same whether the options are y or m.
// The option's value is the time that its marker had.
func spare(objects, tree *os.Root, options map[string]time.Time) error {
	tells := map[string]map[string]bool{} // file → options of which it tells y from m
	err := fs.WalkDir(objects.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasPrefix(d.Name(), ".") || !strings.HasSuffix(d.Name(), ".cmd") {
			return err
		}
		text, err := readIn(objects, name)
		if err != nil {
			return err
		}
		var touched []string
		for _, m := range markerInCommand.FindAllStringSubmatch(string(text), -1) {
			if _, ok := options[m[1]]; ok {
				touched = append(touched, m[1])
			}
		}
		if len(touched) == 0 {
			return nil
		}
		for _, m := range fileInCommand.FindAllStringSubmatch(string(text), -1) {
			file := m[1]
			if tells[file] == nil {
				tells[file] = tellsApart(objects, tree, file, options)
			}
			for _, option := range touched {
				if tells[file][option] {
					object := strings.TrimSuffix(strings.TrimPrefix(d.Name(), "."), ".cmd")
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
	for option, t := range options {
		if err := objects.Chtimes(marker(option), t, t); err != nil {
			return err
		}
	}
	return nil
}

// tellsApart says of which options a file tells y from m: those that it names
// otherwise than in IS_ENABLED(). A file that cannot be read tells of all.
func tellsApart(objects, tree *os.Root, file string, options map[string]time.Time) map[string]bool {
	root := objects
	if rest, ok := strings.CutPrefix(file, inSource+"/"); ok {
		root, file = tree, rest
	} else if path.IsAbs(file) {
		return map[string]bool{} // the compiler's own headers know no options
	}
	told := map[string]bool{}
	text, err := readIn(root, path.Clean(file))
	for option := range options {
		if err != nil || namedOtherwise(string(text), option) {
			told[option] = true
		}
	}
	return told
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
