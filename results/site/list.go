// SPDX-License-Identifier: Apache-2.0

package site

import (
	"html/template"
	"io"

	"noiommu-farm/results"
	"noiommu-farm/results/verdict"
)

// Listed is a run in a list of them.
type Listed struct {
	results.Run
	Name    string          // of its directory
	Verdict verdict.Verdict // empty while it has none
}

// What is the command of a run, as a shell takes it.
func (l Listed) What() string { return command(append([]string(nil), l.Command...)...) }

// List writes the page of runs that each have pages below their names.
func List(w io.Writer, runs []Listed) error {
	return templates.ExecuteTemplate(w, "list", struct {
		Policy        string
		Style, Script template.HTML
		Runs          []Listed
	}{policy, template.HTML("<style>" + style + "</style>"), template.HTML("<script>" + script + "</script>"), runs})
}
