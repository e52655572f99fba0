// SPDX-License-Identifier: Apache-2.0

package site

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"noiommu-farm/results"
	"noiommu-farm/results/known"
	"noiommu-farm/results/report"
	"noiommu-farm/results/site/history"
	"noiommu-farm/results/verdict"
)

// Run is a run as its directory tells it, judged anew from its records. Every
// cell of the plan is in Cells, in the order of the plan: one without a record
// that can be judged is there as the farm's failure.
type Run struct {
	report.Run
	records  []*results.Record // of Cells; nil where there is none
	Notes    []string          // what a reader must know of the run as a whole
	Previous *Run              // the run of the same command before this one, if there is one
	Going    string            // how far it is, while it goes on
	// Vmlinux finds a kernel by the key of its build, for the lines of the source
	// that it knows; nil, or an empty path, where there is none.
	Vmlinux func(build string) string
	plan    plan
	history *history.History // of the same cells in earlier runs; never nil after Load
}

// Load reads a run directory, and the one before it of the same command among
// its neighbours.
func Load(dir string) (*Run, error) {
	r, err := load(dir)
	if err != nil {
		return nil, err
	}
	r.compare()
	return r, nil
}

// compare reads what went before a run.
func (r *Run) compare() {
	var err error
	if before := previous(r.Dir, r.Run.Run); before != "" {
		if r.Previous, err = load(before); err != nil {
			r.Notes = append(r.Notes, fmt.Sprintf("the run before it could not be read: %v", err))
		}
	}
	var errs []error
	r.history, errs = history.Read(r.Dir, r.Run.Run, r.Cells)
	for _, err := range errs {
		r.Notes = append(r.Notes, fmt.Sprintf("not in the history: %v", err))
	}
}

func load(dir string) (*Run, error) {
	head, err := results.ReadRun(dir)
	if err != nil {
		return nil, err
	}
	r := &Run{Run: report.Run{Run: head, Dir: dir}}
	if r.plan, err = readPlan(dir); err != nil {
		r.Notes = append(r.Notes, err.Error())
	}
	for _, name := range head.Cells {
		if err := localName(name); err != nil {
			return nil, err
		}
		c, rec := loadCell(results.CellDir(dir, name), name)
		r.plan.foretell(c)
		r.Cells, r.records = append(r.Cells, c), append(r.records, rec)
	}
	// A file that cannot be read excuses nothing.
	list, err := known.OfRun(dir)
	if err != nil {
		r.Notes = append(r.Notes, err.Error())
	}
	r.Known = known.Apply(list, r.Cells, head.Started)
	for _, c := range r.Cells {
		r.Verdict = verdict.Worst(r.Verdict, c.Verdict)
	}
	if n := len(head.Left); n > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d more cells were not run for want of time", n))
	}
	if len(r.Cells) == 0 {
		r.Verdict = verdict.Infra
		r.Notes = append(r.Notes, "the run has no cells: nothing was tested")
	}
	r.concluded()
	return r, nil
}

// localName is an error if a cell's name leads elsewhere than to a folder.
func localName(name string) error {
	if !filepath.IsLocal(name) || strings.ContainsAny(name, `/\`) {
		return fmt.Errorf("read run: cell %q is no name of a folder", name)
	}
	return nil
}

func loadCell(dir, name string) (*verdict.Cell, *results.Record) {
	bad := &verdict.Cell{Name: name, Verdict: verdict.Infra, Dir: dir}
	rec, err := results.ReadCell(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		bad.Reason = "not begun: there is no record of it"
		return bad, nil
	case err != nil:
		bad.Reason = err.Error()
		return bad, nil
	}
	c, err := verdict.Judge(rec)
	if err != nil {
		bad.Kernel, bad.Machine, bad.Reason = rec.Planned.Kernel, rec.Planned.Machine, "judge: "+err.Error()
		return bad, rec
	}
	c.Name, c.Dir = name, dir
	return c, rec
}

// concluded asks results.json whether the farm came to the end of the run, and
// whether it failed at something that is in no cell.
func (r *Run) concluded() {
	text, err := os.ReadFile(filepath.Join(r.Dir, results.ConclusionJSON))
	if err != nil {
		r.Notes = append(r.Notes, "there is no results.json: the run has not ended, or was ended from outside")
		return
	}
	var said struct {
		Verdict verdict.Verdict `json:"verdict"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		r.Notes = append(r.Notes, "results.json is not whole")
		return
	}
	switch {
	case said.Verdict == verdict.Infra && r.Verdict.Good():
		r.Verdict = verdict.Infra
		r.Notes = append(r.Notes, "the farm failed at something outside of the cells")
	case said.Verdict != r.Verdict:
		r.Notes = append(r.Notes, fmt.Sprintf("when it ended the run was judged %q; its records, judged anew, come to %q", said.Verdict, r.Verdict))
	}
}

// previous finds the newest run before this one with the same command and the
// same cells, in the same directory.
func previous(dir string, head results.Run) string {
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return ""
	}
	type candidate struct {
		dir string
		results.Run
	}
	var all []candidate
	for _, e := range entries {
		if !e.IsDir() || e.Name() == filepath.Base(dir) { // "latest" is a link
			continue
		}
		d := filepath.Join(filepath.Dir(dir), e.Name())
		h, err := results.ReadRun(d)
		if err == nil && h.Started.Before(head.Started) && slices.Equal(h.Command, head.Command) && slices.Equal(h.Cells, head.Cells) {
			all = append(all, candidate{d, h})
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MaxFunc(all, func(a, b candidate) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.dir, b.dir)) }).dir
}
