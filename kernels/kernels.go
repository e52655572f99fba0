// SPDX-License-Identifier: Apache-2.0

// Package kernels turns a source and a configuration into a kernel.
//
// In come the words of a user: "debian:7.3", "noiommu,lkdtm". Out goes a
// directory of the cache with vmlinux, bzImage, .config and the kernel's own
// selftests, made in a sandbox, the same for the same request. It never
// writes in a user's tree, never runs what it built, and never gives a kernel
// whose options are not those that were asked for.
package kernels

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noiommu-farm/internal/fault"
	"noiommu-farm/kernels/build"
	"noiommu-farm/kernels/configs"
	"noiommu-farm/kernels/kconfig"
	"noiommu-farm/kernels/series"
	"noiommu-farm/kernels/source"
)

// A Source says where kernel code comes from, and what is put on it.
type Source struct {
	spec   source.Spec
	series series.Series
}

// String is the source as [ParseSource] reads it, with absolute paths. It says
// nothing of a series.
func (s Source) String() string { return s.spec.String() }

// With is the source with a series on it, in the place of the one it has.
func (s Source) With(p series.Series) Source {
	s.series = p
	return s
}

// Release is the version of the kernel as far as the source tells it without
// being fetched or unpacked: "7.3.4", "7.3", or "" for a tarball.
func (s Source) Release() (string, error) { return s.spec.Release() }

// ParseSource reads debian:VERSION, tree:DIR, tree:DIR@REF or tarball:FILE.
// Anything else is a *fault.Usage that lists them.
func ParseSource(spec string) (Source, error) {
	s, err := source.Parse(spec)
	return Source{spec: s}, err
}

// A Configuration is a list of Kconfig fragments, and the configuration that
// they change. Options of a later one win.
type Configuration struct {
	Name      string // as the user wrote it
	base      build.Base
	fragments []kconfig.Fragment
}

// String is the name.
func (c Configuration) String() string { return c.Name }

// Fragments names the fragments in order: the farm's by name, a user's by
// path.
func (c Configuration) Fragments() []string {
	names := make([]string, len(c.fragments))
	for i, f := range c.fragments {
		names[i] = f.Name
	}
	return names
}

// Text is what the fragments that hold for a kernel version ("7.3") ask for, in
// the form of a .config. What they select is not in it.
func (c Configuration) Text(version string) string {
	return kconfig.Text(kconfig.Merge(c.fragments, version))
}

// Base is what the fragments change: "defconfig", "a user's configuration", or
// "" for nothing.
func (c Configuration) Base() string {
	if c.base.Text != "" {
		return "a user's configuration"
	}
	return c.base.Target
}

// Configurations lists the names that LoadConfiguration knows: whole
// configurations first, then fragments.
func Configurations() []string { return configs.Names() }

// Fragments lists the names of the fragments alone.
func Fragments() []string { return configs.Parts() }

// Profiles lists the whole configurations, each with its fragments in order.
func Profiles() map[string][]string {
	all := map[string][]string{}
	for _, name := range configs.Wholes() {
		all[name], _ = configs.Fragments(name)
	}
	return all
}

// ContractProfiles names the configurations that the contract speaks of, those
// that are quick to build from one another first.
func ContractProfiles() []string {
	return []string{"k-all", "k-compat", "k-cdev", "k-grp", "k-off", "k-mod", "k-dbg"}
}

// maxFragment bounds a fragment file, in bytes. A full .config has 300 KB.
const maxFragment = 4 << 20

// LoadConfiguration reads a list of names and of paths, separated by commas (so
// a path has none). A word with a slash, or that ends in .config, is the path of
// a fragment. The first word may be what the others change instead of
// allnoconfig: "defconfig", the architecture's own; or the path of a whole
// configuration, called .config or config-SOMETHING, of which only what the
// kernel knows is taken. An unknown name, a file that cannot be read and a line
// that is no option are *fault.Usage.
func LoadConfiguration(spec string) (Configuration, error) {
	c := Configuration{Name: spec}
	for word := range strings.SplitSeq(spec, ",") {
		word = strings.TrimSpace(word)
		if first := len(c.fragments) == 0 && c.base == (build.Base{}); isBase(word) {
			if !first {
				return Configuration{}, &fault.Usage{Key: "config", Value: word, Err: errors.New("is a whole configuration: it can only be the first of the list")}
			}
			var err error
			if c.base, err = readBase(word); err != nil {
				return Configuration{}, err
			}
			continue
		}
		if strings.Contains(word, "/") || strings.HasSuffix(word, ".config") {
			f, err := userFragment(word)
			if err != nil {
				return Configuration{}, err
			}
			c.fragments = append(c.fragments, f)
			continue
		}
		names, ok := configs.Fragments(word)
		if !ok {
			return Configuration{}, &fault.Usage{Key: "config", Value: word, Allowed: append(configs.Names(), "defconfig", "path of a .config file")}
		}
		for _, name := range names {
			text, err := configs.Text(name)
			if err != nil {
				return Configuration{}, fmt.Errorf("load configuration: %w", err)
			}
			f, err := kconfig.Parse(name+".config", bytes.NewReader(text))
			if err != nil {
				return Configuration{}, fmt.Errorf("load configuration: %v", err) // not the user's mistake
			}
			c.fragments = append(c.fragments, f)
		}
	}
	return c, nil
}

// isBase says whether a word of a configuration is what the others change.
func isBase(word string) bool {
	name := filepath.Base(word)
	return word == "defconfig" || name == ".config" || strings.HasPrefix(name, "config-") && strings.Contains(word, "/")
}

func readBase(word string) (build.Base, error) {
	if word == "defconfig" {
		return build.Base{Target: word}, nil
	}
	text, err := readUsers(word)
	if err != nil {
		return build.Base{}, err
	}
	if config, err := kconfig.ReadConfig(bytes.NewReader(text)); err != nil || len(config) == 0 {
		return build.Base{}, &fault.Usage{Key: "config", Value: word, Err: errors.New("has no options")}
	}
	return build.Base{Text: string(text)}, nil
}

// readUsers reads a file that a user named.
func readUsers(path string) ([]byte, error) {
	usage := func(err error) ([]byte, error) {
		return nil, &fault.Usage{Key: "config", Value: path, Err: err}
	}
	fi, err := os.Stat(path)
	switch {
	case err != nil:
		return usage(err)
	case !fi.Mode().IsRegular():
		return usage(errors.New("not a file"))
	case fi.Size() > maxFragment:
		return usage(fmt.Errorf("larger than %d bytes", maxFragment))
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return usage(err)
	}
	return text, nil
}

func userFragment(path string) (kconfig.Fragment, error) {
	text, err := readUsers(path)
	if err != nil {
		return kconfig.Fragment{}, err
	}
	f, err := kconfig.Parse(path, bytes.NewReader(text))
	for i := range f.Options {
		f.Options[i].User = true
	}
	return f, err
}

// A Request is what to build.
type Request struct {
	Source   Source
	Config   Configuration
	Compiler string // gcc, clang, clang-N; "" is gcc
	// BzImage asks for the kernel as a bzImage too. The farm's guests need none.
	BzImage bool
}

// Progress says what a build is doing now.
type Progress struct {
	Step  string        // fetch, unpack, hash, store, clone, configure, compile, selftests
	Done  int           // of Total; a count of files, MiB or compile steps
	Total int           // 0: not known, as when compiling starts from another build
	ETA   time.Duration // until the step ends; 0: not known
	Note  string        // what is being fetched
}

// A Build is a kernel in the cache. Its files are never changed; whoever runs
// it opens them read-only.
type Build struct {
	Key        string // names the build among all builds
	Dir        string
	Vmlinux    string // path of the ELF kernel, with a PVH note
	BzImage    string // path of the compressed kernel; "" when it was not asked for
	Config     map[string]string
	ConfigPath string
	Modules    string // root directory of lib/modules; "" when none was built
	Release    string // as uname -r says
	Version    string // of the source's Makefile
	GetPA      bool   // its iommufd has IOMMU_IOAS_NOIOMMU_GET_PA; not told by [Cache.Open]

	SourceID  string   // hash of the source's content
	Base      string   // of a patched source: hash of that without the series; ""
	Series    []string // ids of the patches on it, in order
	Origin    string   // what the source was made from, for people
	Compiler  string
	Selftests []Selftest
	Unbuilt   []Unbuilt // suites of selftests that do not compile

	Cached    bool          // nothing was compiled
	Neighbour string        // key of the build this one started from; ""
	Took      time.Duration // of the build, when it was made
	Steps     int           // that kbuild took then: objects, archives, links
	Warnings  []Warning     // of the compiler, objtool, modpost and the linker
}

// A Warning is what a tool complained of while the kernel was made.
type Warning = build.Warning

// A Selftest is one of the kernel's own test programs, linked statically.
type Selftest struct {
	Suite string // the directory under tools/testing/selftests: "vfio", "iommu"
	Name  string
	Path  string
}

// An Unbuilt is a suite of selftests that does not compile, or not all of it;
// programs that do are among the selftests.
type Unbuilt struct {
	Suite string
	Err   string // what the compiler said, and of which patches
}

// Breaks is the first suite of selftests that does not compile and did before;
// nil when there is none. Before is nil when nothing was.
func (b *Build) Breaks(before *Build) error {
	for _, u := range b.Unbuilt {
		if before == nil || !slices.ContainsFunc(before.Unbuilt, func(o Unbuilt) bool { return o.Suite == u.Suite }) {
			return &fault.Kernel{Stage: "selftests/" + u.Suite, Err: errors.New(u.Err), Log: filepath.Join(b.Dir, "build.log")}
		}
	}
	return nil
}

// DefaultDir is the cache of this user.
func DefaultDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache: %w", err)
	}
	return filepath.Join(dir, "noiommu-farm"), nil
}
