// SPDX-License-Identifier: Apache-2.0

package meaning

import (
	"cmp"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noiommu-farm/farm/machine"
	"noiommu-farm/farm/matrix"
	"noiommu-farm/images"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/results"
	"noiommu-farm/suites/contract"
)

// Where programs live in the guest.
const (
	// SuitesPath is the farm's own suites.
	SuitesPath   = "/suites/suites"
	kselftestDir = "/kselftest"
	userDir      = "/programs"
)

// Time limits of programs, before they are scaled.
const (
	suiteTimeout     = 60 * time.Second
	kselftestTimeout = 180 * time.Second
)

// Phases are the programs of a cell: devices are bound between the first and
// the second.
type Phases struct {
	Unbound, Bound, AtEnd []results.Program
}

// All are the programs in the order in which one guest runs them.
func (p Phases) All() []results.Program {
	return slices.Concat(p.Unbound, p.Bound, p.AtEnd)
}

// Programs says what a cell runs, in order, what each test of it must do
// there, and what is left out for which reason.
// limit is the time limit of a program, given its own.
func Programs(c matrix.Cell, facts contract.Facts, selftests []kernels.Selftest, limit func(time.Duration) time.Duration) (Phases, []results.Absent) {
	var ph Phases
	var absent []results.Absent
	var id uint32
	add := func(list *[]results.Program, p results.Program, own time.Duration) {
		id++
		p.ID = id
		p.Timeout = limit(own)
		if facts.Privileges != contract.Root {
			p.Privileges = facts.Privileges
		}
		*list = append(*list, p)
	}

	chosen := c.Selection.Statements()
	for _, phase := range []struct {
		phase  contract.Phase
		list   *[]results.Program
		suffix string // tells apart the parts of a suite that run at different times
	}{{contract.Unbound, &ph.Unbound, "@boot"}, {contract.Bound, &ph.Bound, ""}, {contract.AtEnd, &ph.AtEnd, "@end"}} {
		if phase.phase == contract.AtEnd {
			absent = append(absent, kselftests(c, facts, selftests, func(p results.Program, own time.Duration) { add(&ph.Bound, p, own) })...)
			for i, u := range c.Selection.Programs {
				add(&ph.Bound, results.Program{
					Name: programName(c.Selection.Programs, i),
					Argv: append([]string{programPath(c.Selection.Programs, i)}, u.Args...),
				}, kselftestTimeout)
			}
		}
		for _, suite := range matrix.ContractSuites() {
			p := results.Program{Name: suite + phase.suffix, Host: true}
			var ids []string
			own := suiteTimeout
			for _, s := range chosen {
				if s.Suite != suite || s.Phase != phase.phase {
					continue
				}
				e := results.Expected{Name: s.Name(), Evidence: s.EvidenceIn(facts), Finding: contract.FindingOf(s.Name())}
				if unmet := s.Unmet(facts); len(unmet) > 0 {
					e = results.Expected{Name: s.Name(), Skip: contract.SkipReason(unmet)}
				}
				p.Tests = append(p.Tests, e)
				own += s.Limit
				ids = append(ids, s.ID)
			}
			if len(ids) == 0 {
				continue
			}
			p.Argv = []string{SuitesPath, "-test", strings.Join(ids, ","), EveryAddress}
			add(phase.list, p, own)
		}
	}
	return ph, absent
}

// kselftests adds the kernel's own test programs that the cell can run, and
// says of the others why not.
func kselftests(c matrix.Cell, facts contract.Facts, built []kernels.Selftest, add func(results.Program, time.Duration)) []results.Absent {
	var absent []results.Absent
	for _, t := range built {
		run, evenOff := c.Selection.Kselftest(t.Suite, t.Name)
		if !run {
			continue
		}
		known := contract.FindKselftest(t.Suite, t.Name)
		name := t.Suite + "/" + t.Name
		if why := leftOut(c, facts, known, evenOff); why != "" {
			absent = append(absent, results.Absent{Name: name, Reason: why})
			continue
		}
		p := results.Program{
			Name:  name,
			Argv:  []string{kselftestDir + "/" + name},
			Skips: known.Skips,

			Findings: contract.FindingsOf(name),
		}
		for _, v := range known.Variants {
			if !facts.Meets(v.Unless) {
				p.Argv = append(p.Argv, "-V", v.Name)
				absent = append(absent, results.Absent{Name: name + " -v " + v.Name, Reason: contract.SkipReason([]contract.Requirement{v.Unless})})
			}
		}
		if t.Suite == "vfio" {
			// libvfio takes the device from the last argument
			// (tools/testing/selftests/vfio/lib/libvfio.c).
			on := preferred(facts.Devices)
			p.Device = &on
			p.Argv = append(p.Argv, Address(Sided(on.Model, on.Behind)))
		}
		add(p, cmp.Or(known.Limit, kselftestTimeout))
	}
	return absent
}

// leftOut says why a cell cannot run one of the kernel's own test programs; ""
// when it can.
func leftOut(c matrix.Cell, facts contract.Facts, known contract.Kselftest, evenOff bool) string {
	unmet := (contract.Statement{Requires: known.Requires}).Unmet(facts)
	switch {
	case len(unmet) > 0:
		return contract.SkipReason(unmet)
	case known.Off != "" && !evenOff:
		return "off by default: " + known.Off
	case c.MemoryMiB < known.Memory:
		return fmt.Sprintf("needs a guest with --memory %d", known.Memory)
	}
	return ""
}

// Broken are the suites of the kernel's own test programs that do not compile,
// if the cell would have run a program that is missing for it, and those programs.
func Broken(c matrix.Cell, facts contract.Facts, b *kernels.Build) (list []results.Broken, absent []results.Absent) {
	for _, u := range b.Unbuilt {
		bad := results.Broken{Name: u.Suite + "/build", Err: u.Err}
		var mine []results.Absent
		for _, k := range contract.Kselftests {
			if k.Suite != u.Suite || slices.ContainsFunc(b.Selftests, func(t kernels.Selftest) bool { return t.Suite == k.Suite && t.Name == k.Program }) {
				continue
			}
			bad.Missing = append(bad.Missing, k.Program)
			if run, evenOff := c.Selection.Kselftest(k.Suite, k.Program); run && leftOut(c, facts, k, evenOff) == "" {
				mine = append(mine, results.Absent{Name: k.Suite + "/" + k.Program, Reason: bad.Name + " failed"})
			}
		}
		if len(mine) > 0 {
			list, absent = append(list, bad), append(absent, mine...)
		}
	}
	return list, absent
}

// preferred is the device that the kernel's selftests are run on: one behind
// an IOMMU where there is one, and igb rather than another, because it can
// reset itself and has MSI-X, without which tests would be skipped.
func preferred(devices []contract.Device) contract.Device {
	worth := func(d contract.Device) int {
		n := 0
		if d.Behind {
			n += 2
		}
		if d.Model == "igb" {
			n++
		}
		return n
	}
	return slices.MaxFunc(devices, func(a, b contract.Device) int { return worth(a) - worth(b) })
}

// CheckKselftests refuses a selftest asked for by a name that the tree does not
// have.
func CheckKselftests(c matrix.Cell, b *kernels.Build) error {
	var have []string
	for _, t := range b.Selftests {
		have = append(have, t.Suite+"/"+t.Name)
	}
	for _, s := range c.Selection.Suites {
		suite, _, program := strings.Cut(s, "/")
		unbuilt := slices.ContainsFunc(b.Unbuilt, func(u kernels.Unbuilt) bool { return u.Suite == suite })
		if program && !slices.Contains(have, s) && !unbuilt {
			return &fault.Usage{Key: "--suite", Value: s, Allowed: have}
		}
	}
	return nil
}

// Image is what a cell's initramfs holds.
func Image(c matrix.Cell, built []kernels.Selftest) images.Spec {
	spec := images.Spec{Programs: []images.GoProgram{{Package: "noiommu-farm/suites", Path: SuitesPath}}}
	for _, t := range built {
		spec.Files = append(spec.Files, images.File{
			Path: kselftestDir + "/" + t.Suite + "/" + t.Name,
			Host: t.Path,
			Mode: 0o755,
		})
	}
	for i, p := range c.Selection.Programs {
		spec.Files = append(spec.Files, images.File{Path: programPath(c.Selection.Programs, i), Host: p.Path, Mode: 0o755})
	}
	return spec
}

// programName is what the i-th of the user's programs is called in reports; it
// has a number when the file's name alone does not tell it apart.
func programName(all []matrix.Program, i int) string {
	name := "program/" + filepath.Base(all[i].Path)
	for j, p := range all {
		if j != i && filepath.Base(p.Path) == filepath.Base(all[i].Path) {
			return fmt.Sprintf("%s#%d", name, i+1)
		}
	}
	return name
}

// programPath is where the i-th of the user's programs is in the guest.
func programPath(all []matrix.Program, i int) string {
	return fmt.Sprintf("%s/%d/%s", userDir, i+1, filepath.Base(all[i].Path))
}

// CheckProgram refuses what could not run in the guest: it has no dynamic
// linker and no shell.
func CheckProgram(u matrix.Program, devices []machine.Device) error {
	bad := func(format string, args ...any) error {
		return &fault.Usage{Key: "--program", Value: u.Path, Err: fmt.Errorf(format, args...)}
	}
	if info, err := os.Stat(u.Path); err != nil {
		return bad("%w", err)
	} else if !info.Mode().IsRegular() {
		return bad("not a file")
	}
	f, err := elf.Open(u.Path)
	if err != nil {
		return bad("not an ELF program: %w", err)
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return bad("not a program for x86-64")
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return bad("not linked statically, and the guest has no libraries")
		}
	}
	for _, a := range u.Args {
		for _, d := range machine.Devices() {
			if strings.Contains(a, Address(Model(d))) && !slices.ContainsFunc(devices, func(have machine.Device) bool { return Model(have) == Model(d) }) {
				return bad("its argument %s asks for a device that the machine does not have", a)
			}
		}
	}
	return nil
}
