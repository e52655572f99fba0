// SPDX-License-Identifier: Apache-2.0

// Package series reads patches from where they come and applies them to files.
//
// In comes what a user names: an mbox, a maildir, a directory of git
// format-patch files, a patch, a range of git commits. Out goes a [Series], the
// patches in order, or a *fault.Usage that names the patch, the file and the
// hunk. What is read may have been written by anyone, so every count and
// length is bounded and every name stays inside the tree. The package never
// writes a file, and a series applies as a whole or not at all.
package series

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"noiommu-farm/internal/fault"
)

// A Series is an ordered list of patches. The zero Series has none.
type Series struct {
	Spec    string // what [Load] read, with absolute paths
	Title   string // of the cover letter, else of the first patch
	Version int    // 1 unless the subjects say otherwise
	Cover   string // message-id of the cover letter; ""
	Patches []Patch
	Left    []Left // what was there and is not part of it
}

// A Patch is one mail or commit with a diff.
type Patch struct {
	MessageID string // without the brackets; "" when there is none, as for a commit
	InReplyTo string // likewise
	Cover     string // message-id of the series' cover letter; ""
	Subject   string // without [PATCH ...]
	Author    string // "Name <address>"
	Version   int
	Number    int // 1 for the first; 0 when the subject has no number
	Total     int // as the subject says; 0 when it does not
	Body      string
	Diff      string
	Origin    string // where it was read: a file, a place in an mbox, a commit

	changes []change
}

// A Left is something that was read and is no part of the series.
type Left struct {
	What string // its subject, or its file's name
	Why  string
}

// A Refused is why a patch cannot be used.
type Refused struct {
	Index   int    // of the patch in the series, from 1; 0 when it is no part of one yet
	Patch   string // number and subject
	File    string // path in the tree; "" when the patch as a whole is meant
	Hunk    int    // of the file, from 1; 0 when the file as a whole is meant
	Line    int    // of the patch's text, from 1; 0 when no line is meant
	Because string
}

func (r *Refused) Error() string {
	s := r.Patch
	if r.File != "" {
		s += fmt.Sprintf(": %.200q", r.File)
	}
	if r.Hunk > 0 {
		s += fmt.Sprintf(": hunk %d", r.Hunk)
	}
	if r.Line > 0 {
		s += fmt.Sprintf(" (line %d of the patch)", r.Line)
	}
	return s + ": " + r.Because
}

// usage is the error of a series that cannot be used.
func usage(spec string, err error) error {
	return &fault.Usage{Key: "--series", Value: spec, Err: err}
}

// Name is the patch's number and subject, bounded.
func (p *Patch) Name() string {
	if p.Total > 0 {
		return fmt.Sprintf("patch %d/%d %.100q", p.Number, p.Total, p.Subject)
	}
	return fmt.Sprintf("patch %.100q", p.Subject)
}

// ID is a hash of what the patch does to files, 160 bits in hex. Who sent it,
// when, and what the message says does not matter.
func (p *Patch) ID() string {
	h := sha256.New()
	for _, c := range p.changes {
		fmt.Fprintf(h, "%q %q %t %d\n", c.old, c.new, c.copy, c.mode)
		for _, k := range c.hunks {
			fmt.Fprintf(h, "@ %d %d\n", k.oldStart, k.newStart)
			for _, l := range k.lines {
				fmt.Fprintf(h, "%c%q\n", l.op, l.text)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:40]
}

// Touched lists the paths that the patch makes, changes or removes, sorted.
func (p *Patch) Touched() []string {
	var names []string
	for _, c := range p.changes {
		if c.old != "" && !c.copy {
			names = append(names, c.old)
		}
		if c.new != "" {
			names = append(names, c.new)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// First is the series of the first n patches: of all of them when it has no
// more.
func (s Series) First(n int) Series {
	s.Patches = s.Patches[:min(max(n, 0), len(s.Patches))]
	return s
}

// IDs are those of the patches, in order: what the series does.
func (s Series) IDs() []string {
	ids := make([]string, len(s.Patches))
	for i := range s.Patches {
		ids[i] = s.Patches[i].ID()
	}
	return ids
}

// MessageIDs are those of the patches, in order; "" for one that has none.
func (s Series) MessageIDs() []string {
	ids := make([]string, len(s.Patches))
	for i, p := range s.Patches {
		ids[i] = p.MessageID
	}
	return ids
}

// Touched lists the paths that any patch makes, changes or removes, sorted.
func (s Series) Touched() []string {
	var names []string
	for i := range s.Patches {
		names = append(names, s.Patches[i].Touched()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// String says which series it is, in a line.
func (s Series) String() string {
	count := fmt.Sprintf("%d patches", len(s.Patches))
	if len(s.Patches) == 1 {
		count = "1 patch"
	}
	if s.Version > 1 {
		return fmt.Sprintf("%.100q v%d, %s", s.Title, s.Version, count)
	}
	return fmt.Sprintf("%.100q, %s", s.Title, count)
}

func byNumber(a, b *mail) int { return cmp.Compare(a.tags.number, b.tags.number) }
