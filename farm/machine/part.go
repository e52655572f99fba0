// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"strings"
)

// part is one device of QEMU, in the words of -device and of device_add.
type part struct {
	driver     string
	properties []property
}

// property has a string, a bool, an int, or a uint64 for a mask, as its value.
type property struct {
	name  string
	value any
}

func (p property) text() string {
	switch p.value {
	case true:
		return "on"
	case false:
		return "off"
	}
	if mask, ok := p.value.(uint64); ok {
		return fmt.Sprintf("%#x", mask)
	}
	return fmt.Sprint(p.value)
}

// hex is how QEMU reads the number of a slot or a bus.
func hex(n int) string { return fmt.Sprintf("%#x", n) }

// args are the arguments that make QEMU start with the part.
func (p part) args() []string {
	words := []string{p.driver}
	for _, one := range p.properties {
		words = append(words, one.name+"="+one.text())
	}
	return []string{"-device", strings.Join(words, ",")}
}

// plug are the arguments of device_add that give a running QEMU the same part.
func (p part) plug() map[string]any {
	arguments := map[string]any{"driver": p.driver}
	for _, one := range p.properties {
		arguments[one.name] = one.value
	}
	return arguments
}
