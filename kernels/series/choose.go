// SPDX-License-Identifier: Apache-2.0

package series

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// choose finds the series among mails: that of the version asked for, or of
// the newest (0).
func choose(mails []*mail, version int) (Series, error) {
	var s Series
	leave := func(m *mail, why string) { s.Left = append(s.Left, Left{What: m.subject, Why: why}) }
	var covers, patches []*mail
	versions := map[int]bool{}
	for _, m := range mails {
		diff := hasDiff(m.text)
		switch t := m.tags; {
		case t.reply:
			leave(m, "a reply")
			continue
		case t.absurd != "" && (t.patch || diff):
			return s, fmt.Errorf("%s: %.100q: %q is no number of a patch", m.origin, m.subject, t.absurd)
		case t.total > 0 && t.number == 0:
			covers = append(covers, m)
		case (t.total == 0 || t.absurd != "") && !diff && (m.err == nil || !t.patch):
			leave(m, "no patch in it")
			continue
		default:
			patches = append(patches, m)
		}
		versions[m.tags.version] = true
	}
	if len(versions) == 0 {
		return s, errors.New("holds no patch")
	}
	have := slices.Sorted(maps.Keys(versions))
	s.Version = have[len(have)-1]
	if version > 0 {
		if s.Version = version; !versions[version] {
			return s, fmt.Errorf("holds no version %d (allowed: %s)", version, join(have))
		}
	}
	mine := func(list []*mail) []*mail {
		return slices.DeleteFunc(list, func(m *mail) bool {
			if m.tags.version != s.Version {
				leave(m, fmt.Sprintf("of version %d", m.tags.version))
				return true
			}
			return false
		})
	}
	covers, patches = mine(covers), mine(patches)
	numbered := slices.ContainsFunc(slices.Concat(covers, patches), func(m *mail) bool { return m.tags.total > 0 })
	if numbered {
		patches = slices.DeleteFunc(patches, func(m *mail) bool {
			if m.tags.total == 0 {
				leave(m, "has no number, and others have")
				return true
			}
			return false
		})
	}
	patches = slices.DeleteFunc(patches, twin(leave))
	covers = slices.DeleteFunc(covers, twin(leave))
	var err error
	if numbered {
		err = whole(s.Version, covers, patches)
		slices.SortStableFunc(patches, byNumber)
	} else if len(patches) > 1 {
		for _, m := range patches {
			if m.inReplyTo != "" && slices.ContainsFunc(mails, func(o *mail) bool { return o.messageID == m.inReplyTo }) {
				err = fmt.Errorf("holds %d patches of version %d that have no numbers and answer each other: what their order is, or whether they belong together, cannot be told", len(patches), s.Version)
			}
		}
	}
	if err != nil {
		if len(have) > 1 {
			err = fmt.Errorf("%w (there are mails of the versions %s)", err, join(have))
		}
		return s, err
	}
	if len(covers) > 0 {
		s.Cover, s.Title = covers[0].messageID, covers[0].tags.title
	}
	for _, m := range patches {
		p, err := m.patch()
		if err != nil {
			return s, err
		}
		p.Cover = s.Cover
		s.Patches = append(s.Patches, p)
	}
	if s.Title == "" {
		s.Title = s.Patches[0].Subject
	}
	return s, nil
}

// twin finds mails that are there twice, as when two lists carried them, each
// with its own footer.
func twin(leave func(*mail, string)) func(*mail) bool {
	seen := map[string]*mail{}
	return func(m *mail) bool {
		other := seen[m.messageID]
		if m.messageID == "" || other == nil {
			seen[m.messageID] = m
			return false
		}
		a, errA := m.patch()
		b, errB := other.patch()
		if m.tags != other.tags || (errA == nil) != (errB == nil) || errA == nil && a.ID() != b.ID() {
			return false
		}
		leave(m, "there twice")
		return true
	}
}

// whole says what is missing from a numbered series, or too much.
func whole(version int, covers, patches []*mail) error {
	total := 0
	by := map[int]*mail{}
	for _, m := range slices.Concat(covers, patches) {
		if total == 0 {
			total = m.tags.total
		}
		if m.tags.total != total {
			return fmt.Errorf("holds two series of version %d: one of %d patches, one of %d (%.100q)", version, total, m.tags.total, m.subject)
		}
		if other := by[m.tags.number]; other != nil {
			return fmt.Errorf("version %d has two patches %d/%d: %.100q (%s) and %.100q (%s)",
				version, m.tags.number, total, other.subject, or(other.messageID, other.origin), m.subject, or(m.messageID, m.origin))
		}
		by[m.tags.number] = m
	}
	var missing []string
	for n := 1; n <= total; n++ {
		if by[n] == nil {
			missing = append(missing, fmt.Sprintf("%d/%d", n, total))
		}
	}
	const enough = 5
	if len(missing) > enough {
		missing = append(missing[:enough], fmt.Sprintf("%d more", len(missing)-enough))
	}
	if len(missing) > 0 {
		return fmt.Errorf("version %d is not whole: missing %s", version, strings.Join(missing, ", "))
	}
	return nil
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return "<" + a + ">"
}

func join(versions []int) string {
	var list []string
	for _, v := range versions {
		list = append(list, fmt.Sprintf("v%d", v))
	}
	return strings.Join(list, ", ")
}

// patch reads the diff of a mail that belongs to the series.
func (m *mail) patch() (Patch, error) {
	p := Patch{
		MessageID: m.messageID, InReplyTo: m.inReplyTo, Subject: m.tags.title, Author: m.author,
		Version: m.tags.version, Number: m.tags.number, Total: m.tags.total, Origin: m.origin,
	}
	if m.err != nil {
		return p, &Refused{Patch: p.Name(), Because: m.err.Error()}
	}
	var err error
	if p.Body, p.Diff, p.changes, err = parseDiff(m.text); err != nil {
		r := &Refused{Patch: p.Name(), Because: err.Error()}
		var at *diffError
		if errors.As(err, &at) {
			r.File, r.Hunk, r.Line, r.Because = at.file, at.hunk, at.line, at.because
		}
		if m.flowed {
			r.Because += "; the mail is format=flowed, which breaks patches"
		}
		return p, r
	}
	return p, nil
}
