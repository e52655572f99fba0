// SPDX-License-Identifier: Apache-2.0

package wire

// A Violation is a kind of rubbish: something that arrived in full and is not
// a message of this protocol. Errors of the codec wrap one (errors.Is), so
// that they can be told from a port that failed or closed. After a Violation
// the stream cannot be trusted and nothing more can be read from it.
type Violation string

func (v Violation) Error() string { return string(v) }

// The kinds of rubbish.
const (
	ErrLength  Violation = "length out of bounds"                 // of a frame or a chunk
	ErrJSON    Violation = "not a message of this version"        // bad JSON, unknown fields, wrong types, trailing data
	ErrPacked  Violation = "not a packed message of this version" // an unknown one, cut off, or with something after it
	ErrFields  Violation = "not exactly one field is set"         // of ToGuest or ToHost
	ErrVersion Violation = "the other end speaks another version" // in a Hello
	ErrStream  Violation = "unknown stream"                       // of a chunk
)
