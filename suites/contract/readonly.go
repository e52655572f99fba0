// SPDX-License-Identifier: Apache-2.0

package contract

import "slices"

// readOnlyIDs are the statements whose tests only read what is there: files of
// proc and sysfs, and what nodes there are. They leave nothing behind in a
// guest, so they may share one.
var readOnlyIDs = []string{"ND-05", "ND-06", "TL-06"}

// ReadOnly says whether the test of a statement changes nothing in a guest.
func ReadOnly(id string) bool { return slices.Contains(readOnlyIDs, id) }
