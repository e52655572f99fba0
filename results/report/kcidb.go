// SPDX-License-Identifier: Apache-2.0

package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"noiommu-farm/internal/fault"
	"noiommu-farm/results/failure"
	"noiommu-farm/results/verdict"
)

// Origin is what KCIDB calls this farm when nothing else is said.
const Origin = "noiommu_farm"

// The report of a run in the words of KCIDB's I/O schema, version 5.0
// (https://github.com/kernelci/kcidb-io, kcidb_io/schema/v05_00.py): a checkout
// for each source with its series, a build for each configuration of it, and a
// test for each result.
type kcidbReport struct {
	Version struct {
		Major int `json:"major"`
		Minor int `json:"minor"`
	} `json:"version"`
	Checkouts []kcidbCheckout `json:"checkouts"`
	Builds    []kcidbBuild    `json:"builds"`
	Tests     []kcidbTest     `json:"tests"`
}

type kcidbCheckout struct {
	ID           string         `json:"id"`
	Origin       string         `json:"origin"`
	Comment      string         `json:"comment,omitempty"`
	PatchsetHash *string        `json:"patchset_hash,omitempty"` // empty without patches
	StartTime    time.Time      `json:"start_time"`
	Valid        bool           `json:"valid"`
	Misc         map[string]any `json:"misc,omitempty"`
}

type kcidbBuild struct {
	ID           string         `json:"id"`
	CheckoutID   string         `json:"checkout_id"`
	Origin       string         `json:"origin"`
	Architecture string         `json:"architecture"`
	Compiler     string         `json:"compiler,omitempty"`
	Config       string         `json:"config_name,omitempty"`
	Status       string         `json:"status"`
	Misc         map[string]any `json:"misc,omitempty"`
}

type kcidbTest struct {
	ID          string           `json:"id"`
	BuildID     string           `json:"build_id"`
	Origin      string           `json:"origin"`
	Environment kcidbEnvironment `json:"environment"`
	Path        string           `json:"path"`
	Comment     string           `json:"comment,omitempty"`
	LogExcerpt  string           `json:"log_excerpt,omitempty"`
	Status      string           `json:"status"`
	StartTime   time.Time        `json:"start_time"`
	Duration    float64          `json:"duration,omitempty"` // seconds
	Misc        map[string]any   `json:"misc"`
}

type kcidbEnvironment struct {
	Comment string         `json:"comment"`
	Misc    map[string]any `json:"misc"`
}

// maxExcerpt bounds an excerpt of a log, in characters.
const maxExcerpt = 16384

var originPattern = regexp.MustCompile(`^[a-z0-9_]+$`)

// KCIDB writes a run as a report to KCIDB from an origin, which is a name of
// small letters, digits and underscores. A cell and a program are tests of
// their own with the verdict on them as a whole, so that what went wrong
// outside of a test is there too. Cells for which there was no time have no
// build to be tests of: each checkout names those of the run.
func KCIDB(w io.Writer, r Run, origin string) error {
	if !originPattern.MatchString(origin) {
		return &fault.Usage{Key: "--origin", Value: origin, Err: errors.New("has other characters than a to z, 0 to 9 and _")}
	}
	k := kcidb{run: r, origin: origin, seen: make(map[string]bool)}
	k.report.Version.Major = 5
	k.report.Checkouts, k.report.Builds, k.report.Tests = []kcidbCheckout{}, []kcidbBuild{}, []kcidbTest{}
	for _, c := range r.Cells {
		k.cell(c)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(k.report)
}

type kcidb struct {
	run    Run
	origin string
	seen   map[string]bool // ids of checkouts and builds that are there
	report kcidbReport
}

func (k *kcidb) id(parts ...any) string {
	return k.origin + ":" + Clean(strings.TrimSuffix(fmt.Sprintln(parts...), "\n"))
}

// digest is a short name of what has no name, or one that is too long.
func digest(parts ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", parts))
	return hex.EncodeToString(sum[:10])
}

func (k *kcidb) cell(c *verdict.Cell) {
	checkout := k.id(digest(c.Kernel.Source, c.Kernel.SourceID, c.Kernel.Patches))
	if !k.seen[checkout] {
		k.seen[checkout] = true
		one := kcidbCheckout{ID: checkout, Origin: k.origin, Comment: Clean(source(c)), StartTime: k.run.Started.UTC(), Valid: true,
			Misc: map[string]any{"source_id": Clean(c.Kernel.SourceID)}}
		if len(c.Kernel.Patches) == 0 {
			one.PatchsetHash = new(string)
		} else {
			one.Misc["patch_ids"] = cleanAll(c.Kernel.Patches)
		}
		if len(k.run.Left) > 0 {
			one.Misc["cells_not_run"] = cleanAll(k.run.Left)
		}
		k.report.Checkouts = append(k.report.Checkouts, one)
	}
	build := k.id(digest(checkout, c.Kernel.Config, c.Kernel.Build, c.Kernel.Compiler))
	if !k.seen["build "+build] {
		k.seen["build "+build] = true
		status := "PASS"
		if c.Kernel.Build == "" { // there was nothing to boot
			status = kcidbStatus(c.Verdict)
		}
		k.report.Builds = append(k.report.Builds, kcidbBuild{ID: build, CheckoutID: checkout, Origin: k.origin, Architecture: "x86_64",
			Compiler: Clean(c.Kernel.Compiler), Config: Clean(c.Kernel.Config), Status: status,
			Misc: map[string]any{"release": Clean(c.Kernel.Release), "key": Clean(c.Kernel.Build)}})
	}

	type at struct{ program, test int }
	problems := make(map[at]failure.Problem)
	for _, p := range failure.Problems(c) {
		problems[at{p.Program, p.Test}] = p
	}
	environment := kcidbEnvironment{
		Comment: Clean(fmt.Sprintf("QEMU %s with %s, IOMMU %s, devices %s", c.Machine.QEMU, c.Machine.Accel, c.Machine.Topology, strings.Join(c.Machine.Devices, " "))),
		Misc:    map[string]any{"cell": Clean(c.Name), "machine": c.Machine},
	}
	add := func(program, test int, path []string, t verdict.Test) {
		one := kcidbTest{
			ID:          k.id(strings.Join([]string{k.run.ID, digest(c.Name), fmt.Sprint(program + 1), fmt.Sprint(test + 1)}, "/")),
			BuildID:     build,
			Origin:      k.origin,
			Environment: environment,
			Path:        kcidbPath(path),
			Comment:     Clean(t.Reason),
			Status:      kcidbStatus(t.Verdict),
			StartTime:   k.run.Started.UTC(),
			Duration:    t.Wall.Seconds(),
			Misc:        map[string]any{"verdict": t.Verdict},
		}
		if p, ok := problems[at{program, test}]; ok {
			one.Misc["fingerprint"], one.Misc["follows"] = p.Fingerprint, p.Follows
		}
		if len(t.Evidence) > 0 {
			one.Misc["evidence"] = t.Evidence
		}
		var log []string
		for _, f := range t.Findings {
			log = append(log, cleanAll(f.Lines)...)
		}
		if !t.Verdict.Good() {
			log = append(log, cleanAll(t.Diagnostics)...)
		}
		one.LogExcerpt = excerpt(strings.Join(log, "\n"))
		k.report.Tests = append(k.report.Tests, one)
	}
	add(-1, -1, []string{"boot"}, verdict.Test{Verdict: c.Verdict, Reason: c.Reason, Wall: c.Wall, Findings: c.Findings})
	for i, p := range c.Programs {
		add(i, -1, programPath(p.Name), verdict.Test{Verdict: p.Verdict, Reason: p.Reason, Wall: p.Wall, Findings: p.Findings})
		for j, t := range p.Tests {
			add(i, j, append(programPath(p.Name), t.Name), t)
		}
	}
}

// programPath is where a program stands in the tree of tests: the kernel's own
// selftests where others report them too, ours by our name.
func programPath(name string) []string {
	if suite, program, ok := strings.Cut(name, "/"); ok {
		return []string{"kselftest-" + suite, program}
	}
	return []string{"noiommu-farm", name}
}

var notInPath = regexp.MustCompile(`[^a-zA-Z0-9_-]+`)

func kcidbPath(parts []string) string {
	clean := make([]string, len(parts))
	for i, p := range parts {
		if clean[i] = strings.Trim(notInPath.ReplaceAllString(p, "-"), "-"); clean[i] == "" {
			clean[i] = digest(p)
		}
	}
	return strings.Join(clean, ".")
}

// kcidbStatus is a verdict in KCIDB's words. A failure that is expected is a
// failure there: what is wrong with the kernel is no less so for being known.
// What the farm failed at is MISS, which says nothing of the kernel.
func kcidbStatus(v verdict.Verdict) string {
	switch v {
	case verdict.Pass:
		return "PASS"
	case verdict.Skip:
		return "SKIP"
	case verdict.Infra:
		return "MISS"
	}
	return "FAIL"
}

func excerpt(text string) string {
	if all := []rune(text); len(all) > maxExcerpt {
		return string(all[:maxExcerpt])
	}
	return text
}
