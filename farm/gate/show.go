// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"noiommu-farm/results"
	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

// maxNames bounds how many failures a line lists.
const maxNames = 6

// Headline is the answer in a line: the verdict, the patch and the statement.
func (r *Report) Headline() string {
	d := r.first()
	switch {
	case d != nil:
		s := r.States[d.Patch]
		return fmt.Sprintf("FAIL %s %q: %s", r.patch(d.Patch), s.Subject, d.line())
	case r.Verdict == verdict.Infra && slices.ContainsFunc(r.Found, Difference.untried):
		return "INFRA: too many results do not repeat to say what the series breaks"
	case r.Verdict == verdict.Infra && slices.ContainsFunc(r.Found, Difference.unclear):
		i := slices.IndexFunc(r.Found, Difference.unclear)
		d := r.Found[i]
		why := "it " + d.Repeated.counts()
		if d.Kind == ResultsGone {
			why = d.Reason
		}
		return fmt.Sprintf("INFRA: nobody knows whether %s breaks %s: %s", r.patch(d.Patch), d.name(), why)
	case r.Verdict == verdict.Infra:
		return "INFRA: the farm failed, which says nothing of the series"
	case r.Verdict == verdict.Skip:
		return "SKIP: " + r.nothing()
	}
	passed, gone := 0, 0
	for _, s := range r.States[1:] {
		if s.Verdict == verdict.Pass {
			passed++
		}
		gone += len(r.disappeared(s))
	}
	text := fmt.Sprintf("PASS: each of %d patches builds, boots and passes on %s", passed, r.Base)
	switch left := r.Series.Patches - passed; {
	case left > 0:
		text = fmt.Sprintf("PASS: %d of %d patches builds, boots and passes on %s; nothing was booted for the other", passed, r.Series.Patches, r.Base)
		if left > 1 {
			text += " " + strconv.Itoa(left)
		}
	case passed == 1:
		text = "PASS: the patch builds, boots and passes on " + r.Base
	}
	if n := len(r.flaky()); n > 0 {
		text += "; " + number(n, "result") + " did not repeat"
	}
	if gone > 0 {
		text += "; it runs fewer tests than before"
	}
	return text
}

// nothing says of a series of which no patch was booted what was done for it, and
// why no more.
func (r *Report) nothing() string {
	if r.Series.Patches == 0 {
		return "nothing was run: the series is empty"
	}
	text := "nothing was run"
	var why []string
	for _, s := range r.States[1:] {
		switch {
		case len(s.Builds) > 0:
			text = "nothing was booted"
		case s.Plan.Kconfig && text == "nothing was run":
			text = "nothing was run but the Kconfig statements"
		}
		for _, o := range s.Plan.Omitted {
			at := slices.ContainsFunc(points(r.Level), func(p Point) bool { return p.String() == o.What })
			if at && !slices.Contains(why, o.Why) {
				why = append(why, o.Why)
			}
		}
	}
	return text + ": " + several(why)
}

// first is the difference that is told first.
func (r *Report) first() *Difference {
	for i, d := range r.Found {
		if d.Patch > 0 && d.confirmed() {
			return &r.Found[i]
		}
	}
	return nil
}

// flaky are the differences that did not show every time.
func (r *Report) flaky() []Difference {
	return slices.DeleteFunc(slices.Clone(r.Found), func(d Difference) bool { return d.Patch == 0 || d.confirmed() })
}

func (r *Report) patch(i int) string { return fmt.Sprintf("patch %d/%d", i, r.Series.Patches) }

// line is a difference in one line: what fails, what was promised, where.
func (d Difference) line() string {
	text := d.name()
	if d.Promise != "" {
		text += ": " + d.Promise
	} else if d.Reason != "" {
		text += ": " + d.Reason
	}
	if len(d.Source) > 0 {
		text += " (" + strings.Join(d.Source, ", ") + ")"
	}
	if d.Kind == BuildFails {
		text += " With " + d.Key.Config + " it does not: " + d.Reason
	}
	return text
}

// names are the failures of a list, for a line.
func names(list []Difference) string {
	var words []string
	for _, d := range list {
		if w := d.name(); !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return several(words)
}

func keys(list []Inherited) string {
	var words []string
	for _, i := range list {
		if w := describe(0, i.Key, result{}).name(); !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return several(words)
}

func several(words []string) string {
	if len(words) > maxNames {
		words = append(words[:maxNames:maxNames], fmt.Sprintf("and %d more", len(words)-maxNames))
	}
	return strings.Join(words, ", ")
}

// of are the differences that a state brings.
func (r *Report) of(i int) []Difference {
	return slices.DeleteFunc(slices.Clone(r.Found), func(d Difference) bool { return d.Patch != i })
}

// word is a state's verdict for people.
func (s State) word() string {
	switch {
	case s.Verdict == verdict.Skip && len(s.Builds) > 0:
		return "not booted"
	case s.Verdict == verdict.Skip:
		return "nothing to run"
	case s.Verdict == verdict.Pass && len(s.Inherited)+len(s.Gone)+len(s.Skipped) > 0:
		return "pass, but"
	}
	return strings.ToUpper(string(s.Verdict))
}

// did says what was done for a state.
func (s State) did() string {
	var words []string
	if s.Plan.Kconfig {
		words = append(words, "Kconfig")
	}
	if n := len(s.Builds); n > 0 {
		words = append(words, fmt.Sprintf("%d built", n))
	}
	if n := len(s.Cells); n > 0 {
		sum := make(verdict.Counts)
		for _, c := range s.Cells {
			for v, n := range c.Counts {
				sum[v] += n
			}
		}
		words = append(words, fmt.Sprintf("%d booted", n), sum.String())
	}
	return strings.Join(words, ", ")
}

// remark says what is to be said of a state beside its verdict.
func (r *Report) remark(s State) string {
	var words []string
	found := r.of(s.Index)
	sure := slices.DeleteFunc(slices.Clone(found), func(d Difference) bool { return !d.confirmed() })
	cut := slices.DeleteFunc(slices.Clone(found), func(d Difference) bool { return d.Kind != ResultsGone || d.confirmed() })
	if len(sure) > 0 && s.Index == 0 {
		words = append(words, "fails by itself: "+names(sure))
	} else if len(sure) > 0 {
		words = append(words, "breaks "+names(sure))
	}
	if n := len(found) - len(sure) - len(cut); n > 0 {
		words = append(words, number(n, "result")+" did not repeat")
	}
	if len(cut) > 0 {
		words = append(words, "without results of "+names(cut))
	}
	if len(s.Inherited) > 0 {
		since := map[int][]Inherited{}
		for _, i := range s.Inherited {
			if i.Since > 0 {
				since[i.Since] = append(since[i.Since], i)
			}
		}
		for i := range r.States {
			if list := since[i]; len(list) > 0 {
				words = append(words, fmt.Sprintf("still broken since %s: %s", r.patch(i), keys(list)))
			}
		}
	}
	if len(s.Mended) > 0 {
		words = append(words, "mends "+keys(s.Mended))
	}
	words = append(words, r.disappeared(s)...)
	return strings.Join(words, "; ")
}

// Table writes the report for a terminal. The first line is the answer.
func (r *Report) Table(w io.Writer, color bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", report.Clean(r.Headline()))
	fmt.Fprintf(&b, "%q", r.Series.Title)
	if r.Series.Version > 1 {
		fmt.Fprintf(&b, " v%d", r.Series.Version)
	}
	fmt.Fprintf(&b, " on %s, plan %s\n", r.Base, r.Level)
	for _, s := range r.States {
		name := "base"
		if s.Index > 0 {
			name = fmt.Sprintf("%d/%d", s.Index, r.Series.Patches)
		}
		word := fmt.Sprintf("%-14s", s.word())
		if color {
			word = paint(s.Verdict, word)
		}
		fmt.Fprintf(&b, "  %-6s %s %s\n", name, word, report.Clean(cut(s.Subject, 70)))
		for _, line := range []string{s.did(), r.remark(s)} {
			if line != "" {
				fmt.Fprintf(&b, "  %-6s %-14s   %s\n", "", "", report.Clean(line))
			}
		}
	}
	for _, d := range r.Found {
		if d.Patch == 0 || !d.Repeated.Done {
			continue
		}
		fmt.Fprintf(&b, "\n%s: %s\n", r.patch(d.Patch), report.Clean(d.line()))
		for _, line := range d.details() {
			fmt.Fprintf(&b, "    %s\n", report.Clean(line))
		}
		for _, line := range d.Console {
			fmt.Fprintf(&b, "    | %s\n", report.Clean(line))
		}
		if d.Repro != "" {
			fmt.Fprintf(&b, "    %s\n", report.Clean(d.Repro))
		}
	}
	r.omitted(&b, "\nnot run:\n", "  %s: %s\n")
	fmt.Fprintf(&b, "\nreport in %s\n", r.Dir)
	_, err := io.WriteString(w, b.String())
	return err
}

func paint(v verdict.Verdict, text string) string {
	switch {
	case v == verdict.Skip:
		return text
	case v == verdict.Infra:
		return "\x1b[33m" + text + "\x1b[0m"
	case v.Good():
		return "\x1b[32m" + text + "\x1b[0m"
	}
	return "\x1b[31;1m" + text + "\x1b[0m"
}

// details says of a difference where it shows, what was seen, and how often.
func (d Difference) details() []string {
	var lines []string
	switch d.Kind {
	case TestFails:
		lines = append(lines, fmt.Sprintf("%s on %s: %s", d.Seen.Verdict, d.Key.Point, d.Reason))
	case ResultsGone:
		line := fmt.Sprintf("on %s: %s", d.Key.Point, d.Reason)
		if d.unclear() {
			line = "UNCLEAR " + line
		}
		lines = append(lines, line)
	default:
		lines = append(lines, d.Reason)
	}
	if d.Kind == TestFails && d.Repeated.Done {
		lines = append(lines, d.repeated())
	}
	return lines
}

// repeated says how often the difference showed, and what that makes of it.
func (d Difference) repeated() string {
	text := d.Repeated.counts()
	switch {
	case d.unclear():
		text = "UNCLEAR: " + text
	case !d.confirmed():
		text = "FLAKY: " + text
	}
	return text
}

// counts are in words how often something failed on either side.
func (r Repeated) counts() string {
	text := fmt.Sprintf("fails %s with the patch", r.With)
	if r.Before.Tried > 0 {
		text += fmt.Sprintf(", %s before it (%.1f %% sure)", r.Before, 100*r.Sure)
	} else {
		text += ", new with it"
	}
	if r.Flaky && r.With.Failed < r.With.Tried {
		text += "; not every time"
	}
	if r.Whole {
		text += "; not when it runs alone"
	}
	return text
}

// omitted lists what was run for no patch, and why. What was run for some is
// each state's own.
func (r *Report) omitted(b *strings.Builder, head, form string) {
	run := make(map[string]bool)
	for _, s := range r.States {
		for _, p := range s.Plan.Points {
			run[p.String()] = true
		}
		run[kernelSelftests] = run[kernelSelftests] || len(s.Plan.Selftests) > 0
		run[kconfigStatements] = run[kconfigStatements] || s.Plan.Kconfig
	}
	var told []Omitted
	for _, s := range r.States {
		for _, o := range s.Plan.Omitted {
			if !run[o.What] && !slices.ContainsFunc(told, func(t Omitted) bool { return t.What == o.What }) {
				told = append(told, o)
			}
		}
	}
	if len(told) == 0 {
		return
	}
	b.WriteString(head)
	for _, o := range told {
		fmt.Fprintf(b, form, report.Clean(o.What), report.Clean(o.Why))
	}
}

// number is a number of things, in words.
func number(n int, thing string) string {
	switch {
	case n != 1 && strings.HasSuffix(thing, "ch"):
		thing += "es"
	case n != 1:
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// GitHub writes the differences as annotations of GitHub Actions
// (https://docs.github.com/actions/reference/workflow-commands-for-github-actions).
func (r *Report) GitHub(w io.Writer) error {
	var b strings.Builder
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	for _, d := range r.Found {
		kind := "error"
		if !d.confirmed() || d.Patch == 0 {
			kind = "warning"
		}
		place := ""
		if len(d.Source) > 0 {
			file, line, _ := strings.Cut(d.Source[0], ":")
			line, _, _ = strings.Cut(line, "-")
			place = fmt.Sprintf("file=%s,line=%s,", property.Replace(file), property.Replace(line))
		}
		name := "base"
		if d.Patch > 0 {
			name = r.patch(d.Patch)
		}
		text := data.Replace(report.Clean(d.line()))
		for _, line := range d.details() {
			text += "%0A" + data.Replace(report.Clean(line))
		}
		fmt.Fprintf(&b, "::%s %stitle=%s::%s\n", kind, place, property.Replace(report.Clean(name+": "+d.name())), text)
	}
	for _, s := range r.States {
		for _, text := range r.disappeared(s) {
			fmt.Fprintf(&b, "::warning title=%s::%s\n", property.Replace(r.patch(s.Index)), data.Replace(report.Clean(text)))
		}
	}
	kind := "notice"
	if !r.Verdict.Good() {
		kind = "error"
	}
	fmt.Fprintf(&b, "::%s title=farm gate::%s\n", kind, data.Replace(report.Clean(r.Headline())))
	_, err := io.WriteString(w, b.String())
	return err
}

// Markdown writes the report for a person who reads it later, or elsewhere.
func (r *Report) Markdown(w io.Writer) error {
	var b strings.Builder
	esc := strings.NewReplacer("\\", "\\\\", "|", "\\|", "*", "\\*", "_", "\\_", "`", "\\`", "<", "&lt;", "[", "\\[", "#", "\\#")
	text := func(s string) string { return esc.Replace(report.Clean(s)) }
	fmt.Fprintf(&b, "# %s\n\n", text(r.Headline()))
	fmt.Fprintf(&b, "Series %q on %s (tree %.12s), plan %s.\n\n", text(r.Series.Title), text(r.Base), r.BaseID, r.Level)
	b.WriteString("| state | verdict | done | remarks |\n|---|---|---|---|\n")
	for _, s := range r.States {
		name := "base"
		if s.Index > 0 {
			name = fmt.Sprintf("%d/%d %s", s.Index, r.Series.Patches, s.Subject)
		}
		fmt.Fprintf(&b, "| %s | %s | %s in %s | %s |\n", text(name), text(s.word()), text(s.did()), s.Took.Round(time.Second), text(r.remark(s)))
	}
	for _, d := range r.Found {
		name := "base"
		if d.Patch > 0 {
			name = r.patch(d.Patch)
		}
		fmt.Fprintf(&b, "\n## %s: %s\n\n%s\n\n", name, text(d.name()), text(d.line()))
		for _, line := range d.details() {
			fmt.Fprintf(&b, "- %s\n", text(line))
		}
		block(&b, "To see it again:", d.Again, d.Repro)
		head := "The kernel said:"
		if d.Kind == BuildFails {
			head = "The compiler said:"
		}
		block(&b, head, d.Console...)
	}
	r.omitted(&b, "\n## Not run\n\n", "- %s: %s\n")
	b.WriteString("\n## Versions\n\n")
	for _, k := range slices.Sorted(mapKeys(r.Version)) {
		fmt.Fprintf(&b, "- %s: %s\n", text(k), text(r.Version[k]))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// block writes lines that are to be read as they are. What stands in them
// cannot end the block: every line is indented.
func block(b *strings.Builder, head string, lines ...string) {
	lines = slices.DeleteFunc(slices.Clone(lines), func(s string) bool { return s == "" })
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n\n", head)
	for _, l := range lines {
		fmt.Fprintf(b, "    %s\n", report.Clean(l))
	}
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Files of a report beside [reportFile].
const (
	markdownFile = "report.md"
	mailFile     = "reply.eml"
)

// write writes all forms of the report into the gate's directory; report.json
// last, because with it the gate is over.
func (g *gate) write() error {
	for name, render := range map[string]func(io.Writer) error{markdownFile: g.report.Markdown, mailFile: g.report.Mail} {
		var b strings.Builder
		if err := render(&b); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := results.WriteFile(filepath.Join(g.dir, name), []byte(b.String())); err != nil {
			return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
		}
	}
	if err := results.WriteJSON(filepath.Join(g.dir, reportFile), g.report); err != nil {
		return fmt.Errorf("%w: %w", results.ErrNotRecorded, err)
	}
	return nil
}
