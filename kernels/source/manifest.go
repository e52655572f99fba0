// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

// An Entry is one file of a tree: what kbuild can see of it.
type Entry struct {
	Path string // slash-separated, relative to the tree, never upwards
	Kind byte   // 'f' file, 'x' executable file, 'l' symbolic link
	Data string // of a file the SHA-256 of its content in hex; of a link its target
}

// A Manifest lists a tree, sorted by path. Equal manifests are equal trees.
type Manifest []Entry

func (m Manifest) sort() {
	sort.Slice(m, func(i, j int) bool { return m[i].Path < m[j].Path })
}

// encode writes one line an entry: kind, data, path, separated by tabs.
func (m Manifest) encode(w io.Writer) error {
	b := bufio.NewWriterSize(w, 1<<16)
	for _, e := range m {
		b.WriteByte(e.Kind)
		b.WriteByte('\t')
		b.WriteString(e.Data)
		b.WriteByte('\t')
		b.WriteString(e.Path)
		b.WriteByte('\n')
	}
	return b.Flush()
}

// ID is the name of the tree: a hash of the manifest, 160 bits in hex.
func (m Manifest) ID() string {
	h := sha256.New()
	m.encode(h)
	return hex.EncodeToString(h.Sum(nil))[:idLength]
}

const idLength = 40

// ReadManifest reads the manifest that a Store wrote beside a tree.
func ReadManifest(path string) (Manifest, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m := make(Manifest, 0, bytes.Count(data, []byte("\n")))
	for line := range strings.Lines(string(data)) {
		kind, rest, ok1 := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		value, name, ok2 := strings.Cut(rest, "\t")
		if !ok1 || !ok2 || len(kind) != 1 || !strings.HasSuffix(line, "\n") {
			return nil, fmt.Errorf("read manifest: %s: bad line %q", path, line)
		}
		m = append(m, Entry{Path: name, Kind: kind[0], Data: value})
	}
	return m, nil
}

// A Change says how a path differs between two trees.
type Change struct {
	Path     string
	Old, New *Entry // nil: not there
}

// Diff lists what differs from old to m, sorted by path.
func (m Manifest) Diff(old Manifest) []Change {
	var changes []Change
	i, j := 0, 0
	for i < len(old) || j < len(m) {
		switch {
		case j == len(m) || i < len(old) && old[i].Path < m[j].Path:
			changes = append(changes, Change{Path: old[i].Path, Old: &old[i]})
			i++
		case i == len(old) || m[j].Path < old[i].Path:
			changes = append(changes, Change{Path: m[j].Path, New: &m[j]})
			j++
		default:
			if old[i] != m[j] {
				changes = append(changes, Change{Path: m[j].Path, Old: &old[i], New: &m[j]})
			}
			i++
			j++
		}
	}
	return changes
}
