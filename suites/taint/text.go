// SPDX-License-Identifier: Apache-2.0

package taint

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"noiommu-farm/suites/lab"
)

// TL-06: who looks the parameter up is told what it costs.
func description(t *lab.T) {
	text := parameterText(t, vfioModule(t), "enable_unsafe_noiommu_mode")
	lab.Equal(t, strings.HasPrefix(text, "Enable UNSAFE, no-IOMMU mode."), true, "the description %q begins with what it enables", text)
	for _, word := range []string{"no device isolation", "no DMA translation", "no host kernel protection", "RAWIO", "taint", "(default: false)"} {
		lab.Equal(t, strings.Contains(text, word), true, "the description %q says %q", text, word)
	}
}

// vfioModule is the content of the module vfio as it was installed for the
// running kernel; the test ends when there is no such file.
func vfioModule(t *lab.T) []byte {
	root := "/lib/modules/" + t.ReadFile("/proc/sys/kernel/osrelease")
	var found string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "vfio.ko" {
			found = path
			return fs.SkipAll
		}
		return err
	})
	t.Must(err, "look for vfio.ko in %s", root)
	content, err := os.ReadFile(found)
	t.Tally.Did("reads", err)
	t.Must(err, "read vfio.ko of %s", root)
	return content
}

// parameterText is what a module says of one of its parameters: in its section
// .modinfo, "parm=NAME:TEXT" and a zero byte.
func parameterText(t *lab.T, module []byte, name string) string {
	_, rest, found := bytes.Cut(module, []byte("\x00parm="+name+":"))
	if !found {
		t.Fatalf("the module says nothing of its parameter %s", name)
	}
	text, _, _ := bytes.Cut(rest, []byte{0})
	return string(text)
}
