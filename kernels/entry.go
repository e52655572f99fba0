// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"noiommu-farm/kernels/build"
	"noiommu-farm/kernels/kconfig"
)

// A record is build.json: what a build is and what its files hash to.
//
// The directory of a build:
//
//	build.json
//	vmlinux config build.log
//	bzImage  when it was asked for
//	selftests/SUITE/NAME
//	modules/lib/modules/RELEASE/  when the configuration has modules
//	objects/  what kbuild left: builds nearby start from a copy of it
type record struct {
	Recipe        int
	Key           string
	Source        string
	Version       string
	Origin        string
	Base          string   // of a patched source: the source without the series
	Series        []string // ids of the patches, in order
	Runs          bool     // the series changes what a build executes
	Configuration string
	Options       []string // NAME=value, sorted
	Compiler      string
	Release       string
	Neighbour     string  // key of the build whose objects it started from
	Steps         int     // that kbuild printed
	Seconds       float64 // that it took
	Selftests     []build.Selftest
	Unbuilt       []Unbuilt `json:",omitempty"`
	Modules       bool
	Warnings      []build.Warning   // of everything in it
	Artefacts     map[string]string // path below the directory → SHA-256 in hex
}

const (
	recordName = "build.json"
	objects    = "objects"
)

func readRecord(dir string) (record, error) {
	var r record
	data, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s: %w", recordName, err)
	}
	if r.Key != filepath.Base(dir) {
		return r, fmt.Errorf("%s is the record of %s", recordName, r.Key)
	}
	return r, nil
}

// open reads a build and checks every artefact.
func open(ctx context.Context, dir string) (*Build, error) {
	r, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	for name, sum := range r.Artefacts {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("%s names a file outside: %s", recordName, name)
		}
		got, err := hashFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if got != sum {
			return nil, fmt.Errorf("%s has the SHA-256 %s instead of %s", name, got, sum)
		}
	}
	for _, name := range []string{"vmlinux", "config"} {
		if r.Artefacts[name] == "" {
			return nil, fmt.Errorf("%s has no %s", recordName, name)
		}
	}
	b := &Build{
		Key:        r.Key,
		Dir:        dir,
		Vmlinux:    filepath.Join(dir, "vmlinux"),
		ConfigPath: filepath.Join(dir, "config"),
		Release:    r.Release,
		Version:    r.Version,
		SourceID:   r.Source,
		Base:       r.Base,
		Series:     r.Series,
		Origin:     r.Origin,
		Compiler:   r.Compiler,
		Neighbour:  r.Neighbour,
		Took:       time.Duration(r.Seconds * float64(time.Second)),
		Steps:      r.Steps,
		Warnings:   r.Warnings,
		Unbuilt:    r.Unbuilt,
	}
	if r.Artefacts["bzImage"] != "" {
		b.BzImage = filepath.Join(dir, "bzImage")
	}
	if r.Modules {
		b.Modules = filepath.Join(dir, "modules")
	}
	for _, t := range r.Selftests {
		name := path.Join("selftests", t.Suite, t.Name)
		if r.Artefacts[name] == "" {
			return nil, fmt.Errorf("%s has no %s", recordName, name)
		}
		b.Selftests = append(b.Selftests, Selftest{Suite: t.Suite, Name: t.Name, Path: filepath.Join(dir, name)})
	}
	f, err := os.Open(b.ConfigPath)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b.Config, err = kconfig.ReadConfig(f)
	return b, err
}

// seal hashes all files of a build but its objects, and writes its record
// last: a directory without one is no build.
func (r record) seal(dir string) error {
	r.Artefacts = map[string]string{}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name == objects:
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		r.Artefacts[name], err = hashFile(filepath.Join(dir, filepath.FromSlash(name)))
		return err
	})
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, recordName))
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
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
