// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/uapi"
)

// Mode is the type and the permissions of a file, as in stat(2).
type Mode uint32

// Node is a device node as stat(2) shows it.
type Node struct {
	Mode  Mode // with the file type
	UID   uint32
	Major uint32
	Minor uint32
}

// Dev is the node's number as sysfs writes it: "511:0".
func (n Node) Dev() string { return fmt.Sprintf("%d:%d", n.Major, n.Minor) }

// Stat looks at a path without following a link.
func (t *T) Stat(path string) (Node, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	t.Tally.Did("stat", err)
	return Node{Mode(st.Mode), st.Uid, unix.Major(st.Rdev), unix.Minor(st.Rdev)}, err
}

// ReadFile reads a file of /sys or /proc without its last newline; the test
// ends when it cannot.
func (t *T) ReadFile(path string) string {
	text, err := os.ReadFile(path)
	t.Tally.Did(kind(path), err)
	t.Must(err, "read %s", path)
	return strings.TrimSuffix(string(text), "\n")
}

// ReadLink reads where a link of /sys points; the test ends when it cannot.
func (t *T) ReadLink(path string) string {
	target, err := os.Readlink(path)
	t.Tally.Did(kind(path), err)
	t.Must(err, "read link %s", path)
	return target
}

// List lists the names in a directory, sorted; one that does not exist is empty.
func (t *T) List(dir string) []string {
	entries, err := os.ReadDir(dir)
	t.Tally.Did(kind(dir), err)
	if !os.IsNotExist(err) {
		t.Must(err, "list %s", dir)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// kind is the name under which reading of path is evidence.
func kind(path string) string {
	if strings.HasPrefix(path, "/proc/") {
		return "proc.reads"
	}
	if strings.HasPrefix(path, "/sys/") {
		return "sysfs.reads"
	}
	return "reads"
}

// Taint bits, from Documentation/admin-guide/tainted-kernels.rst.
const (
	TaintDie     = 1 << 7 // D: the kernel died recently (oops or BUG)
	TaintBadPage = 1 << 5 // B: bad page referenced
	TaintUser    = 1 << 6 // U: taint requested by user space or a driver for it
	TaintWarn    = 1 << 9 // W: the kernel issued a warning
)

// Taint is /proc/sys/kernel/tainted.
func (t *T) Taint() uint64 {
	text := t.ReadFile("/proc/sys/kernel/tainted")
	n, err := strconv.ParseUint(text, 10, 64)
	t.Must(err, "parse tainted %q", text)
	return n
}

// CdevName is the name of the device's cdev ("noiommu-vfio0"); the test ends
// when it does not have exactly one.
func (t *T) CdevName(d *Device) string {
	names := t.List(d.dir + "/vfio-dev")
	if len(names) != 1 {
		t.Fatalf("%s/vfio-dev: %d entries %v, want 1", d.BDF, len(names), names)
	}
	return names[0]
}

// CdevPath is the path of the device's cdev.
func (t *T) CdevPath(d *Device) string { return "/dev/vfio/devices/" + t.CdevName(d) }

// GroupID is the number of the device's IOMMU group, as text; the test ends
// when it has none.
func (t *T) GroupID(d *Device) string { return filepath.Base(t.ReadLink(d.dir + "/iommu_group")) }

// GroupName is the name of the device's group node, below /dev/vfio.
func (t *T) GroupName(d *Device) string {
	if d.BehindIOMMU {
		return t.GroupID(d)
	}
	return "noiommu-" + t.GroupID(d)
}

// Sysfs is a path in the device's directory in sysfs.
func (d *Device) Sysfs(path string) string { return d.dir + "/" + path }

// Free2M is the number of free 2 MiB pages.
func (t *T) Free2M() int {
	text := t.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	n, err := strconv.Atoi(text)
	t.Must(err, "parse free_hugepages %q", text)
	return n
}

// Absent asserts that nothing is at path.
func (t *T) Absent(path string) {
	_, err := t.Stat(path)
	t.Fails(err, unix.ENOENT, "stat %s", path)
}

// Contains asserts that names has name, or has not.
func (t *T) Contains(names []string, name string, want bool, what string, args ...any) {
	Equal(t, slices.Contains(names, name), want, "%s: has %s", fmt.Sprintf(what, args...), name)
}

// Vendor is the function's PCI vendor id, as sysfs shows it.
func (d *Device) Vendor(t *T) uint64 {
	text := t.ReadFile(d.Sysfs("vendor"))
	n, err := strconv.ParseUint(text, 0, 16)
	t.Must(err, "parse vendor %q", text)
	return n
}

// Pipe is the reading end of a pipe: a file that is nothing of VFIO's.
func (t *T) Pipe() *uapi.File {
	var fds [2]int
	t.Must(unix.Pipe2(fds[:], unix.O_CLOEXEC), "pipe")
	t.Must(unix.Close(fds[1]), "close the pipe's writing end")
	f := uapi.Adopt(t.Tally, fds[0])
	t.Cleanup(func() { t.OK(f.Close(), "cleanup: close the pipe") })
	return f
}

// Lines are the lines of a file of /sys or /proc; the test ends when it cannot
// be read.
func (t *T) Lines(path string) []string { return strings.Split(t.ReadFile(path), "\n") }
