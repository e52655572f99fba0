// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hashes remembers what the files of one directory hashed to, so that only
// what changed is read again. A file is the same when size, modification and
// change time, and inode are; the change time cannot be set back by a user.
type hashes struct {
	file  string
	start time.Time
	mu    sync.Mutex
	known map[string]string // path → "stamp\thash"
	fresh map[string]string // what this run saw
	dirty bool
}

// settle is how old a change must be to be remembered: a file that is written
// twice within one tick of the file system's clock looks the same both times.
const settle = 2 * time.Second

func keyOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:idLength]
}

func (s *Store) openHashes(dir string) *hashes {
	h := &hashes{file: s.path("stat", keyOf(dir)), start: time.Now(), known: map[string]string{}, fresh: map[string]string{}}
	data, err := os.ReadFile(h.file)
	if err != nil {
		return h // the first time; everything is read
	}
	for line := range strings.Lines(string(data)) {
		if value, name, ok := cutLast(strings.TrimSuffix(line, "\n")); ok {
			h.known[name] = value
		}
	}
	return h
}

// cutLast cuts "stamp\thash\tpath" before the path; a path has no tab.
func cutLast(line string) (value, name string, ok bool) {
	i := strings.LastIndexByte(line, '\t')
	if i < 0 {
		return "", "", false
	}
	return line[:i], line[i+1:], true
}

func (h *hashes) of(root *os.Root, name string, st *unix.Stat_t) (string, error) {
	var b []byte
	for _, n := range []int64{st.Size, int64(st.Mtim.Sec), int64(st.Mtim.Nsec), int64(st.Ctim.Sec), int64(st.Ctim.Nsec), int64(st.Ino)} {
		b = append(strconv.AppendInt(b, n, 36), ' ')
	}
	stamp := string(b)
	h.mu.Lock()
	value, ok := h.known[name]
	h.mu.Unlock()
	if was, sum, cut := strings.Cut(value, "\t"); ok && cut && was == stamp && len(sum) == 2*sha256.Size {
		h.mu.Lock()
		h.fresh[name] = value
		h.mu.Unlock()
		return sum, nil
	}
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, err := hashReader(f)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	if h.start.Sub(time.Unix(st.Ctim.Unix())) > settle {
		h.mu.Lock()
		h.fresh[name] = stamp + "\t" + sum
		h.dirty = true
		h.mu.Unlock()
	}
	return sum, nil
}

// save writes down what this run saw, when it saw anything new.
func (h *hashes) save() error {
	if !h.dirty && len(h.fresh) == len(h.known) {
		return nil
	}
	names := make([]string, 0, len(h.fresh))
	for name := range h.fresh {
		names = append(names, name)
	}
	sort.Strings(names)
	var b bytes.Buffer
	for _, name := range names {
		b.WriteString(h.fresh[name])
		b.WriteByte('\t')
		b.WriteString(name)
		b.WriteByte('\n')
	}
	return writeFileAtomic(h.file, b.Bytes())
}
