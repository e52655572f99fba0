// SPDX-License-Identifier: Apache-2.0

package contract

// Elsewhere is a promise that no test of the suites holds a kernel to:
// something else does, or nothing can here, for a reason.
type Elsewhere struct {
	ID, Suite, Promise string
	By                 string // what proves it; "" with a reason
	Reason             string
}

// ProvenElsewhere are the statements without a test in the suites, but for
// those of Kconfig.
var ProvenElsewhere = []Elsewhere{
	{
		ID: "KC-12", Suite: "kconfig", Promise: "Each profile compiles without a new warning.",
		By: "farm kernel build",
	},
	{
		ID: "ND-08", Suite: "nodes", Promise: "On a kernel with GENERIC_ATOMIC64 the group works, and vfio-dev/vfioX exists without a cdev node.",
		Reason: "x86-64 has no such kernel; it takes a guest of 32-bit RISC-V or m68k, which the farm does not boot. KC-09 and KC-10 hold its Kconfig side.",
	},
	{
		ID: "IP-11", Suite: "iommu_present", Promise: "The kernel's own VFIO selftests pass behind an IOMMU.",
		By: "vfio/*, as programs of their own",
	},
}
