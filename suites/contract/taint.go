// SPDX-License-Identifier: Apache-2.0

package contract

// taintUnbound is suite taint, before anything was bound.
var taintUnbound = []Statement{
	{
		ID: "TL-01", Suite: "taint", Phase: Unbound,
		Promise:  "Booting with the unsafe mode on does not taint the kernel while no device is bound, nor does binding one that is behind an IOMMU.",
		Source:   []string{"drivers/vfio/vfio_main.c:369-373", "drivers/vfio/group.c:651-655"},
		Requires: []Requirement{Noiommu, UnsafeMode},
		Evidence: []string{"sysfs.reads", "proc.reads"},
	},
	{
		ID: "TL-02", Suite: "taint", Phase: Unbound,
		Promise:  "A bind that fails does not taint the kernel; the first bind of a device without an IOMMU sets TAINT_USER and no other bit.",
		Source:   []string{"drivers/vfio/vfio_main.c:369-373", "drivers/vfio/group.c:651-660"},
		Requires: []Requirement{Noiommu, UnsafeMode, NoIOMMU},
		Evidence: []string{"pci.bind", "pci.bind:EINVAL", "pci.unbind", "proc.reads"},
	},
}

// taintBound is suite taint, while devices are bound.
var taintBound = []Statement{
	{
		ID: "TL-03", Suite: "taint",
		Promise:  "A bind logs that the kernel is tainted, once for the group and once for the cdev, as far as the kernel has them.",
		Source:   []string{"drivers/vfio/vfio_main.c:371-372", "drivers/vfio/group.c:654"},
		Requires: onEither,
		Evidence: []string{"pci.bind", "pci.unbind", "kmsg.reads"},
	},
	{
		ID: "TL-04", Suite: "taint",
		Promise:  "The taint of a no-IOMMU device leaves lockdep on: debug_locks stays 1.",
		Source:   []string{"drivers/vfio/vfio_main.c:369-373", "drivers/vfio/group.c:651-655"},
		Requires: also(onEither, Lockdep),
		Evidence: []string{"pci.bind", "pci.unbind", "proc.reads"},
	},
	{
		ID: "TL-06", Suite: "taint",
		Promise:  "The module vfio describes its parameter: that it is unsafe, what it does not give, that it needs RAWIO and taints, and that it is off by default.",
		Source:   []string{"drivers/vfio/vfio_main.c:61"},
		Requires: []Requirement{Noiommu, Modules},
		Evidence: []string{"reads"},
	},
}

// taintAtEnd is suite taint, after everything else.
var taintAtEnd = []Statement{
	{
		ID: "TL-05", Suite: "taint", Phase: AtEnd,
		Promise:  "Nothing in the cell made the kernel warn or die: taint contains none of W, D, B.",
		Source:   []string{"kernel/panic.c"},
		Evidence: []string{"proc.reads"},
	},
}
