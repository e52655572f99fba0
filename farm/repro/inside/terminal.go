// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// terminalDevice is the first virtio console.
const terminalDevice = "/dev/hvc0"

// windowPort carries the size of the other end's window: a line "ROWS COLUMNS"
// whenever it changes.
const windowPort = "org.noiommu-farm.window"

// takeTerminal makes the terminal the controlling one of this process, so that
// its Ctrl-C is a signal, and standard input, output and error.
func takeTerminal() error {
	fd, err := unix.Open(terminalDevice, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", terminalDevice, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TIOCSCTTY, 0); err != nil {
		return fmt.Errorf("take %s: %w", terminalDevice, err)
	}
	for to := range 3 {
		if err := unix.Dup2(fd, to); err != nil {
			return fmt.Errorf("take %s: %w", terminalDevice, err)
		}
	}
	return unix.Close(fd)
}

// followWindow gives the terminal the sizes that arrive at the port, and tells
// of each.
func followWindow(changed func(columns, rows int)) error {
	path, err := findPort("/sys/class/virtio-ports", windowPort)
	if err != nil {
		return err
	}
	port, err := os.Open(path)
	if err != nil {
		return err
	}
	go func() {
		defer port.Close()
		lines := bufio.NewScanner(port)
		for lines.Scan() {
			var rows, columns uint16
			if n, _ := fmt.Sscanf(lines.Text(), "%d %d", &rows, &columns); n != 2 || rows == 0 || columns == 0 {
				continue
			}
			// The kernel tells whoever is in the foreground (SIGWINCH).
			if unix.IoctlSetWinsize(0, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}) == nil {
				changed(int(columns), int(rows))
			}
		}
	}()
	return nil
}

// findPort is the device of the virtio-serial port of a name.
func findPort(class, name string) (string, error) {
	ports, err := os.ReadDir(class)
	if err != nil {
		return "", err
	}
	for _, p := range ports {
		text, err := os.ReadFile(filepath.Join(class, p.Name(), "name"))
		if err == nil && strings.TrimSpace(string(text)) == name {
			return filepath.Join("/dev", p.Name()), nil
		}
	}
	return "", fmt.Errorf("there is no virtio-serial port %s", name)
}

// window prints the size of the terminal's window as "ROWS COLUMNS". Given one,
// it waits until the window has it.
func window(want []string) error {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	for {
		size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		if err != nil {
			return err
		}
		now := fmt.Sprintf("%d %d", size.Row, size.Col)
		if len(want) == 0 || now == strings.Join(want, " ") {
			fmt.Println(now)
			return nil
		}
		<-changed
	}
}
