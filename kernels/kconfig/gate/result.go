// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"noiommu-farm/kernels/kconfig"
)

// A Verdict is what became of a statement.
type Verdict string

const (
	Pass          Verdict = "pass"
	Fail          Verdict = "fail"
	NotApplicable Verdict = "not-applicable" // the kernel promises nothing of the kind
)

// A Result is a statement and what was found of it.
type Result struct {
	ID       string   // "KC-09"
	Promise  string   // what must hold
	Lines    []string // file:line of Linux 7.3.4 that promise it
	Verdict  Verdict
	Reason   string    // why it is not applicable
	Judged   int       // configurations that were held to it
	Findings []Finding // what is wrong, each defect of an architecture once
}

// A Finding is an option with a value that it must not have.
type Finding struct {
	Arch    string // its name, or several with commas; "" for a finding in the text of the Kconfig files
	Request string // the first configuration that shows it: "IOMMUFD=y VFIO=y ..."
	Cases   int    // how many do
	Option  string // without CONFIG_
	Want    string // y, m, n; "without" a prompt
	Got     string
	Why     string // the dependencies, with their values
	Place   string // Kconfig file:line; "" when none is to blame
	Change  string // what would mend it; "" when that cannot be told
}

func (f Finding) String() string {
	var b strings.Builder
	if f.Place != "" {
		fmt.Fprintf(&b, "%s: ", f.Place)
	}
	fmt.Fprintf(&b, "%s is %s, want %s: %s", f.Option, f.Got, f.Want, f.Why)
	if f.Arch != "" {
		fmt.Fprintf(&b, " (%s: %s", f.Arch, f.Request)
		if f.Cases > 1 {
			fmt.Fprintf(&b, ", and %d more", f.Cases-1)
		}
		b.WriteString(")")
	}
	if f.Change != "" {
		fmt.Fprintf(&b, "; %s", f.Change)
	}
	return b.String()
}

// result is the statement before anything is known of it.
func (s statement) result() Result {
	return Result{ID: s.id, Promise: s.promise, Lines: slices.Clone(s.lines)}
}

func notApplicable(reason string) []Result {
	var results []Result
	for _, s := range statements {
		r := s.result()
		r.Verdict, r.Reason = NotApplicable, reason
		results = append(results, r)
	}
	return results
}

// judge holds everything observed to the statement.
func (s statement) judge(observed []observation) Result {
	r := s.result()
	var archs []string
	for _, o := range observed {
		archs = append(archs, o.arch.name)
		for i, request := range o.requests {
			wants := s.wants(request, o.generic)
			if wants == nil || request.more != nil {
				continue
			}
			r.Judged++
			for _, f := range wrong(wants, o.outcomes[i], o.symbols) {
				f.Arch, f.Request, f.Cases = o.arch.name, request.String(), 1
				r.Findings = addFinding(r.Findings, f)
			}
		}
	}
	if s.promptless != "" && len(observed) > 0 {
		r.Findings = append(r.Findings, prompts(s.promptless, observed[0].symbols)...)
	}
	switch {
	case len(r.Findings) > 0:
		r.Verdict = Fail
	case r.Judged == 0:
		r.Verdict = NotApplicable
		r.Reason = "no configuration of " + strings.Join(archs, ", ") + " is one that it speaks of"
	default:
		r.Verdict = Pass
	}
	return r
}

// addFinding counts a finding that is there already.
func addFinding(findings []Finding, f Finding) []Finding {
	for i, g := range findings {
		if g.Arch == f.Arch && g.Option == f.Option && g.Want == f.Want && g.Got == f.Got && g.Place == f.Place {
			findings[i].Cases++
			return findings
		}
	}
	return append(findings, f)
}

// causes are the options of the statements, each before those that follow
// from it.
var causes = []string{
	"VFIO_GROUP", "VFIO_CONTAINER", "IOMMUFD_VFIO_CONTAINER", "VFIO_DEVICE_CDEV",
	"VFIO_NOIOMMU", "IOMMUFD_NOIOMMU", "IOMMU_PT", "IOMMU_PT_AMDV1",
}

// wrong is what a configuration has and must not have: the first option that
// is wrong, not those that follow from it, and all that conf complains of.
func wrong(wants values, out outcome, symbols kconfig.Symbols) []Finding {
	var found []Finding
	for _, option := range causes {
		want, got := wants[option], out.value(option)
		if want == "" || got == want {
			continue
		}
		f := Finding{Option: option, Want: want, Got: got}
		f.Why, f.Place = explain(option, want, out.Config, symbols)
		found = append(found, f)
		break
	}
	for _, unmet := range out.Unmet {
		f := unmetFinding(unmet, out, symbols)
		if len(found) > 0 && found[0].Option == f.Option {
			found[0] = f // conf knows best why
		} else {
			found = append(found, f)
		}
	}
	return found
}

// unmetFinding is a complaint of conf, with the line to change.
func unmetFinding(unmet string, out outcome, symbols kconfig.Symbols) Finding {
	name, chain, _ := strings.Cut(unmet, " ")
	f := Finding{Option: name, Want: "n", Got: out.value(name), Why: "unmet direct dependencies: " + chain}
	_, f.Place = explain(name, "n", out.Config, symbols)
	symbol := symbols[name]
	if symbol == nil {
		return f
	}
	by, missing := symbol.SelectedBy(out.Config), symbol.Unmet(out.Config)
	if len(by) == 0 || len(missing) == 0 {
		return f
	}
	for i := range missing {
		missing[i] = currentValues.ReplaceAllString(missing[i], "")
	}
	need := strings.Join(missing, " && ")
	f.Change = fmt.Sprintf("%s selects %s without looking at %q: put it behind the \"if\" of the select at %s:%d, or make %s depend on it",
		by[0].By, name, need, by[0].File, by[0].Line, by[0].By)
	return f
}

// currentValues are what kconfig writes behind a condition.
var currentValues = regexp.MustCompile(` \[[^\]]*\]$`)

func (o outcome) value(option string) string {
	if v, ok := o.Config[option]; ok {
		return v
	}
	return "n"
}

// explain says why an option has not the value want, and which line of the
// Kconfig files to look at: the select that forces it, or its definition.
func explain(option, want string, config map[string]string, symbols kconfig.Symbols) (why, place string) {
	symbol := symbols[option]
	if symbol == nil || len(symbol.Definitions) == 0 {
		return "this kernel has no such option", ""
	}
	first := symbol.Definitions[0]
	place = fmt.Sprintf("%s:%d", first.File, first.Line)
	mismatches := kconfig.Check([]kconfig.Option{{Name: option, Value: want}}, config, map[string]*kconfig.Symbol{option: symbol})
	if len(mismatches) > 0 {
		why = mismatches[0].Reason
	}
	if want != "n" {
		return why, place
	}
	forced := symbol.SelectedBy(config)
	if len(forced) > 0 {
		return why, fmt.Sprintf("%s:%d", forced[0].File, forced[0].Line)
	}
	return why + ", and all that it depends on holds: (" + strings.Join(first.Depends, ") && (") + ")", place
}

// prompts finds what lets a user set an option that only others may set.
func prompts(option string, symbols kconfig.Symbols) []Finding {
	symbol := symbols[option]
	if symbol == nil {
		return nil
	}
	var found []Finding
	for _, d := range symbol.Definitions {
		if d.Prompt {
			found = append(found, Finding{
				Option: option, Want: "without", Got: "with a prompt",
				Why: "a user can set it, whatever VFIO_NOIOMMU is", Place: fmt.Sprintf("%s:%d", d.File, d.Line),
			})
		}
	}
	return found
}
