// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"noiommu-farm/farm/runner"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results/report"
)

type kernelCmd struct {
	List  kernelListCmd  `cmd:"" help:"List the configurations, and the builds in the cache with size, age and last use."`
	Build kernelBuildCmd `cmd:"" help:"Build configurations of a kernel and say what is wrong with how they compile."`
	Diff  kernelDiffCmd  `cmd:"" help:"Say in which options two configurations differ, and why."`
	GC    kernelGCCmd    `cmd:"" name:"gc" help:"Make the cache of sources and builds smaller, the least useful first."`
}

type kernelListCmd struct {
	JSON  bool   `name:"json" help:"Print the list as JSON."`
	Cache string `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
}

func (c *kernelListCmd) Run(s *surroundings) error {
	builds, err := openCache(c.Cache, note(s)).Stored(s.ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return asJSON(s.stdout, struct {
			Configurations map[string][]string
			Fragments      []string
			Builds         []kernels.Stored
		}{kernels.Profiles(), kernels.Fragments(), builds})
	}
	w := tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	profiles := kernels.Profiles()
	fmt.Fprintln(w, "CONFIGURATION\tFRAGMENTS")
	for _, name := range kernels.Configurations() {
		if list, ok := profiles[name]; ok {
			fmt.Fprintf(w, "%s\t%s\n", name, strings.Join(list, " "))
		}
	}
	fmt.Fprintf(w, "fragments alone\t%s\n", strings.Join(kernels.Fragments(), " "))
	fmt.Fprintln(w, "as a base\tdefconfig, a path of a .config or config-NAME")
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(s.stdout)
	if len(builds) == 0 {
		_, err := fmt.Fprintln(s.stdout, "nothing is built yet")
		return err
	}
	w = tabwriter.NewWriter(s.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BUILD\tCONFIGURATION\tSOURCE\tCOMPILER\tSIZE\tTOOK\tFROM\tMADE\tUSED")
	var sum int64
	for _, b := range builds {
		used := ago(b.Used)
		if b.InUse {
			used = "now"
		}
		compiler, _, _ := strings.Cut(b.Compiler, " ")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d MiB\t%s\t%s\t%s\t%s\n", short(b.Key), report.Clean(b.Configuration), report.Clean(b.Origin), compiler,
			b.Bytes>>20, b.Took.Round(time.Second), cmp.Or(short(b.Neighbour), "nothing"), ago(b.Made), used)
		sum += b.Bytes
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.stdout, "%d builds, %d MiB\n", len(builds), sum>>20)
	return err
}

type kernelBuildCmd struct {
	Config   []string `arg:"" optional:"" help:"Configurations, each a list of names and .config files with commas between them; \"profiles\" is those of the contract. Default: noiommu." placeholder:"NAMES"`
	Kernel   string   `help:"Kernel source: debian:7.3, debian:7.2, debian:6.12, tree:DIR, tree:DIR@REF or tarball:FILE." default:"debian:7.3" placeholder:"SOURCE"`
	Series   string   `help:"Patches on the source: an mbox, a maildir, a directory of patches, a patch, or DIR@A..B." placeholder:"PATCHES"`
	Base     string   `help:"Kernel source whose warnings are not new. Default: with --series the source without it, else none: every warning counts." placeholder:"SOURCE"`
	Compiler string   `help:"gcc, clang (the newest that is installed whole) or clang-N." default:"gcc" placeholder:"NAME"`
	Lint     bool     `help:"Compile the C files that differ from the base once more with W=1, and with sparse when it is installed."`
	JSON     bool     `name:"json" help:"Print the verdicts as JSON."`
	Cache    string   `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
}

func (kernelBuildCmd) Help() string {
	return `Each configuration is built, or taken from the cache, and judged: does it compile
and link, modules too, and does it do so without a warning of the compiler,
objtool, modpost (section mismatches) or the linker that the base has not? When
all profiles of the contract were asked for, that is the statement KC-12. Exit
code 1 when one is not good.

Examples:

  farm kernel build k-cdev
  farm kernel build profiles --series v5.mbox --lint
  farm kernel build defconfig,vfio,vfio-noiommu
  farm kernel build /boot/config-6.1.0-18-amd64,my.config
  farm kernel build noiommu --compiler clang`
}

func (c *kernelBuildCmd) Run(s *surroundings) error {
	source, err := kernels.ParseSource(c.Kernel)
	if err != nil {
		return err
	}
	patches, err := loadSeries(s, c.Series)
	if err != nil {
		return err
	}
	var base *kernels.Source
	switch {
	case c.Base != "":
		parsed, err := kernels.ParseSource(c.Base)
		if err != nil {
			return err
		}
		base = &parsed
	case c.Series != "":
		plain := source
		base = &plain
	case c.Lint:
		return &fault.Usage{Key: "--lint", Value: "true", Err: errors.New("needs --series or --base: it looks at the files that differ")}
	}
	source = source.With(patches)
	names := c.Config
	if len(names) == 0 {
		names = []string{"noiommu"}
	}
	all := slices.Contains(names, "profiles")
	if all {
		names = slices.DeleteFunc(names, func(n string) bool { return n == "profiles" })
		names = append(kernels.ContractProfiles(), names...)
	}
	var configs []kernels.Configuration
	for _, n := range names {
		config, err := kernels.LoadConfiguration(n)
		if err != nil {
			return err
		}
		configs = append(configs, config)
	}

	watch := newProgress(s.stderr)
	defer watch.close()
	cache := openCache(c.Cache, watch.note)
	var verdicts []kernels.BuildVerdict
	bad := 0
	for _, config := range configs {
		request := kernels.Request{Source: source, Config: config, Compiler: c.Compiler}
		v, err := cache.JudgeBuild(s.ctx, request, base, c.Lint, func(p kernels.Progress) { watch.tell(runner.Progress{Build: &p}) })
		if err != nil {
			return err
		}
		watch.quiet()
		verdicts = append(verdicts, v)
		if !v.Good() {
			bad++
		}
		if !c.JSON {
			if err := showBuild(s.stdout, v, patches); err != nil {
				return err
			}
		}
	}
	watch.close()
	switch {
	case c.JSON:
		err = asJSON(s.stdout, asRecords(verdicts))
	case all && bad == 0:
		_, err = fmt.Fprintln(s.stdout, "pass  KC-12  each profile compiles without a new warning")
	case all:
		_, err = fmt.Fprintf(s.stdout, "fail  KC-12  %d of %d configurations do not compile, or with a new warning\n", bad, len(verdicts))
	}
	if err != nil {
		return fmt.Errorf("write verdicts: %w", err)
	}
	if bad > 0 {
		return exitCode(fault.ExitKernel)
	}
	return nil
}

// showBuild prints a verdict: a line, and what is wrong below it.
func showBuild(w io.Writer, v kernels.BuildVerdict, patches series.Series) error {
	var b strings.Builder
	if v.Failure != nil {
		fmt.Fprintf(&b, "FAIL  %s  does not build\n", report.Clean(v.Config))
		indent(&b, v.Failure.Error())
		_, err := io.WriteString(w, b.String())
		return err
	}
	word := "PASS"
	if !v.Good() {
		word = "FAIL"
	}
	fmt.Fprintf(&b, "%s  %s  %s  ", word, report.Clean(v.Config), short(v.Build.Key))
	switch {
	case v.Build.Cached:
		b.WriteString("in the cache")
	case v.Build.Neighbour != "":
		fmt.Fprintf(&b, "%s, %d steps, from %s", v.Build.Took.Round(time.Second), v.Build.Steps, short(v.Build.Neighbour))
	default:
		fmt.Fprintf(&b, "%s, %d steps, from nothing", v.Build.Took.Round(time.Second), v.Build.Steps)
	}
	switch {
	case len(v.Warnings) > 0:
		fmt.Fprintf(&b, "; new warnings: %s", kernels.SummarizeWarnings(v.Warnings))
	default:
		b.WriteString("; no new warning")
	}
	if v.Linted != nil {
		fmt.Fprintf(&b, "; W=1 and sparse on %d files: %d new", len(v.Linted), len(v.Lint))
	}
	b.WriteString("\n")
	const enough = 50
	for i, warning := range slices.Concat(v.Warnings, v.Lint) {
		if i == enough {
			fmt.Fprintf(&b, "      and %d more\n", len(v.Warnings)+len(v.Lint)-enough)
			break
		}
		indent(&b, warning.String())
		if by := kernels.BlameWarning(warning, patches); len(by) > 0 {
			indent(&b, "  "+warning.File+" is touched by "+strings.Join(by, ", "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// indent puts a text below a verdict, a line at a time.
func indent(b *strings.Builder, text string) {
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(b, "      %s\n", report.Clean(line))
	}
}

// A buildRecord is a verdict as JSON.
type buildRecord struct {
	Config, Verdict   string
	Key               string            `json:",omitempty"`
	Cached            bool              `json:",omitempty"`
	Neighbour         string            `json:",omitempty"`
	Seconds           float64           `json:",omitempty"`
	Failure           string            `json:",omitempty"`
	Warnings, Lint    []kernels.Warning `json:",omitempty"`
	LintedFiles       []string          `json:",omitempty"`
	Compiler, Release string            `json:",omitempty"`
}

func asRecords(all []kernels.BuildVerdict) []buildRecord {
	var list []buildRecord
	for _, v := range all {
		r := buildRecord{Config: v.Config, Verdict: "fail", Warnings: v.Warnings, Lint: v.Lint, LintedFiles: v.Linted}
		if v.Good() {
			r.Verdict = "pass"
		}
		if v.Failure != nil {
			r.Failure = v.Failure.Error()
		}
		if b := v.Build; b != nil {
			r.Key, r.Cached, r.Neighbour, r.Seconds, r.Compiler, r.Release = b.Key, b.Cached, b.Neighbour, b.Took.Seconds(), b.Compiler, b.Release
		}
		list = append(list, r)
	}
	return list
}

type kernelDiffCmd struct {
	A        string `arg:"" help:"A configuration, as for build." placeholder:"NAMES"`
	B        string `arg:"" help:"Another." placeholder:"NAMES"`
	Kernel   string `help:"Kernel source of both, or of the first." default:"debian:7.3" placeholder:"SOURCE"`
	Against  string `help:"Kernel source of the second. Default: the same." placeholder:"SOURCE"`
	Compiler string `help:"gcc, clang or clang-N." default:"gcc" placeholder:"NAME"`
	JSON     bool   `name:"json" help:"Print the differences as JSON."`
	Cache    string `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
}

func (kernelDiffCmd) Help() string {
	return `Nothing is compiled: what is not in the cache is configured, which takes seconds.

Examples:

  farm kernel diff noiommu k-cdev
  farm kernel diff noiommu noiommu,my.config
  farm kernel diff noiommu noiommu --against tree:$HOME/linux`
}

func (c *kernelDiffCmd) Run(s *surroundings) error {
	var requests [2]kernels.Request
	for i, r := range []struct{ source, config string }{{c.Kernel, c.A}, {cmp.Or(c.Against, c.Kernel), c.B}} {
		source, err := kernels.ParseSource(r.source)
		if err != nil {
			return err
		}
		config, err := kernels.LoadConfiguration(r.config)
		if err != nil {
			return err
		}
		requests[i] = kernels.Request{Source: source, Config: config, Compiler: c.Compiler}
	}
	watch := newProgress(s.stderr)
	defer watch.close()
	list, err := openCache(c.Cache, watch.note).Compare(s.ctx, requests[0], requests[1], func(p kernels.Progress) {
		if p.Total > 0 || p.Note != "" { // what takes long: a source that is not there yet
			watch.tell(runner.Progress{Build: &p})
		}
	})
	watch.close()
	if err != nil {
		return err
	}
	if c.JSON {
		return asJSON(s.stdout, list)
	}
	for _, d := range list {
		if _, err := fmt.Fprintf(s.stdout, "%s\n  %-24s %-14s %s\n  %-24s %-14s %s\n", d.Option,
			report.Clean(c.A), report.Clean(d.A), report.Clean(d.WhyA), report.Clean(c.B), report.Clean(d.B), report.Clean(d.WhyB)); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(s.stdout, "%d options differ\n", len(list))
	return err
}

type kernelGCCmd struct {
	Size  string `help:"What the cache may have, in bytes or as in 20G." default:"20G" placeholder:"SIZE"`
	Cache string `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
}

func (kernelGCCmd) Help() string {
	return `Removes sources that no build is of, then the builds that are worth least: quick
to make, large, and not used for long. What a farm that runs now uses or makes
stays; so does what was downloaded.`
}

func (c *kernelGCCmd) Run(s *surroundings) error {
	limit, err := kernels.ParseSize(c.Size)
	if err != nil {
		return &fault.Usage{Key: "--size", Value: c.Size, Allowed: []string{"bytes", "500M", "20G", "1T"}}
	}
	done, err := openCache(c.Cache, note(s)).Clear(s.ctx, limit)
	for _, b := range done.Builds {
		fmt.Fprintf(s.stdout, "removed %s  %s of %s, %d MiB, used %s\n", short(b.Key), report.Clean(b.Configuration), report.Clean(b.Origin), b.Bytes>>20, ago(b.Used))
	}
	if err != nil {
		return err
	}
	if len(done.Sources) > 0 {
		fmt.Fprintf(s.stdout, "removed %d sources that no build is of\n", len(done.Sources))
	}
	_, err = fmt.Fprintf(s.stdout, "%d MiB before, %d MiB now\n", done.Before>>20, done.After>>20)
	if done.After > limit {
		fmt.Fprintf(s.stdout, "that is more than asked for: %d builds and sources are in use, the rest is not the cache's to remove\n", done.InUse)
	}
	return err
}

// note prints what people should know.
func note(s *surroundings) func(string) {
	return func(line string) { fmt.Fprintln(s.stderr, report.Clean(line)) }
}

func asJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// short is enough of a key to tell builds apart.
func short(key string) string { return key[:min(len(key), 8)] }

// ago is a time as people speak of it.
func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case t.IsZero():
		return "?"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}
