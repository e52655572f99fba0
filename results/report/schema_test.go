// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// schema holds JSON to the part of JSON Schema (draft 7) that the schema of
// KCIDB uses; a keyword that it does not know is a complaint.
type schema struct {
	root       map[string]any
	complaints []string
}

func loadSchema(t *testing.T, path string) *schema {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &schema{}
	if err := json.Unmarshal(text, &s.root); err != nil {
		t.Fatal(err)
	}
	return s
}

// check lists what is wrong with a document.
func (s *schema) check(document []byte) []string {
	var v any
	if err := json.Unmarshal(document, &v); err != nil {
		return []string{err.Error()}
	}
	s.complaints = nil
	s.value("", s.root, v)
	return s.complaints
}

func (s *schema) value(at string, rule map[string]any, v any) {
	bad := func(format string, args ...any) {
		s.complaints = append(s.complaints, at+": "+fmt.Sprintf(format, args...))
	}
	text, isText := v.(string)
	number, isNumber := v.(float64)
	object, _ := v.(map[string]any)
	array, _ := v.([]any)
	for keyword, want := range rule {
		switch keyword {
		case "$schema", "$comment", "$defs", "title", "description", "examples":
		case "$ref":
			name := strings.TrimPrefix(want.(string), "#/$defs/")
			s.value(at, s.root["$defs"].(map[string]any)[name].(map[string]any), v)
		case "type":
			var ok bool
			switch want {
			case "object":
				ok = object != nil
			case "array":
				ok = array != nil
			case "string":
				ok = isText
			case "number":
				ok = isNumber
			case "integer":
				ok = isNumber && number == math.Trunc(number)
			case "boolean":
				_, ok = v.(bool)
			}
			if !ok {
				bad("is %T, want %v", v, want)
			}
		case "const":
			if v != want {
				bad("is %v, want %v", v, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), v) {
				bad("is %v, want one of %v", v, want)
			}
		case "minimum":
			if isNumber && number < want.(float64) {
				bad("is less than %v", want)
			}
		case "maximum":
			if isNumber && number > want.(float64) {
				bad("is more than %v", want)
			}
		case "maxLength":
			if n := utf8.RuneCountInString(text); float64(n) > want.(float64) {
				bad("has %d characters, more than %v", n, want)
			}
		case "pattern":
			if isText && !regexp.MustCompile(want.(string)).MatchString(text) {
				bad("%q does not match %v", text, want)
			}
		case "format":
			if isText && !formats[want.(string)](text) {
				bad("%q is no %v", text, want)
			}
		case "required":
			for _, name := range want.([]any) {
				if _, ok := object[name.(string)]; !ok {
					bad("has no %v", name)
				}
			}
		case "additionalProperties":
			known, _ := rule["properties"].(map[string]any)
			for name := range object {
				if _, ok := known[name]; !ok && want == false {
					bad("has %q, which is not known", name)
				}
			}
		case "properties":
			for name, one := range want.(map[string]any) {
				if inner, ok := object[name]; ok {
					s.value(at+"/"+name, one.(map[string]any), inner)
				}
			}
		case "items":
			for i, inner := range array {
				s.value(fmt.Sprintf("%s/%d", at, i), want.(map[string]any), inner)
			}
		default:
			bad("the schema has %q, which this test does not know", keyword)
		}
	}
}

var formats = map[string]func(string) bool{
	"date-time": func(s string) bool { _, err := time.Parse(time.RFC3339Nano, s); return err == nil },
	"uri":       func(s string) bool { u, err := url.Parse(s); return err == nil && u.IsAbs() },
}

// The test of the export can fail.
func TestSchema(t *testing.T) {
	s := loadSchema(t, "testdata/kcidb-v5.0.schema.json")
	for _, c := range []struct{ document, complaint string }{
		{`{"version":{"major":5,"minor":0}}`, ""},
		{`{"version":{"major":5}}`, ""},
		{`{}`, "has no version"},
		{`{"version":{"major":4}}`, "want 5"},
		{`{"version":{"major":5,"minor":3}}`, "more than 0"},
		{`{"version":{"major":5},"more":1}`, "not known"},
		{`{"version":{"major":5},"tests":{}}`, "want array"},
		{`{"version":{"major":5},"tests":[{"id":"a:1","origin":"a"}]}`, "has no build_id"},
		{`{"version":{"major":5},"tests":[{"id":"1","origin":"a","build_id":"a:1"}]}`, "does not match"},
		{`{"version":{"major":5},"tests":[{"id":"a:1","origin":"a","build_id":"a:1","path":"a..b"}]}`, "does not match"},
		{`{"version":{"major":5},"tests":[{"id":"a:1","origin":"a","build_id":"a:1","status":"GOOD"}]}`, "want one of"},
		{`{"version":{"major":5},"tests":[{"id":"a:1","origin":"a","build_id":"a:1","start_time":"today"}]}`, "no date-time"},
		{`{"version":{"major":5},"tests":[{"id":"a:1","origin":"a","build_id":"a:1","log_url":"x"}]}`, "no uri"},
		{`{"version":{"major":5},"tests":[{"id":"a:1","origin":"a","build_id":"a:1","comment":"\u0000"}]}`, "does not match"},
		{`{"version":{"major":5},"tests":[{"id":"a:1","origin":"a","build_id":"a:1","log_excerpt":"` + strings.Repeat("é", 16385) + `"}]}`, "characters"},
		{`{"version":{"major":5},"issues":[{"id":"a:1","origin":"a","version":1.5}]}`, "want integer"},
		{`rubbish`, "invalid"},
	} {
		got := strings.Join(s.check([]byte(c.document)), "\n")
		if !strings.Contains(got, c.complaint) || (got == "") != (c.complaint == "") {
			t.Errorf("%.120s: %q, want %q", c.document, got, c.complaint)
		}
	}
}
