// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/farm/runner"
	"noiommu-farm/farm/runner/meaning"
	"noiommu-farm/internal/fault"
	"noiommu-farm/results/report"
)

type matrixCmd struct {
	Plan   matrixPlanCmd   `cmd:"" help:"Say what a matrix file comes to: cells, what they cost, and what no cell covers."`
	Run    matrixRunCmd    `cmd:"" help:"Carry out a matrix file: build its kernels, boot its cells, and judge them."`
	Resume matrixResumeCmd `cmd:"" help:"Go on with a run that was stopped, killed or lost power."`
	Schema matrixSchemaCmd `cmd:"" help:"Print the JSON Schema of matrix files, for editors."`
}

// matrixFlags say which matrix, and where results and kernels are.
type matrixFlags struct {
	File  string `arg:"" optional:"" help:"Matrix file." default:"matrix.yaml" placeholder:"FILE"`
	Until string `help:"Time of day, as in 06:00, or how long, as in 5h: what is most likely to tell something new is done until then. Default: the file's budget." placeholder:"TIME"`
	Cache string `help:"Directory of sources, builds and images." default:"${cache}" placeholder:"DIR"`
	Out   string `help:"Directory for run directories." default:"${runs}" placeholder:"DIR"`
}

// arranged is a matrix file with its plan and what to do of it.
type arranged struct {
	planned  *matrix.Planned
	schedule schedule.Schedule
	words    *meaning.Words
	until    time.Time // zero: no limit
}

// arrange reads a matrix file and makes a schedule of it. now is the code that
// is to be tested, as far as it is known.
func (c *matrixFlags) arrange(now schedule.Now) (*arranged, error) {
	a := &arranged{words: meaning.NewWords()}
	var err error
	if a.planned, err = readMatrix(c.File, a.words.Vocabulary()); err != nil {
		return nil, err
	}
	limit := a.planned.Budget
	if c.Until != "" {
		if limit, err = parseUntil(c.Until, now.Time); err != nil {
			return nil, err
		}
	}
	if limit > 0 {
		a.until = now.Time.Add(limit)
	}
	cache := openCache(c.Cache, nil)
	history, err := runner.ReadHistory(c.Out, cache)
	if err != nil {
		return nil, err
	}
	ready, err := runner.Ready(cache)
	if err != nil {
		return nil, err
	}
	work, err := schedule.Of(a.planned, history, a.words.Vocabulary(), now)
	if err != nil {
		return nil, err
	}
	a.schedule = schedule.Arrange(work, history, ready, a.words.Distance, runtime.NumCPU(), limit)
	return a, nil
}

func readMatrix(path string, v matrix.Vocabulary) (*matrix.Planned, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		var bad *fs.PathError
		if errors.As(err, &bad) {
			err = bad.Err
		}
		return nil, &fault.Usage{Key: "matrix file", Value: path, Err: err}
	}
	f, err := matrix.ParseFile(path, text, v)
	if err != nil {
		return nil, err
	}
	return f.Plan(v)
}

// parseUntil is how long it is until a time of day, or a duration as it is.
func parseUntil(text string, now time.Time) (time.Duration, error) {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	at, err := time.Parse("15:04", text)
	if err != nil {
		return 0, &fault.Usage{Key: "--until", Value: text, Err: errors.New("is neither a time of day, as in 06:00, nor a duration, as in 5h")}
	}
	next := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), 0, 0, now.Location())
	if !next.After(now) {
		next = next.AddDate(0, 0, 1)
	}
	return next.Sub(now), nil
}

type matrixPlanCmd struct {
	matrixFlags
	Format string `help:"table, json, github (a job matrix) or gitlab (a child pipeline)." default:"table" placeholder:"FORMAT"`
}

func (matrixPlanCmd) Help() string {
	return `Examples:

  farm matrix plan                            the default nightly, matrix.yaml
  farm matrix plan matrix.smoke.yaml
  farm matrix plan --until 06:00              what there is time for
  farm matrix plan --format github >> "$GITHUB_OUTPUT"

A cell costs what its last runs took, or the same cell with another source;
where there is no such run, a standard time that is marked with "~". Nothing is
fetched and nothing is built.`
}

func (c *matrixPlanCmd) Run(s *surroundings) error {
	formats := map[string]func(io.Writer, string, *arranged) error{
		"table": planTable, "json": planJSON, "github": planGitHub, "gitlab": planGitLab,
	}
	show, ok := formats[c.Format]
	if !ok {
		return &fault.Usage{Key: "--format", Value: c.Format, Allowed: []string{"table", "json", "github", "gitlab"}}
	}
	a, err := c.arrange(schedule.Now{Time: time.Now()})
	if err != nil {
		return err
	}
	return show(s.stdout, c.File, a)
}

// planTable is the plan for people.
func planTable(w io.Writer, file string, a *arranged) error {
	p, s := a.planned, a.schedule
	fmt.Fprintf(w, "%s: %d cells of %d (%s), %d kernels, about %s on %d processors", report.Clean(file), len(s.Work), p.Possible, p.Strategy,
		len(s.Builds), about(s.Wall), runtime.NumCPU())
	if p.Budget > 0 {
		fmt.Fprintf(w, ", budget %s", about(p.Budget))
	}
	fmt.Fprint(w, "\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, b := range s.Builds {
		cost := "in the cache"
		if b.Cost > 0 {
			cost = "build " + about(b.Cost)
		}
		fmt.Fprintf(t, "%s\t%s\n", report.Clean(b.Kernel.String()), cost)
		for _, work := range s.Work {
			if work.Cell.Kernel() == b.Kernel {
				planRow(t, work)
			}
		}
	}
	if len(s.Left) > 0 {
		fmt.Fprintf(t, "no time for these\t\n")
		for _, work := range s.Left {
			planRow(t, work)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, e := range p.Excluded {
		fmt.Fprintf(w, "left out: %d: %s\n", e.Points, report.Clean(e.Reason))
	}
	fmt.Fprintf(w, "pairs of values: %d of %d\n", p.Pairs-len(p.Missed), p.Pairs)
	for i, m := range p.Missed {
		if i == 10 {
			fmt.Fprintf(w, "  and %d more\n", len(p.Missed)-i)
			break
		}
		fmt.Fprintf(w, "  no cell has %s\n", report.Clean(m.String()))
	}
	fmt.Fprintf(w, "statements that some cell must pass: %d of %d\n", len(statements)-len(p.Unproven), len(statements))
	missing := make(map[string][]string)
	for _, st := range p.Unproven {
		missing[st.Suite] = append(missing[st.Suite], st.ID)
	}
	for _, suite := range matrix.ContractSuites() {
		if len(missing[suite]) > 0 {
			fmt.Fprintf(w, "  no cell proves %s: %s\n", suite, strings.Join(missing[suite], " "))
		}
	}
	return nil
}

// statements are those that a cell can prove.
var statements = matrix.StatementIDs()

func planRow(w io.Writer, work schedule.Work) {
	mark := ""
	if !work.Known {
		mark = "~"
	}
	fmt.Fprintf(w, "  %4d  %s\t%s%s\n", work.Number, work.Cell.Name, mark, about(work.Cost))
}

// about is a duration as people say it.
func about(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= 10*time.Minute:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(d.Round(time.Second).Seconds()))
}

func planJSON(w io.Writer, file string, a *arranged) error {
	unproven := []string{}
	for _, st := range a.planned.Unproven {
		unproven = append(unproven, st.Name())
	}
	missed := []string{}
	for _, m := range a.planned.Missed {
		missed = append(missed, m.String())
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		File     string            `json:"file"`
		Strategy matrix.Strategy   `json:"strategy"`
		Possible int               `json:"possible"`
		Schedule schedule.Schedule `json:"schedule"`
		Excluded []matrix.Excluded `json:"excluded"`
		Pairs    int               `json:"pairs"`
		Missed   []string          `json:"missed_pairs"`
		Unproven []string          `json:"unproven"`
	}{file, a.planned.Strategy, a.planned.Possible, a.schedule, a.planned.Excluded, a.planned.Pairs, missed, unproven})
}

// byNumber are the cells that there is time for, in the order of the file:
// elsewhere the history, and so the order, is another.
func byNumber(a *arranged) []schedule.Work {
	return slices.SortedFunc(slices.Values(a.schedule.Work), func(a, b schedule.Work) int { return a.Number - b.Number })
}

// Jobs that the engines take at once
// (docs.github.com: actions, usage limits; docs.gitlab.com: CI/CD YAML syntax
// reference, parallel:matrix).
const (
	mostGitHub = 256
	mostGitLab = 200
)

// minutes is a time limit for a job that makes a kernel too.
func minutes(work schedule.Work) int { return int((3*work.Cost+time.Hour)/time.Minute) + 1 }

// planGitHub is one line for $GITHUB_OUTPUT and
// "matrix: ${{ fromJSON(needs.plan.outputs.matrix) }}".
func planGitHub(w io.Writer, file string, a *arranged) error {
	type job struct {
		Name    string `json:"name"`
		Number  int    `json:"number"`
		Kernel  string `json:"kernel"` // for a cache key
		Minutes int    `json:"timeout-minutes"`
	}
	var jobs []job
	for _, work := range byNumber(a) {
		jobs = append(jobs, job{work.Cell.Name, work.Number, work.Cell.Kernel().String(), minutes(work)})
	}
	if len(jobs) > mostGitHub {
		return &fault.Usage{Key: "--format", Value: "github", Err: fmt.Errorf("it takes %d jobs at most, and the plan has %d cells: pairwise, sample or --until make fewer", mostGitHub, len(jobs))}
	}
	text, err := json.Marshal(map[string]any{"include": jobs})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "matrix=%s\n", text)
	return err
}

// planGitLab is a child pipeline (trigger: include: artifact).
func planGitLab(w io.Writer, file string, a *arranged) error {
	work := byNumber(a)
	if len(work) > mostGitLab {
		return &fault.Usage{Key: "--format", Value: "gitlab", Err: fmt.Errorf("it takes %d jobs at most, and the plan has %d cells: pairwise, sample or --until make fewer", mostGitLab, len(work))}
	}
	longest := 0
	var rows strings.Builder
	for _, one := range work {
		longest = max(longest, minutes(one))
		fmt.Fprintf(&rows, "      - {NUMBER: \"%d\", CELL: %q}\n", one.Number, one.Cell.Name)
	}
	_, err := fmt.Fprintf(w, "cell:\n  timeout: %d minutes\n  script:\n    - farm cell \"$MATRIX\" \"$NUMBER\" --out runs\n"+
		"  variables: {MATRIX: %q}\n  artifacts: {when: always, paths: [runs]}\n  parallel:\n    matrix:\n%s", longest, file, rows.String())
	return err
}

type matrixSchemaCmd struct{}

func (matrixSchemaCmd) Run(s *surroundings) error {
	_, err := s.stdout.Write(matrix.Schema(meaning.Lists()))
	return err
}
