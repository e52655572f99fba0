// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"noiommu-farm/kernels"
	"noiommu-farm/results/console"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

// Report is the answer of a gate, and the shape of report.json.
type Report struct {
	Series  Series            `json:"series"`
	Base    string            `json:"base"` // as asked for
	BaseID  string            `json:"base_id"`
	Level   Level             `json:"level"`
	Verdict verdict.Verdict   `json:"verdict"`
	States  []State           `json:"states"` // the base, then each patch on top of those before it
	Found   []Difference      `json:"found"`  // in the order of the patches
	Version map[string]string `json:"versions"`
	Dir     string            `json:"dir"`
}

// Series is what was judged.
type Series struct {
	Spec    string `json:"spec"`
	Title   string `json:"title"`
	Version int    `json:"version"`
	Cover   string `json:"cover,omitempty"` // message-id
	Patches int    `json:"patches"`
	Left    int    `json:"left"` // mails that are no part of it
}

// State is the base (Index 0) or the tree after a patch.
type State struct {
	Index     int      `json:"index"`
	Subject   string   `json:"subject,omitempty"`
	Author    string   `json:"author,omitempty"`
	MessageID string   `json:"message_id,omitempty"`
	Prefix    string   `json:"prefix,omitempty"` // of the subject: "PATCH v2 3/5"
	PatchID   string   `json:"patch_id,omitempty"`
	Touched   []string `json:"touched,omitempty"`

	Plan    Plan          `json:"plan"`
	Kconfig []Promise     `json:"kconfig,omitempty"` // those that do not hold
	Builds  []Build       `json:"builds,omitempty"`
	Boots   bool          `json:"boots"` // its guests were run: nothing before them failed
	Cells   []Cell        `json:"cells,omitempty"`
	Took    time.Duration `json:"took_ns"`
	From    []string      `json:"from,omitempty"` // directories of the gates that ran cells of it, if it was others

	// What follows is derived from the states before.
	Verdict   verdict.Verdict `json:"verdict,omitempty"`
	Inherited []Inherited     `json:"inherited,omitempty"` // what still fails since an earlier state
	Mended    []Inherited     `json:"mended,omitempty"`    // what failed before and passes now
	Gone      []Key           `json:"gone,omitempty"`      // what passed before and has no result any more, which no failure explains
	Skipped   []Key           `json:"skipped,omitempty"`   // what passed before and is skipped now, for a typed reason
}

// Promise is a statement of the contract that does not hold.
type Promise struct {
	ID     string `json:"id"`
	Text   string `json:"promise"`
	Reason string `json:"reason"`
}

// Build is a kernel that was built, or could not be.
type Build struct {
	Config string `json:"config"`
	Key    string `json:"key,omitempty"`
	Error  string `json:"error,omitempty"`
	Log    string `json:"log,omitempty"` // path of the whole output of a build that failed

	selftests []kernels.Selftest // that the tree has
}

// Cell is a guest that ran.
type Cell struct {
	Point
	Name    string          `json:"name"`
	Run     string          `json:"run"` // directory
	Verdict verdict.Verdict `json:"verdict"`
	Reason  string          `json:"reason,omitempty"`
	Counts  verdict.Counts  `json:"counts"`
	Dir     string          `json:"dir"`
}

// Inherited is a failure that another state brought.
type Inherited struct {
	Key   Key `json:"key"`
	Since int `json:"since"` // index of the state
}

// Key names a result of every state.
type Key struct {
	Point
	Program string `json:"program,omitempty"` // "" is the cell outside its programs
	Test    string `json:"test,omitempty"`    // "" is the program as a whole
}

// Kind says what kind of difference a patch makes.
type Kind string

const (
	KconfigFails Kind = "kconfig" // a statement of its Kconfig files does not hold
	BuildFails   Kind = "build"   // a configuration does not compile
	TestFails    Kind = "test"    // a test, a program or a boot fails
	ResultsGone  Kind = "gone"    // tests that passed before are not there any more
)

// Difference is a failure that a patch brings.
type Difference struct {
	Kind      Kind            `json:"kind"`
	Patch     int             `json:"patch"` // index of the state
	Key       Key             `json:"key"`
	Statement string          `json:"statement,omitempty"` // of the contract
	Promise   string          `json:"promise,omitempty"`
	Source    []string        `json:"source,omitempty"` // kernel source lines behind it
	Seen      failure.Failure `json:"seen"`
	Reason    string          `json:"reason"`
	Console   []string        `json:"console,omitempty"` // what the kernel said meanwhile
	Finding   string          `json:"finding,omitempty"` // the title of that
	Again     string          `json:"again"`             // the command that shows it, anywhere
	Repro     string          `json:"repro,omitempty"`   // the same from this machine's records, in seconds

	Repeated Repeated `json:"repeated"`
}

// Repeated is what came of a difference when it was tried again.
type Repeated struct {
	Done   bool    `json:"done"`
	Whole  bool    `json:"whole,omitempty"` // the cell was repeated: alone the test did not show it
	With   Rate    `json:"with"`            // failures with the patch, the first one included
	Before Rate    `json:"before"`          // without it
	Sure   float64 `json:"sure,omitempty"`  // confidence that it is the patch, 0 to 1
	Flaky  bool    `json:"flaky"`           // it does not show every time, or showed before too
}

// Rate is how often something failed.
type Rate struct {
	Failed int `json:"failed"`
	Tried  int `json:"tried"`
}

func (r Rate) plus(o Rate) Rate { return Rate{r.Failed + o.Failed, r.Tried + o.Tried} }

func (r Rate) String() string { return fmt.Sprintf("%d of %d", r.Failed, r.Tried) }

// maxExcerpt is how many lines of the console a difference shows.
const maxExcerpt = 32

// registers are the lines of a crash that only a debugger reads, and where the
// program was that called the kernel.
var registers = regexp.MustCompile(`^(?:Code|RSP|R[A-D]X|R[SD]I|RBP|R\d\d|[FGCDES]S|CR\d|DR\d|PKRU): |^RIP: 0033:`)

func excerpt(findings []console.Finding) (title string, lines []string) {
	if len(findings) == 0 {
		return "", nil
	}
	return findings[0].Title, short(findings[0].Lines)
}

// short is a crash as far as it helps a reader.
func short(lines []string) []string {
	lines = slices.DeleteFunc(slices.Clone(lines), registers.MatchString)
	if n := len(lines); n > maxExcerpt {
		lines = append(lines[:maxExcerpt:maxExcerpt], fmt.Sprintf("(%d more lines)", n-maxExcerpt))
	}
	return lines
}

// name is what fails, for people: a statement by its id, else the test.
func (d Difference) name() string {
	switch {
	case d.Statement != "":
		return d.Statement
	case d.Kind == BuildFails:
		return "the build of " + d.Key.Config
	case d.Key.Program == "":
		return "the boot"
	case d.Key.Test == "":
		return d.Key.Program
	}
	return d.Key.Program + " " + d.Key.Test
}

// enoughBefore is how often a result must have held before the patch for one
// that fails now and then with it to be the patch's.
const enoughBefore = 3

// confirmed says whether the difference is the patch's: it shows every time with
// the patch, or more than once, and never before it.
func (d Difference) confirmed() bool {
	r := d.Repeated
	return !r.Flaky || r.With.Failed >= 2 && r.Before.Failed == 0 && r.Before.Tried >= enoughBefore
}

// unclear says whether nobody knows if the difference is the patch's: it did not
// show often enough, and never before the patch.
func (d Difference) unclear() bool { return !d.confirmed() && d.Repeated.Before.Failed == 0 }

// untried says whether a difference is unclear because it was not repeated: there
// were too many that did not show every time.
func (d Difference) untried() bool { return d.Repeated.Flaky && !d.Repeated.Done }

// distance orders the differences of a patch: what needs no guest, then what is
// promised in a file that the patch touches, then all else.
func (d Difference) distance(touched []string) int {
	switch {
	case d.Kind == KconfigFails:
		return 0
	case d.Kind == BuildFails:
		return 1
	}
	for _, line := range d.Source {
		file, _, _ := strings.Cut(line, ":")
		if slices.Contains(touched, file) {
			return 2
		}
	}
	return 3
}
