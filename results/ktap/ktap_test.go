// SPDX-License-Identifier: Apache-2.0

package ktap

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite testdata/*.want")

// parse feeds a whole output in pieces of size n.
func parse(output []byte, n int) Report {
	var lines Lines
	var p Parser
	line := func(s string, _ int) { p.Line(s) }
	for len(output) > 0 {
		k := min(n, len(output))
		lines.Feed(output[:k], line)
		output = output[k:]
	}
	lines.Flush(line)
	return p.Report()
}

// wanted is what testdata/NAME.want holds.
type wanted struct {
	Complete string // error text, "" for a complete report
	Report   Report
}

// TestTestdata reads what real programs printed.
func TestTestdata(t *testing.T) {
	files, err := filepath.Glob("testdata/*.ktap")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			output, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := wanted{Report: parse(output, len(output)+1)}
			if err := got.Report.Complete(); err != nil {
				got.Complete = err.Error()
			}
			wantFile := strings.TrimSuffix(file, ".ktap") + ".want"
			if *update {
				data, err := json.MarshalIndent(got, "", "\t")
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(wantFile, append(data, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			data, err := os.ReadFile(wantFile)
			if err != nil {
				t.Fatal(err)
			}
			var want wanted
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(got.Report, parse(output, 1)); diff != "" {
				t.Errorf("one byte at a time (-whole +bytes):\n%s", diff)
			}
			crlf := bytes.ReplaceAll(output, []byte("\n"), []byte("\r\n"))
			if diff := cmp.Diff(got.Report, parse(crlf, 7)); diff != "" {
				t.Errorf("with carriage returns (-without +with):\n%s", diff)
			}
		})
	}
}

// TestResultLine reads single result lines.
func TestResultLine(t *testing.T) {
	for _, c := range []struct {
		line string
		want *Test
	}{
		{"ok 1 a name", &Test{Number: 1, Name: "a name", Outcome: OK}},
		{"ok 1 - a name", &Test{Number: 1, Name: "a name", Outcome: OK}},
		{"ok - a name", &Test{Number: 1, Name: "a name", Outcome: OK}},
		{"ok", &Test{Number: 1, Outcome: OK}},
		{"not ok", &Test{Number: 1, Outcome: NotOK}},
		{"not ok 7", &Test{Number: 7, Outcome: NotOK}},
		{"ok 3 # SKIP no such device", &Test{Number: 3, Outcome: Skip, Reason: "no such device"}},
		{"not ok 3 x # skip: late", &Test{Number: 3, Name: "x", Outcome: Skip, Reason: "late"}},
		{"ok 4 a#b", &Test{Number: 4, Name: "a#b", Outcome: OK}},
		{"ok 4 a# SKIP", &Test{Number: 4, Name: "a", Outcome: Skip}},
		{`ok 4 a \# SKIP b`, &Test{Number: 4, Name: "a # SKIP b", Outcome: OK}},
		{"ok 5 check return code # rcode=0", &Test{Number: 5, Name: "check return code", Outcome: OK, Reason: "rcode=0"}},
		{"ok 5 global.x #  text", &Test{Number: 5, Name: "global.x", Outcome: OK, Reason: "text"}},
		{"not ok 6 t # TIMEOUT 45 seconds", &Test{Number: 6, Name: "t", Outcome: Timeout, Reason: "45 seconds"}},
		{"ok 6 t # TIMEOUT 45 seconds", &Test{Number: 6, Name: "t", Outcome: OK, Reason: "TIMEOUT 45 seconds"}},
		{"not ok 6 # error text", &Test{Number: 6, Outcome: Error, Reason: "text"}},
		{"ok 6 # XFAIL text", &Test{Number: 6, Outcome: XFail, Reason: "text"}},
		{"not ok 6 b # TODO text", &Test{Number: 6, Name: "b", Outcome: XFail, Reason: "text"}},
		{"ok 6 b # TODO text", &Test{Number: 6, Name: "b", Outcome: XPass, Reason: "text"}},
		{"ok 99999999999999999999 b", &Test{Name: "b", Outcome: OK}},
		{"ok 2nd try", &Test{Number: 1, Name: "2nd try", Outcome: OK}},
		{"ok 1 b\x00c\xff\x1b[31m", &Test{Number: 1, Name: "b\uFFFDc\uFFFD\uFFFD[31m", Outcome: OK}},
		{"okay 1 b", nil},
		{"ok: fine", nil},
		{"not  ok 1", nil},
		{"# ok 1 b", nil},
		{"  ok 1 indented and without a parent", nil},
		{"\x00ok 1 b", nil},
	} {
		var p Parser
		if diff := cmp.Diff(c.want, p.Line(c.line)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.line, diff)
		}
	}
}

// TestComplete holds outputs that must not count as complete, and some that
// must.
func TestComplete(t *testing.T) {
	for _, c := range []struct{ output, want string }{
		{"TAP version 13\n1..2\nok 1 a\nok 2 b\n", ""},
		{"ok 1 a\nok 2 b\n1..2\n", ""},
		{"1..2\nok 2 b\nok 1 a\n", ""},
		{"1..2\nok\nnot ok\n", ""},
		{"1..0 # SKIP no device\n", ""},
		{"garbage\nTAP version 13\nmore\n1..1\nstill more\nok 1 a\n", ""},
		{"1..1\nok 1 a\n# Totals: pass:1 fail:0 xfail:0 xpass:0 skip:0 error:0\n", ""},
		{"", "no plan and no result"},
		{"TAP version 13\nok 1 a\n", "no plan, 1 results"},
		{"1..0\n", "the plan is empty and gives no reason"},
		{"1..9\nok 2 a\nok 5 b\nok 6 b\n", "planned 9 tests; no result: 1,3-4,7-9"},
		{"1..2\nok 1 a\nok 1 b\nok 2 c\n", "planned 2 tests; more than one result: 1"},
		{"1..1\nok 1 a\nok 2 b\n", "planned 1 tests; not in the plan: 2"},
		{"1..1\nok 99999999999999999999 a\n", "planned 1 tests; no result: 1; not in the plan: 0"},
		{"1..0 # SKIP no device\nok 1 a\n", "planned 0 tests; not in the plan: 1"},
		{"1..1\nok 1 a\nBail out! Test died.\n", "bailed out: Test died."},
		{"1..1\nok 1 a\n1..1\n", "a second plan: 1..1 after 1..1"},
		{"TAP version 13\n1..1\nok 1 a\nTAP version 13\n", "a second version line"},
		{"1..2\nok 1 a\nok then\n", "a result without a number among numbered ones: test 2"},
		{"1..1\nok 1 a\n# Totals: pass:2 fail:0 xfail:0 xpass:0 skip:0 error:0\n",
			"the totals say pass:2 fail:0 xfail:0 xpass:0 skip:0 error:0, the results are pass:1 fail:0 xfail:0 xpass:0 skip:0 error:0"},
		{"KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\nok 1 p\n",
			"subtests: planned 2 tests; no result: 2"},
		{"KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  not ok 1 a\nok 1 p\n",
			"test 1 is ok although its subtest 1 is not"},
		{"KTAP version 1\n1..1\nok 1 p\n  KTAP version 1\n  1..1\n  ok 1 a\n",
			"subtests without the result of their parent at the end"},
	} {
		err := parse([]byte(c.output), 1<<20).Complete()
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q\n got %q\nwant %q", c.output, got, c.want)
		}
	}
}

// TestLinesCut checks that a long line keeps its beginning, says what it lost,
// and leaves the next line whole.
func TestLinesCut(t *testing.T) {
	type line struct {
		Text string
		Cut  int
	}
	var got []line
	lines := Lines{Max: 4}
	emit := func(s string, cut int) { got = append(got, line{s, cut}) }
	for _, piece := range []string{"ab", "cdef", "gh\r\nok\r", "\n\n", "las"} {
		lines.Feed([]byte(piece), emit)
	}
	lines.Flush(emit)
	lines.Flush(emit)
	want := []line{{"abcd", 5}, {"ok", 0}, {"", 0}, {"las", 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// TestBounds prints more than a report keeps.
func TestBounds(t *testing.T) {
	var p Parser
	for range MaxDiagnostics + 5 {
		p.Line("# text")
	}
	test := p.Line("ok 1 a")
	if len(test.Diagnostics) != MaxDiagnostics || test.Dropped != 5 {
		t.Errorf("%d diagnostics kept, %d dropped", len(test.Diagnostics), test.Dropped)
	}
	for range MaxTests {
		p.Line("ok 2 b")
	}
	if n := len(p.Report().Tests); n != MaxTests {
		t.Errorf("%d tests kept", n)
	}
	if err := p.Report().Complete(); err == nil || !strings.Contains(err.Error(), "more than 65536 results") {
		t.Errorf("complete: %v", err)
	}

	p = Parser{}
	long := strings.Repeat("x", MaxLine)
	for range 2 * MaxBytes / MaxLine {
		p.Line("1..1")
		p.Line("ok " + long)
	}
	kept := 0
	for _, test := range p.Report().Tests {
		kept += len(test.Name)
	}
	if kept > MaxBytes {
		t.Errorf("%d bytes kept", kept)
	}
	if n := len(p.Report().Problems); n > MaxProblems+3 {
		t.Errorf("%d problems kept", n)
	}

	p = Parser{}
	for depth := range 100 {
		p.Line(strings.Repeat("  ", depth) + "KTAP version 1")
	}
	if len(p.levels) > MaxDepth {
		t.Errorf("%d levels open", len(p.levels))
	}
}

// text generates names and reasons as a report has them: one trimmed line.
func text(t *rapid.T, label string) string {
	s := rapid.StringMatching(`[-#\\a-zäß0-9.:_ ]{0,12}`).Draw(t, label)
	return strings.TrimSpace(s)
}

func tests(t *rapid.T, depth int) []Test {
	var all []Test
	for i := range rapid.IntRange(0, 4).Draw(t, "tests") {
		test := Test{
			Number:  i + 1,
			Name:    text(t, "name"),
			Outcome: rapid.SampledFrom([]Outcome{OK, NotOK, Skip, XFail, XPass, Timeout, Error}).Draw(t, "outcome"),
			Reason:  text(t, "reason"),
		}
		if word, _ := directive(test.Reason); word != "" && (test.Outcome == OK || test.Outcome == NotOK) {
			test.Reason = "" // would be a directive
		}
		for range rapid.IntRange(0, 2).Draw(t, "diagnostics") {
			test.Diagnostics = append(test.Diagnostics, "# "+text(t, "diagnostic"))
		}
		if depth < 3 {
			test.Sub = tests(t, depth+1)
		}
		all = append(all, test)
	}
	return all
}

// TestRoundTrip writes any report and reads the same one back.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Report{Plan: rapid.IntRange(-1, 5).Draw(t, "plan"), Tests: tests(t, 0)}
		if want.Plan == 0 {
			want.Skipped = text(t, "skipped")
		}
		if rapid.Bool().Draw(t, "bail") {
			want.BailOut = text(t, "bailout")
		}
		if rapid.Bool().Draw(t, "totals") {
			n := Count(want.Tests)
			want.Totals = &n
		}
		var b bytes.Buffer
		if err := Write(&b, want); err != nil {
			t.Fatal(err)
		}
		got := parse(b.Bytes(), 5)
		for i := range got.Tests {
			trimDiagnostics(got.Tests[i:])
		}
		got.Problems = nil // parents may be ok over failed subtests here
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s\nwritten:\n%s", diff, b.String())
		}
	})
}

// trimDiagnostics takes the indentation off, which belongs to the line as
// printed.
func trimDiagnostics(tests []Test) {
	for _, test := range tests {
		for i, d := range test.Diagnostics {
			test.Diagnostics[i] = strings.TrimLeft(d, " ")
		}
		trimDiagnostics(test.Sub)
	}
}

// FuzzParser feeds anything. Whatever was read must be bounded, printable, and
// the same after being written and read again.
func FuzzParser(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.ktap")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("1..1\n  1..1\n    ok 1\n  ok 1\nok 1 # SKIP"))
	f.Fuzz(func(t *testing.T, output []byte) {
		first := parse(output, 64)
		_ = first.Complete()
		var b bytes.Buffer
		if err := Write(&b, first); err != nil {
			t.Fatal(err)
		}
		second := parse(b.Bytes(), 64)
		if diff := cmp.Diff(results(first.Tests), results(second.Tests)); diff != "" {
			t.Fatalf("results after writing (-first +second):\n%s\nwritten:\n%s", diff, b.String())
		}
		if first.Plan != second.Plan || first.Skipped != second.Skipped || first.BailOut != second.BailOut {
			t.Fatalf("first %+v\nsecond %+v", first, second)
		}
	})
}

// results is what a report says without its diagnostics.
func results(tests []Test) []Test {
	var out []Test
	for _, test := range tests {
		test.Diagnostics, test.Dropped = nil, 0
		test.Sub = results(test.Sub)
		out = append(out, test)
	}
	return out
}
