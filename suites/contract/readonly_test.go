// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"slices"
	"testing"
)

// What only reads has no other evidence.
func TestReadOnly(t *testing.T) {
	reading := []string{"sysfs.reads", "proc.reads", "reads", "stat", "stat:ENOENT"}
	for _, id := range readOnlyIDs {
		s, ok := ByID(id)
		if !ok {
			t.Errorf("there is no statement %s", id)
		}
		for _, e := range s.Evidence {
			if !slices.Contains(reading, e) {
				t.Errorf("%s is said to only read, and its evidence is %s", id, e)
			}
		}
	}
}
