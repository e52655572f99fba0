// SPDX-License-Identifier: Apache-2.0

package symbols

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const source = `int sink;

static void inner(int n)
{
	sink = n;
}

void outer(int n)
{
	inner(n);
	sink++;
}

int main(void)
{
	outer(1);
	return 0;
}
`

// compiled is the program, as the compiler makes kernels: at fixed addresses.
func compiled(t *testing.T, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "drivers"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "drivers/x.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("gcc", append(flags, "-O0", "-no-pie", "-o", "x", "drivers/x.c")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, "x")
}

func TestMark(t *testing.T) {
	path := compiled(t, "-g")
	table, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	sizes := make(map[string]uint64)
	for _, s := range all {
		sizes[s.Name] = s.Size
	}
	// outer returns to what follows its call of inner, 5 bytes after the call began.
	outer, inner := sizes["outer"], sizes["inner"]
	call := uint64(0)
	for off := uint64(1); off < outer; off++ {
		if table.source("outer", off, outer, 1) == "drivers/x.c:10" {
			call = off
		}
	}
	for in, want := range map[string]string{
		fmt.Sprintf(" outer+0x%x/0x%x", call, outer):                                fmt.Sprintf(" outer+0x%x/0x%x (drivers/x.c:10)", call, outer),
		fmt.Sprintf("[    1.2] RIP: 0010:inner+0x0/0x%x", inner+3):                  fmt.Sprintf("[    1.2] RIP: 0010:inner+0x0/0x%x (drivers/x.c:4)", inner+3),
		fmt.Sprintf("pc : outer+0x0/0x%x lr : main+0x0/0x%x", outer, sizes["main"]): fmt.Sprintf("pc : outer+0x0/0x%x (drivers/x.c:9) lr : main+0x0/0x%x (drivers/x.c:15)", outer, sizes["main"]),
		fmt.Sprintf(" outer+0x1/0x%x [vfio_pci]", outer):                            fmt.Sprintf(" outer+0x1/0x%x [vfio_pci]", outer),
		fmt.Sprintf(" outer+0x%x/0x%x", outer+5, outer):                             fmt.Sprintf(" outer+0x%x/0x%x", outer+5, outer),
		" outer+0x1/0x2":                  " outer+0x1/0x2", // another of this name
		" nothing+0x1/0x20 and outer+0x1": " nothing+0x1/0x20 and outer+0x1",
		"":                                "",
	} {
		if got := table.Mark(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	table.functions["outer"] = append(table.functions["outer"], table.functions["outer"]...)
	if in := fmt.Sprintf(" outer+0x1/0x%x", outer); table.Mark(in) != in {
		t.Error("one of two functions is taken")
	}
	var none *Table
	if none.Mark(" outer+0x1/0x2") != " outer+0x1/0x2" {
		t.Error("without a table lines change")
	}
}

func TestOpen(t *testing.T) {
	if _, err := Open(compiled(t)); !errors.Is(err, ErrNone) {
		t.Errorf("without debug information: %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := Open("symbols.go"); err == nil {
		t.Error("a text is an ELF file")
	}
}
