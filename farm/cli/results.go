// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"noiommu-farm/farm/repro"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/index"
	"noiommu-farm/results/known"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

type resultsCmd struct {
	History  historyCmd  `cmd:"" help:"Say what a test did in each cell of every run: since when it is bad, how flaky it is, how long it takes."`
	Diff     diffCmd     `cmd:"" help:"Say where two runs differ."`
	Problems problemsCmd `cmd:"" help:"List what is bad in a run, each problem once, with its fingerprint and what is known of it."`
	Export   exportCmd   `cmd:"" help:"Print a run as JUnit XML, as a KCIDB report, as KTAP or as JSON."`
	Index    indexCmd    `cmd:"" help:"Bring the index of all runs up to date, or make it again."`
	GC       runsGCCmd   `cmd:"" name:"gc" help:"Say which old runs may go, and remove them when told to."`
}

// runsDirFlag is the directory of runs that a verb reads.
type runsDirFlag struct {
	Out string `help:"Directory of run directories." default:"${runs}" placeholder:"DIR"`
}

// index opens the index of the runs and brings it up to date. What a run
// directory has that cannot be read is told.
func (f runsDirFlag) index(s *surroundings) (*index.Index, error) {
	if info, err := os.Stat(f.Out); err != nil || !info.IsDir() {
		return nil, &fault.Usage{Key: "--out", Value: f.Out, Err: errors.New("is no directory with runs")}
	}
	x, err := index.Open(s.ctx, f.Out)
	if errors.Is(err, index.ErrDamaged) {
		return nil, fmt.Errorf("%w (farm results index --rebuild makes it again)", err)
	}
	if err != nil {
		return nil, err
	}
	done, err := x.Update(s.ctx)
	tellNotes(s.stderr, done)
	if err != nil {
		x.Close()
		return nil, err
	}
	return x, nil
}

func tellNotes(w io.Writer, done index.Change) {
	for _, n := range done.Notes {
		fmt.Fprintf(w, "left out: %s\n", report.Clean(n))
	}
}

// find is the directory of a run that is named as a whole.
func (f runsDirFlag) find(key, what string) (string, error) {
	target, err := repro.Find(f.Out, what)
	if err != nil {
		return "", err
	}
	if target.Cell != "" {
		return "", &fault.Usage{Key: key, Value: what, Err: errors.New("names a cell, and this is about whole runs")}
	}
	// "latest" is another run tomorrow.
	return filepath.EvalSymlinks(target.Run)
}

// read reads a run that is named as a whole.
func (f runsDirFlag) read(key, what string) (report.Run, error) {
	dir, err := f.find(key, what)
	if err != nil {
		return report.Run{}, err
	}
	return report.Read(dir)
}

// knownFlag is the file of known issues that a verb judges by.
type knownFlag struct {
	Known string `help:"File of known issues: a failure that it names is expected to happen, until a day." placeholder:"FILE"`
}

func (f knownFlag) load() (known.List, error) {
	if f.Known == "" {
		return known.List{}, nil
	}
	return known.Load(f.Known)
}

type historyCmd struct {
	Test string `arg:"" help:"A test as the tables call it, the id of a statement, or a test of a kernel selftest as PROGRAM:TEST." placeholder:"TEST"`
	Cell string `help:"Only cells with this text in their name." placeholder:"TEXT"`
	Last int    `short:"n" help:"How many of the newest results of each cell to list." default:"10"`
	JSON bool   `name:"json" help:"Print everything as JSON."`
	runsDirFlag
}

func (historyCmd) Help() string {
	return `Flaky is how often the test failed on kernels on which it has passed too, with a
95 % confidence interval. Exit code 0, whatever the history says.

Examples:

  farm results history PA-02
  farm results history vfio/vfio_pci_device_test:pci_irq.intx --cell intel`
}

func (c *historyCmd) Run(s *surroundings) error {
	if c.Last < 0 {
		return &fault.Usage{Key: "--last", Value: strconv.Itoa(c.Last), Err: errors.New("must not be negative")}
	}
	x, err := c.index(s)
	if err != nil {
		return err
	}
	defer x.Close()
	all, err := x.History(s.ctx, c.Test)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		names, err := x.Tests(s.ctx, c.Test, 10)
		if err != nil {
			return err
		}
		return &fault.Usage{Key: "TEST", Value: c.Test, Allowed: names, Err: errors.New("no run has such a test")}
	}
	var cells []string
	shown := all[:0:0]
	for _, h := range all {
		cells = append(cells, h.Cell)
		if strings.Contains(h.Cell, c.Cell) {
			shown = append(shown, h)
		}
	}
	if len(shown) == 0 {
		slices.Sort(cells)
		cells = slices.Compact(cells)
		return &fault.Usage{Key: "--cell", Value: c.Cell, Allowed: cells, Err: errors.New("the test was in no such cell")}
	}
	if c.JSON {
		return asJSON(s.stdout, shown)
	}
	for _, h := range shown {
		if err := showHistory(s.stdout, h, c.Last); err != nil {
			return err
		}
	}
	return nil
}

func showHistory(w io.Writer, h index.History, last int) error {
	var b strings.Builder
	newest := h.Results[len(h.Results)-1]
	fmt.Fprintf(&b, "%s in %s: now %s\n", report.Clean(h.Test), report.Clean(h.Cell), newest.Verdict)
	switch {
	case h.FirstBad != nil && h.LastGood != nil:
		fmt.Fprintf(&b, "  bad since run %s; last passed in %s\n", h.FirstBad.Run, h.LastGood.Run)
	case h.FirstBad != nil:
		fmt.Fprintf(&b, "  bad since run %s; never passed\n", h.FirstBad.Run)
	case h.LastGood == nil:
		fmt.Fprintln(&b, "  never passed")
	default:
		fmt.Fprintf(&b, "  last passed in run %s\n", h.LastGood.Run)
	}
	if r := h.Flaky; r.Of > 0 {
		fmt.Fprintf(&b, "  flaky: failed %d of %d times on kernels on which it passed, %.1f %% to %.1f %%\n", r.Bad, r.Of, 100*r.Low, 100*r.High)
	}
	if h.Took > 0 {
		fmt.Fprintf(&b, "  takes %s\n", brief(h.Took))
	}
	for _, r := range h.Results[max(0, len(h.Results)-last):] {
		line := fmt.Sprintf("  %s  %-7s %8s  %s", r.Run, r.Verdict, brief(r.Wall), r.Fingerprint)
		if r.Reason != "" {
			line += "  " + cut(report.Clean(r.Reason), 160)
		}
		fmt.Fprintln(&b, strings.TrimRight(line, " "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// brief is a short time, empty when it is not known.
func brief(d time.Duration) string {
	switch {
	case d <= 0:
		return ""
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

type diffCmd struct {
	A    string `arg:"" help:"A run directory, its name, or latest." placeholder:"A"`
	B    string `arg:"" help:"Another, the later one." placeholder:"B"`
	JSON bool   `name:"json" help:"Print the differences as JSON."`
	runsDirFlag
}

func (diffCmd) Help() string {
	return `Cells are the same where their names are, failures where their fingerprints are.
Exit code 1 when B is worse than A: a result is bad that was not, or in another
way. That something is no longer tested is told and is no reason for it.

Example:

  farm results diff 20260130-020000-1a2b latest`
}

func (c *diffCmd) Run(s *surroundings) error {
	a, err := c.read("A", c.A)
	if err != nil {
		return err
	}
	b, err := c.read("B", c.B)
	if err != nil {
		return err
	}
	all := report.Compare(a, b)
	if c.JSON {
		if all == nil {
			all = []report.Difference{}
		}
		err = asJSON(s.stdout, all)
	} else {
		err = report.Differences(s.stdout, all)
	}
	if err == nil && report.Regression(all) {
		return exitCode(fault.ExitKernel)
	}
	return err
}

type problemsCmd struct {
	What string `arg:"" optional:"" help:"A run directory, its name, or latest." default:"latest" placeholder:"RUN"`
	YAML bool   `name:"yaml" help:"Print entries for a file of known issues, of what is not in one yet, to be filled in by hand."`
	JSON bool   `name:"json" help:"Print the problems as JSON."`
	knownFlag
	runsDirFlag
}

func (problemsCmd) Help() string {
	return `A problem is known by its fingerprint: the test, the assertion and the kernel's
complaints with their innermost functions. It is the same in however many cells.
Exit code 0, whatever there is.

Examples:

  farm results problems
  farm results problems --yaml >> known.yaml`
}

func (c *problemsCmd) Run(s *surroundings) error {
	list, err := c.load()
	if err != nil {
		return err
	}
	run, err := c.read("RUN", c.What)
	if err != nil {
		return err
	}
	entries := make(map[string]known.Issue)
	for _, a := range run.Known {
		entries[a.Fingerprint] = a.Issue
	}
	for _, i := range list.Issues {
		entries[i.Fingerprint] = i
	}
	groups := run.Problems
	if groups == nil {
		groups = failure.Groups(run.Cells)
	}
	switch {
	case c.JSON:
		if groups == nil {
			groups = []failure.Group{}
		}
		return asJSON(s.stdout, groups)
	case c.YAML:
		return problemsAsYAML(s.stdout, groups, entries)
	}
	x, err := c.index(s)
	if err != nil {
		return err
	}
	defer x.Close()
	for _, g := range groups {
		first, err := x.FirstSeen(s.ctx, g.Fingerprint)
		if err != nil {
			return err
		}
		cells := g.Cells[0]
		if n := len(g.Cells); n > 1 {
			cells = fmt.Sprintf("%d cells", n)
		}
		fmt.Fprintf(s.stdout, "%s %s %s in %s\n    %s\n", g.Fingerprint, g.Verdict, report.Clean(g.Name), report.Clean(cells), report.Clean(g.Reason))
		if g.Follow > 0 {
			fmt.Fprintf(s.stdout, "    %d of its %d results only follow from it\n", g.Follow, g.Results)
		}
		if first != "" {
			fmt.Fprintf(s.stdout, "    first seen in run %s\n", first)
		}
		if i, ok := entries[g.Fingerprint]; ok {
			fmt.Fprintf(s.stdout, "    known until %s: %s (%s, %s)\n", i.Expires, report.Clean(i.Reason), report.Clean(i.Owner), report.Clean(i.Link))
		}
	}
	if len(groups) == 0 {
		_, err = fmt.Fprintln(s.stdout, "nothing is bad")
	}
	return err
}

// problemsAsYAML prints an entry for each problem that has none. What a person
// must say is left empty, which no file of known issues may be.
func problemsAsYAML(w io.Writer, groups []failure.Group, entries map[string]known.Issue) error {
	for _, g := range groups {
		if _, ok := entries[g.Fingerprint]; ok || g.Verdict == verdict.Infra {
			continue
		}
		// A string of JSON is one of YAML.
		name, err := json.Marshal(report.Clean(g.Name))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "  - fingerprint: %q\n    test: %s\n    # %s\n    reason:\n    link:\n    owner:\n    expires:\n", g.Fingerprint, name, report.Clean(g.Reason)); err != nil {
			return err
		}
	}
	return nil
}

type exportCmd struct {
	Format string `arg:"" enum:"junit,kcidb,ktap,json" help:"junit, kcidb (a report for KCIDB, I/O schema v5), ktap or json."`
	What   string `arg:"" optional:"" help:"A run directory, its name, or latest." default:"latest" placeholder:"RUN"`
	Origin string `help:"What KCIDB calls the system that sends the report." default:"${origin}" placeholder:"NAME"`
	runsDirFlag
}

func (exportCmd) Help() string {
	return `Nothing is sent anywhere. Cells of the plan that have no verdict are in it as the
farm's failures. Exit code 0 when it was printed, whatever it says.

Examples:

  farm results export junit > junit.xml
  farm results export kcidb latest | kcidb-submit ...`
}

func (c *exportCmd) Run(s *surroundings) error {
	run, err := c.read("RUN", c.What)
	if err != nil {
		return err
	}
	switch c.Format {
	case "junit":
		return report.JUnit(s.stdout, run)
	case "kcidb":
		return report.KCIDB(s.stdout, run, c.Origin)
	case "ktap":
		return report.KTAP(s.stdout, run)
	}
	return asJSON(s.stdout, run)
}

type indexCmd struct {
	Rebuild bool `help:"Throw the index away and read every run again."`
	runsDirFlag
}

func (indexCmd) Help() string {
	return `Other verbs bring the index up to date by themselves. It can be thrown away at any
time: what it knows is in the run directories.`
}

func (c *indexCmd) Run(s *surroundings) error {
	if info, err := os.Stat(c.Out); err != nil || !info.IsDir() {
		return &fault.Usage{Key: "--out", Value: c.Out, Err: errors.New("is no directory with runs")}
	}
	x, err := index.Open(s.ctx, c.Out)
	if c.Rebuild && errors.Is(err, index.ErrDamaged) {
		if err = index.Remove(c.Out); err == nil {
			x, err = index.Open(s.ctx, c.Out)
		}
	}
	if err != nil {
		return err
	}
	defer x.Close()
	var done index.Change
	if c.Rebuild {
		done, err = x.Rebuild(s.ctx)
	} else {
		done, err = x.Update(s.ctx)
	}
	tellNotes(s.stderr, done)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.stdout, "%d runs read, %d results; %d runs are gone\n", done.Runs, done.Results, done.Gone)
	return err
}

type runsGCCmd struct {
	Older  string `help:"Runs older than this go, as in 30d or 12h." placeholder:"AGE"`
	Size   string `help:"The oldest runs go until the others have no more than this, in bytes or as in 20G." placeholder:"SIZE"`
	Remove bool   `help:"Remove them. Without it they are only named."`
	knownFlag
	runsDirFlag
}

func (runsGCCmd) Help() string {
	return `What stays, however old: the newest run, a run that goes on, of each cell of each
command the last run in which it was as expected, and of each known issue the last
run that has it.

Examples:

  farm results gc --older 30d --known known.yaml
  farm results gc --older 90d --size 20G --known known.yaml --remove`
}

func (c *runsGCCmd) Run(s *surroundings) error {
	limits := index.Limits{Bytes: -1}
	if c.Older == "" && c.Size == "" {
		return &fault.Usage{Key: "--older, --size", Err: errors.New("say at least one of them")}
	}
	if c.Older != "" {
		age, err := parseAge(c.Older)
		if err != nil {
			return &fault.Usage{Key: "--older", Value: c.Older, Allowed: []string{"30d", "12h", "90m"}}
		}
		limits.Before = time.Now().Add(-age)
	}
	if c.Size != "" {
		bytes, err := kernels.ParseSize(c.Size)
		if err != nil {
			return &fault.Usage{Key: "--size", Value: c.Size, Allowed: []string{"bytes", "500M", "20G", "1T"}}
		}
		limits.Bytes = bytes
	}
	list, err := c.load()
	if err != nil {
		return err
	}
	for _, i := range list.Issues {
		limits.Known = append(limits.Known, i.Fingerprint)
	}
	x, err := c.index(s)
	if err != nil {
		return err
	}
	defer x.Close()
	plan, err := x.Plan(s.ctx, limits)
	if err != nil {
		return err
	}
	var gone, left int64
	n := 0
	for _, k := range plan {
		word := "stays"
		switch {
		case k.Goes:
			word = "goes"
			n++
			gone += k.Bytes
		default:
			left += k.Bytes
			if k.Why == "" {
				continue
			}
		}
		fmt.Fprintf(s.stdout, "%s %s, %d MiB, %s: %s\n", report.Clean(k.Run), word, k.Bytes>>20, ago(k.Started), report.Clean(k.Why))
	}
	if c.Remove {
		if err := x.Collect(s.ctx, plan); err != nil {
			return err
		}
	}
	word := map[bool]string{true: "removed", false: "would go; --remove removes them"}[c.Remove]
	_, err = fmt.Fprintf(s.stdout, "%d of %d runs, %d MiB, %s; %d MiB stay\n", n, len(plan), gone>>20, word, left>>20)
	return err
}

// parseAge reads a duration, in days too.
func parseAge(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("negative")
	}
	return d, err
}
