// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"

	"noiommu-farm/farm/matrix"
	"noiommu-farm/farm/matrix/schedule"
	"noiommu-farm/farm/runner/meaning"
)

const (
	shippedSchema = "../../matrix.schema.json"
	nightly       = "../../matrix.yaml"
	smoke         = "../../matrix.smoke.yaml"
)

// The schema that is shipped is the one that the command prints.
func TestSchemaIsShipped(t *testing.T) {
	shipped, err := os.ReadFile(shippedSchema)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shipped, matrix.Schema(meaning.Lists())) {
		t.Error(`it is another: "make docs" writes it`)
	}
}

// schema is as much of JSON Schema as the shipped one uses; another keyword in
// it fails the test.
type schema struct {
	root map[string]any
}

func (s schema) check(rule map[string]any, v any, at string) error {
	for keyword, want := range rule {
		bad := func(format string, args ...any) error {
			return fmt.Errorf("%s: %s: %s", at, keyword, fmt.Sprintf(format, args...))
		}
		object, isObject := v.(map[string]any)
		list, isList := v.([]any)
		number, isNumber := toNumber(v)
		text, isText := v.(string)
		switch keyword {
		case "$schema", "$defs", "title", "description":
		case "$ref":
			rest, ok := strings.CutPrefix(want.(string), "#/$defs/")
			def, known := s.root["$defs"].(map[string]any)[rest].(map[string]any)
			if !ok || !known {
				return bad("%v leads nowhere", want)
			}
			if err := s.check(def, v, at); err != nil {
				return err
			}
		case "type":
			types, ok := want.([]any)
			if !ok {
				types = []any{want}
			}
			_, isBool := v.(bool)
			is := map[string]bool{"object": isObject, "array": isList, "string": isText, "boolean": isBool,
				"number": isNumber, "integer": isNumber && number == float64(int64(number))}
			found := false
			for _, name := range types {
				found = found || is[name.(string)]
			}
			if !found {
				return bad("%v is %T", want, v)
			}
		case "enum":
			found := false
			for _, one := range want.([]any) {
				found = found || one == v
			}
			if !found {
				return bad("%v", v)
			}
		case "anyOf":
			var errs []error
			for _, one := range want.([]any) {
				if err := s.check(one.(map[string]any), v, at); err != nil {
					errs = append(errs, err)
				}
			}
			if len(errs) == len(want.([]any)) {
				return bad("%v", errs)
			}
		case "pattern":
			if isText && !regexp.MustCompile(want.(string)).MatchString(text) {
				return bad("%q", text)
			}
		case "minLength":
			if isText && len(text) < int(want.(float64)) {
				return bad("%q", text)
			}
		case "minimum":
			if isNumber && number < want.(float64) {
				return bad("%v", v)
			}
		case "exclusiveMinimum":
			if isNumber && number <= want.(float64) {
				return bad("%v", v)
			}
		case "maximum":
			if isNumber && number > want.(float64) {
				return bad("%v", v)
			}
		case "minItems":
			if isList && len(list) < int(want.(float64)) {
				return bad("%d", len(list))
			}
		case "maxItems":
			if isList && len(list) > int(want.(float64)) {
				return bad("%d", len(list))
			}
		case "uniqueItems":
			seen := make(map[any]bool)
			for _, one := range list {
				if seen[one] {
					return bad("%v", one)
				}
				seen[one] = true
			}
		case "items":
			for i, one := range list {
				if err := s.check(want.(map[string]any), one, fmt.Sprintf("%s[%d]", at, i)); err != nil {
					return err
				}
			}
		case "minProperties":
			if isObject && len(object) < int(want.(float64)) {
				return bad("%d", len(object))
			}
		case "required":
			for _, key := range want.([]any) {
				if _, ok := object[key.(string)]; isObject && !ok {
					return bad("%v is missing", key)
				}
			}
		case "properties":
			for key, one := range want.(map[string]any) {
				if value, ok := object[key]; ok {
					if err := s.check(one.(map[string]any), value, at+"."+key); err != nil {
						return err
					}
				}
			}
		case "additionalProperties":
			for key := range object {
				if _, ok := rule["properties"].(map[string]any)[key]; !ok {
					return bad("%s", key)
				}
			}
		default:
			return bad("this test does not know it")
		}
	}
	return nil
}

func toNumber(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	case int:
		return float64(n), true
	}
	return 0, false
}

// bySchema is what an editor would say of a file.
func bySchema(t *testing.T, text string) error {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(matrix.Schema(meaning.Lists()), &root); err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		return err
	}
	return schema{root}.check(root, v, "")
}

func byParser(text string) error {
	_, err := matrix.ParseFile("m.yaml", []byte(text), meaning.NewWords().Vocabulary())
	return err
}

const axesOfTest = "axes:\n  source: debian:7.3\n  configuration: [noiommu, k-cdev]\n  topology: [none, intel]\n"

// Schema and parser agree on what is well formed.
func TestSchemaAgrees(t *testing.T) {
	for _, file := range []string{nightly, smoke} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := bySchema(t, string(text)); err != nil {
			t.Errorf("%s: the schema refuses it: %v", file, err)
		}
		if err := byParser(string(text)); err != nil {
			t.Errorf("%s: the parser refuses it: %v", file, err)
		}
	}
	for text, good := range map[string]bool{
		axesOfTest: true,
		axesOfTest + "  compiler: [gcc, clang, clang-19]\n  device: [every, edu, \"edu,igb\"]\n  memory: [512, 1024]\n  privileges: [root, low-memlock]\n  suite: [default, core, \"core,vfio\", vfio/vfio_pci_driver_test, PA-02, get_pa]\n": true,
		axesOfTest + "strategy: sample\nsample: {cells: 2, seed: 18446744073709551}\nbudget: 1h30m\n":                                                                                                                                         true,
		axesOfTest + "include: [{topology: amd}, {memory: [600], suite: nightly}]\nexclude: [{topology: none, configuration: [k-cdev], reason: because}]\n":                                                                                   true,
		axesOfTest + "constraints: [{topology: none, requires: [no-iommu], reason: because}]\nweights: [{source: debian:7.3, weight: 2.5}]\n":                                                                                                 true,
		"":                                                                        false,
		"axes: {}\n":                                                              false,
		"axes:\n  source: debian:7.3\n":                                           false,
		axesOfTest + "axis: {}\n":                                                 false,
		axesOfTest + "  kernel: debian:7.3\n":                                     false,
		axesOfTest + "  topolgy: none\n":                                          false,
		axesOfTest + "  compiler: icc\n":                                          false,
		axesOfTest + "  device: [edu, e1000]\n":                                   false,
		axesOfTest + "  memory: lots\n":                                           false,
		axesOfTest + "  memory: 0\n":                                              false,
		axesOfTest + "  privileges: user\n":                                       false,
		axesOfTest + "  suite: getpa\n":                                           false,
		axesOfTest + "  suite: []\n":                                              false,
		axesOfTest + "  suite: [core, core]\n":                                    false,
		axesOfTest + "strategy: all\n":                                            false,
		axesOfTest + "sample: {cells: 0}\n":                                       false,
		axesOfTest + "sample: {cells: many}\n":                                    false,
		axesOfTest + "sample: {sells: 1}\n":                                       false,
		axesOfTest + "budget: 8\n":                                                false,
		axesOfTest + "budget: a night\n":                                          false,
		axesOfTest + "include: {topology: amd}\n":                                 false,
		axesOfTest + "include: []\n":                                              false,
		axesOfTest + "include: [{topology: [amd, none]}]\n":                       false,
		axesOfTest + "include: [{}]\n":                                            false,
		axesOfTest + "exclude: [{topology: none}]\n":                              false,
		axesOfTest + "exclude: [{reason: because}]\n":                             false,
		axesOfTest + "exclude: [{topology: none, reason: x, weight: 1}]\n":        false,
		axesOfTest + "constraints: [{topology: none, reason: x}]\n":               false,
		axesOfTest + "constraints: [{topology: none, requires: y, reason: x}]\n":  false,
		axesOfTest + "constraints: [{topology: none, requires: [], reason: x}]\n": false,
		axesOfTest + "weights: [{topology: none, weight: 0}]\n":                   false,
		axesOfTest + "weights: [{topology: none, weight: -1}]\n":                  false,
		axesOfTest + "weights: [{topology: none}]\n":                              false,
	} {
		schema, parser := bySchema(t, text), byParser(text)
		if (schema == nil) != good {
			t.Errorf("%s: the schema says %v", text, schema)
		}
		if (parser == nil) != good {
			t.Errorf("%s: the parser says %v", text, parser)
		}
	}
}

// The schema refuses nothing that the parser takes.
func TestSchemaIsNoStricter(t *testing.T) {
	values := map[string][]string{
		"source":        {"debian:7.3", "debian:6.12", "tree:/x@v7.3", "tarball:/x.tar.xz", "debian:1", "x"},
		"configuration": {"noiommu", "k-dbg", "noiommu,lkdtm", "vfio", "nothing"},
		"compiler":      {"gcc", "clang", "clang-19", "tcc"},
		"topology":      {"none", "intel", "bypass", "arm"},
		"device":        {"every", "edu", "edu,igb", "nvme,nvme", "edu,nothing"},
		"memory":        {"512", "\"512\"", "1", "-5", "1.5", "x"},
		"privileges":    {"root", "unprivileged", "god"},
		"suite":         {"default", "nightly", "core", "core,vfio", "vfio/x", "DM-01,get_pa", "iommu/", "nothing"},
		"requires":      {"iommu", "[iommu, edu]", "nothing"},
		"reason":        {"because", "3", "true", "\"\""},
		"weight":        {"1", "0.5", "\"2\"", "0", "2000", "x"},
	}
	rapid.Check(t, func(r *rapid.T) {
		pick := func(key string) string { return rapid.SampledFrom(values[key]).Draw(r, key) }
		var b strings.Builder
		b.WriteString("axes:\n")
		for _, axis := range matrix.AllAxes() {
			switch rapid.IntRange(0, 3).Draw(r, "form of "+axis.String()) {
			case 0:
				fmt.Fprintf(&b, "  %s: %s\n", axis, pick(axis.String()))
			case 1, 2:
				fmt.Fprintf(&b, "  %s: [%q, %q]\n", axis, strings.Trim(pick(axis.String()), `"`), strings.Trim(pick(axis.String()), `"`))
			}
		}
		for section, keys := range map[string][]string{"include": nil, "exclude": {"reason"}, "constraints": {"reason", "requires"}, "weights": {"weight"}} {
			if rapid.Bool().Draw(r, section) {
				axis := rapid.SampledFrom(matrix.AllAxes()).Draw(r, "axis of "+section).String()
				fmt.Fprintf(&b, "%s:\n  - %s: %s\n", section, axis, pick(axis))
				for _, key := range keys {
					fmt.Fprintf(&b, "    %s: %s\n", key, pick(key))
				}
			}
		}
		text := b.String()
		if byParser(text) == nil {
			if err := bySchema(t, text); err != nil {
				r.Fatalf("%s: the parser takes it, the schema says %v", text, err)
			}
		}
	})
}

// The nightly that ships fits into its budget, and covers what it says.
func TestShippedMatrices(t *testing.T) {
	words := meaning.NewWords()
	for _, c := range []struct {
		file                     string
		sources, configs, topos  int
		budget                   time.Duration
		pairsMissed, leastProven int
	}{{nightly, 3, 8, 8, 8 * time.Hour, 0, 140}, {smoke, 2, 4, 3, 30 * time.Minute, 0, 60}} {
		p, err := readMatrix(c.file, words.Vocabulary())
		if err != nil {
			t.Fatal(err)
		}
		sources, configs, topologies := make(map[string]bool), make(map[string]bool), make(map[string]bool)
		for _, cell := range p.Cells {
			sources[cell.Source], configs[cell.Config], topologies[cell.Topology] = true, true, true
		}
		if len(sources) != c.sources || len(configs) != c.configs || len(topologies) != c.topos {
			t.Errorf("%s: %v %v %v", c.file, sources, configs, topologies)
		}
		nothing := schedule.NewHistory(nil, nil)
		work, err := schedule.Of(p, nothing, words.Vocabulary(), schedule.Now{})
		if err != nil {
			t.Fatal(err)
		}
		s := schedule.Arrange(work, nothing, func(matrix.Kernel) bool { return false }, words.Distance, 2, 0)
		t.Logf("%s: %d cells, %v from empty caches, %d statements are proven nowhere", c.file, len(s.Work), s.Wall, len(p.Unproven))
		if s.Wall > c.budget || len(p.Missed) > c.pairsMissed || len(statements)-len(p.Unproven) < c.leastProven {
			t.Errorf("%s: %v, misses %v, proves %d statements", c.file, s.Wall, p.Missed, len(statements)-len(p.Unproven))
		}
	}
}

func TestUntil(t *testing.T) {
	now := time.Date(2026, 11, 22, 23, 30, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"06:00": 6*time.Hour + 30*time.Minute, "23:45": 15 * time.Minute, "23:30": 24 * time.Hour, "90m": 90 * time.Minute} {
		if got, err := parseUntil(text, now); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "6", "25:00", "-3h", "0s", "morning"} {
		if got, err := parseUntil(text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
