// SPDX-License-Identifier: Apache-2.0

package matrix

import (
	"bytes"
	"encoding/json"

	"noiommu-farm/suites/contract"
)

// Lists are the words that an editor offers for the axes whose meaning other
// rooms know. An axis with Open may have other values too.
type Lists map[Axis]List

// List is what an axis may have.
type List struct {
	Words []string
	Open  string // pattern of the words that are not listed; "" is none
}

// Schema is the JSON Schema (draft 2020-12) of matrix files, for editors. It
// refuses nothing that [ParseFile] takes; what only the parser knows is
// whether a rule speaks of values that are there, and whether cells are
// possible.
func Schema(lists Lists) []byte {
	type object = map[string]any
	defs := object{}
	for _, axis := range AllAxes() {
		list := lists[axis]
		switch axis {
		case Memory:
			defs[axis.String()] = object{
				"description": "MiB of a guest", "type": []string{"integer", "string"}, "minimum": 1, "pattern": "^[1-9][0-9]*$",
			}
			continue
		case Privileges:
			list = List{Words: names(contract.AllPrivileges)}
		case Suite:
			list = List{
				Words: append(append([]string{suiteDefault, suiteCore, suiteNightly}, ContractSuites()...), append(KselftestSuites(), StatementIDs()...)...),
				Open:  "^[^,]+(,[^,]+)+$|^(vfio|iommu)/.",
			}
		}
		// A number is a word too: a user may write one.
		any := []object{{"enum": list.Words}}
		if list.Open != "" {
			any = append(any, object{"type": "string", "pattern": list.Open})
		}
		defs[axis.String()] = object{"anyOf": any}
	}
	onAxes := func(one bool) object {
		properties := object{}
		for _, axis := range AllAxes() {
			ref := object{"$ref": "#/$defs/" + axis.String()}
			if one {
				properties[axis.String()] = object{"anyOf": []object{ref, {"type": "array", "items": ref, "minItems": 1, "maxItems": 1}}}
				continue
			}
			properties[axis.String()] = object{"anyOf": []object{ref, {"type": "array", "items": ref, "minItems": 1, "uniqueItems": true}}}
		}
		return properties
	}
	rules := func(description string, one bool, required []string, more object) object {
		properties := onAxes(one)
		for key, value := range more {
			properties[key] = value
		}
		item := object{"type": "object", "properties": properties, "additionalProperties": false, "minProperties": len(required) + 1}
		if len(required) > 0 {
			item["required"] = required
		}
		return object{"description": description, "type": "array", "minItems": 1, "items": item}
	}
	reason := object{"description": "why, for the report", "type": []string{"string", "number", "boolean"}, "minLength": 1}
	requirement := object{"enum": contract.Requirements()}
	var must []string
	for _, axis := range AllAxes() {
		if standard[axis] == "" {
			must = append(must, axis.String())
		}
	}
	schema := object{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "A matrix of noiommu-farm",
		"type":                 "object",
		"additionalProperties": false,
		"required":             []string{"axes"},
		"$defs":                defs,
		"properties": object{
			"axes": object{
				"description": "what the cells are the product of", "type": "object",
				"properties": onAxes(false), "additionalProperties": false, "required": must,
			},
			"strategy": object{"description": "which points of the product become cells", "enum": Strategies()},
			"sample": object{
				"description": "for strategy sample", "type": "object", "additionalProperties": false,
				"properties": object{
					"cells": object{"type": "integer", "minimum": 1, "maximum": maxPoints},
					"seed":  object{"type": "integer", "minimum": 0, "maximum": uint64(1 << 63)},
				},
			},
			"include": rules("points beside those of the strategy", true, nil, nil),
			"exclude": rules("points to leave out", false, []string{"reason"}, object{"reason": reason}),
			"constraints": rules("points to leave out unless their cell meets what is required", false, []string{"reason", "requires"},
				object{"reason": reason, "requires": object{"anyOf": []object{requirement, {"type": "array", "minItems": 1, "items": requirement}}}}),
			"weights": rules("points that matter more or less than 1", false, []string{"weight"},
				object{"weight": object{"type": []string{"number", "string"}, "exclusiveMinimum": 0, "maximum": maxWeight}}),
			"budget": object{"description": "wall clock of a run, as in 8h or 90m", "type": "string", "pattern": `^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)`},
		},
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(schema); err != nil {
		panic(err) // it is made of strings and numbers
	}
	return b.Bytes()
}
