// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"strconv"
	"strings"
)

// maxText bounds what is read from one file of proc or sysfs, in bytes. The
// largest is /proc/config.gz, 60 KB in distribution kernels.
const maxText = 512 << 10

// readText reads a whole file of proc or sysfs, up to maxText.
func readText(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText))
	return string(b), err
}

// readNumber reads a file that holds one decimal or 0x number.
func readNumber(name string) (int64, error) {
	s, err := readText(name)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(s), 0, 64)
}

// writeText writes to a file of proc or sysfs with one write.
func writeText(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
