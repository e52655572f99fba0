// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// complete completes the word before the cursor at a tab: a command at the
// beginning of a line, a file elsewhere, as far as there is only one way.
func complete(line string, at int, key rune) (string, int, bool) {
	if key != '\t' {
		return "", 0, false
	}
	begin := strings.LastIndexAny(line[:at], " \t|;&<>(=") + 1
	word := line[begin:at]
	var found []string
	if strings.TrimSpace(line[:begin]) == "" && !strings.Contains(word, "/") {
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			found = append(found, matching(dir, word, "")...)
		}
	} else {
		dir, base := filepath.Split(word)
		at := dir
		if at == "" {
			at = "."
		}
		found = matching(at, base, dir)
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) == 0 {
		return line, at, true
	}
	whole := common(found)
	if len(found) == 1 && !strings.HasSuffix(whole, "/") {
		whole += " "
	}
	return line[:begin] + whole + line[at:], begin + len(whole), true
}

// matching lists what in dir begins with prefix, each after before.
func matching(dir, prefix, before string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		name := before + e.Name()
		if e.IsDir() {
			name += "/"
		}
		found = append(found, name)
	}
	return found
}

// common is the longest beginning of all.
func common(all []string) string {
	first, last := all[0], all[len(all)-1] // sorted
	n := 0
	for n < len(first) && n < len(last) && first[n] == last[n] {
		n++
	}
	return first[:n]
}
