// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// moduleDir holds the modules of the kernel that runs, in a directory that is
// named after its release. They are there when the kernel was built with any.
const moduleDir = "lib/modules"

// module is a file that the kernel can load.
type module struct {
	name    string   // as /sys/module has it: "vfio_pci"
	path    string   // of the file
	depends []string // names
}

// loadModules loads every module of the image, each after those that it
// depends on, with its parameters on the kernel command line. What cannot be
// loaded is told in the kernel log: the host will miss it.
func (g guest) loadModules(log *kernelLog) {
	modules, err := g.modules()
	if err != nil {
		log.line("find modules: %v", err)
		return
	}
	cmdline, err := readText(g.path("proc/cmdline"))
	if err != nil {
		log.line("load modules: %v", err)
		return
	}
	for _, m := range modules {
		if err := m.load(parameters(cmdline, m.name)); err != nil {
			log.line("load module %s: %s", m.name, errnoText(err))
		}
	}
}

func (m module) load(parameters string) error {
	f, err := os.Open(m.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), parameters, 0)
}

// modules finds the modules of the image, in an order in which they can be
// loaded.
func (g guest) modules() ([]module, error) {
	found := make(map[string]module)
	err := filepath.WalkDir(g.path(moduleDir), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || filepath.Ext(path) != ".ko" {
			return err
		}
		m, err := readModule(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		found[m.name] = m
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var order []module
	done := make(map[string]bool)
	var visit func(name string)
	visit = func(name string) {
		m, ok := found[name]
		if done[name] || !ok { // what is not in the image is in the kernel, or will be missed
			return
		}
		done[name] = true
		for _, d := range m.depends {
			visit(d)
		}
		order = append(order, m)
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		visit(name)
	}
	return order, nil
}

// readModule reads what a module says of itself in its section .modinfo:
// strings such as "depends=vfio,irqbypass", each with a zero after it
// (include/linux/module.h, MODULE_INFO).
func readModule(path string) (module, error) {
	f, err := elf.Open(path)
	if err != nil {
		return module{}, err
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return module{}, errors.New("no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return module{}, err
	}
	m := module{name: moduleName(strings.TrimSuffix(filepath.Base(path), ".ko")), path: path}
	for _, entry := range bytes.Split(info, []byte{0}) {
		if list, ok := strings.CutPrefix(string(entry), "depends="); ok && list != "" {
			for name := range strings.SplitSeq(list, ",") {
				m.depends = append(m.depends, moduleName(name))
			}
		}
	}
	return m, nil
}

// moduleName is a module's name with _ for -, which the kernel takes for the
// same.
func moduleName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// parameters are those of a module on a kernel command line, as the kernel
// takes them for one that is built in: "vfio.enable_unsafe_noiommu_mode=1" is
// "enable_unsafe_noiommu_mode=1" of vfio.
func parameters(cmdline, name string) string {
	var own []string
	for _, word := range strings.Fields(cmdline) {
		if module, parameter, ok := strings.Cut(word, "."); ok && moduleName(module) == name {
			own = append(own, parameter)
		}
	}
	return strings.Join(own, " ")
}
