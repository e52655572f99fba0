// SPDX-License-Identifier: Apache-2.0

// Package known keeps failures that are known from looking like new ones.
//
// In come a file that people review and judged cells; out go the same cells,
// in which a failure that the file names is expected to happen, and what the
// file itself has to answer for: entries that have expired, entries that no
// longer match. It excuses only what was found by a test that ran: what was
// not run because of a known crash is as untested as ever, and what the farm
// failed at stays the farm's failure. It never hides anything: an excused
// failure stays in every table with its entry.
package known

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"noiommu-farm/internal/fault"
)

// Issue is one entry of the file. All fields must be there.
type Issue struct {
	Fingerprint string `yaml:"fingerprint" json:"fingerprint"` // 12 hex digits; see failure.Fingerprint
	Test        string `yaml:"test" json:"test"`               // the result that has it; see failure.Name
	Reason      string `yaml:"reason" json:"reason"`           // what is wrong, one line
	Link        string `yaml:"link" json:"link"`               // where it is dealt with: an absolute URL
	Owner       string `yaml:"owner" json:"owner"`             // who sees to it
	Expires     string `yaml:"expires" json:"expires"`         // the last day on which it is excused, as in 2027-06-30
}

// Expired says whether the entry excuses nothing more at a time.
func (i Issue) Expired(now time.Time) bool {
	last, err := time.Parse(time.DateOnly, i.Expires)
	return err != nil || !now.Before(last.AddDate(0, 0, 1))
}

// List is a whole file.
type List struct {
	Text   []byte // as it was read
	Issues []Issue
}

// File is the name of the copy in a run directory of the list that the run was
// judged with.
const File = "known.yaml"

// Limits on a file: bytes, entries, and bytes of one text.
const (
	maxFile   = 1 << 20
	maxIssues = 10_000
	maxText   = 500
)

// Load reads a file of known issues. What is wrong with it is a [fault.Usage]
// that says the line and the column.
func Load(path string) (List, error) {
	f, err := os.Open(path)
	if err != nil {
		return List{}, &fault.Usage{Key: "--known", Value: path, Err: err}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return List{}, &fault.Usage{Key: "--known", Value: path, Err: err}
	}
	list, err := Parse(text)
	if err != nil {
		return List{}, &fault.Usage{Key: "--known", Value: path, Err: err}
	}
	return list, nil
}

// OfRun reads the copy in a run directory. A run that had none has an empty
// list.
func OfRun(dir string) (List, error) {
	text, err := os.ReadFile(filepath.Join(dir, File))
	if errors.Is(err, fs.ErrNotExist) {
		return List{}, nil
	}
	if err != nil {
		return List{}, fmt.Errorf("read known issues of the run: %w", err)
	}
	list, err := Parse(text)
	if err != nil {
		return List{}, fmt.Errorf("read known issues of the run: %w", err)
	}
	return list, nil
}

var fingerprint = regexp.MustCompile(`^[0-9a-f]{12}$`)

// Parse reads the text of a file. Unknown keys, missing values and values that
// cannot be are errors with line and column.
func Parse(text []byte) (List, error) {
	if len(text) > maxFile {
		return List{}, fmt.Errorf("longer than %d bytes", maxFile)
	}
	var file struct {
		Issues []Issue `yaml:"issues"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := d.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return List{}, errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return List{}, errors.New("more than one document")
	}
	if len(file.Issues) > maxIssues {
		return List{}, fmt.Errorf("more than %d issues", maxIssues)
	}
	seen := make(map[string]int)
	for i, issue := range file.Issues {
		key, err := issue.check()
		if err == nil {
			if first, twice := seen[issue.Fingerprint]; twice {
				key, err = "fingerprint", fmt.Errorf("is that of issue %d too", first+1)
			}
			seen[issue.Fingerprint] = i
		}
		if err != nil {
			return List{}, located(text, i, key, err)
		}
	}
	return List{Text: text, Issues: file.Issues}, nil
}

// check says which key of an entry cannot be, and why.
func (i Issue) check() (key string, err error) {
	for _, one := range []struct{ key, value string }{
		{"fingerprint", i.Fingerprint}, {"test", i.Test}, {"reason", i.Reason}, {"link", i.Link}, {"owner", i.Owner}, {"expires", i.Expires},
	} {
		switch {
		case strings.TrimSpace(one.value) == "":
			return one.key, errors.New("is missing")
		case len(one.value) > maxText:
			return one.key, fmt.Errorf("is longer than %d bytes", maxText)
		case strings.ContainsAny(one.value, "\n\r"):
			return one.key, errors.New("is more than one line")
		}
	}
	if !fingerprint.MatchString(i.Fingerprint) {
		return "fingerprint", errors.New("is not 12 hex digits in quotes, as farm results problems prints them")
	}
	if u, err := url.Parse(i.Link); err != nil || !u.IsAbs() {
		return "link", errors.New("is no absolute URL")
	}
	if _, err := time.Parse(time.DateOnly, i.Expires); err != nil {
		return "expires", errors.New("is no day as in 2027-06-30")
	}
	return "", nil
}

// located says where an entry, or its key if it has it, stands in the file.
func located(text []byte, issue int, key string, err error) error {
	for _, name := range []string{fmt.Sprintf("$.issues[%d].%s", issue, key), fmt.Sprintf("$.issues[%d]", issue)} {
		path, pathErr := yaml.PathString(name)
		if pathErr != nil {
			continue
		}
		if node, nodeErr := path.ReadNode(bytes.NewReader(text)); nodeErr == nil {
			at := node.GetToken().Position
			return fmt.Errorf("[%d:%d] issue %d: %s %w", at.Line, at.Column, issue+1, key, err)
		}
	}
	return fmt.Errorf("issue %d: %s %w", issue+1, key, err)
}
