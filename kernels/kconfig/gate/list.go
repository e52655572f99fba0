// SPDX-License-Identifier: Apache-2.0

package gate

// A Statement is one promise of the suite KC, for those who list them.
type Statement struct {
	ID      string
	Promise string
	Source  []string // lines of Linux 7.3.4
}

// Statements are all that the gate checks, in order.
func Statements() []Statement {
	var all []Statement
	for _, s := range statements {
		all = append(all, Statement{s.id, s.promise, s.lines})
	}
	return all
}
