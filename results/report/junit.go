// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"noiommu-farm/results/verdict"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"` // seconds
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr,omitempty"` // seconds, where it is known
	Failure *junitMessage `xml:"failure,omitempty"`
	Error   *junitMessage `xml:"error,omitempty"`
	Skipped *junitMessage `xml:"skipped,omitempty"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes a run as JUnit XML: a testsuite for each program of a cell.
// What is wrong with a program or a cell as a whole is a case of its own, so
// that a consumer which only counts cases cannot miss it. The farm's own
// failures are errors, the kernel's are failures. A cell for which there was no
// time is a case that was skipped, of the type "left".
func JUnit(w io.Writer, r Run) error {
	all := junitSuites{Name: r.ID}
	for _, c := range r.Cells {
		whole := junitSuite{Name: c.Name, Time: seconds(c.Wall)}
		whole.add(c.Name, verdict.Test{Name: "(cell)", Verdict: c.Verdict, Reason: c.Reason, Findings: c.Findings})
		all.add(whole)
		for _, p := range c.Programs {
			class := c.Name + "." + p.Name
			suite := junitSuite{Name: class, Time: seconds(p.Wall)}
			for _, t := range p.Tests {
				suite.add(class, t)
			}
			if p.Reason != "" || len(p.Tests) == 0 {
				suite.add(class, verdict.Test{Name: "(program)", Verdict: p.Verdict, Reason: p.Reason, Findings: p.Findings})
			}
			all.add(suite)
		}
	}
	for _, name := range r.Left {
		one := junitSuite{Name: Clean(name), Time: seconds(0)}
		one.add(name, verdict.Test{Name: "(cell)", Verdict: verdict.Skip, Reason: noTime})
		one.Cases[0].Skipped.Type = "left"
		all.add(one)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (all *junitSuites) add(s junitSuite) {
	all.Tests += s.Tests
	all.Failures += s.Failures
	all.Errors += s.Errors
	all.Skipped += s.Skipped
	all.Suites = append(all.Suites, s)
}

func (s *junitSuite) add(class string, t verdict.Test) {
	c := junitCase{Class: Clean(class), Name: Clean(t.Name), Output: strings.Join(cleanAll(t.Diagnostics), "\n")}
	if t.Wall > 0 {
		c.Time = seconds(t.Wall)
	}
	var text strings.Builder
	for _, f := range t.Findings {
		for _, l := range f.Lines {
			text.WriteString(Clean(l) + "\n")
		}
	}
	m := &junitMessage{Message: Clean(t.Reason), Type: string(t.Verdict), Text: text.String()}
	s.Tests++
	switch t.Verdict {
	case verdict.Pass:
	case verdict.Skip, verdict.XFail: // told apart by the type
		s.Skipped++
		c.Skipped = m
	case verdict.Infra:
		s.Errors++
		c.Error = m
	default:
		s.Failures++
		c.Failure = m
	}
	s.Cases = append(s.Cases, c)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
