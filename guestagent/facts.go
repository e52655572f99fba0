// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"noiommu-farm/guestagent/wire"
)

// guest is the guest's proc and sysfs below root.
type guest struct {
	root string
}

func (g guest) path(elem ...string) string {
	return filepath.Join(append([]string{g.root}, elem...)...)
}

// hello is what the agent introduces itself with.
func (g guest) hello() (*wire.AgentHello, error) {
	release, err := readText(g.path("proc/sys/kernel/osrelease"))
	if err != nil {
		return nil, err
	}
	boot, err := readText(g.path("proc/sys/kernel/random/boot_id"))
	if err != nil {
		return nil, err
	}
	return &wire.AgentHello{
		Version: wire.Version,
		Release: strings.TrimSpace(release),
		BootID:  strings.TrimSpace(boot),
	}, nil
}

// Sizes of hugepages, in KiB, as sysfs spells them.
const (
	hugepage2M = 2048
	hugepage1G = 1048576
)

func (g guest) hugepageFile(kib int, name string) string {
	return g.path("sys/kernel/mm/hugepages", "hugepages-"+strconv.Itoa(kib)+"kB", name)
}

// freeHugepages is the number of free pages of a size; a kernel without that
// size has none.
func (g guest) freeHugepages(kib int) (int, error) {
	n, err := readNumber(g.hugepageFile(kib, "free_hugepages"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return int(n), err
}

// reserveHugepages asks for n pages of 2 MiB in all. That there are fewer
// afterwards is a fact for the host, not an error; so is a kernel without any.
func (g guest) reserveHugepages(n int) error {
	file := g.hugepageFile(hugepage2M, "nr_hugepages")
	have, err := readNumber(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && int(have) >= n {
		return nil
	}
	if err != nil {
		return err
	}
	return writeText(file, strconv.Itoa(n))
}

// facts reads everything that the host compares with what it knows.
func (g guest) facts(params []string) (*wire.Facts, error) {
	f := &wire.Facts{Taint: g.taint(), Params: map[string]string{}}
	text := func(into *string, name string) error {
		s, err := readText(g.path(name))
		*into = strings.TrimSpace(s)
		return err
	}
	number := func(into *int, read func() (int, error)) error {
		n, err := read()
		*into = n
		return err
	}
	err := errors.Join(
		text(&f.Release, "proc/sys/kernel/osrelease"),
		text(&f.Cmdline, "proc/cmdline"),
		number(&f.CPUs, g.cpus),
		number(&f.Hugepages, func() (int, error) { return g.freeHugepages(hugepage2M) }),
		number(&f.Hugepages1G, func() (int, error) { return g.freeHugepages(hugepage1G) }),
	)
	if err != nil {
		return nil, err
	}
	if f.MemTotalKiB, err = g.memTotal(); err != nil {
		return nil, err
	}
	groups, err := names(g.path("sys/kernel/iommu_groups"))
	if err != nil {
		return nil, err
	}
	f.IOMMUGroups = len(groups)
	if f.IOMMUs, err = names(g.path("sys/class/iommu")); err != nil {
		return nil, err
	}
	if f.PCI, err = g.pciAll(); err != nil {
		return nil, err
	}
	for _, p := range params {
		value, ok, err := g.param(p)
		if err != nil {
			return nil, err
		}
		if ok {
			f.Params[p] = value
		}
	}
	if config, err := readText(g.path("proc/config.gz")); err == nil {
		f.ConfigGz = []byte(config)
	}
	return f, nil
}

// names lists a directory, sorted; a directory that is not there is empty.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := []string{}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all, nil
}

// param reads a module parameter named "module/parameter".
func (g guest) param(name string) (value string, ok bool, err error) {
	module, param, found := strings.Cut(name, "/")
	if !found || !fs.ValidPath(name) || strings.Contains(param, "/") {
		return "", false, fmt.Errorf("parameter %q: not of the form module/parameter", name)
	}
	value, err = readText(g.path("sys/module", module, "parameters", param))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	return strings.TrimSpace(value), true, nil
}

// cpus counts the online CPUs from a list such as "0-3,5".
func (g guest) cpus() (int, error) {
	list, err := readText(g.path("sys/devices/system/cpu/online"))
	if err != nil {
		return 0, err
	}
	n := 0
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, errA := strconv.Atoi(first)
		b, errB := strconv.Atoi(last)
		if errA != nil || errB != nil || b < a {
			return 0, fmt.Errorf("list of CPUs %q", list)
		}
		n += b - a + 1
	}
	return n, nil
}

// memTotal is MemTotal of /proc/meminfo, in KiB.
func (g guest) memTotal() (int64, error) {
	text, err := readText(g.path("proc/meminfo"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		}
	}
	return 0, errors.New("no MemTotal in meminfo")
}

// taint is the kernel's taint mask now, or -1 when it cannot be read.
func (g guest) taint() int64 {
	n, err := readNumber(g.path("proc/sys/kernel/tainted"))
	if err != nil {
		return -1
	}
	return n
}
