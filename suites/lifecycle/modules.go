// SPDX-License-Identifier: Apache-2.0

package lifecycle

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noiommu-farm/suites/edu"
	"noiommu-farm/suites/lab"
	"noiommu-farm/suites/uapi"
)

// vfioModules are VFIO's own, each after those that use it.
var vfioModules = []string{"vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "vfio", "iommufd"}

// LC-06: the modules stay while they are used, and go without a trace.
func modules(t *lab.T) {
	t.NoWarning()
	d := edu.Find(t)
	// So that what is bound is bound again at the end, though it is the modules
	// that take it away.
	t.Must(t.Unbind(d), "unbind %s", d.BDF)
	t.Must(t.Bind(d), "bind %s", d.BDF)
	loaded := slices.DeleteFunc(slices.Clone(vfioModules), func(name string) bool { return !present(t, name) })
	for _, name := range []string{"vfio_pci", "vfio_pci_core", "vfio", "iommufd"} {
		t.Contains(loaded, name, true, "modules loaded")
	}
	was := parameters(t, loaded)
	t.Cleanup(func() { t.OK(load(t, loaded), "cleanup: load the modules"); setParameters(t, was) })
	tables, path := t.TablePages(), t.CdevPath(d)

	native := t.Facts.Config.Group && t.Facts.Config.Container
	if native {
		useContainer(t, d)
	}

	// A bound device holds its module.
	dev := t.Open(d)
	fd := t.IOMMUFD()
	dev.Bind(fd)
	t.Fails(remove(t, "vfio_pci"), unix.EAGAIN, "remove vfio_pci while a device is bound")
	_, err := dev.Info()
	t.OK(err, "VFIO_DEVICE_GET_INFO after the refusal")
	t.Must(dev.Close(), "close the cdev")
	t.Must(fd.Close(), "close the iommufd")

	// One that is only open does not: the removal waits for it, as an unbind.
	dev = t.Open(d)
	log := t.KernelLog()
	removed := make(chan error, 1)
	go func() { removed <- remove(t, "vfio_pci") }()
	log.Await(d.BDF, "No device request channel registered, blocked until released by user")
	t.Absent(path)
	lab.Equal(t, len(removed), 0, "removals that ended while the cdev is open")
	t.Must(dev.Close(), "close the cdev")
	select {
	case err := <-removed:
		t.Must(err, "remove vfio_pci after the cdev was closed")
	case <-time.After(lab.Patience(10 * time.Second)):
		t.Fatalf("remove vfio_pci: not ended long after the cdev was closed")
	}

	for _, name := range loaded[1:] {
		if name == "vfio" && native {
			container := t.OpenContainer() // nobody else holds it any more
			t.Fails(remove(t, name), unix.EAGAIN, "remove %s while a container is open", name)
			t.Must(container.Close(), "close the container")
		}
		t.OK(remove(t, name), "remove %s", name)
	}
	for _, name := range loaded {
		t.Absent("/sys/module/" + name)
	}
	for _, gone := range []string{
		path, "/dev/vfio/vfio", "/dev/iommu", "/sys/class/vfio", "/sys/class/vfio-dev", "/sys/bus/pci/drivers/vfio-pci",
		d.Sysfs("vfio-dev"), d.Sysfs("iommu_group"),
	} {
		t.Absent(gone)
	}
	for _, n := range t.List("/sys/kernel/iommu_groups") {
		// A group that an IOMMU made has no name.
		_, err := t.Stat("/sys/kernel/iommu_groups/" + n + "/name")
		t.Fails(err, unix.ENOENT, "name of IOMMU group %s without VFIO", n)
	}
	lab.Equal(t, t.TablePages(), tables, "pages of I/O page tables without VFIO")

	// Loaded again they begin as at first: with the mode off, so the devices
	// that still ask for vfio-pci are not bound.
	t.Must(load(t, loaded), "load the modules")
	lab.Equal(t, t.UnsafeMode(), "N", "enable_unsafe_noiommu_mode of the new module")
	lab.Equal(t, d.Driver(), "", "driver of the device with the mode off")
	t.Fails(t.Bind(d), unix.EINVAL, "bind with the mode off")
	setParameters(t, was)
	t.Must(t.Bind(d), "bind %s", d.BDF)
	lab.Equal(t, t.CdevPath(d), path, "cdev after the modules were loaded again")
	again, _ := t.ToAttached(d)
	t.Must(again.Close(), "close the cdev")
}

// useContainer opens the device through a native container. A container holds
// the module of each IOMMU that it asks or has: after a no, and when the group
// leaves, it must let go.
func useContainer(t *lab.T, d *lab.Device) {
	group, container := t.OpenGroup(d), t.OpenContainer()
	for _, kind := range []uintptr{uapi.VFIO_TYPE1_IOMMU, uapi.VFIO_NOIOMMU_IOMMU} {
		_, err := container.Extension(kind)
		t.OK(err, "VFIO_CHECK_EXTENSION(%d)", kind)
	}
	t.Must(group.SetContainer(container.Fd()), "VFIO_GROUP_SET_CONTAINER")
	t.Fails(container.SetIOMMU(uapi.VFIO_TYPE1v2_IOMMU), unix.ENODEV, "VFIO_SET_IOMMU(TYPE1v2)")
	t.WithCaps(lab.AllCaps&^lab.RawIO, func() {
		t.Fails(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), unix.EPERM, "VFIO_SET_IOMMU(NOIOMMU) without CAP_SYS_RAWIO")
	})
	t.Must(container.SetIOMMU(uapi.VFIO_NOIOMMU_IOMMU), "VFIO_SET_IOMMU(NOIOMMU)")
	dev, err := group.DeviceFd(d)
	t.Must(err, "VFIO_GROUP_GET_DEVICE_FD")
	t.Must(dev.Close(), "close the device")
	t.Must(group.Close(), "close the group")
	t.Must(container.Close(), "close the container")
}

func present(t *lab.T, module string) bool {
	_, err := t.Stat("/sys/module/" + module)
	return err == nil
}

// parameters are the values of all parameters of modules, by path.
func parameters(t *lab.T, modules []string) map[string]string {
	values := make(map[string]string)
	for _, name := range modules {
		dir := "/sys/module/" + name + "/parameters"
		if _, err := t.Stat(dir); err != nil {
			continue
		}
		for _, p := range t.List(dir) {
			values[dir+"/"+p] = t.ReadFile(dir + "/" + p)
		}
	}
	return values
}

// setParameters gives modules that were loaded again the parameters that the
// others had.
func setParameters(t *lab.T, values map[string]string) {
	for _, path := range slices.Sorted(maps.Keys(values)) {
		if t.ReadFile(path) != values[path] {
			t.OK(t.WriteFile(path, values[path]), "set %s to %s", path, values[path])
		}
	}
}

// remove removes a module, as rmmod does.
func remove(t *lab.T, name string) error {
	err := unix.DeleteModule(name, unix.O_NONBLOCK)
	t.Tally.Did("module.remove", err)
	return err
}

// load loads modules, the last one first, with the defaults of their
// parameters, and leaves those alone that are there.
func load(t *lab.T, names []string) error {
	for _, name := range slices.Backward(names) {
		if present(t, name) {
			continue
		}
		path, err := moduleFile(name)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		t.Tally.Did("module.load", err)
		if err != nil {
			return err
		}
	}
	return nil
}

// moduleFile finds the file of a module: its name has - or _ where the module's
// has _.
func moduleFile(name string) (string, error) {
	var uname unix.Utsname
	if err := unix.Uname(&uname); err != nil {
		return "", err
	}
	found := ""
	err := filepath.WalkDir("/lib/modules/"+unix.ByteSliceToString(uname.Release[:]), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base, ok := strings.CutSuffix(e.Name(), ".ko"); ok && strings.ReplaceAll(base, "-", "_") == name {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	if err == nil && found == "" {
		err = errors.New("no file of the module " + name)
	}
	return found, err
}
