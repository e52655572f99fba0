// SPDX-License-Identifier: Apache-2.0

// Package wire is the protocol between the host and the guest agent. Both ends
// use it; docs/protocol.md is its description for a reader without this code.
//
// There are two virtio-serial ports. On the control port ([ControlPort]) both
// ends send frames: a 4-byte big-endian length and that many bytes of JSON, or
// of a few packed messages, one [ToGuest] or [ToHost] each. On the output port ([OutputPort]) the guest
// sends [Chunk]s and the host sends nothing.
//
// The guest is not trusted. Every length is bounded before memory is
// allocated for it, and anything that is not exactly a message of this version
// is an error. The package knows the shape of messages, never what they mean.
package wire

// Version is checked by both ends in their first message. It changes with any
// change of a message.
const Version = 4

const (
	// MaxFrame bounds one control frame, in bytes.
	MaxFrame = 1 << 20
	// MaxChunk bounds the data of one output chunk, in bytes.
	MaxChunk = 64 << 10

	// ControlPort and OutputPort are the names of the two virtio-serial ports:
	// /dev/virtio-ports/NAME on a system with udev, and the content of
	// /sys/class/virtio-ports/*/name everywhere.
	ControlPort = "org.noiommu-farm.control"
	OutputPort  = "org.noiommu-farm.output"

	// Marker starts every line that the farm writes into the kernel log
	// through /dev/kmsg, so that the console can be cut into the time windows
	// of programs and tests.
	Marker = "noiommu-farm:"

	// HostEnv is the environment variable that tells a program the descriptor
	// of a socket (SOCK_SEQPACKET) on which the host answers requests: a
	// packet with the JSON of a [Request], then one with that of a [Reply].
	// Without a host it is not set.
	HostEnv = "NOIOMMU_FARM_HOST"

	// PatienceEnv is the environment variable that tells a program how many
	// times longer than on an idle machine with hardware virtualization
	// things may take: a number of at least 1. Not set, it is 1.
	PatienceEnv = "NOIOMMU_FARM_PATIENCE"

	// GetPAEnv is the environment variable that tells a program whether the
	// kernel was built from a source with IOMMU_IOAS_NOIOMMU_GET_PA: "true" or
	// "false". Not set, the release must do.
	GetPAEnv = "NOIOMMU_FARM_GET_PA"

	// WaitEnv is the environment variable that tells a program that it was
	// started before it is needed ([Warm]), and the descriptor of a socket
	// (SOCK_SEQPACKET): it sends WaitWord as soon as it has nothing left to do
	// before its first test, and goes on when it gets its arguments, its own
	// name first, with zero bytes between them.
	WaitEnv  = "NOIOMMU_FARM_WAIT"
	WaitWord = "ready"
)

// ToGuest is one message from the host. Exactly one field is set.
type ToGuest struct {
	Hello    *HostHello `json:"hello,omitempty"`
	Prepare  *Prepare   `json:"prepare,omitempty"`
	Bind     *Bind      `json:"bind,omitempty"`
	Run      *Run       `json:"run,omitempty"`
	Kill     *Kill      `json:"kill,omitempty"`
	Ping     *Ping      `json:"ping,omitempty"`
	Answer   *Answer    `json:"answer,omitempty"`
	Measure  *Measure   `json:"measure,omitempty"`
	Restore  *Restore   `json:"restore,omitempty"`
	Warm     *Warm      `json:"warm,omitempty"`
	PowerOff *PowerOff  `json:"poweroff,omitempty"`
}

// ToHost is one message from the guest. Exactly one field is set.
type ToHost struct {
	Hello    *AgentHello `json:"hello,omitempty"`
	Facts    *Facts      `json:"facts,omitempty"`
	Bound    *Bound      `json:"bound,omitempty"`
	Started  *Started    `json:"started,omitempty"`
	Exited   *Exited     `json:"exited,omitempty"`
	Pong     *Ping       `json:"pong,omitempty"`
	Ask      *Ask        `json:"ask,omitempty"`
	Measured *Measured   `json:"measured,omitempty"`
	Restored *Restored   `json:"restored,omitempty"`
	Warmed   *Warmed     `json:"warmed,omitempty"`
	Error    *Error      `json:"error,omitempty"`
}

// HostHello answers AgentHello and ends the handshake.
type HostHello struct {
	Version int `json:"version"`
}

// AgentHello is the agent's first word, sent as soon as the port is open.
type AgentHello struct {
	Version int    `json:"version"`
	Release string `json:"release"` // uname -r
	BootID  string `json:"boot_id"` // /proc/sys/kernel/random/boot_id
}

// Prepare asks for everything that must stand before the first program:
// mounts, hugepages, limits. The answer is Facts or Error.
type Prepare struct {
	Hugepages   int      `json:"hugepages"`    // pages of 2 MiB to reserve
	Hugepages1G int      `json:"hugepages_1g"` // pages of 1 GiB that must be there (reserved on the command line)
	CoreLimit   int64    `json:"core_limit"`   // bytes of a core file that are kept; 0 is none
	Params      []string `json:"params"`       // module parameters to report, as "vfio/enable_unsafe_noiommu_mode"
}

// Facts is what the agent found in the guest, raw. The host compares it with
// what it knows of the cell.
type Facts struct {
	Release     string            `json:"release"`
	Cmdline     string            `json:"cmdline"`
	CPUs        int               `json:"cpus"`
	MemTotalKiB int64             `json:"mem_total_kib"`
	Hugepages   int               `json:"hugepages"`    // pages of 2 MiB that are free now
	Hugepages1G int               `json:"hugepages_1g"` // pages of 1 GiB that are free now
	IOMMUGroups int               `json:"iommu_groups"` // entries of /sys/kernel/iommu_groups
	IOMMUs      []string          `json:"iommus"`       // entries of /sys/class/iommu, sorted
	Params      map[string]string `json:"params"`       // asked for in Prepare; absent when the file is
	Taint       int64             `json:"taint"`        // /proc/sys/kernel/tainted
	PCI         []PCI             `json:"pci"`          // every PCI function, by BDF
	ConfigGz    []byte            `json:"config_gz"`    // /proc/config.gz, if there
}

// PCI is one PCI function of the guest.
type PCI struct {
	BDF    string `json:"bdf"`    // 0000:00:02.0
	Vendor uint16 `json:"vendor"` // PCI vendor id
	Device uint16 `json:"device"` // PCI device id
	Driver string `json:"driver"` // bound driver, or ""
	Group  string `json:"group"`  // number of the IOMMU group, or ""
	IOMMU  bool   `json:"iommu"`  // an IOMMU that the kernel drives is in charge of it
}

// Bind asks for the functions to be bound to vfio-pci. Functions that are
// bound to it already stay as they are. The answer is Bound; a function that
// could not be bound is a fact, not an error of the agent.
type Bind struct {
	BDFs     []string `json:"bdfs"`
	WithinMS int64    `json:"within_ms,omitempty"` // how long a function may take to appear; 0 is not at all
}

// Bound answers Bind.
type Bound struct {
	PCI    []PCI             `json:"pci"`    // the functions asked for, as they are now
	Failed map[string]string `json:"failed"` // BDF → what the kernel answered
	Taint  int64             `json:"taint"`
}

// Run asks for one test program. Only one runs at a time. The answers are
// Started (or Error) and Exited; its output goes to the output port.
type Run struct {
	ID        uint32   `json:"id"`   // chosen by the host, never used twice
	Name      string   `json:"name"` // for the marker in the kernel log
	Argv      []string `json:"argv"` // argv[0] is an absolute path
	Env       []string `json:"env"`
	TimeoutMS int64    `json:"timeout_ms"`     // above 0; after it the program's process group is killed
	Host      bool     `json:"host,omitempty"` // the program may ask the host; see [HostEnv]
	// Privileges are what the program may do; "" is [Root].
	Privileges string `json:"privileges,omitempty"`
	// Warm lets the program go on that waits since Warm, with these
	// arguments; its environment is the one that it was started with.
	Warm bool `json:"warm,omitempty"`
}

// Warm asks for a program to be started that will be run later, in guests that
// were restored: what it does before its first test is done once, and before
// they are saved. There is one at a time: another Warm, or a Run that is not
// of it, ends it. The answer is Warmed or Error.
type Warm struct {
	Argv []string `json:"argv"` // argv[0] is an absolute path
	Env  []string `json:"env"`
	Host bool     `json:"host,omitempty"` // see Run
}

// Warmed says that the program waits for its Run.
type Warmed struct{}

// Privileges of a program.
const (
	Root          = "root"           // user 0 with every capability
	NoRawIO       = "no-rawio"       // the same without CAP_SYS_RAWIO
	UserNamespace = "user-namespace" // user 0 of a user namespace of its own
	Unprivileged  = "unprivileged"   // another user, without capabilities
	LowMemlock    = "low-memlock"    // root without CAP_IPC_LOCK, with MemlockLimit
)

// MemlockLimit is RLIMIT_MEMLOCK under [LowMemlock], in bytes.
const MemlockLimit = 64 << 10

// Kill ends a running program before its time.
type Kill struct {
	ID uint32 `json:"id"`
}

// Started says that the program runs.
type Started struct {
	ID uint32 `json:"id"`
}

// Exited is the agent's final word on one program: how it ended and how many
// bytes of each stream it sent to the output port before this message.
type Exited struct {
	ID        uint32 `json:"id"`
	Code      int    `json:"code"`      // exit code; -1 when a signal ended it, or nothing did (Stuck)
	Signal    int    `json:"signal"`    // signal that ended it, or 0
	TimedOut  bool   `json:"timed_out"` // the agent killed it at its timeout
	Core      bool   `json:"core"`      // the kernel dumped core
	Stdout    int64  `json:"stdout"`    // bytes
	Stderr    int64  `json:"stderr"`    // bytes
	CoreBytes int64  `json:"core_bytes"`
	WallMS    int64  `json:"wall_ms"`
	Leftovers int    `json:"leftovers"` // processes it left behind, in its group or not, that had to be killed
	Stuck     int    `json:"stuck"`     // of the program and its leftovers: those that SIGKILL did not end
	Taint     int64  `json:"taint"`     // /proc/sys/kernel/tainted afterwards
}

// Ping is answered by the same Ping as a Pong.
type Ping struct {
	N uint64 `json:"n"`
}

// Error says what the agent could not do. It is always the farm's fault or the
// user's, never a verdict.
type Error struct {
	Doing string `json:"doing"`
	Err   string `json:"err"`
}

// PowerOff asks the guest to end. There is no answer; QEMU exits.
type PowerOff struct{}

// Stream says what a chunk belongs to.
type Stream uint8

const (
	Stdout Stream = 1
	Stderr Stream = 2
	Core   Stream = 3
)

// Chunk is a piece of a program's output. On the wire: 4 bytes length of the
// data, 4 bytes Run, 1 byte Stream, all big-endian, then the data.
type Chunk struct {
	Run    uint32
	Stream Stream
	Data   []byte
}
