// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"noiommu-farm/internal/fault"
)

// A Spec names a source the way a user writes it. The zero Spec is not valid;
// [Parse] makes one.
type Spec struct {
	kind string // debian, tree, tarball
	arg  string // version, absolute directory, absolute file
	ref  string // of a tree: a git ref; "" is the files as they are
}

// String is the specification that Parse read, with absolute paths.
func (s Spec) String() string {
	if s.ref != "" {
		return s.kind + ":" + s.arg + "@" + s.ref
	}
	return s.kind + ":" + s.arg
}

const (
	kindDebian  = "debian"
	kindTree    = "tree"
	kindTarball = "tarball"
)

// Parse reads debian:VERSION, tree:DIR, tree:DIR@REF or tarball:FILE. It
// looks at nothing on the machine but the working directory. A specification
// that is none of them is a *fault.Usage.
func Parse(spec string) (Spec, error) {
	bad := func(err error) (Spec, error) {
		return Spec{}, &fault.Usage{Key: "kernel", Value: spec, Allowed: forms(), Err: err}
	}
	kind, arg, ok := strings.Cut(spec, ":")
	if !ok || arg == "" || strings.ContainsAny(spec, "\x00\n\r") {
		return bad(nil)
	}
	s := Spec{kind: kind, arg: arg}
	switch kind {
	case kindDebian:
		if _, ok := debian[arg]; !ok {
			return bad(errors.New("not a Debian kernel the farm knows"))
		}
		return s, nil
	case kindTree:
		// A directory may have @ in its name: the last @ starts the ref, and a
		// ref has no path that goes up.
		if i := strings.LastIndexByte(arg, '@'); i > 0 && !strings.Contains(arg[i:], "/../") {
			s.arg, s.ref = arg[:i], arg[i+1:]
			if s.ref == "" || strings.HasPrefix(s.ref, "-") {
				return bad(fmt.Errorf("%q is not a git ref", s.ref))
			}
		}
	case kindTarball:
	default:
		return bad(nil)
	}
	abs, err := filepath.Abs(s.arg)
	if err != nil {
		return bad(err)
	}
	s.arg = abs
	return s, nil
}

func forms() []string {
	var f []string
	for _, v := range debianVersions() {
		f = append(f, kindDebian+":"+v)
	}
	return append(f, "tree:DIR", "tree:DIR@REF", "tarball:FILE")
}
