// SPDX-License-Identifier: Apache-2.0

package lab

// Mdev is the mediated device of that UUID, to be opened like a function under
// test, by its cdev or its group. There is no DMA that an IOMMU would have to
// translate, so its nodes are named like those of a device behind one.
func Mdev(uuid, model string) *Device {
	return &Device{BDF: uuid, Model: model, BehindIOMMU: true, dir: "/sys/bus/mdev/devices/" + uuid}
}
