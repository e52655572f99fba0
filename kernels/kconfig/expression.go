// SPDX-License-Identifier: Apache-2.0

package kconfig

import (
	"regexp"
	"strings"
)

// A tristate is Kconfig's n < m < y.
type tristate int

const (
	no tristate = iota
	module
	yes
)

var token = regexp.MustCompile(`\s*(&&|\|\||!=|<=|>=|=|<|>|!|\(|\)|"[^"]*"|'[^']*'|\$\([^)]*\)+|[A-Za-z0-9_./-]+)`)

// An expression is the rest of what is being evaluated, as
// Documentation/kbuild/kconfig-language.rst defines it.
type expression struct {
	tokens []string
	config map[string]string
}

// evaluate computes an expression with the values of a .config. What cannot
// be known from text (a macro that runs the compiler) counts as y: it is never
// named as the reason of anything.
func evaluate(text string, config map[string]string) tristate {
	e := &expression{config: config}
	for _, m := range token.FindAllStringSubmatch(text, -1) {
		e.tokens = append(e.tokens, m[1])
	}
	return e.or()
}

func (e *expression) peek() string {
	if len(e.tokens) == 0 {
		return ""
	}
	return e.tokens[0]
}

func (e *expression) next() string {
	t := e.peek()
	if len(e.tokens) > 0 {
		e.tokens = e.tokens[1:]
	}
	return t
}

func (e *expression) or() tristate {
	v := e.and()
	for e.peek() == "||" {
		e.next()
		v = max(v, e.and())
	}
	return v
}

func (e *expression) and() tristate {
	v := e.not()
	for e.peek() == "&&" {
		e.next()
		v = min(v, e.not())
	}
	return v
}

func (e *expression) not() tristate {
	switch e.peek() {
	case "!":
		e.next()
		return yes - e.not()
	case "(":
		e.next()
		v := e.or()
		if e.peek() == ")" {
			e.next()
		}
		return v
	}
	left := e.next()
	switch e.peek() {
	case "=", "!=":
		op, right := e.next(), e.next()
		if (e.value(left) == e.value(right)) == (op == "=") {
			return yes
		}
		return no
	case "<", "<=", ">", ">=":
		e.next()
		e.next()
		return yes // numbers of versions, mostly: no reason to name
	}
	if strings.HasPrefix(left, "$") {
		return yes
	}
	switch e.value(left) {
	case "y":
		return yes
	case "m":
		return module
	}
	return no
}

// value is a constant, or what the .config has for a symbol.
func (e *expression) value(t string) string {
	switch {
	case t == "y" || t == "m" || t == "n":
		return t
	case t != "" && (t[0] == '"' || t[0] == '\''):
		return strings.Trim(t, `"'`)
	}
	if v, ok := e.config[t]; ok {
		return strings.Trim(v, `"`)
	}
	return "n"
}

// conjuncts splits an expression at its outermost &&.
func conjuncts(text string) []string {
	var parts []string
	depth, start := 0, 0
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '(':
			depth++
		case text[i] == ')':
			depth--
		case depth == 0 && strings.HasPrefix(text[i:], "||"):
			return []string{strings.TrimSpace(text)} // && binds tighter: nothing to split
		case depth == 0 && strings.HasPrefix(text[i:], "&&"):
			parts = append(parts, strings.TrimSpace(text[start:i]))
			start = i + 2
		}
	}
	return append(parts, strings.TrimSpace(text[start:]))
}
