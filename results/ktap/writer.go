// SPDX-License-Identifier: Apache-2.0

package ktap

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Write writes a report as KTAP version 1 with its plan first. What it writes
// is read back as the same report by [Parser]; only lines that were no KTAP
// become diagnostics with a "#", and problems are not written.
func Write(w io.Writer, r Report) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "KTAP version 1")
	if r.Plan == 0 && r.Skipped != "" {
		fmt.Fprintf(b, "1..0 # SKIP %s\n", oneLine(r.Skipped))
	} else if r.Plan >= 0 {
		fmt.Fprintf(b, "1..%d\n", r.Plan)
	}
	writeTests(b, "", r.Tests)
	writeDiagnostics(b, "", r.Diagnostics)
	if r.BailOut != "" {
		fmt.Fprintf(b, "Bail out! %s\n", oneLine(r.BailOut))
	}
	if r.Totals != nil {
		fmt.Fprintf(b, "# Totals: %v\n", *r.Totals)
	}
	return b.Flush()
}

func writeTests(b *bufio.Writer, indent string, tests []Test) {
	for _, t := range tests {
		if len(t.Sub) > 0 {
			sub := indent + "  "
			fmt.Fprintf(b, "%sKTAP version 1\n%s1..%d\n", sub, sub, len(t.Sub))
			writeTests(b, sub, t.Sub)
		}
		writeDiagnostics(b, indent, t.Diagnostics)
		fmt.Fprintln(b, indent+resultLine(t))
	}
}

func resultLine(t Test) string {
	word := "ok"
	directive := ""
	switch t.Outcome {
	case NotOK:
		word = "not ok"
	case Skip, XFail, XPass:
		directive = strings.ToUpper(string(t.Outcome))
	case Timeout, Error:
		word, directive = "not ok", strings.ToUpper(string(t.Outcome))
	}
	line := fmt.Sprintf("%s %d", word, t.Number)
	if name := oneLine(t.Name); name != "" {
		if strings.HasPrefix(name, "-") {
			line += " -"
		}
		line += " " + strings.NewReplacer(`\`, `\\`, `#`, `\#`).Replace(name)
	}
	comment := strings.TrimSpace(directive + " " + oneLine(t.Reason))
	if comment != "" {
		line += " # " + comment
	}
	return line
}

func writeDiagnostics(b *bufio.Writer, indent string, lines []string) {
	for _, line := range lines {
		line = clean(strings.ReplaceAll(line, "\n", " "))
		text := strings.TrimLeft(line, " ")
		if !strings.HasPrefix(text, "#") || strings.HasPrefix(text, "# Totals:") || strings.HasPrefix(text, "# Subtest:") {
			line = "# " + line
		}
		fmt.Fprintln(b, indent+line)
	}
}

// oneLine makes a text fit into a result line.
func oneLine(s string) string {
	return strings.TrimSpace(clean(strings.ReplaceAll(s, "\n", " ")))
}
