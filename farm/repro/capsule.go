// SPDX-License-Identifier: Apache-2.0

package repro

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"noiommu-farm/internal/fault"
	"noiommu-farm/results"
	"noiommu-farm/results/console"
	"noiommu-farm/results/failure"
)

// capsuleFormat changes with any change of a capsule. Another one is refused.
const capsuleFormat = 1

// A manifest is capsule.json, the first file of a capsule.
type manifest struct {
	Format int `json:"format"`
	// What was planned, with the one program in it: kernel and its patches,
	// machine, QEMU's version, facts, and what the test must do.
	Planned results.Planned `json:"planned"`
	Program string          `json:"program"`
	Test    string          `json:"test"`
	Seen    failure.Failure `json:"seen"`
	Reason  string          `json:"reason"`
	// Files are the SHA-256 of the other files.
	Files map[string]string `json:"files"`
}

// Files of a capsule, in their order, with the most bytes that each may have.
var capsuleFiles = []struct {
	name string
	most int64
}{
	{manifestFile, 8 << 20},
	{configFile, 4 << 20},
	{consoleFile, results.MaxConsole + 1<<10},
	{kernelFile, 1 << 30},
	{initrdFile, 1 << 30},
}

const (
	manifestFile = "capsule.json"
	configFile   = "config"
	consoleFile  = "console.log"
	kernelFile   = "vmlinux"
	initrdFile   = "initramfs.cpio"
)

// WriteCapsule writes a case into one file: a tar archive in zstd. The same
// case gives the same bytes.
func WriteCapsule(path string, c Case) (err error) {
	log, err := consoleOf(c.Dir)
	if err != nil {
		return fmt.Errorf("write capsule: %w", err)
	}
	from := map[string]string{kernelFile: c.repeat.Kernel, initrdFile: c.repeat.Initrd}
	m := manifest{
		Format: capsuleFormat, Planned: c.repeat.Planned,
		Program: c.Program, Test: c.Test, Seen: c.Seen, Reason: c.Reason,
		Files: map[string]string{configFile: hash([]byte(c.repeat.Config)), consoleFile: hash(log)},
	}
	for name, file := range from {
		if m.Files[name], err = hashFile(file); err != nil {
			return fmt.Errorf("write capsule: %w", err)
		}
	}
	head, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write capsule: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".capsule-*")
	if err != nil {
		return fmt.Errorf("write capsule: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	// One goroutine: otherwise the bytes depend on the number of processors.
	z, err := zstd.NewWriter(f, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("write capsule: %w", err)
	}
	t := tar.NewWriter(z)
	for _, one := range capsuleFiles {
		switch one.name {
		case manifestFile:
			err = addBytes(t, one.name, append(head, '\n'))
		case configFile:
			err = addBytes(t, one.name, []byte(c.repeat.Config))
		case consoleFile:
			err = addBytes(t, one.name, log)
		default:
			err = addFile(t, one.name, from[one.name], m.Files[one.name])
		}
		if err != nil {
			return fmt.Errorf("write capsule: %s: %w", one.name, err)
		}
	}
	if err := errors.Join(t.Close(), z.Close(), f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write capsule: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write capsule: %w", err)
	}
	return nil
}

// consoleOf is what the kernel said in all guests of a cell, as far as a capsule
// has room for it.
func consoleOf(dir string) ([]byte, error) {
	rec, err := results.ReadCell(dir)
	if err != nil {
		return nil, err
	}
	from, err := rec.Console()
	if err != nil {
		return nil, err
	}
	defer from.Close()
	return io.ReadAll(io.LimitReader(from, results.MaxConsole))
}

func header(name string, size int64) *tar.Header {
	return &tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644,
		ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
	}
}

func addBytes(t *tar.Writer, name string, text []byte) error {
	if err := t.WriteHeader(header(name, int64(len(text)))); err != nil {
		return err
	}
	_, err := t.Write(text)
	return err
}

func addFile(t *tar.Writer, name, path, sum string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(header(name, info.Size())); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(t, h), f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sum {
		return errors.New("changed while it was read")
	}
	return nil
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// IsCapsule says whether path is a file, not a run's directory.
func IsCapsule(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// maxWindow bounds what unpacking may need in memory, in bytes. A capsule of
// ours needs 8 MiB.
const maxWindow = 32 << 20

// OpenCapsule unpacks a capsule into dir, an empty directory, and returns its
// case. The file may come from anywhere: whatever is not exactly a capsule is a
// *fault.Usage, and nothing outside dir is touched.
func OpenCapsule(path, dir string) (Case, error) {
	c, err := openCapsule(path, dir)
	if err != nil {
		return Case{}, &fault.Usage{Key: "CAPSULE", Value: path, Err: err}
	}
	return c, nil
}

func openCapsule(path, dir string) (Case, error) {
	f, err := os.Open(path)
	if err != nil {
		return Case{}, err
	}
	defer f.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Case{}, err
	}
	defer root.Close()
	m, err := unpack(f, root)
	if err != nil {
		return Case{}, err
	}
	if err := m.check(); err != nil {
		return Case{}, fmt.Errorf("%s: %w", manifestFile, err)
	}
	text, err := root.ReadFile(configFile)
	if err != nil {
		return Case{}, err
	}
	a, err := withConfig(string(text))
	if err != nil {
		return Case{}, fmt.Errorf("%s: %w", configFile, err)
	}
	c := Case{
		Cell: m.Planned.Cell, Program: m.Program, Test: m.Test,
		Seen: m.Seen, Reason: m.Reason, Dir: dir,
	}
	c.repeat.Planned = m.Planned
	c.repeat.Kernel, c.repeat.Initrd = filepath.Join(dir, kernelFile), filepath.Join(dir, initrdFile)
	c.repeat.Config, c.repeat.Set = a.config, a.set
	log, err := root.Open(consoleFile)
	if err != nil {
		return Case{}, err
	}
	defer log.Close()
	found, err := console.Classify(log)
	if err != nil {
		return Case{}, fmt.Errorf("%s: %w", consoleFile, err)
	}
	// Of all that the cell said, what belongs to the case.
	for _, one := range found {
		if slices.ContainsFunc(c.Seen.Crashes, func(crash failure.Crash) bool { return crash.Title == failure.Steady(one.Title) }) {
			c.log = append(c.log, one.Lines...)
		}
	}
	return c, nil
}

// unpack writes the files of a capsule below root, each checked against its
// hash.
func unpack(from io.Reader, root *os.Root) (manifest, error) {
	var m manifest
	z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
	if err != nil {
		return m, err
	}
	defer z.Close()
	t := tar.NewReader(z)
	for _, one := range capsuleFiles {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return m, fmt.Errorf("ends before %s", one.name)
		}
		if err != nil {
			return m, fmt.Errorf("not a capsule: %w", err)
		}
		switch {
		case h.Name != one.name || h.Typeflag != tar.TypeReg || len(h.PAXRecords) > 0:
			return m, fmt.Errorf("not a capsule: has %.100q where the file %s belongs", h.Name, one.name)
		case h.Size < 0 || h.Size > one.most:
			return m, fmt.Errorf("%s has %d bytes; at most %d are allowed", one.name, h.Size, one.most)
		}
		if one.name == manifestFile {
			text, err := io.ReadAll(t)
			if err != nil {
				return m, fmt.Errorf("%s: %w", one.name, err)
			}
			d := json.NewDecoder(bytes.NewReader(text))
			d.DisallowUnknownFields()
			if err := d.Decode(&m); err != nil {
				return m, fmt.Errorf("%s: %w", one.name, err)
			}
			if d.More() {
				return m, fmt.Errorf("%s: more than one value", one.name)
			}
			if m.Format != capsuleFormat {
				return m, fmt.Errorf("%s: format %d; this farm reads %d", one.name, m.Format, capsuleFormat)
			}
			continue
		}
		if err := save(root, one.name, t, m.Files[one.name]); err != nil {
			return m, fmt.Errorf("%s: %w", one.name, err)
		}
	}
	if h, err := t.Next(); err == nil {
		return m, fmt.Errorf("has %.100q besides", h.Name)
	} else if !errors.Is(err, io.EOF) {
		return m, fmt.Errorf("not a capsule: %w", err)
	}
	return m, nil
}

func save(root *os.Root, name string, from io.Reader, want string) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), from)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("has the SHA-256 %s instead of %.64q", got, want)
	}
	return nil
}
