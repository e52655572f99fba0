// SPDX-License-Identifier: Apache-2.0

package images

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"

	"noiommu-farm/internal/fault"
)

// tree is the file system of an image, by path without the leading slash.
type tree struct {
	files map[string]cpio.Record
}

// nodes are the device nodes that the kernel wants before init has mounted
// anything: without /dev/console init has no output at all.
var nodes = []cpio.Record{
	cpio.CharDev("dev/console", 0o600, 5, 1),
	cpio.CharDev("dev/null", 0o666, 1, 3),
}

// addFile adds a file that a user may have named.
func (t *tree) addFile(f File) error {
	usage := func(err error) error { return &fault.Usage{Key: "image file", Value: f.Path, Err: err} }
	name, err := guestName(f.Path)
	if err != nil {
		return usage(err)
	}
	if f.Mode&^os.ModePerm != 0 {
		return usage(fmt.Errorf("mode %v has more than permission bits", f.Mode))
	}
	content := f.Data
	if f.Host != "" {
		if content, err = readRegular(f.Host); err != nil {
			return &fault.Usage{Key: "image file", Value: f.Host, Err: err}
		}
	}
	if err := t.add(name, content, f.Mode); err != nil {
		return usage(err)
	}
	return nil
}

// guestName turns a path in the guest into a name in the archive.
func guestName(p string) (string, error) {
	if slices.Contains(strings.Split(p, "/"), "..") {
		return "", errors.New(`".." is not allowed`)
	}
	if strings.ContainsRune(p, 0) {
		return "", errors.New("a zero byte is not allowed")
	}
	name := strings.TrimPrefix(path.Clean("/"+p), "/")
	if name == "" {
		return "", errors.New("it names no file")
	}
	// PATH_MAX of the kernel; its unpacker skips longer names silently
	// (init/initramfs.c, do_header).
	if len(name) >= 4096 || name == cpio.Trailer {
		return "", errors.New("an initramfs cannot hold this name")
	}
	return name, nil
}

func readRegular(host string) ([]byte, error) {
	f, err := os.Open(host)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return io.ReadAll(f)
}

func (t *tree) add(name string, content []byte, mode os.FileMode) error {
	if uint64(len(content)) > math.MaxUint32 {
		return fmt.Errorf("%d bytes: an initramfs cannot hold more than 4 GiB in a file", len(content))
	}
	return t.put(cpio.StaticRecord(content, cpio.Info{
		Name: name,
		Mode: cpio.S_IFREG | uint64(mode.Perm()),
	}))
}

func (t *tree) put(r cpio.Record) error {
	if t.files == nil {
		t.files = make(map[string]cpio.Record)
		for _, n := range nodes {
			t.files[n.Name] = n
		}
	}
	if _, taken := t.files[r.Name]; taken {
		return fmt.Errorf("/%s: there are two of this name", r.Name)
	}
	for name := range t.files {
		if strings.HasPrefix(name, r.Name+"/") || strings.HasPrefix(r.Name, name+"/") {
			return fmt.Errorf("/%s: a file is in the place of a directory (/%s)", r.Name, name)
		}
	}
	t.files[r.Name] = r
	return nil
}

// records lists the tree with its directories, a directory before what is in
// it, and nothing in it that depends on when or where it was made.
func (t *tree) records() []cpio.Record {
	all := maps.Clone(t.files)
	for name := range t.files {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			all[dir] = cpio.Directory(dir, 0o755)
		}
	}
	var sorted []cpio.Record
	for i, name := range slices.Sorted(maps.Keys(all)) {
		r := all[name]
		r.Info = cpio.Info{
			Ino: uint64(i) + 1, NLink: 1, Name: name,
			Mode: r.Mode, FileSize: r.FileSize, Rmajor: r.Rmajor, Rminor: r.Rminor,
		}
		sorted = append(sorted, r)
	}
	return sorted
}
