// SPDX-License-Identifier: Apache-2.0

package uapi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Tally counts what the kernel and the devices have done, by name. The name of
// a call that succeeded is its own ("IOMMU_IOAS_MAP"), of one that failed its
// name and the errno ("IOMMU_IOAS_MAP:EINVAL"). It may be used by several
// threads.
type Tally struct {
	mu     sync.Mutex
	counts map[string]uint64
}

// Did counts one call that ended with err. An error without an errno counts
// as "NAME:error".
func (t *Tally) Did(name string, err error) {
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		name += ":" + ErrnoName(errno)
	case err != nil:
		name += ":error"
	}
	t.Add(name, 1)
}

// Add adds n to the count of name.
func (t *Tally) Add(name string, n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = make(map[string]uint64)
	}
	t.counts[name] += n
}

// Count is the count of name.
func (t *Tally) Count(name string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[name]
}

// String lists the counts as "name=count", sorted by name.
func (t *Tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	words := make([]string, 0, len(t.counts))
	for name, n := range t.counts {
		words = append(words, fmt.Sprintf("%s=%d", name, n))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
