// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"noiommu-farm/internal/fault"
)

// maxFile bounds a matrix file, in bytes.
const maxFile = 64 << 10

// place is where something stands in a file, and what it is called:
// "axes.topology".
type place struct {
	path         string
	line, column int
}

// word is a value with its place.
type word struct {
	text string
	at   place
}

// syntax reads a matrix file's tree. What a user wrote is either taken or
// refused with its place; nothing is passed over.
type syntax struct{ file string }

// refuse is a *fault.Usage about a place.
func (s syntax) refuse(at place, value string, err error, allowed ...string) error {
	key := fmt.Sprintf("%s:%d:%d", s.file, at.line, at.column)
	if at.path != "" {
		key += ": " + at.path
	}
	return &fault.Usage{Key: key, Value: value, Err: err, Allowed: allowed}
}

func (s syntax) at(n ast.Node, path string) place {
	t := n.GetToken()
	if t == nil || t.Position == nil {
		return place{path: path, line: 1, column: 1}
	}
	return place{path, t.Position.Line, t.Position.Column}
}

// parse returns the one mapping that the text is.
func (s syntax) parse(text []byte) (ast.Node, error) {
	if len(text) > maxFile {
		return nil, s.refuse(place{line: 1, column: 1}, "", fmt.Errorf("the file is larger than %d bytes", maxFile))
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		var bad *yaml.SyntaxError
		if errors.As(err, &bad) && bad.GetToken() != nil {
			at := bad.GetToken().Position
			return nil, s.refuse(place{line: at.Line, column: at.Column}, strings.TrimSpace(bad.GetToken().Value), errors.New(bad.GetMessage()))
		}
		return nil, s.refuse(place{line: 1, column: 1}, "", fmt.Errorf("no YAML: %w", err))
	}
	if len(tree.Docs) != 1 || tree.Docs[0].Body == nil {
		return nil, s.refuse(place{line: 1, column: 1}, "", errors.New("must be one YAML document, with axes"))
	}
	return tree.Docs[0].Body, nil
}

// entries are the pairs of a mapping.
func entries(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// fields are the keys that a mapping may have, and what reads their values.
type fields map[string]func(n ast.Node, path string) error

// mapping reads a mapping that has no other keys than the fields, each at most
// once.
func (s syntax) mapping(n ast.Node, path string, f fields) error {
	list, ok := entries(n)
	allowed := slices.Sorted(maps.Keys(f))
	if !ok {
		return s.refuse(s.at(n, path), text(n), errors.New("must be a mapping"), allowed...)
	}
	seen := make(map[string]bool)
	for _, e := range list {
		key := text(e.Key)
		at := s.at(e.Key, join(path, key))
		read, known := f[key]
		switch {
		case !known:
			at.path = path
			return s.refuse(at, key, errors.New("no such key"), allowed...)
		case seen[key]:
			return s.refuse(at, key, errors.New("given twice"))
		}
		seen[key] = true
		if err := read(e.Value, at.path); err != nil {
			return err
		}
	}
	return nil
}

// sequence reads a list that has at least one element.
func (s syntax) sequence(n ast.Node, path string, read func(n ast.Node, path string) error) error {
	list, ok := n.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		return s.refuse(s.at(n, path), text(n), errors.New("must be a list with at least one element"))
	}
	for i, v := range list.Values {
		if err := read(v, fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

// word reads one word or number.
func (s syntax) word(n ast.Node, path string) (word, error) {
	w := word{text(n), s.at(n, path)}
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		if w.text != "" {
			return w, nil
		}
	}
	return w, s.refuse(w.at, w.text, errors.New("must be a word or a number"))
}

// words reads a word or a list of them.
func (s syntax) words(n ast.Node, path string) ([]word, error) {
	if _, ok := n.(*ast.SequenceNode); !ok {
		w, err := s.word(n, path)
		return []word{w}, err
	}
	var all []word
	err := s.sequence(n, path, func(n ast.Node, path string) error {
		w, err := s.word(n, path)
		all = append(all, w)
		return err
	})
	return all, err
}

// text is a scalar as it was written, without quotes; of anything else, what
// it is.
func text(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value
	case nil:
		return ""
	}
	return strings.ToLower(n.Type().String())
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
