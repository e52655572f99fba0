// SPDX-License-Identifier: Apache-2.0

package site

import (
	"fmt"
	"slices"
	"strings"

	"noiommu-farm/results/verdict"
	"noiommu-farm/suites/contract"
)

// names are those of a run's cells, by what tells them apart.
type names struct {
	kernel  []string // of each cell; empty where all have the same
	machine []string // its topology first
	whole   []string
}

// nameCells names cells. One without a record is laid out as its name says
// (SOURCE_CONFIG_MACHINE), where cells with one use the same words, and by its
// name otherwise.
func nameCells(cells []*verdict.Cell) names {
	n := names{kernel: make([]string, len(cells)), machine: make([]string, len(cells)), whole: make([]string, len(cells))}
	var known []*verdict.Cell
	for _, c := range cells {
		if c.Kernel.Source != "" {
			known = append(known, c)
		}
	}
	kernel, machine := parts(known)
	kernelOf, machineOf := make(map[string]string), make(map[string]string)
	for _, c := range known {
		k, m := halves(c.Name)
		kernelOf[k], machineOf[m] = kernel(c), machine(c)
	}
	alike := make(map[string][]int)
	for i, c := range cells {
		k, m := halves(c.Name)
		_, one := kernelOf[k]
		_, two := machineOf[m]
		switch {
		case c.Kernel.Source != "":
			n.kernel[i], n.machine[i] = kernel(c), machine(c)
		case one && two:
			n.kernel[i], n.machine[i] = kernelOf[k], machineOf[m]
		default:
			n.machine[i], n.whole[i] = c.Name, c.Name
			continue
		}
		n.whole[i] = strings.TrimSpace(n.kernel[i] + " IOMMU " + n.machine[i])
		alike[n.whole[i]] = append(alike[n.whole[i]], i)
	}
	for _, same := range alike {
		if len(same) == 1 {
			continue
		}
		// By something that no report knows of, as what was asked for.
		every := make(map[string]int)
		for _, i := range same {
			for _, word := range strings.Split(cells[i].Name, "_") {
				every[word]++
			}
		}
		told := make(map[string]bool)
		own := make([]string, len(same))
		for j, i := range same {
			for _, word := range strings.Split(cells[i].Name, "_") {
				if every[word] < len(same) {
					own[j] += " " + word
				}
			}
			told[own[j]] = true
		}
		for j, i := range same {
			if len(told) < len(same) { // words in another order, or one twice
				own[j] = " " + cells[i].Name
			}
			n.machine[i] += own[j]
			n.whole[i] += own[j]
		}
	}
	return n
}

// halves cuts the name of a cell after its second part.
func halves(name string) (kernel, machine string) {
	parts := strings.SplitN(name, "_", 3)
	if len(parts) < 3 {
		return name, ""
	}
	return parts[0] + "_" + parts[1], parts[2]
}

// part is a word of a cell's name.
type part func(*verdict.Cell) string

// parts are how kernels and machines are called: by what differs and is not
// told by what was called so far. A topology is always named, and who may do
// less than root.
func parts(cells []*verdict.Cell) (kernel, machine part) {
	var kernels, machines []part
	join := func(parts *[]part) part {
		return func(c *verdict.Cell) string {
			words := make([]string, 0, len(*parts))
			for _, p := range *parts {
				if word := p(c); word != "" {
					words = append(words, word)
				}
			}
			return strings.Join(words, " ")
		}
	}
	kernel, machine = join(&kernels), join(&machines)
	differs := func(p part) bool {
		return slices.ContainsFunc(cells, func(c *verdict.Cell) bool { return p(c) != p(cells[0]) })
	}
	for _, p := range []part{
		func(c *verdict.Cell) string {
			if c.Kernel.Series != "" {
				return c.Kernel.Source + " with " + c.Kernel.Series
			}
			return c.Kernel.Source
		},
		func(c *verdict.Cell) string { return c.Kernel.Config },
	} {
		if differs(p) {
			kernels = append(kernels, p)
		}
	}
	machines = append(machines, func(c *verdict.Cell) string { return c.Machine.Topology })
	machines = append(machines, func(c *verdict.Cell) string {
		if c.Machine.Privileges == contract.Root {
			return ""
		}
		return string(c.Machine.Privileges)
	})
	// tells says whether a word tells cells apart that have the same name so far.
	tells := func(p part) bool {
		words := make(map[string]string)
		for _, c := range cells {
			name := kernel(c) + " " + machine(c)
			if word, ok := words[name]; ok && word != p(c) {
				return true
			}
			words[name] = p(c)
		}
		return false
	}
	if p := func(c *verdict.Cell) string { return c.Kernel.Compiler }; tells(p) {
		kernels = append(kernels, p)
	}
	for _, p := range []part{
		func(c *verdict.Cell) string { return strings.Join(c.Machine.Devices, "+") },
		func(c *verdict.Cell) string { return fmt.Sprintf("%d MiB", c.Machine.MemoryMiB) },
		func(c *verdict.Cell) string { return fmt.Sprintf("%d CPU", c.Machine.CPUs) },
		func(c *verdict.Cell) string { return strings.Join(c.Machine.Parameters, " ") },
	} {
		if tells(p) {
			machines = append(machines, p)
		}
	}
	return kernel, machine
}

// fewCells is up to how many cells have a column each on a screen.
const fewCells = 12

// cellGrid lays the cells out by kernel and machine, the longer side down.
func (w *writer) cellGrid() *grid {
	kernels, machines := distinct(w.names.kernel), distinct(w.names.machine)
	down, across := w.names.kernel, w.names.machine
	if len(machines) > len(kernels) {
		down, across = across, down
		kernels, machines = machines, kernels
	}
	g := &grid{Numbers: true, Going: w.Going != ""}
	if slices.Equal(across, w.names.machine) {
		g.Across = "IOMMU"
	}
	for _, name := range machines {
		g.Columns = append(g.Columns, link{Text: name})
	}
	for _, name := range kernels {
		g.Rows = append(g.Rows, row{Name: name, Fields: make([]field, len(machines))})
	}
	for i, c := range w.Cells {
		f := field{Verdict: c.Verdict, To: cellDir(i) + "index.html", About: fmt.Sprintf("%s: %s: %s", w.names.whole[i], c.Verdict, c.Reasoned())}
		f.Text = numbers(c.Verdict, c.Counts())
		r := &g.Rows[slices.Index(kernels, down[i])]
		r.Fields[slices.Index(machines, across[i])] = f
		r.Words += " " + string(c.Verdict)
	}
	return g
}

// numbers are how many tests are not as expected, or passed.
func numbers(v verdict.Verdict, n verdict.Counts) string {
	switch bad := n[verdict.Fail] + n[verdict.Timeout] + n[verdict.Crash] + n[verdict.Infra]; {
	case bad > 0:
		return fmt.Sprint(bad)
	case v.Good() && n[verdict.Pass] > 0:
		return fmt.Sprint(n[verdict.Pass])
	}
	return ""
}

func distinct(all []string) []string {
	var out []string
	seen := make(map[string]bool)
	for _, s := range all {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
