// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"
	"io"
	"mime"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"noiommu-farm/results/report"
	"noiommu-farm/results/verdict"
)

// width is how long a line of a mail may be, in columns.
const width = 72

// Mail writes the report as a reply: to the guilty patch, or to the cover
// letter if no patch is. It is what "git send-email" takes. Who is to get it
// besides the author is for the sender to say.
func (r *Report) Mail(w io.Writer) error {
	var b strings.Builder
	at := State{Subject: r.Series.Title, MessageID: r.Series.Cover}
	if r.Series.Cover == "" && r.Series.Patches > 0 {
		at = r.States[1]
	}
	if r.Series.Patches > 0 {
		at.Author = r.States[1].Author
		if r.Series.Cover != "" {
			at.Prefix = fmt.Sprintf("PATCH 0/%d", r.Series.Patches)
			if r.Series.Version > 1 {
				at.Prefix = fmt.Sprintf("PATCH v%d 0/%d", r.Series.Version, r.Series.Patches)
			}
		}
	}
	d := r.first()
	if d != nil {
		at = r.States[d.Patch]
	}
	r.headers(&b, at)
	if d != nil {
		r.guilty(&b, *d)
	} else {
		r.innocent(&b)
	}
	r.tested(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// headers of a reply to a patch or a cover letter.
func (r *Report) headers(b *strings.Builder, at State) {
	if a, err := mail.ParseAddress(at.Author); err == nil {
		fmt.Fprintf(b, "To: %s\n", a)
	}
	subject := at.Subject
	if at.Prefix != "" {
		subject = "[" + at.Prefix + "] " + subject
	}
	fmt.Fprintf(b, "Subject: %s\n", header("Re: "+subject))
	if id := messageID(at.MessageID); id != "" {
		fmt.Fprintf(b, "In-Reply-To: %s\n", id)
		references := id
		if cover := messageID(r.Series.Cover); cover != "" && cover != id {
			references = cover + "\n " + id
		}
		fmt.Fprintf(b, "References: %s\n", references)
	}
	b.WriteString("MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n")
}

// header is text fit for a header line: no control characters, encoded where it
// is not ASCII (RFC 2047).
func header(text string) string {
	return mime.QEncoding.Encode("utf-8", strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text))
}

var plainID = regexp.MustCompile(`^[!-;=?-~]{1,250}$`)

// messageID is a message-id in its brackets, or "" for what is none.
func messageID(id string) string {
	if !plainID.MatchString(id) {
		return ""
	}
	return "<" + id + ">"
}

func (r *Report) guilty(b *strings.Builder, d Difference) {
	s := r.States[d.Patch]
	para(b, "", "Hello,")
	what := fmt.Sprintf("this patch (%d of %d, %q) breaks a promise of VFIO's no-IOMMU mode, applied to %s with the patches before it:",
		d.Patch, r.Series.Patches, s.Subject, r.Base)
	switch d.Kind {
	case BuildFails:
		what = fmt.Sprintf("this patch (%d of %d, %q) does not compile in a configuration that compiled before, applied to %s with the patches before it:",
			d.Patch, r.Series.Patches, s.Subject, r.Base)
	case ResultsGone:
		what = fmt.Sprintf("tests that passed before this patch (%d of %d, %q) are not there any more with it, and it does not change them, applied to %s with the patches before it:",
			d.Patch, r.Series.Patches, s.Subject, r.Base)
	case TestFails:
		if d.Statement == "" {
			what = fmt.Sprintf("a test fails with this patch (%d of %d, %q), applied to %s with the patches before it:",
				d.Patch, r.Series.Patches, s.Subject, r.Base)
		}
	}
	para(b, "", what)
	statement := d.name()
	if d.Promise != "" {
		statement += ": " + d.Promise
	}
	para(b, "  ", statement)
	if len(d.Source) > 0 {
		para(b, "  ", "promised by "+strings.Join(d.Source, ", ")+" (lines of Linux 7.3.4)")
	}
	if d.Kind == TestFails || d.Kind == ResultsGone {
		para(b, "", fmt.Sprintf("What was seen, with %s:", d.Key.Point))
	} else {
		para(b, "", "What was seen:")
	}
	literal(b, d.Reason)
	if d.Kind == TestFails && d.Repeated.Done {
		para(b, "", "It "+d.Repeated.counts()+".")
	}
	if len(d.Console) > 0 {
		if d.Kind != BuildFails {
			para(b, "", "The kernel's log meanwhile:")
		}
		literal(b, d.Console...)
	}
	para(b, "", "To see it:")
	literal(b, continued(d.Again)...)
	more := slices.DeleteFunc(r.of(d.Patch), func(o Difference) bool { return !o.confirmed() || o.name() == d.name() })
	if len(more) > 0 {
		para(b, "", fmt.Sprintf("The same patch also breaks: %s.", names(more)))
	}
	if later := r.others(d.Patch); later != "" {
		para(b, "", later)
	}
}

// others says what is wrong with the other patches.
func (r *Report) others(but int) string {
	var words []string
	for _, s := range r.States[1:] {
		list := slices.DeleteFunc(r.of(s.Index), func(d Difference) bool { return !d.confirmed() })
		if s.Index != but && len(list) > 0 {
			words = append(words, fmt.Sprintf("%s breaks %s", r.patch(s.Index), names(list)))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return "Of the other patches: " + strings.Join(words, "; ") + "."
}

func (r *Report) innocent(b *strings.Builder) {
	para(b, "", "Hello,")
	switch {
	case r.Series.Patches == 0:
		para(b, "", "the series has no patches.")
	case r.Verdict == verdict.Infra:
		para(b, "", fmt.Sprintf("the farm could not judge this series (%s on %s): %s.", number(r.Series.Patches, "patch"), r.Base, strings.TrimPrefix(r.Headline(), "INFRA: ")))
	case !slices.ContainsFunc(r.States[1:], func(s State) bool { return len(s.Cells) > 0 }):
		para(b, "", fmt.Sprintf("for this series (%s on %s) %s.", number(r.Series.Patches, "patch"), r.Base, r.nothing()))
	default:
		para(b, "", fmt.Sprintf("each state of this series (%s on %s) that can show in what was tested was built and booted, and kept the promises of VFIO's no-IOMMU mode that were tested.", number(r.Series.Patches, "patch"), r.Base))
	}
	for _, d := range r.flaky() {
		if d.Repeated.Done && d.Kind == TestFails {
			para(b, "", fmt.Sprintf("One result did not repeat, with %s: %s. It %s.", r.patch(d.Patch), d.line(), d.Repeated.counts()))
		}
	}
}

// tested says what was tested, what was not, and with what.
func (r *Report) tested(b *strings.Builder) {
	for _, s := range r.States {
		for _, text := range r.disappeared(s) {
			para(b, "", fmt.Sprintf("With %s: %s.", r.patch(s.Index), text))
		}
	}
	para(b, "", "What was tested:")
	for _, s := range r.States {
		name := "the base"
		if s.Index > 0 {
			name = r.patch(s.Index)
		}
		text := name + ": " + strings.ToLower(s.word())
		if did := s.did(); did != "" {
			text += " (" + did + ")"
		}
		para(b, "- ", text)
	}
	var points []string
	for _, s := range r.States {
		for _, c := range s.Cells {
			if !slices.Contains(points, c.Point.String()) {
				points = append(points, c.Point.String())
			}
		}
	}
	if len(points) > 0 {
		para(b, "", "Booted: "+strings.Join(points, ", ")+".")
	}
	var not strings.Builder
	r.omitted(&not, "", "%s (%s)\n")
	if not.Len() > 0 {
		para(b, "", "Not run: "+strings.ReplaceAll(strings.TrimSpace(not.String()), "\n", ", ")+".")
	}
	var versions []string
	for _, k := range slices.Sorted(mapKeys(r.Version)) {
		versions = append(versions, k+" "+r.Version[k])
	}
	if len(versions) > 0 {
		para(b, "", "Versions: "+strings.Join(versions, ", ")+".")
	}
}

// para writes a paragraph, filled, every line after lead or as far to the right.
// What comes from elsewhere is made fit for a terminal.
func para(b *strings.Builder, lead, text string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(lead))
	line := lead
	empty := true
	for _, word := range strings.Fields(report.Clean(text)) {
		for _, piece := range pieces(word, width-len(indent)) {
			if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(piece) > width {
				fmt.Fprintln(b, line)
				line, empty = indent, true
			}
			if !empty {
				line += " "
			}
			line += piece
			empty = false
		}
	}
	fmt.Fprintln(b, line)
	if lead != "- " {
		fmt.Fprintln(b)
	}
}

// literal writes lines as they are, indented; what is too long goes on in the
// next line, further in.
func literal(b *strings.Builder, lines ...string) {
	for _, line := range lines {
		for i, piece := range pieces(strings.ReplaceAll(report.Clean(line), "\t", "  "), width-6) {
			if i == 0 {
				fmt.Fprintf(b, "  %s\n", piece)
			} else {
				fmt.Fprintf(b, "      %s\n", piece)
			}
		}
	}
	fmt.Fprintln(b)
}

// pieces cuts text into pieces of at most n characters, at a space where there
// is one in their second half.
func pieces(text string, n int) []string {
	all := []rune(text)
	var list []string
	for len(all) > n {
		at, next := n, n
		for i := n; i > n/2; i-- {
			if all[i] == ' ' {
				at, next = i, i+1
				break
			}
		}
		list = append(list, string(all[:at]))
		all = all[next:]
	}
	return append(list, string(all))
}

// continued is a command on lines that a shell reads as one.
func continued(command string) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(command) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width-8 {
			lines = append(lines, line+" \\")
			line = "   "
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
