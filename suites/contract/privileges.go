// SPDX-License-Identifier: Apache-2.0

package contract

import "strings"

// Privileges are what the test programs of a cell may do. Its text is the
// typed reason of a skip.
type Privileges string

const (
	Root          Privileges = "root"           // user 0 of the first user namespace with every capability
	NoRawIO       Privileges = "no-rawio"       // the same without CAP_SYS_RAWIO
	UserNamespace Privileges = "user-namespace" // user 0 of another user namespace, with every capability there
	Unprivileged  Privileges = "unprivileged"   // another user, without capabilities
	LowMemlock    Privileges = "low-memlock"    // root without CAP_IPC_LOCK, with a RLIMIT_MEMLOCK of MemlockLimit
)

// AllPrivileges are all of them, in the order of reports.
var AllPrivileges = []Privileges{Root, NoRawIO, UserNamespace, Unprivileged, LowMemlock}

// MemlockLimit is RLIMIT_MEMLOCK under [LowMemlock], in bytes.
const MemlockLimit = 64 << 10

// openRefused is what is evident where a node cannot be opened: without the
// capability, and for a user whom the file's mode keeps out before that.
var openRefused = map[Privileges][]string{
	NoRawIO:       {"open:EPERM"},
	UserNamespace: {"open:EPERM"},
	Unprivileged:  {"open:EACCES"},
}

// anyOf is the requirement of one of several privileges: "root|no-rawio".
func anyOf(allowed []Privileges) Requirement {
	words := make([]string, len(allowed))
	for i, p := range allowed {
		words[i] = string(p)
	}
	return Requirement(strings.Join(words, "|"))
}
