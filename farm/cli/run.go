// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/runner"
	"noiommu-farm/farm/runner/profile"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

type runCmd struct {
	Kernel     []string `help:"Kernel source: debian:7.3, debian:7.2, debian:6.12, tree:DIR, tree:DIR@REF or tarball:FILE. May be repeated." default:"debian:7.3" placeholder:"SOURCE" sep:"none"`
	Series     string   `help:"Patches to put on every kernel source: an mbox (of a thread too), a maildir, a directory of .patch files, a .patch, any of them with @vN for a version, or a range of commits DIR@A..B." placeholder:"SERIES"`
	Config     []string `help:"Configuration: a list of names and .config files with commas between them, as in noiommu,my.config. May be repeated." default:"noiommu" placeholder:"NAMES" sep:"none"`
	Topology   []string `help:"What stands between the devices and memory: none, intel, intel-pt, intel-off, intel-nointremap, amd, virtio, bypass. May be a list." default:"none,intel" placeholder:"NAME"`
	Device     []string `help:"Emulated PCI devices under test: edu, edu-port, edu-multifunction, igb, e1000e, nvme. May be a list; twice the same is two of them." default:"edu,igb" placeholder:"MODEL"`
	Privileges []string `help:"What the test programs may do: root, no-rawio (root without CAP_SYS_RAWIO), user-namespace, unprivileged, low-memlock (root without CAP_IPC_LOCK, RLIMIT_MEMLOCK of 64 KiB). May be a list." default:"root" placeholder:"NAME"`
	Suite      []string `help:"Run only these suites, or SUITE/PROGRAM of the kernel's own selftests; --suite, --test, --core and --program add up. Default: all but what is for --nightly." placeholder:"NAME"`
	Test       []string `help:"Run only the tests of these statements of the contract, as in PA-02. May be a list." placeholder:"ID"`
	Core       bool     `help:"Run the core statements of the contract: what a gate runs. Adds up with --suite, --test and --program."`
	Nightly    bool     `help:"Run also what takes long or is meant as stress, and the kernel's own selftests that are off by default."`
	Program    []string `help:"Run your own static test program that prints KTAP, with arguments after it in the same word: \"./mytest -v {igb}\". {edu} and {igb} become the address of the device. May be repeated." placeholder:"\"FILE ARG...\"" sep:"none"`

	Timeout     time.Duration `help:"Time limit of each test program before it is scaled for slow machines and debug kernels. Default: its own." placeholder:"5m"`
	Jobs        int           `short:"j" help:"Cells at once." default:"${cpus}"`
	CPUs        int           `name:"cpus" help:"Processors of a guest. Without hardware virtualization one is best: on a busy host QEMU's emulated second one now and then does not wake up." default:"1"`
	Memory      int           `help:"Memory of a guest, in MiB." default:"512"`
	Hugepages   int           `help:"Hugepages of 2 MiB to reserve in a guest." default:"64"`
	Hugepages1G int           `name:"hugepages-1g" help:"Hugepages of 1 GiB to reserve in a guest; they come out of --memory." default:"0"`
	Append      []string      `help:"One more kernel parameter, after the farm's own. May be repeated." placeholder:"PARAM" sep:"none"`
	Keep        bool          `help:"Copy kernel and initramfs into the run directory too, so that qemu.sh boots them when the cache is gone."`
	Isolation   string        `help:"What has a guest of its own: test, suite or cell. A guest is restored from one that was saved before anything was tested; a machine that cannot be saved is booted for every suite. Default: test, and suite for a kernel with kmemleak." enum:",test,suite,cell" default:"" placeholder:"NAME"`
	Profile     bool          `help:"Say where the wall clock of the run went, and write it as a trace (profile.json in the run directory) for chrome://tracing or Perfetto."`
	JSON        bool          `name:"json" help:"Print results.json instead of the table."`
	All         bool          `short:"a" help:"List every test, not only those that are not as expected."`
	Cache       string        `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
	Out         string        `help:"Directory for run directories." default:"${runs}" placeholder:"DIR"`
	knownFlag
}

func (runCmd) Help() string {
	return `Examples:

  farm run                                  the main job: Linux 7.3 without and with an IOMMU
  farm run --topology none --suite get_pa   one suite on one machine
  farm run --test PA-02 --all               one statement of the contract, everywhere
  farm run --kernel tree:$HOME/linux        your own tree as it is now; it is never written to
  farm run --kernel tree:.@v7.3             a ref of it
  farm run --series v5.mbox                 patches on it: the newest version in the thread
  farm run --suite vfio/vfio_pci_driver_test --memory 3072 --timeout 20m
  farm run --program "./mytest {igb}"       your own test program

Every run leaves a directory with all that happened; "latest" points at the
last one. A cell is as expected when every test that applies passed with
evidence, every other was skipped for the reason that the facts call for, and
the kernel log stayed clean.`
}

func (c *runCmd) Run(s *surroundings) error {
	axes := matrix.Axes{
		Sources:    c.Kernel,
		Configs:    c.Config,
		Topologies: c.Topology,
		Privileges: c.Privileges,
		Guest: matrix.Guest{
			Devices:     c.Device,
			CPUs:        c.CPUs,
			MemoryMiB:   c.Memory,
			Hugepages:   c.Hugepages,
			Hugepages1G: c.Hugepages1G,
			Append:      c.Append,
		},
		Select: matrix.Selection{Suites: c.Suite, Tests: c.Test, Core: c.Core, Nightly: c.Nightly},
	}
	if c.Timeout != 0 && c.Timeout < time.Millisecond {
		return &fault.Usage{Key: "--timeout", Value: c.Timeout.String(), Err: errors.New("must be at least a millisecond")}
	}
	if c.Out == "" || c.Cache == "" {
		return &fault.Usage{Key: "--out, --cache", Err: errors.New("need a directory")}
	}
	if c.Jobs < 1 {
		return &fault.Usage{Key: "--jobs", Value: fmt.Sprint(c.Jobs), Err: errors.New("must be at least 1")}
	}
	for _, p := range c.Program {
		words := strings.Fields(p)
		if len(words) == 0 {
			return &fault.Usage{Key: "--program", Value: p, Err: errors.New("names no file")}
		}
		axes.Select.Programs = append(axes.Select.Programs, matrix.Program{Path: words[0], Args: words[1:]})
	}
	issues, err := c.load()
	if err != nil {
		return err
	}
	patches, err := loadSeries(s, c.Series)
	if err != nil {
		return err
	}
	axes.Series = c.Series
	plan, err := matrix.Product(axes)
	if err != nil {
		return err
	}

	began := time.Now()
	watch := newProgress(s.stderr)
	defer watch.close()
	watch.excused.issues = issues
	out, err := runner.Run(s.ctx, plan, runner.Options{
		Cache:   openCache(c.Cache, watch.note),
		Series:  map[string]series.Series{c.Series: patches},
		Images:  filepath.Join(c.Cache, "images"),
		Runs:    c.Out,
		Jobs:    c.Jobs,
		Timeout: c.Timeout,
		Keep:    c.Keep,
		Command: append([]string{"farm"}, s.args...),
		Tell:    watch.tell,

		Isolation: results.Isolation(c.Isolation),
	})
	watch.close()
	if out == nil {
		// What fails because a signal ended it is not what the user must read.
		var stopped interrupted
		if errors.As(context.Cause(s.ctx), &stopped) {
			return stopped
		}
		return err
	}
	shown, err := wholeRun(out, issues, err)
	err = errors.Join(err, c.show(s, shown))
	if c.Profile {
		err = errors.Join(err, showProfile(s.stderr, out.Dir, began))
	}
	return conclude(s.stderr, shown.Verdict, err)
}

func (c *runCmd) show(s *surroundings, r report.Run) error {
	if c.JSON {
		enc := json.NewEncoder(s.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	return report.Table(s.stdout, r, report.Style{Color: colorful(s.stdout), All: c.All})
}

// showProfile says where the time of a run went.
func showProfile(w io.Writer, dir string, began time.Time) error {
	spans, err := profile.Read(dir, began)
	if err != nil {
		return err
	}
	return errors.Join(profile.Write(w, spans, runtime.NumCPU()), profile.WriteTrace(dir, spans))
}

// conclude turns a shown run into an exit code. A failure of the kernel that
// was recorded outranks what the farm itself failed at.
func conclude(stderr io.Writer, v verdict.Verdict, err error) error {
	var stopped interrupted
	switch {
	case errors.As(err, &stopped):
		complain(stderr, fmt.Errorf("%w: what had not finished counts as infra, what had not begun is not in the table", stopped))
	case errors.Is(err, results.ErrNotRecorded):
		complain(stderr, fmt.Errorf("the run directory is not whole: %w", err))
	case err != nil:
		complain(stderr, err)
	}
	switch {
	case v == verdict.Infra || v == "" || err != nil && v.Good(): // "" is a run without a cell
		return exitCode(fault.ExitInfra)
	case !v.Good():
		return exitCode(fault.ExitKernel)
	}
	return nil
}
