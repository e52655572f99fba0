// SPDX-License-Identifier: Apache-2.0

package matrix

import "slices"

// pairsOfPoint is how many pairs of values of different axes a point has.
const pairsOfPoint = int(axes) * (int(axes) - 1) / 2

// A Pair is two values of different axes.
type Pair struct {
	A, B   Axis
	ValueA string
	ValueB string
}

func (p Pair) String() string {
	return p.A.String() + " " + p.ValueA + " with " + p.B.String() + " " + p.ValueB
}

// space numbers the pairs of values of different axes.
type space struct {
	values [axes][]string
	offset [axes][axes]int // of the first pair of the two axes
	pairs  int
}

func newSpace(points []Point) *space {
	var s space
	seen := [axes]map[string]bool{}
	for a := range seen {
		seen[a] = make(map[string]bool)
	}
	for _, p := range points {
		for a, v := range p {
			if !seen[a][v] {
				seen[a][v] = true
				s.values[a] = append(s.values[a], v)
			}
		}
	}
	for a := range s.values {
		for b := a + 1; b < len(s.values); b++ {
			s.offset[a][b] = s.pairs
			s.pairs += len(s.values[a]) * len(s.values[b])
		}
	}
	return &s
}

// indexed is a point as the numbers of its values.
type indexed [axes]int

func (s *space) index(points []Point) []indexed {
	var numbers [axes]map[string]int
	for a, values := range s.values {
		numbers[a] = make(map[string]int, len(values))
		for i, v := range values {
			numbers[a][v] = i
		}
	}
	all := make([]indexed, len(points))
	for i, p := range points {
		for a, v := range p {
			all[i][a] = numbers[a][v]
		}
	}
	return all
}

// pairsOf lists the numbers of a point's pairs.
func (s *space) pairsOf(p indexed) [pairsOfPoint]int {
	var list [pairsOfPoint]int
	n := 0
	for a := range p {
		for b := a + 1; b < len(p); b++ {
			list[n] = s.offset[a][b] + p[a]*len(s.values[b]) + p[b]
			n++
		}
	}
	return list
}

// has marks the pairs that points have.
func (s *space) has(points []Point) []bool {
	have := make([]bool, s.pairs)
	for _, p := range s.index(points) {
		for _, pair := range s.pairsOf(p) {
			have[pair] = true
		}
	}
	return have
}

// pairs counts the pairs that some possible point has, and lists those of them
// that no chosen one has.
func pairs(possible, chosen []Point) (all int, missed []Pair) {
	s := newSpace(possible)
	can, have := s.has(possible), s.has(chosen)
	for a := range s.values {
		for b := a + 1; b < len(s.values); b++ {
			for i, x := range s.values[a] {
				for j, y := range s.values[b] {
					pair := s.offset[a][b] + i*len(s.values[b]) + j
					if !can[pair] {
						continue
					}
					if all++; !have[pair] {
						missed = append(missed, Pair{A: Axis(a), B: Axis(b), ValueA: x, ValueB: y})
					}
				}
			}
		}
	}
	return all, missed
}

// pairwise chooses points, in the order given, until every pair of values
// that the points have is there. The one that adds most comes next; of equals
// the first.
func pairwise(points []Point) []Point {
	s := newSpace(points)
	numbered := s.index(points)
	have := make([]bool, s.pairs)
	gain := func(i int) (n int) {
		for _, pair := range s.pairsOf(numbered[i]) {
			if !have[pair] {
				n++
			}
		}
		return n
	}
	// What a point adds never grows, so a bound that was true once stays one:
	// points wait in the bucket of the most that they could add.
	var buckets [pairsOfPoint + 1][]int
	for i := range points {
		n := gain(i)
		buckets[n] = append(buckets[n], i)
	}
	var chosen []int
	for most := pairsOfPoint; most > 0; most-- {
		for len(buckets[most]) > 0 {
			i := buckets[most][0]
			buckets[most] = buckets[most][1:]
			if n := gain(i); n < most {
				buckets[n] = append(buckets[n], i)
				continue
			}
			chosen = append(chosen, i)
			for _, pair := range s.pairsOf(numbered[i]) {
				have[pair] = true
			}
		}
	}
	slices.Sort(chosen)
	picked := make([]Point, len(chosen))
	for n, i := range chosen {
		picked[n] = points[i]
	}
	return picked
}
