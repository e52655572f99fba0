// SPDX-License-Identifier: Apache-2.0

package kconfig

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Mismatch is a requested option that came out otherwise.
type Mismatch struct {
	Option Option
	Got    string // "n" when it is not set
	Reason string
}

func (m Mismatch) Error() string {
	return fmt.Sprintf("%s:%d: CONFIG_%s=%s was asked for, but %s", m.Option.File, m.Option.Line, m.Option.Name, m.Option.Value, m.Reason)
}

// Check compares what was asked for with the .config, in the order of the
// options.
func Check(options []Option, config map[string]string, symbols Symbols) []Mismatch {
	var bad []Mismatch
	for _, o := range options {
		got, ok := config[o.Name]
		if !ok {
			got = "n"
		}
		symbol := symbols[o.Name]
		if symbol == nil || len(symbol.Definitions) == 0 {
			bad = append(bad, Mismatch{o, got, "this kernel has no such option"})
		} else if !same(o.Value, got) {
			bad = append(bad, Mismatch{o, got, reason(o, got, config, symbol)})
		}
	}
	return bad
}

// same compares values as Kconfig does: numbers by value.
func same(a, b string) bool {
	if a == b || a == `""` && b == "n" {
		return true
	}
	x, errX := strconv.ParseInt(a, 0, 64)
	y, errY := strconv.ParseInt(b, 0, 64)
	return errX == nil && errY == nil && x == y
}

// reason says in words what keeps an option from having its value.
func reason(o Option, got string, config map[string]string, symbol *Symbol) string {
	if o.Value == "n" {
		var by []string
		for _, s := range symbol.SelectedBy(config) {
			by = append(by, s.By)
		}
		switch {
		case len(by) > 0:
			return fmt.Sprintf("it is %s: selected by %s", got, strings.Join(by, ", "))
		case !prompted(symbol):
			return fmt.Sprintf("it is %s: it has no prompt, Kconfig computes it", got)
		}
		return fmt.Sprintf("it is %s", got)
	}
	var why []string
	for _, d := range symbol.Definitions {
		if missing := unmet(d.Depends, config); len(missing) > 0 {
			why = append(why, "depends on "+strings.Join(missing, " and "))
			continue
		}
		switch {
		case !d.Prompt:
			why = append(why, "has no prompt, and "+symbol.selectors(config))
		case d.When != "" && evaluate(d.When, config) == no:
			why = append(why, "can be set only if "+strings.Join(unmet([]string{d.When}, config), " and "))
		case d.Choice != "":
			why = append(why, "is one of a choice ("+d.Choice+") where another was taken")
		case o.Value == "m" && symbol.Type == "bool":
			why = append(why, "is bool: m is not one of its values")
		case o.Value == "m" && config["MODULES"] != "y":
			why = append(why, "can be m only with MODULES [=n]")
		case o.Value == "m" && got == "y":
			why = append(why, "is forced to y by what selects it")
		case symbol.Type == "bool" || symbol.Type == "tristate":
			why = append(why, "is off although all that it depends on holds")
		default:
			why = append(why, "takes no such value (its type is "+symbol.Type+")")
		}
	}
	return fmt.Sprintf("it is %s: it %s", got, strings.Join(why, "; or "))
}

// SelectedBy lists what forces the option on in a .config.
func (s *Symbol) SelectedBy(config map[string]string) []Selection {
	var by []Selection
	for _, sel := range s.Selects {
		if evaluate(sel.By, config) > no && evaluateAll(sel.If, config) > no {
			by = append(by, sel)
		}
	}
	return by
}

// Unmet lists the conditions that the option depends on and that do not hold
// in a .config, each with the values in it: "!GENERIC_ATOMIC64 [=y]".
func (s *Symbol) Unmet(config map[string]string) []string {
	var missing []string
	for _, d := range s.Definitions {
		m := unmet(d.Depends, config)
		if len(m) == 0 {
			return nil // one definition is enough
		}
		missing = append(missing, m...)
	}
	return missing
}

// Names lists the options that expressions speak of, each once.
func Names(exprs ...string) []string {
	var names []string
	for _, e := range exprs {
		for _, name := range symbolName.FindAllString(e, -1) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// selectors says of an option that nothing selects now what could.
func (s *Symbol) selectors(config map[string]string) string {
	const enough = 4
	var list []string
	for _, sel := range s.Selects {
		text := sel.By + " " + values(sel.By, config)
		if missing := unmet(sel.If, config); len(missing) > 0 {
			text += " if " + strings.Join(missing, " and ")
		}
		if list = append(list, text); len(list) == enough {
			break
		}
	}
	if len(list) == 0 {
		return "nothing selects it"
	}
	return "would be selected by " + strings.Join(list, ", or by ")
}

func prompted(s *Symbol) bool {
	for _, d := range s.Definitions {
		if d.Prompt {
			return true
		}
	}
	return false
}

func evaluateAll(exprs []string, config map[string]string) tristate {
	v := yes
	for _, e := range exprs {
		v = min(v, evaluate(e, config))
	}
	return v
}

var symbolName = regexp.MustCompile(`[A-Za-z0-9_]*[A-Z][A-Za-z0-9_]*`)

// unmet lists the conditions that are n, each with the values in it:
// "(A || B) [A=n, B=n]".
func unmet(depends []string, config map[string]string) []string {
	var missing []string
	seen := map[string]bool{}
	for _, expr := range depends {
		for _, c := range conjuncts(expr) {
			if c == "" || seen[c] || evaluate(c, config) > no {
				continue
			}
			seen[c] = true
			missing = append(missing, c+" "+values(c, config))
		}
	}
	return missing
}

func values(expr string, config map[string]string) string {
	names := symbolName.FindAllString(expr, -1)
	value := func(name string) string {
		if v, ok := config[name]; ok {
			return v
		}
		return "n"
	}
	if len(names) == 1 {
		return "[=" + value(names[0]) + "]"
	}
	var list []string
	for _, name := range names {
		list = append(list, name+"="+value(name))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// UnmetDependencies picks out of what conf printed the options that something
// selects although they must not be: a defect of the Kconfig files.
func UnmetDependencies(output string) []string {
	var found []string
	lines := strings.Split(output, "\n")
	for i := 0; i < len(lines); i++ {
		_, name, ok := strings.Cut(lines[i], "unmet direct dependencies detected for ")
		if !ok {
			continue
		}
		text := name
		for i+1 < len(lines) && strings.HasPrefix(lines[i+1], " ") && !strings.HasPrefix(lines[i+1], "  HOST") {
			i++
			text += " " + strings.TrimSpace(lines[i])
		}
		found = append(found, text)
	}
	return found
}
