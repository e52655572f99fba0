// SPDX-License-Identifier: Apache-2.0

package uapi

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// headers is what testdata/uapi.c printed from the headers of Linux 7.3.4.
type headers struct {
	numbers map[string]uint64
	structs map[string][]string // size, then "offset size" of every field
}

func readHeaders(t *testing.T) headers {
	t.Helper()
	text, err := os.ReadFile("testdata/linux-7.3.4.txt")
	if err != nil {
		t.Fatal(err)
	}
	h := headers{map[string]uint64{}, map[string][]string{}}
	current := ""
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch words[0] {
		case "number":
			n, err := strconv.ParseUint(words[2], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			h.numbers[words[1]] = n
		case "struct":
			current = words[1]
			h.structs[current] = []string{words[2]}
		case "field":
			h.structs[current] = append(h.structs[current], words[2]+" "+words[3])
		}
	}
	return h
}

// TestNumbers takes every ioctl and constant of the package's own source, so
// that none can be added without being compared.
func TestNumbers(t *testing.T) {
	h := readHeaders(t)
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range []string{"iommufd.go", "vfio.go", "devid.go", "feature.go", "kvm.go"} {
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	got := map[string]uint64{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok || fmt.Sprint(literal.Type) != "Ioctl" {
				return true
			}
			name, err := strconv.Unquote(literal.Elts[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			number, err := strconv.ParseUint(literal.Elts[1].(*ast.BasicLit).Value, 0, 64)
			if err != nil {
				t.Fatal(err)
			}
			got[name] = number
			return true
		})
	}
	// Ioctl is declared in another file; constants do not need it.
	config := types.Config{Error: func(error) {}}
	pkg, _ := config.Check("uapi", fset, files, nil)
	for _, name := range pkg.Scope().Names() {
		switch object := pkg.Scope().Lookup(name).(type) {
		case *types.Const:
			number, exact := constant.Uint64Val(object.Val())
			if !exact {
				t.Errorf("%s does not fit", name)
			}
			got[name] = number
		case *types.Var:
			if _, ok := got[name]; !ok {
				t.Errorf("%s is not an Ioctl of that name", name)
			}
		}
	}
	if len(got) < 40 {
		t.Errorf("found only %d numbers in the source", len(got))
	}
	if diff := cmp.Diff(h.numbers, got); diff != "" {
		t.Errorf("numbers (-header +package):\n%s", diff)
	}
}

func TestLayout(t *testing.T) {
	h := readHeaders(t)
	ours := map[string]any{
		"iommu_destroy":                 Destroy{},
		"iommu_ioas_alloc":              IOASAlloc{},
		"iommu_iova_range":              IOVARange{},
		"iommu_ioas_iova_ranges":        IOASIOVARanges{},
		"iommu_ioas_map":                IOASMap{},
		"iommu_ioas_unmap":              IOASUnmap{},
		"iommu_ioas_noiommu_get_pa":     IOASNoiommuGetPA{},
		"iommu_hwpt_alloc":              HWPTAlloc{},
		"iommu_hw_info":                 HWInfo{},
		"iommu_ioas_allow_iovas":        IOASAllowIOVAs{},
		"iommu_ioas_copy":               IOASCopy{},
		"iommu_option":                  Option{},
		"iommu_vfio_ioas":               VFIOIOAS{},
		"iommu_hwpt_set_dirty_tracking": HWPTSetDirtyTracking{},
		"iommu_hwpt_get_dirty_bitmap":   HWPTGetDirtyBitmap{},
		"iommu_ioas_map_file":           IOASMapFile{},
		"iommu_viommu_alloc":            VIOMMUAlloc{},
		"iommu_vdevice_alloc":           VDeviceAlloc{},
		"vfio_irq_set":                  IRQSet{},
		"vfio_pci_hot_reset_info":       PCIHotResetInfo{},
		"vfio_pci_dependent_device":     PCIDependentDevice{},
		"vfio_pci_hot_reset":            PCIHotReset{},
		"vfio_group_status":             GroupStatus{},
		"vfio_device_info":              DeviceInfo{},
		"vfio_region_info":              RegionInfo{},
		"vfio_irq_info":                 IRQInfo{},
		"vfio_device_bind_iommufd":      DeviceBindIOMMUFD{},
		"vfio_device_attach_iommufd_pt": DeviceAttachIOMMUFDPT{},
		"vfio_device_detach_iommufd_pt": DeviceDetachIOMMUFDPT{},
		"vfio_iommu_type1_info":         IOMMUType1Info{},
		"vfio_iommu_type1_dma_map":      IOMMUType1DMAMap{},
		"kvm_create_device":             KVMCreateDevice{},
		"kvm_device_attr":               KVMDeviceAttr{},
		"vfio_device_feature":           DeviceFeature{},
		"vfio_device_feature_dma_buf":   DeviceFeatureDMABuf{},
		"vfio_region_dma_range":         RegionDMARange{},
	}
	for name, want := range h.structs {
		value, ok := ours[name]
		if !ok {
			t.Errorf("struct %s of the headers is not compared", name)
			continue
		}
		kind := reflect.TypeOf(value)
		got := []string{fmt.Sprint(kind.Size())}
		for i := range kind.NumField() {
			field := kind.Field(i)
			got = append(got, fmt.Sprint(field.Offset, " ", field.Type.Size()))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("struct %s (-header +package):\n%s", name, diff)
		}
	}
	for name := range ours {
		if _, ok := h.structs[name]; !ok {
			t.Errorf("struct %s is not in the headers", name)
		}
	}
}

func TestErrnoName(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "0"},
		{unix.EINVAL, "EINVAL"},
		{unix.EOPNOTSUPP, "EOPNOTSUPP"},
		{unix.EBADFD, "EBADFD"},
		{unix.E2BIG, "E2BIG"},
		{fmt.Errorf("open: %w", unix.EPERM), "EPERM"},
		{unix.Errno(4095), "errno 4095"},
		{fmt.Errorf("not the kernel's"), "not the kernel's"},
	} {
		if got := ErrnoName(c.err); got != c.want {
			t.Errorf("ErrnoName(%v) = %q, want %q", c.err, got, c.want)
		}
	}
}

// TestEvidence uses real files: what the kernel answered is what is counted.
func TestEvidence(t *testing.T) {
	var tally Tally
	if _, err := Open(&tally, "/nonexistent", unix.O_RDONLY); err != unix.ENOENT {
		t.Fatalf("open: %v", err)
	}
	f, err := Open(&tally, "/dev/null", unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := f.IoctlValue(IOMMU_IOAS_ALLOC, 0); err != unix.ENOTTY {
			t.Errorf("ioctl: %v", err)
		}
	}
	if _, err := f.Pwrite([]byte("x"), 0); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if _, err := f.Pread(make([]byte, 1), 0); err != unix.EBADF {
		t.Errorf("pread after close: %v", err)
	}
	tally.Did("pci.unbind", errors.New("took too long"))
	const want = "IOMMU_IOAS_ALLOC:ENOTTY=2 open:ENOENT=1 open=1 pci.unbind:error=1 pread:EBADF=1 pwrite=1"
	if got := tally.String(); got != want {
		t.Errorf("tally = %q\nwant    %q", got, want)
	}
	if n := tally.Count("IOMMU_IOAS_ALLOC"); n != 0 {
		t.Errorf("a call that failed counts as %d that succeeded", n)
	}
}
