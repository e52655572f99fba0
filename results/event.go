// SPDX-License-Identifier: Apache-2.0

// Package results keeps what happened: a run directory with one folder a cell,
// and in it an append-only events.jsonl that is written as things happen.
//
// In come the plan of a cell, the agent's messages, program output and the
// console; out goes a [Record] of a cell, read back from disk. Everything else
// about a run (verdicts, tables, exports) is derived from records by the inner
// rooms: verdict judges, report shows, ktap and console read the two formats
// that guests produce. Nothing here starts a guest or decides what to run.
package results

import (
	"time"

	"noiommu-farm/guestagent/wire"
	"noiommu-farm/suites/contract"
)

// Event is one line of events.jsonl. Exactly one of the pointers is set.
type Event struct {
	Time     time.Time    `json:"time"`
	Guest    uint32       `json:"guest,omitempty"`   // which one of the cell this is about; 0 is the first
	Planned  *Planned     `json:"planned,omitempty"` // first event of a cell
	Booted   *Booted      `json:"booted,omitempty"`
	Agent    *wire.ToHost `json:"agent,omitempty"`    // what the agent said, pongs left out
	Running  *Running     `json:"running,omitempty"`  // the host asked for a program
	Answered *Answered    `json:"answered,omitempty"` // the host answered what a program asked (Agent.Ask)
	Away     *Away        `json:"away,omitempty"`     // a program left devices unplugged
	Saved    *Saved       `json:"saved,omitempty"`    // the guest was saved, or cannot be
	Assigned *Assigned    `json:"assigned,omitempty"` // first event of every guest but the first
	Hung     *Hung        `json:"hung,omitempty"`     // the guest no longer answers
	Lost     *Lost        `json:"lost,omitempty"`     // the connection to the agent ended too early
	Infra    *Infra       `json:"infra,omitempty"`    // the farm failed
	Unbuilt  *Unbuilt     `json:"unbuilt,omitempty"`  // the kernel could not be built, and nothing was booted
	Ended    *Ended       `json:"ended,omitempty"`    // last event of a cell that was carried to its end
}

// Planned is all that the host knows of a cell before it boots.
type Planned struct {
	Cell     string         `json:"cell"`
	Kernel   Kernel         `json:"kernel"`
	Machine  Machine        `json:"machine"`
	Image    string         `json:"image"` // SHA-256 of the initramfs
	Facts    contract.Facts `json:"facts"`
	Programs []Program      `json:"programs"`
	Absent   []Absent       `json:"absent"` // programs that this cell cannot or shall not run
	Broken   []Broken       `json:"broken,omitempty"`
	// Measured says that what the kernel has allocated is measured before the
	// first program and after the last.
	Measured bool `json:"measured,omitempty"`
	// Isolation says what has a guest of its own; "" is all of the cell.
	Isolation Isolation `json:"isolation,omitempty"`
}

// Isolation says what has a guest of its own.
type Isolation string

const (
	PerTest  Isolation = "test"  // every test, and every program that decides for itself which tests it has
	PerSuite Isolation = "suite" // every program
	PerCell  Isolation = "cell"  // nothing: all programs run in one guest
)

// Isolations are all there are.
var Isolations = []Isolation{PerTest, PerSuite, PerCell}

// Kernel says which kernel a cell tests.
type Kernel struct {
	Source   string   `json:"source"`            // as asked for: "debian:7.3"
	SourceID string   `json:"source_id"`         // content hash of the tree
	Series   string   `json:"series,omitempty"`  // on the source, as asked for
	Patches  []string `json:"patches,omitempty"` // of the series: ids of what they do, in order
	Config   string   `json:"config"`            // name of the configuration
	Release  string   `json:"release"`           // uname -r
	Build    string   `json:"build"`             // key of the build in the cache
	Compiler string   `json:"compiler"`
	// ConfigSHA256 is the hash of the built .config; the guest's
	// /proc/config.gz must unpack to the same.
	ConfigSHA256 string `json:"config_sha256"`
}

// Machine says what a cell runs on.
type Machine struct {
	Topology  string     `json:"topology"`
	IOMMU     bool       `json:"iommu"`   // the kernel drives one, whatever is behind it
	Devices   []string   `json:"devices"` // models
	PCI       []Function `json:"pci"`     // the functions under test
	CPUs      int        `json:"cpus"`
	MemoryMiB int        `json:"memory_mib"`
	Accel     string     `json:"accel"`
	QEMU      string     `json:"qemu"` // version
	// Privileges are those of the test programs.
	Privileges contract.Privileges `json:"privileges,omitempty"`
	// Parameters are those that the kernel got after the machine's own.
	Parameters []string `json:"parameters,omitempty"`
}

// Function is one PCI function under test.
type Function struct {
	ID     string `json:"id"`     // "vendor:device", in hex
	Behind bool   `json:"behind"` // an IOMMU that the kernel drives translates for it
}

// Program is one test program of a cell and what it must print.
type Program struct {
	ID      uint32        `json:"id"`
	Name    string        `json:"name"` // "get_pa", "vfio/vfio_pci_device_test"
	Argv    []string      `json:"argv"`
	Env     []string      `json:"env,omitempty"`
	Timeout time.Duration `json:"timeout"`
	// Privileges are what it may do; "" is root.
	Privileges contract.Privileges `json:"privileges,omitempty"`
	Host       bool                `json:"host,omitempty"` // it may ask the host; see wire.HostEnv
	// Tests are the results that must be there, no more and no fewer. Nil
	// means that the program itself decides which tests it has.
	Tests []Expected `json:"tests,omitempty"`
	// Skips says which of the program's own tests must be skipped.
	Skips []contract.Skip `json:"skips,omitempty"`
	// Device is the one that it is run on, where it is run on one.
	Device *contract.Device `json:"device,omitempty"`
	// Findings says which of its own tests must fail, and why.
	Findings []contract.Finding `json:"findings,omitempty"`
}

// Expected is what one test must do in this cell.
type Expected struct {
	Name     string   `json:"name"`
	Skip     string   `json:"skip,omitempty"`     // the typed reason it must be skipped with; empty when it must pass
	Evidence []string `json:"evidence,omitempty"` // counters that must be above zero for a pass
	// Finding is why it must fail, where it must.
	Finding *contract.Finding `json:"finding,omitempty"`
}

// Absent is a program that is known and not run, and why.
type Absent struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Broken is what a cell would run of the kernel's own test programs, and does
// not compile.
type Broken struct {
	Name string `json:"name"` // "vfio/build"
	Err  string `json:"err"`

	Missing []string `json:"missing,omitempty"` // programs that are not there for it, or that this kernel does not have
}

// Booted says that QEMU was started.
type Booted struct {
	Command string `json:"command"` // shell-quoted, exact
}

// Running says that the host sent a program to the agent.
type Running struct {
	ID   uint32   `json:"id"`
	Argv []string `json:"argv"` // with the addresses of this guest's devices filled in
}

// Answered says how the host answered a program's request.
type Answered struct {
	Run   uint32 `json:"run"`
	N     uint32 `json:"n"`
	Bytes int    `json:"bytes,omitempty"` // of data
	Err   string `json:"err,omitempty"`   // why not
}

// Away says that a program ended while devices under test were unplugged. The
// host puts them back for the programs after it.
type Away struct {
	Run  uint32   `json:"run"`
	BDFs []string `json:"bdfs"`
}

// Saved says that the first guest was saved as it was, or why it cannot be.
type Saved struct {
	Err string `json:"err,omitempty"`
}

// Assigned says what a guest is there for.
type Assigned struct {
	Program uint32   `json:"program"`
	Tests   []string `json:"tests,omitempty"` // of the program; nil is all
	// Restored says that it goes on from where the first guest was when it was
	// saved for the Saved-th time, counted from 1. Otherwise it is booted.
	Restored int `json:"restored,omitempty"`
}

// Hung says that the guest stopped answering while QEMU still ran.
type Hung struct {
	Doing string `json:"doing"` // what the host was waiting for
}

// Lost says that the connection to the agent ended while it was still needed.
type Lost struct {
	Doing string `json:"doing"` // what the host was waiting for
}

// Infra says what the farm could not do. A cell with such an event has no
// green result that comes after it.
type Infra struct {
	Err string `json:"err"`
}

// Unbuilt says that the cell has no kernel, because it does not configure or
// compile.
type Unbuilt struct {
	Stage string `json:"stage"` // what was being done: "compile"
	Err   string `json:"err"`
	Log   string `json:"log,omitempty"` // where all that was printed is, on the machine that built
}

// Ended is the farm's final word: QEMU is gone and every stream was read to
// its end.
type Ended struct {
	QEMU   string `json:"qemu"`             // how QEMU ended, in words
	Code   int    `json:"code"`             // its exit code; -1 when a signal ended it
	Signal int    `json:"signal,omitempty"` // the signal that ended it
	Killed bool   `json:"killed,omitempty"` // the farm itself ended it
	Stderr string `json:"stderr,omitempty"` // the end of what it said
	// Shutdown is why the machine stopped, in QEMU's word: "guest-shutdown",
	// "guest-reset" (qapi/run-state.json, ShutdownCause). Empty when it did
	// not say.
	Shutdown string `json:"shutdown,omitempty"`
	// ConsoleDropped is how many bytes of the console were not recorded.
	ConsoleDropped int64 `json:"console_dropped,omitempty"`
}
