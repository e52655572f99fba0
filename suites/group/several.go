// SPDX-License-Identifier: Apache-2.0

package group

import (
	"golang.org/x/sys/unix"

	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// GR-21: a native container has its IOMMU until the last group leaves.
func oneOfTwoLeaves(t *lab.T) {
	a, b := t.Devices[0], t.Devices[1]
	first, container := native(t).ready(t, a)
	second := t.OpenGroup(b)
	t.Must(second.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER of the second group")
	one, err := first.DeviceFd(a)
	t.Must(err, "VFIO_GROUP_GET_DEVICE_FD of the first group")
	two, err := second.DeviceFd(b)
	t.Must(err, "VFIO_GROUP_GET_DEVICE_FD of the second group")

	t.Must(one.Close(), "close the device of the first group")
	t.OK(first.UnsetContainer(), "VFIO_GROUP_UNSET_CONTAINER of the first group, with the device of the second open")
	t.Fails(second.UnsetContainer(), unix.EBUSY, "VFIO_GROUP_UNSET_CONTAINER of the second group, with its device open")
	_, err = two.Info()
	t.OK(err, "VFIO_DEVICE_GET_INFO after the first group left")
	t.Must(two.Close(), "close the device of the second group")
	two, err = second.DeviceFd(b)
	if t.OK(err, "VFIO_GROUP_GET_DEVICE_FD of the second group after the first left") {
		t.Must(two.Close(), "close the device of the second group")
	}
	t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), unix.EINVAL, "VFIO_SET_IOMMU(NOIOMMU) again after the first group left")
	t.Must(second.Close(), "close the second group")
	t.Must(first.Close(), "close the first group")
}
