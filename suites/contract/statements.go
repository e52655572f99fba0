// SPDX-License-Identifier: Apache-2.0

package contract

import "slices"

// onNoiommu is what a promise about a device without an IOMMU that is used
// through its cdev requires.
var onNoiommu = []Requirement{NoiommuCdev, UnsafeMode, NoIOMMU}

// onEither is what one about such a device requires that holds for its group as
// well as for its cdev: the test looks at what the kernel has.
var onEither = []Requirement{Noiommu, UnsafeMode, NoIOMMU}

// onCompat is what a promise about a group of such a device in a compat
// container, an iommufd, requires.
var onCompat = []Requirement{Group, IOMMUFD, Noiommu, UnsafeMode, NoIOMMU}

// also adds requirements to a common list.
func also(common []Requirement, more ...Requirement) []Requirement {
	return append(append([]Requirement(nil), common...), more...)
}

// Statements are the promises that have a test, in the order in which the
// suites run. Each suite's stand in the file that is named after it.
var Statements = slices.Concat(
	nodesUnbound, // before the first bind, which taints
	taintUnbound,
	nodes,
	group,
	cdev,
	ioas,
	getPA,
	dma,
	interrupts,
	permission,
	coexistence,
	lifecycle,
	present,
	stress,
	taintBound,
	taintAtEnd,
)
