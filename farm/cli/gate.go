// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"noiommu-farm/farm/gate"
	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/series"
)

type gateCmd struct {
	Series string `arg:"" help:"The patches: an mbox (a whole thread will do), a maildir, a directory of .patch files, a patch, or DIR@A..B for commits of a git tree. @vN after it picks a version." placeholder:"SERIES"`
	Base   string `help:"Kernel source that the series is for: debian:7.3, tree:DIR, tree:DIR@REF or tarball:FILE." default:"debian:7.3" placeholder:"SOURCE"`
	Plan   string `help:"quick (an answer while you wait), core (every configuration and machine on which it can show) or full (with sanitizers and stress)." default:"core" placeholder:"PLAN"`
	Tries  int    `help:"How often a difference is repeated, with the patch and without." default:"3"`
	Fresh  bool   `help:"Begin anew, and run the base too even if another gate has."`
	Format string `help:"table, json, markdown, mail or github (annotations)." default:"table" placeholder:"FORMAT"`
	Jobs   int    `short:"j" help:"Guests at once." default:"${cpus}"`
	Cache  string `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
	Out    string `help:"Directory for run directories." default:"${runs}" placeholder:"DIR"`
}

func (gateCmd) Help() string {
	return `Judges a series of patches before it is read: the base and each patch on top of
those before it must build, boot and pass. What the base fails is not the series'
fault; what only a patch fails is repeated on both sides before it is reported.
What is built and booted follows from the files that a patch touches, and the
report says what was not. The first line of the answer names the patch and the
statement. A gate that was stopped goes on where it was.

Examples:

  farm gate v5.mbox
  farm gate --base tree:$HOME/linux@v7.3 --plan quick $HOME/linux@v7.3..HEAD
  farm gate --format mail v5.mbox > reply.eml && git send-email reply.eml`
}

func (c *gateCmd) Run(s *surroundings) error {
	level, err := gate.ParseLevel(c.Plan)
	if err != nil {
		return err
	}
	formats := map[string]func(*gate.Report, io.Writer) error{
		"table":    func(r *gate.Report, w io.Writer) error { return r.Table(w, colorful(w)) },
		"json":     showJSON,
		"markdown": (*gate.Report).Markdown,
		"mail":     (*gate.Report).Mail,
		"github":   (*gate.Report).GitHub,
	}
	show, ok := formats[c.Format]
	if !ok {
		return &fault.Usage{Key: "--format", Value: c.Format, Allowed: []string{"table", "json", "markdown", "mail", "github"}}
	}
	if c.Tries < 1 || c.Jobs < 1 {
		return &fault.Usage{Key: "--tries, --jobs", Value: fmt.Sprint(min(c.Tries, c.Jobs)), Err: errors.New("must be at least 1")}
	}
	patches, err := gateSeries(s, c.Series)
	if err != nil {
		return err
	}
	watch := newProgress(s.stderr)
	defer watch.close()
	r, err := gate.Run(s.ctx, gate.Options{
		Series: patches, Base: c.Base, Level: level, Tries: c.Tries, Fresh: c.Fresh,
		Cache: openCache(c.Cache, watch.note), Images: filepath.Join(c.Cache, "images"), Runs: c.Out,
		Jobs: c.Jobs, Command: append([]string{"farm"}, s.args...), Tell: watch.tell,
	})
	watch.close()
	if r == nil {
		var stopped interrupted
		if errors.As(context.Cause(s.ctx), &stopped) {
			return fmt.Errorf("%w: the same command goes on from here", stopped)
		}
		return err
	}
	return conclude(s.stderr, r.Verdict, errors.Join(err, show(r, s.stdout)))
}

func showJSON(r *gate.Report, w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// gateSeries reads a series. To a gate, unlike to a build, no patch at all is a
// series too: a hook or a script may have none.
func gateSeries(s *surroundings, spec string) (series.Series, error) {
	if info, err := os.Stat(spec); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		return series.Series{Spec: spec, Title: "nothing"}, nil
	}
	p, err := loadSeries(s, spec)
	if errors.Is(err, series.ErrEmpty) {
		return series.Series{Spec: spec, Title: "nothing"}, nil
	}
	return p, err
}
