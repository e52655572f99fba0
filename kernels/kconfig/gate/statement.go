// SPDX-License-Identifier: Apache-2.0

package gate

// A statement is one promise of the Kconfig files.
type statement struct {
	id      string
	promise string
	lines   []string // of Linux 7.3.4 that make the promise
	// wants is the values that options must have after a request. It is nil
	// where the statement promises nothing. generic is GENERIC_ATOMIC64.
	wants func(r request, generic bool) values
	// promptless is an option that no user may set.
	promptless string
}

// values of options. Not set is n.
type values map[string]string

const (
	vfio    = "drivers/vfio/Kconfig"
	iommufd = "drivers/iommu/iommufd/Kconfig"
	manual  = "Documentation/driver-api/vfio.rst"
)

var statements = []statement{
	{
		id:      "KC-01",
		promise: "With groups and VFIO's container but no cdev, VFIO_NOIOMMU can be chosen, and IOMMUFD_NOIOMMU stays off.",
		lines:   []string{vfio + ":64-66", manual + ":424-445"},
		wants: func(r request, _ bool) values {
			if !r.noiommu || !r.group || r.container != native || r.cdev {
				return nil
			}
			return values{"VFIO_GROUP": "y", "VFIO_CONTAINER": "y", "VFIO_DEVICE_CDEV": "n", "VFIO_NOIOMMU": "y", "IOMMUFD_NOIOMMU": "n"}
		},
	}, {
		id:      "KC-02",
		promise: "With groups and iommufd's container but no cdev, VFIO_NOIOMMU can be chosen, and IOMMUFD_NOIOMMU stays off.",
		lines:   []string{vfio + ":65-66", manual + ":424-445"},
		wants: func(r request, _ bool) values {
			if !r.noiommu || !r.group || r.container != compat || r.cdev || r.iommufd == "n" {
				return nil
			}
			return values{"VFIO_GROUP": "y", "VFIO_CONTAINER": "n", "IOMMUFD_VFIO_CONTAINER": "y", "VFIO_DEVICE_CDEV": "n", "VFIO_NOIOMMU": "y", "IOMMUFD_NOIOMMU": "n"}
		},
	}, {
		id:      "KC-03",
		promise: "With groups but neither a container nor the cdev, VFIO_NOIOMMU cannot be chosen.",
		lines:   []string{vfio + ":65", manual + ":424-445"},
		wants: func(r request, _ bool) values {
			if !r.noiommu || !r.group || r.container != none || r.cdev || r.iommufd == "n" {
				return nil
			}
			return values{"VFIO_GROUP": "y", "VFIO_CONTAINER": "n", "IOMMUFD_VFIO_CONTAINER": "n", "VFIO_DEVICE_CDEV": "n", "VFIO_NOIOMMU": "n", "IOMMUFD_NOIOMMU": "n"}
		},
	}, {
		id:      "KC-04",
		promise: "With groups and the cdev but no container, VFIO_NOIOMMU cannot be chosen.",
		lines:   []string{vfio + ":65", manual + ":424-445"},
		wants: func(r request, _ bool) values {
			if !r.noiommu || !r.group || r.container != none || !r.cdev || r.iommufd == "n" {
				return nil
			}
			return values{"VFIO_GROUP": "y", "VFIO_CONTAINER": "n", "IOMMUFD_VFIO_CONTAINER": "n", "VFIO_DEVICE_CDEV": "y", "VFIO_NOIOMMU": "n", "IOMMUFD_NOIOMMU": "n"}
		},
	}, {
		id:      "KC-05",
		promise: "With groups, a container and the cdev, VFIO_NOIOMMU can be chosen and selects IOMMUFD_NOIOMMU, IOMMU_PT and IOMMU_PT_AMDV1.",
		lines:   []string{vfio + ":66", iommufd + ":19-24", manual + ":424-445"},
		wants: func(r request, generic bool) values {
			if r.iommufd != "y" || generic {
				return nil
			}
			return r.both()
		},
	}, {
		id:      "KC-06",
		promise: "Without groups, VFIO_NOIOMMU can be chosen for the cdev alone and selects IOMMUFD_NOIOMMU.",
		lines:   []string{vfio + ":64-66", manual + ":424-445"},
		wants: func(r request, generic bool) values {
			if r.iommufd != "y" || generic {
				return nil
			}
			return r.cdevAlone()
		},
	}, {
		id:      "KC-07",
		promise: "There is always a way to a device: without groups the cdev is forced on, and without iommufd groups and VFIO's container are.",
		lines:   []string{vfio + ":7-9", manual + ":424-445"},
		wants: func(r request, _ bool) values {
			switch {
			case r.noiommu && r.iommufd == "n":
				return values{"VFIO_GROUP": "y", "VFIO_CONTAINER": "y", "VFIO_DEVICE_CDEV": "n", "VFIO_NOIOMMU": "y", "IOMMUFD_NOIOMMU": "n"}
			case r.noiommu && !r.group && !r.cdev:
				return values{"VFIO_GROUP": "n", "VFIO_CONTAINER": "n", "VFIO_DEVICE_CDEV": "y"}
			}
			return nil
		},
	}, {
		id:      "KC-08",
		promise: "With VFIO and iommufd as modules, VFIO_NOIOMMU and IOMMUFD_NOIOMMU are y, and the page table is a module.",
		lines:   []string{vfio + ":62-66", iommufd + ":19-24"},
		wants: func(r request, generic bool) values {
			if r.iommufd != "m" || generic {
				return nil
			}
			if v := r.both(); v != nil {
				return v
			}
			return r.cdevAlone()
		},
	}, {
		id:      "KC-09",
		promise: "With GENERIC_ATOMIC64, VFIO_NOIOMMU can be chosen beside groups and a container, IOMMUFD_NOIOMMU stays off, and no dependency is unmet.",
		lines:   []string{vfio + ":64-66", iommufd + ":21"},
		wants: func(r request, generic bool) values {
			if !generic {
				return nil
			}
			return r.both().withoutTable()
		},
	}, {
		id:      "KC-10",
		promise: "With GENERIC_ATOMIC64 and without groups, VFIO_NOIOMMU cannot be chosen.",
		lines:   []string{vfio + ":64"},
		wants: func(r request, generic bool) values {
			if !generic {
				return nil
			}
			v := r.cdevAlone().withoutTable()
			if v != nil {
				v["VFIO_NOIOMMU"] = "n"
			}
			return v
		},
	}, {
		id:      "KC-11",
		promise: "VFIO_NOIOMMU is off until it is chosen, and while it is off so is IOMMUFD_NOIOMMU, which has no prompt.",
		lines:   []string{vfio + ":62-63", iommufd + ":19-20"},
		wants: func(r request, _ bool) values {
			if r.noiommu {
				return nil
			}
			return values{"VFIO_NOIOMMU": "n", "IOMMUFD_NOIOMMU": "n"}
		},
		promptless: "IOMMUFD_NOIOMMU",
	},
}

// both is what a kernel has that was asked for no-IOMMU through groups and the
// cdev; nil when the request is another.
func (r request) both() values {
	if !r.noiommu || !r.group || r.container == none || !r.cdev || r.iommufd == "n" {
		return nil
	}
	return values{
		"VFIO_GROUP": "y", "VFIO_CONTAINER": value(r.container == native), "IOMMUFD_VFIO_CONTAINER": value(r.container == compat),
		"VFIO_DEVICE_CDEV": "y", "VFIO_NOIOMMU": "y",
		"IOMMUFD_NOIOMMU": "y", "IOMMU_PT": r.iommufd, "IOMMU_PT_AMDV1": r.iommufd,
	}
}

// cdevAlone is what a kernel has that was asked for no-IOMMU without groups.
// The cdev need not be asked for.
func (r request) cdevAlone() values {
	if !r.noiommu || r.group || r.iommufd == "n" {
		return nil
	}
	return values{
		"VFIO_GROUP": "n", "VFIO_CONTAINER": "n", "IOMMUFD_VFIO_CONTAINER": "n",
		"VFIO_DEVICE_CDEV": "y", "VFIO_NOIOMMU": "y",
		"IOMMUFD_NOIOMMU": "y", "IOMMU_PT": r.iommufd, "IOMMU_PT_AMDV1": r.iommufd,
	}
}

// withoutTable is v on a machine that cannot have the page table.
func (v values) withoutTable() values {
	if v == nil {
		return nil
	}
	v["IOMMUFD_NOIOMMU"] = "n"
	v["IOMMU_PT_AMDV1"] = "n"
	delete(v, "IOMMU_PT")
	return v
}
