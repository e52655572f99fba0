// SPDX-License-Identifier: Apache-2.0

package build

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// As gcc, clang, objtool, modpost and ld print them, two jobs at once.
const noisy = `make[1]: Entering directory '/build'
  CC      drivers/vfio/vfio_main.o
  CC [M]  drivers/vfio/group.o
/src/drivers/vfio/vfio_main.c: In function 'vfio_init':
/src/drivers/vfio/group.c: In function 'vfio_group_open':
/src/drivers/vfio/vfio_main.c:12:5: warning: unused variable 'x' [-Wunused-variable]
   12 |     int x;
      |         ^
/src/drivers/vfio/group.c:99:3: warning: this 'if' clause does not guard... [-Wmisleading-indentation]
/src/drivers/vfio/vfio_main.c: At top level:
/src/drivers/vfio/vfio_main.c:30:13: warning: 'lonely' defined but not used [-Wunused-function]
In file included from /src/include/linux/vfio.h:7,
                 from /src/drivers/vfio/vfio_main.c:3:
/src/include/linux/iommufd.h:20:6: warning: no previous prototype for 'f' [-Wmissing-prototypes]
drivers/vfio/group.o: warning: objtool: vfio_group_open+0x1f: unreachable instruction
  LD      vmlinux.o
vmlinux.o: warning: objtool: g() falls through to next function h()
WARNING: modpost: vmlinux: section mismatch in reference: vfio_init+0x12 (section: .text) -> setup (section: .init.text)
WARNING: modpost: missing MODULE_DESCRIPTION() in drivers/vfio/vfio.o
ld: warning: orphan section '.x' from 'a.o' being placed in section '.x'
/src/drivers/vfio/x.c:1:2: warning: #warning "look here" 42 [-Wcpp]
`

func TestWarnings(t *testing.T) {
	var w warnings
	if _, err := io.Copy(&w, iotest.OneByteReader(strings.NewReader(noisy))); err != nil {
		t.Fatal(err)
	}
	want := []Warning{
		{Tool: "compiler", File: "drivers/vfio/vfio_main.c", Function: "vfio_init", Flag: "-Wunused-variable", Unit: "drivers/vfio/vfio_main.o"},
		{Tool: "compiler", File: "drivers/vfio/group.c", Function: "vfio_group_open", Flag: "-Wmisleading-indentation", Unit: "drivers/vfio/group.o"},
		{Tool: "compiler", File: "drivers/vfio/vfio_main.c", Flag: "-Wunused-function", Unit: "drivers/vfio/vfio_main.o"},
		{Tool: "compiler", File: "include/linux/iommufd.h", Flag: "-Wmissing-prototypes", Unit: "drivers/vfio/vfio_main.o"},
		{Tool: "objtool", File: "drivers/vfio/group.o", Function: "vfio_group_open", Flag: "unreachable instruction", Unit: "drivers/vfio/group.o"},
		{Tool: "objtool", File: "vmlinux.o", Function: "g", Flag: ") falls through to next function h()"},
		{Tool: "modpost", File: "vmlinux", Function: "vfio_init", Flag: "section mismatch with setup"},
		{Tool: "modpost", Flag: "missing MODULE_DESCRIPTION() in drivers/vfio/vfio.o"},
		{Tool: "linker", Flag: "orphan section '.x' from 'a.o' being placed in section '.x'"},
		{Tool: "compiler", File: "drivers/vfio/x.c", Flag: "-Wcpp", Unit: "drivers/vfio/x.o"},
	}
	if d := cmp.Diff(want, w.found, cmpopts.IgnoreFields(Warning{}, "Text")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"drivers/vfio/group.o", "drivers/vfio/vfio_main.o"}, w.compiled()); d != "" {
		t.Error(d)
	}
	if got := w.found[0].String(); got != "drivers/vfio/vfio_main.c:12:5: warning: unused variable 'x' [-Wunused-variable]" {
		t.Errorf("text %q", got)
	}
}

// A line that moved is the same warning; one more of a kind is a new one.
func TestNewWarnings(t *testing.T) {
	at := func(line, function string) Warning {
		return Warning{Tool: "compiler", File: "a.c", Function: function, Flag: "-Wunused", Text: line}
	}
	base := []Warning{at("a.c:1", "f"), at("a.c:9", "g")}
	build := []Warning{at("a.c:2", "f"), at("a.c:10", "g"), at("a.c:11", "g"), at("a.c:20", "h")}
	var got []string
	for _, w := range NewWarnings(base, build) {
		got = append(got, w.Text)
	}
	if d := cmp.Diff([]string{"a.c:11", "a.c:20"}, got); d != "" {
		t.Error(d)
	}
}

// A build from a neighbour has the neighbour's warnings of what it did not
// compile again.
func TestInherit(t *testing.T) {
	older := []Warning{{Text: "kept", Unit: "a.o"}, {Text: "compiled again", Unit: "b.o"}, {Text: "no longer there", Unit: "c.o"}, {Text: "of the whole"}}
	own := []Warning{{Text: "own", Unit: "b.o"}}
	var got []string
	for _, w := range Inherit(own, older, []string{"b.o"}, func(o string) bool { return o != "c.o" }) {
		got = append(got, w.Text)
	}
	if d := cmp.Diff([]string{"own", "kept"}, got); d != "" {
		t.Error(d)
	}
}
