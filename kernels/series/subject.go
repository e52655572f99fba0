// SPDX-License-Identifier: Apache-2.0

package series

import (
	"regexp"
	"strconv"
	"strings"
)

// tags are what a subject says in brackets: [PATCH v5 6/9].
type tags struct {
	reply   bool // Re:
	patch   bool // PATCH or RFC
	version int  // 1 unless it says otherwise
	number  int
	total   int    // 0: not numbered
	title   string // the rest
	absurd  string // a number that no series has
}

// Bounds on what a subject may say. The longest series on the kernel's lists
// had some hundred patches.
const (
	maxVersion = 999
	maxPatches = 999
)

var (
	replyMark = regexp.MustCompile(`(?i)^\s*(re|aw|antw|sv|vs|wg|fwd?)(\[[0-9]+\])?\s*:\s*`)
	bracket   = regexp.MustCompile(`^\s*\[([^\[\]]*)\]`)
	patchWord = regexp.MustCompile(`(?i)^(?:rfc|patch|rfc-?patch)(?:v([0-9]+))?$`)
	versionOf = regexp.MustCompile(`^[vV]([0-9]+)$`)
	numberOf  = regexp.MustCompile(`^([0-9]+)/([0-9]+)$`)
)

func parseSubject(s string) tags {
	t := tags{version: 1}
	for {
		m := replyMark.FindString(s)
		if m == "" {
			break
		}
		t.reply = true
		s = s[len(m):]
	}
	for {
		m := bracket.FindStringSubmatch(s)
		if m == nil {
			break
		}
		s = s[len(m[0]):]
		for _, word := range strings.FieldsFunc(m[1], func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
			if m := patchWord.FindStringSubmatch(word); m != nil {
				t.patch = true
				if m[1] != "" {
					t.version = t.bounded(m[1], maxVersion, word)
				}
			} else if m := versionOf.FindStringSubmatch(word); m != nil {
				t.version = t.bounded(m[1], maxVersion, word)
			} else if m := numberOf.FindStringSubmatch(word); m != nil {
				t.number, t.total = t.bounded(m[1], maxPatches, word), t.bounded(m[2], maxPatches, word)
				if t.total == 0 || t.number > t.total {
					t.absurd = word
				}
			}
		}
	}
	t.title = strings.TrimSpace(s)
	return t
}

func (t *tags) bounded(digits string, limit int, word string) int {
	n, err := strconv.Atoi(digits)
	if err != nil || n > limit {
		t.absurd = word
		return limit
	}
	return n
}
