// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"runtime"
	"unsafe"
)

// Address is where the kernel finds *p, for a field of an argument. Until the
// test ends *p is kept, and kept there: as a number the address is nothing that
// the runtime would change when it moves a stack. It is 0 for nil.
func Address[V any](t *T, p *V) uint64 {
	if p == nil {
		return 0
	}
	var pin runtime.Pinner
	pin.Pin(p)
	t.Cleanup(pin.Unpin)
	return uint64(uintptr(unsafe.Pointer(p)))
}
