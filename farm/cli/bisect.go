// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"noiommu-farm/farm/gate"
	"noiommu-farm/farm/matrix"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/series"
	"noiommu-farm/results"
	"noiommu-farm/results/report"
)

type bisectCmd struct {
	Good string `arg:"" help:"A kernel source on which the test passes: debian:7.3, tree:DIR@COMMIT." placeholder:"GOOD"`
	Bad  string `arg:"" help:"Where it fails: tree:DIR@COMMIT of the same tree, or the series on top of GOOD that makes it fail." placeholder:"BAD"`
	Test string `arg:"" help:"A statement of the contract, or SUITE/PROGRAM of the kernel's own selftests." placeholder:"TEST"`

	Config   string `help:"Configuration." default:"noiommu" placeholder:"NAMES"`
	Topology string `help:"Topology of the machine." default:"none" placeholder:"NAME"`
	Tries    int    `short:"n" help:"How often the test is tried in each state, at least." default:"3"`
	Mail     bool   `help:"Print the answer as a mail."`
	Cache    string `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
	Out      string `help:"Directory for run directories." default:"${runs}" placeholder:"DIR"`
}

func (bisectCmd) Help() string {
	return `Finds the patch or the commit from which on a test fails. A state that does not
build is skipped; a test that does not fail every time is tried so often that a
good state is bad by luck with less than one percent. The log that follows the
answer is what "git bisect replay" takes.

Examples:

  farm bisect debian:7.3 v5.mbox PA-02
  farm bisect tree:$HOME/linux@v7.2 tree:$HOME/linux@v7.3 PE-01`
}

func (c *bisectCmd) Run(s *surroundings) error {
	if c.Tries < 1 {
		return &fault.Usage{Key: "--tries", Value: fmt.Sprint(c.Tries), Err: errors.New("must be at least 1")}
	}
	if !strings.Contains(c.Test, "/") && !slices.Contains(matrix.StatementIDs(), c.Test) {
		return &fault.Usage{Key: "TEST", Value: c.Test, Allowed: append(matrix.StatementIDs(), "vfio/PROGRAM", "iommu/PROGRAM")}
	}
	spec, err := between(c.Good, c.Bad)
	if err != nil {
		return err
	}
	patches, err := loadSeries(s, spec)
	if errors.Is(err, series.ErrEmpty) {
		return &fault.Usage{Key: "BAD", Value: c.Bad, Err: errors.New("there is no commit between GOOD and BAD")}
	}
	if err != nil {
		return err
	}
	watch := newProgress(s.stderr)
	defer watch.close()
	b, err := gate.Bisect(s.ctx, gate.Options{
		Series: patches, Base: c.Good, Tries: c.Tries,
		Cache: openCache(c.Cache, watch.note), Images: filepath.Join(c.Cache, "images"), Runs: c.Out,
		Command: append([]string{"farm"}, s.args...), Tell: watch.tell,
	}, gate.Point{Config: c.Config, Topology: c.Topology}, c.Test)
	watch.close()
	if err != nil {
		return err
	}
	if c.Mail {
		return b.Report.Mail(s.stdout)
	}
	log := filepath.Join(c.Out, "bisect.log")
	if err := results.WriteFile(log, []byte(b.Log(patches))); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.stdout, "%s\n\n%s\nlog in %s\n", report.Clean(b.Headline(patches)), cleanLines(b.Log(patches)), log)
	return err
}

func cleanLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = report.Clean(l)
	}
	return strings.Join(lines, "\n")
}

// between is the series from a good source to a bad one: the commits between
// two of a tree, or what BAD itself names.
func between(good, bad string) (string, error) {
	rest, isTree := strings.CutPrefix(bad, "tree:")
	if !isTree {
		return bad, nil
	}
	dir, to, ok := cutLast(rest, "@")
	from, same := strings.CutPrefix(good, "tree:"+dir+"@")
	if !ok || !same {
		return "", &fault.Usage{Key: "GOOD, BAD", Value: good + " " + bad, Err: errors.New("must be two commits of one tree: tree:DIR@GOOD tree:DIR@BAD")}
	}
	return dir + "@" + from + ".." + to, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
