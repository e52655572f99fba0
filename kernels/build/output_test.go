// SPDX-License-Identifier: Apache-2.0

package build

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestFindings(t *testing.T) {
	for name, c := range map[string]struct {
		output, want, machine string
	}{
		"compiler": {
			output: `  CC      drivers/vfio/vfio_main.o
/src/drivers/vfio/vfio_main.c: In function 'vfio_init':
/src/drivers/vfio/vfio_main.c:12:5: warning: unused variable 'x' [-Wunused-variable]
/src/drivers/vfio/vfio_main.c:14:9: error: 'y' undeclared (first use in this function)
make[4]: *** [/src/scripts/Makefile.build:289: drivers/vfio/vfio_main.o] Error 1
`,
			want: "drivers/vfio/vfio_main.c:14:9: error: 'y' undeclared (first use in this function)",
		},
		"missing header": {
			output: "/src/a.c:1:10: fatal error: none.h: No such file or directory\ncompilation terminated.\n",
			want:   "a.c:1:10: fatal error: none.h: No such file or directory",
		},
		"words of the machine in the source": {
			output: `/src/a.c:3:2: warning: #warning Cannot allocate memory [-Wcpp]
    3 | #warning Cannot allocate memory
/src/a.c:212:49: error: expected ';' before 'return'
  212 |         dev_err(dev, "Cannot allocate memory\n")
`,
			want: "a.c:212:49: error: expected ';' before 'return'",
		},
		"words of the machine in the error": {
			output: "/src/a.c:3:2: error: #error Input/output error\n",
			want:   "a.c:3:2: error: #error Input/output error",
		},
		"linker": {
			output: "ld: vmlinux.o: in function `f':\n/src/a.c:3: undefined reference to `g'\nmake: *** [Makefile:9: vmlinux] Error 1\n",
			want:   "a.c:3: undefined reference to `g'",
		},
		"make": {
			output: "make[2]: *** No rule to make target 'x.o', needed by 'built-in.a'.  Stop.\n",
			want:   "make[2]: *** No rule to make target 'x.o', needed by 'built-in.a'.  Stop.",
		},
		"nothing known":   {output: "one\n\ntwo\n", want: "one\ntwo"},
		"nothing":         {output: "", want: "it printed nothing"},
		"full disk":       {output: "/tmp/x.s: fatal error: error writing: No space left on device\n", machine: "No space left on device"},
		"not written":     {output: "/src/a.c:9:1: fatal error: error writing to /tmp/x.s: No space left on device\n", machine: "No space left on device"},
		"out of memory":   {output: "gcc: fatal error: Killed signal terminated program cc1\n", machine: "Killed signal"},
		"missing program": {output: "/bin/sh: 1: lz4c: not found\n", machine: "lz4c"},
	} {
		t.Run(name, func(t *testing.T) {
			var f findings
			// However the pipe cuts the text.
			if _, err := io.Copy(&f, iotest.OneByteReader(strings.NewReader(c.output))); err != nil {
				t.Fatal(err)
			}
			if c.machine != "" {
				if !strings.Contains(f.machine, c.machine) {
					t.Errorf("machine %q, want %q", f.machine, c.machine)
				}
				return
			}
			if got := f.err(io.EOF).Error(); !strings.HasPrefix(got, c.want) || f.machine != "" {
				t.Errorf("got %q (machine %q), want %q", got, f.machine, c.want)
			}
		})
	}
}

// A line without end is cut, not kept.
func TestLongLines(t *testing.T) {
	var l lines
	var got []string
	for range 100 {
		l.write([]byte(strings.Repeat("x", 1000)), func(line string) { got = append(got, line) })
	}
	if len(l.rest) > maxLine {
		t.Errorf("%d bytes are kept", len(l.rest))
	}
	l.write([]byte("\nshort\n"), func(line string) { got = append(got, line) })
	if len(got) != 2 || len(got[0]) != maxLine || got[1] != "short" {
		t.Errorf("%d lines", len(got))
	}
}

func TestCounter(t *testing.T) {
	type seen struct{ done, total int }
	var got []seen
	c := counter{start: time.Now(), total: 2, see: func(step string, done, total int, eta time.Duration) {
		got = append(got, seen{done, total})
		if eta < 0 {
			t.Errorf("eta %v", eta)
		}
	}}
	io.WriteString(&c, "make[1]: Entering directory '/build'\n  CC      a.o\n  CC [M]  b.o\n  AR      built-in.a\nwarning: x\n  LD      vmlinux\n")
	want := []seen{{1, 2}, {2, 2}, {3, 3}, {4, 4}}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("step %d: %v, want %v", i, got[i], want[i])
		}
	}
}
