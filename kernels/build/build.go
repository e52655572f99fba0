// SPDX-License-Identifier: Apache-2.0

// Package build runs kbuild in the sandbox.
//
// In come a source tree, the options wanted and an empty or a neighbour's
// build directory; out go the kernel, its .config and the kernel's own
// selftests as static programs. It knows nothing of caches, and writes only
// in the directories it is given.
package build

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/kconfig"
	"noiommu-farm/kernels/sandbox"
)

// Where things are in the sandbox, whatever they are called outside: objtool's
// path is in the command of every object, so another path compiles everything
// again.
const (
	inSource    = "/src"
	inObjects   = "/build"
	inSelftests = "/selftests"
	inModules   = "/modules"
	inRequest   = "/request"
)

// arch is what kbuild calls the architecture, SourceArch its directory under
// arch/.
const (
	arch       = "x86_64"
	SourceArch = "x86"
)

// environment makes equal requests give equal bytes.
var environment = []string{
	"KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
	"KBUILD_BUILD_USER=farm",
	"KBUILD_BUILD_HOST=farm",
	"KBUILD_BUILD_VERSION=1",
}

// A Job is one build.
type Job struct {
	Tree      string // the source; it is only read
	Version   string // of the source
	Covers    []sandbox.Mount
	Base      Base
	Options   []kconfig.Option
	Toolchain Toolchain
	Limits    sandbox.Limits // zero fields: what a build may need
	Objects   string         // the build directory
	Selftests string         // an empty directory
	Modules   string         // an empty directory
	BzImage   bool           // the kernel is wanted as a bzImage too
	// Programs that another build made of the same sources, by suite: paths of
	// files. They are taken instead of making them again.
	Programs map[string][]string
	// Configured says that the build directory has the .config that these
	// options give: a build of the same options left it, and nothing that conf
	// reads has changed since.
	Configured bool
	Jobs       int
	Log        io.Writer // all that make prints
	LogPath    string    // where a reader finds it
	Expected   int       // steps that compiling will take; 0 when nobody knows

	// Answers is the file of what the toolchain answered Kconfig before; "" asks
	// it anew. With Learn it keeps what was asked for the first time.
	Answers string
	Learn   bool

	// See is told how far the build is; total 0 is not known.
	See func(step string, done, total int, eta time.Duration)

	asking []sandbox.Mount // how Kconfig asks the toolchain
}

// A Base is the configuration that the options change. The zero Base is
// allnoconfig: what nobody asked for is off.
type Base struct {
	Target string // "defconfig"; ""
	Text   string // a whole .config; ""
}

// A Result is what a build left in its directories.
type Result struct {
	Release   string    // as uname -r says
	Steps     int       // lines that kbuild printed: objects, archives, links
	Compiled  []string  // objects, below the build directory, sorted
	Warnings  []Warning // of what was compiled
	Selftests []Selftest
	Unbuilt   []*fault.Kernel // suites of selftests that do not compile: stage selftests/SUITE
	Modules   bool            // something was installed in Modules
}

// A Selftest is a static test program.
type Selftest struct {
	Suite string // the directory under tools/testing/selftests
	Name  string
}

// releaseName is what uname -r may say; it becomes a directory's name.
var releaseName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}$`)

// Files of a build directory.
const (
	Vmlinux = "vmlinux"
	BzImage = "arch/x86/boot/bzImage"
	Config  = ".config"
)

// Run configures, compiles and builds the selftests. What the kernel does
// wrong is a *fault.Kernel, what a user's fragment asks in vain a
// *fault.Usage.
func Run(ctx context.Context, j Job) (Result, error) {
	config, err := Configure(ctx, j)
	if err != nil {
		return Result{}, err
	}
	before, err := read(j.Objects, Config)
	if err != nil {
		return Result{}, fmt.Errorf("compile: %w", err)
	}
	var r Result
	if err := j.compile(ctx, config, &r); err != nil {
		return Result{}, err
	}
	// Compiling begins with conf once more: what it made of the .config is what
	// was compiled.
	if after, err := read(j.Objects, Config); err != nil || !bytes.Equal(before, after) {
		if config, err = j.check(); err != nil {
			return Result{}, err
		}
	}
	release, err := read(j.Objects, "include/config/kernel.release")
	if r.Release = strings.TrimSpace(string(release)); err == nil && !releaseName.MatchString(r.Release) {
		err = fmt.Errorf("%.100q is no release", r.Release)
	}
	if err != nil {
		return Result{}, &fault.Kernel{Stage: "read release", Err: err, Log: j.LogPath}
	}
	err = j.selftests(ctx, config, &r)
	return r, err
}

// Configure stops before compiling, with the .config as it came out.
func Configure(ctx context.Context, j Job) (map[string]string, error) {
	if j.Configured {
		return j.configured()
	}
	if err := j.configure(ctx); err != nil {
		return nil, err
	}
	return j.check()
}

// configured reads a .config that was checked when it was made.
func (j Job) configured() (map[string]string, error) {
	if err := os.WriteFile(j.request(), []byte(kconfig.Text(j.Options)), 0o644); err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	text, err := read(j.Objects, Config)
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	return kconfig.ReadConfig(bytes.NewReader(text))
}

// make runs make in the sandbox. Its output goes to the log and to extra. Only
// kbuild itself may write in the build directory: other builds start from it.
// The selftests' directory is there for what makes them alone.
func (j Job) make(ctx context.Context, extra io.Writer, kbuild bool, args ...string) error {
	out := j.Log
	if extra != nil {
		out = io.MultiWriter(j.Log, extra)
	}
	fmt.Fprintf(j.Log, "# make %s\n", strings.Join(args, " "))
	mounts := append([]sandbox.Mount{{Outside: j.Tree, Inside: inSource}}, j.Covers...)
	mounts = append(mounts,
		sandbox.Mount{Outside: j.Objects, Inside: inObjects, Writable: kbuild},
		sandbox.Mount{Outside: j.Modules, Inside: inModules, Writable: true},
		sandbox.Mount{Outside: j.request(), Inside: inRequest},
	)
	mounts = append(mounts, j.asking...)
	if !kbuild {
		mounts = append(mounts, sandbox.Mount{Outside: j.Selftests, Inside: inSelftests, Writable: true})
	}
	return sandbox.Run(ctx, sandbox.Command{
		Args:   slices.Concat([]string{"make", "ARCH=" + arch}, j.Toolchain.make, args),
		Dir:    inObjects,
		Env:    environment,
		Mounts: mounts,
		Limits: j.limits(),
		Stderr: out,
	})
}

// limits are generous to a build: no compiler needs what is here a job, with
// all the kernel's checkers on.
func (j Job) limits() sandbox.Limits {
	l := j.Limits
	if l.Processes == 0 {
		l.Processes = 512 + 64*j.Jobs
	}
	if l.Memory == 0 {
		l.Memory = int64(4+2*j.Jobs) << 30
	}
	return l
}

func (j Job) kbuild(ctx context.Context, extra io.Writer, args ...string) error {
	return j.make(ctx, extra, true, append([]string{"-C", inSource, "O=" + inObjects, "LOCALVERSION="}, args...)...)
}

// request is the file with the merged fragments, beside the build directory.
func (j Job) request() string { return j.Objects + ".request" }

// failed turns the failure of make into the right kind of error: the kernel's
// if a compiler says so, the machine's if it ran out of something.
func (j Job) failed(stage string, err error, output *findings) error {
	var limit *sandbox.LimitError
	if errors.As(err, &limit) {
		return &fault.Kernel{Stage: stage, Err: output.stopped(limit), Log: j.LogPath}
	}
	var exit *sandbox.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("%s: %w", stage, err)
	}
	if output.machine != "" && len(output.compiler) == 0 && !(fullDisk.MatchString(output.machine) && j.hasRoom()) {
		return fmt.Errorf("%s: the machine gave up: %s (whole log: %s)", stage, output.machine, j.LogPath)
	}
	return &fault.Kernel{Stage: stage, Err: output.err(err), Log: j.LogPath}
}

// hasRoom says whether the disk that is built on has some left. Then what was
// full is the build's own /tmp, and it was the build that filled it.
func (j Job) hasRoom() bool {
	var st unix.Statfs_t
	return unix.Statfs(j.Objects, &st) == nil && int64(st.Bavail)*st.Bsize > room && st.Ffree > 0
}

// room is what a disk has left (bytes) that is not full.
const room = 64 << 20

func (j Job) configure(ctx context.Context) error {
	j, done, err := j.withAnswers()
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	if err := j.conf(ctx); err != nil {
		return err
	}
	if err := done(); err != nil {
		return fmt.Errorf("configure: keep what the toolchain answered: %w", err)
	}
	return nil
}

func (j Job) conf(ctx context.Context) error {
	j.See("configure", 0, 0, 0)
	if err := os.WriteFile(j.request(), []byte(kconfig.Text(j.Options)), 0o644); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	var said bytes.Buffer
	conf := func(target ...string) error {
		var f findings
		err := j.kbuild(ctx, io.MultiWriter(&said, &f), target...)
		if err != nil {
			if refused := j.Toolchain.refused(said.String(), j.Version); refused != nil {
				return refused
			}
			return j.failed("configure", err, &f)
		}
		return nil
	}
	switch {
	case j.Base.Target != "":
		if err := conf(j.Base.Target); err != nil {
			return err
		}
		text, err := read(j.Objects, Config)
		if err != nil {
			return &fault.Kernel{Stage: "configure", Err: err, Log: j.LogPath}
		}
		if err := j.amend(string(text)); err != nil {
			return err
		}
	case j.Base.Text != "":
		if err := j.amend(j.Base.Text); err != nil {
			return err
		}
	default:
		if err := conf("KCONFIG_ALLCONFIG="+inRequest, "allnoconfig"); err != nil {
			return err
		}
	}
	if j.Base != (Base{}) { // allnoconfig leaves nothing open
		if err := conf("olddefconfig"); err != nil {
			return err
		}
	}
	if unmet := kconfig.UnmetDependencies(said.String()); len(unmet) > 0 {
		return &fault.Kernel{Stage: "configure", Err: fmt.Errorf("unmet direct dependencies: %s", strings.Join(unmet, "; ")), Log: j.LogPath}
	}
	return j.syncconfig(ctx)
}

// amend writes a .config with the options in the place of what it says of
// them.
func (j Job) amend(base string) error {
	ours := map[string]bool{}
	for _, o := range j.Options {
		ours[o.Name] = true
	}
	var b strings.Builder
	for line := range strings.Lines(base) {
		name := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(line), "# "), "CONFIG_")
		if i := strings.IndexAny(name, "= "); i >= 0 {
			name = name[:i]
		}
		if !ours[name] {
			b.WriteString(line)
		}
	}
	b.WriteString("\n" + kconfig.Text(j.Options))
	if err := replace(j.Objects, Config, []byte(b.String())); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	return nil
}

// check holds the .config to the request.
func (j Job) check() (map[string]string, error) {
	text, err := read(j.Objects, Config)
	if err != nil {
		return nil, &fault.Kernel{Stage: "configure", Err: err, Log: j.LogPath}
	}
	config, err := kconfig.ReadConfig(bytes.NewReader(text))
	if err != nil {
		return nil, &fault.Kernel{Stage: "configure", Err: err, Log: j.LogPath}
	}
	symbols, err := kconfig.ReadSymbols(os.DirFS(j.Tree), SourceArch)
	if err != nil {
		return nil, &fault.Kernel{Stage: "configure", Err: err}
	}
	var own, users []error
	var first *kconfig.Mismatch
	for _, m := range kconfig.Check(j.Options, config, symbols) {
		if m.Option.User {
			if first == nil {
				first = &m
			}
			users = append(users, m)
		} else {
			own = append(own, m)
		}
	}
	if first != nil {
		return nil, &fault.Usage{
			Key:   fmt.Sprintf("%s:%d", first.Option.File, first.Option.Line),
			Value: "CONFIG_" + first.Option.Name + "=" + first.Option.Value,
			Err:   fmt.Errorf("in Linux %s: %w", j.Version, list(users)),
		}
	}
	if len(own) > 0 {
		return nil, &fault.Kernel{Stage: "configure", Err: fmt.Errorf("in Linux %s: %w", j.Version, list(own))}
	}
	return config, nil
}

// list joins errors in one line.
func list(errs []error) error {
	text := make([]string, len(errs))
	for i, err := range errs {
		text[i] = err.Error()
	}
	return errors.New(strings.Join(text, "; "))
}

// compile sets all of the result that it knows.
func (j Job) compile(ctx context.Context, config map[string]string, r *Result) error {
	targets := []string{fmt.Sprintf("-j%d", max(j.Jobs, 1)), "vmlinux"}
	if j.BzImage {
		targets = append(targets, "bzImage")
	}
	for _, v := range config {
		r.Modules = r.Modules || v == "m"
	}
	if r.Modules {
		targets = append(targets, "modules")
	}
	count := counter{start: time.Now(), total: j.Expected, see: j.See}
	j.See("compile", 0, j.Expected, 0)
	var f findings
	var w warnings
	if err := j.kbuild(ctx, io.MultiWriter(&count, &f, &w), targets...); err != nil {
		return j.failed("compile", err, &f)
	}
	r.Steps, r.Compiled, r.Warnings = count.done, w.compiled(), w.found
	if r.Modules {
		var f findings
		if err := j.kbuild(ctx, &f, "INSTALL_MOD_PATH="+inModules, "modules_install"); err != nil {
			return j.failed("install modules", err, &f)
		}
	}
	return nil
}

// A suite is a directory under tools/testing/selftests that the farm builds.
type suite struct {
	name      string
	needs     string // the option without which its programs are of no use; "" none
	libraries string
}

var suites = []suite{
	{name: "vfio"},
	{name: "iommu", needs: "IOMMUFD_TEST", libraries: "-lcap"},
}

// selftests builds what the tree has; a tree without a suite is no error. A
// kernel is there to be tested even if a suite does not compile: Linux 7.2.12
// is one.
func (j Job) selftests(ctx context.Context, config map[string]string, r *Result) error {
	headers := false
	for _, s := range suites {
		dir := "tools/testing/selftests/" + s.name
		if s.needs != "" && config[s.needs] != "y" {
			continue
		}
		if _, err := os.Stat(filepath.Join(j.Tree, dir, "Makefile")); err != nil {
			continue
		}
		if made := j.Programs[s.name]; len(made) > 0 {
			copied, err := j.take(s.name, made)
			if err != nil {
				return err
			}
			r.Selftests = append(r.Selftests, copied...)
			continue
		}
		if err := selftestTools(s); err != nil {
			return err
		}
		stage := "selftests/" + s.name
		j.See("selftests", len(r.Selftests), 0, 0)
		if !headers {
			var f findings
			if err := j.kbuild(ctx, &f, fmt.Sprintf("-j%d", max(j.Jobs, 1)), "headers"); err != nil {
				return j.failed("headers", err, &f)
			}
			headers = true
		}
		if err := j.makeRoom(s.name); err != nil {
			return err
		}
		args := []string{
			// With -k what is made does not depend on what fails first.
			"-C", inSource + "/" + dir, "-k", fmt.Sprintf("-j%d", max(j.Jobs, 1)),
			"OUTPUT=" + inSelftests + "/" + s.name,
			"KHDR_INCLUDES=-isystem " + inObjects + "/usr/include",
			"LDFLAGS=-static -pthread",
		}
		if s.libraries != "" {
			args = append(args, "LDLIBS="+s.libraries)
		}
		var f findings
		if err := j.make(ctx, &f, false, args...); err != nil {
			err = j.failed(stage, err, &f)
			var bad *fault.Kernel
			var limit *sandbox.LimitError
			if !errors.As(err, &bad) || errors.As(err, &limit) {
				return err
			}
			r.Unbuilt = append(r.Unbuilt, bad)
		}
		root, err := os.OpenRoot(j.Selftests)
		if err != nil {
			return fmt.Errorf("%s: %w", stage, err)
		}
		names, err := programs(root, s.name)
		root.Close()
		if err != nil {
			return &fault.Kernel{Stage: stage, Err: err, Log: j.LogPath}
		}
		for _, name := range names {
			r.Selftests = append(r.Selftests, Selftest{Suite: s.name, Name: name})
		}
	}
	return nil
}

// makeRoom makes the directory of a suite. It may be there only if the
// makefile of another suite made it.
func (j Job) makeRoom(suite string) error {
	stage := "selftests/" + suite
	err := os.Mkdir(filepath.Join(j.Selftests, suite), 0o755)
	if errors.Is(err, fs.ErrExist) {
		return &fault.Kernel{Stage: stage, Err: errors.New("another suite made its directory"), Log: j.LogPath}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", stage, err)
	}
	return nil
}

// take copies the programs of a suite.
func (j Job) take(suite string, paths []string) ([]Selftest, error) {
	if err := j.makeRoom(suite); err != nil {
		return nil, err
	}
	var tests []Selftest
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("selftests/%s: %w", suite, err)
		}
		name := filepath.Base(path)
		if err := os.WriteFile(filepath.Join(j.Selftests, suite, name), data, 0o755); err != nil {
			return nil, fmt.Errorf("selftests/%s: %w", suite, err)
		}
		tests = append(tests, Selftest{Suite: suite, Name: name})
	}
	return tests, nil
}

// programs lists the ELF executables that a suite's makefile left in its
// directory. In the place of the directory there may be anything.
func programs(root *os.Root, suite string) ([]string, error) {
	fi, err := root.Lstat(suite)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, fmt.Errorf("the build left no directory %s", suite)
	}
	entries, err := fs.ReadDir(root.FS(), suite)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		ok, err := isProgram(root, path.Join(suite, e.Name()))
		if err != nil {
			return nil, err
		}
		if ok {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func isProgram(root *os.Root, name string) (bool, error) {
	in, err := openIn(root, name)
	if errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer in.Close()
	f, err := elf.NewFile(in)
	var format *elf.FormatError
	if errors.As(err, &format) || errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	return f.Type == elf.ET_EXEC || f.Type == elf.ET_DYN && f.Entry != 0, nil
}
