// SPDX-License-Identifier: Apache-2.0

package wire

import "fmt"

// MaxSeed bounds the seed of a Restore, in bytes.
const MaxSeed = 256

// Restore tells the agent that its guest was saved and goes on in another
// QEMU. It is the host's first word there, and comes once. The answer is
// Restored or Error; the guest's clock and randomness are its own then.
type Restore struct {
	Guest  uint32 `json:"guest"`   // chosen by the host, above 0, never used twice for one saved guest
	UnixNS int64  `json:"unix_ns"` // the time now
	Seed   []byte `json:"seed"`    // 1 to MaxSeed bytes that nobody else has
}

// Restored answers Restore. Everything that the agent says after it is of the
// guest that it names, and nothing before it is.
type Restored struct {
	Guest uint32 `json:"guest"`
}

// Check says what is wrong with the shape of r.
func (r Restore) Check() error {
	if r.Guest == 0 || r.UnixNS <= 0 || len(r.Seed) == 0 || len(r.Seed) > MaxSeed {
		return fmt.Errorf("guest %d at %d ns with %d bytes of seed: a number above 0, a time and 1 to %d bytes are needed", r.Guest, r.UnixNS, len(r.Seed), MaxSeed)
	}
	return nil
}
