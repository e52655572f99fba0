// SPDX-License-Identifier: Apache-2.0

package contract

// UntestedStatement is a promise that no test can hold a kernel to here.
type UntestedStatement struct {
	ID, Suite, Promise string
	Reason             string // that a maintainer would accept
}

// Untested are the statements without a test.
var Untested = []UntestedStatement{}
