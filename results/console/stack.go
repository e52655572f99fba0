// SPDX-License-Identifier: Apache-2.0

package console

// MaxStack is how many functions of a complaint [Finding.Stack] gives: those
// below them are the same for many bugs.
const MaxStack = 5

// Stack is the innermost functions of a complaint from the guilty one
// outwards, without offsets: what stays the same when the same thing happens
// in another boot of the same kernel.
func (f Finding) Stack() []string {
	var all []string
	for _, line := range f.Lines {
		for _, one := range frames(line) {
			if n := len(all); n == 0 || all[n-1] != one.function {
				all = append(all, one.function)
			}
		}
	}
	for i, function := range all {
		if function == f.Function {
			all = all[i:]
			break
		}
	}
	return all[:min(len(all), MaxStack)]
}
