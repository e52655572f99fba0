// SPDX-License-Identifier: Apache-2.0

package source

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"noiommu-farm/kernels/sandbox"
)

// suites are the places in Debian's archive where a version is looked for;
// the newest package of them all is taken.
type suites struct {
	main     []string
	security []string // in the security archive, where the machine knows it
}

var debian = map[string]suites{
	"7.3":  {main: []string{"trixie-backports"}},
	"7.2":  {main: []string{"trixie-backports"}},
	"6.12": {main: []string{"bookworm-backports"}, security: []string{"bookworm-security"}},
}

// debianVersions lists them, newest first.
func debianVersions() []string {
	var v []string
	for name := range debian {
		v = append(v, name)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(v)))
	return v
}

// mirrorVariable names the environment variable that overrides the archive.
const mirrorVariable = "NOIOMMU_FARM_DEBIAN_MIRROR"

// keyring is where Debian's debian-archive-keyring package puts its keys.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// A download is a package in the cache, as apt verified it.
type download struct {
	Package, Version string
	File             string // name of the .deb, beside download.json
	Size             int64  // bytes
	SHA256           string // hex
}

// fromDebian imports the linux-source package of a version. The archive is
// asked once; from then on the cached package is that version.
func (s *Store) fromDebian(ctx context.Context, v string) (id, origin string, err error) {
	dir := s.path("downloads", "debian-"+v)
	d, err := readDownload(dir)
	if err == nil {
		if id, ok := s.imported("sha256-" + d.SHA256); ok {
			return id, d.String(), nil
		}
	}
	release, err := s.lock(ctx, "debian-"+v)
	if err != nil {
		return "", "", err
	}
	defer release()
	d, err = readDownload(dir)
	if err == nil {
		err = d.check(ctx, dir)
	}
	if ctx.Err() != nil {
		return "", "", context.Cause(ctx)
	}
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			s.Log(fmt.Sprintf("debian:%s: the cached package is damaged (%v): fetching it again", v, err))
		}
		if d, err = s.fetchDebian(ctx, v, dir); err != nil {
			return "", "", fmt.Errorf("fetch: %w", err)
		}
	}
	s.Log(fmt.Sprintf("debian:%s is %s", v, d))
	id, err = s.importArchive(ctx, "sha256-"+d.SHA256, func(use func(io.Reader) error) error {
		return unwrapDeb(ctx, filepath.Join(dir, d.File), use)
	})
	return id, d.String(), err
}

func (d download) String() string { return d.Package + " " + d.Version }

func readDownload(dir string) (download, error) {
	var d download
	b, err := os.ReadFile(filepath.Join(dir, "download.json"))
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return d, fmt.Errorf("download.json: %w", err)
	}
	if d.File == "" || d.File != filepath.Base(d.File) || len(d.SHA256) != 64 {
		return d, errors.New("download.json: not a record of a download")
	}
	return d, nil
}

// check reads the package again: a disk forgets, and a cache is shared.
func (d download) check(ctx context.Context, dir string) error {
	size, sum, err := sizeAndSum(ctx, filepath.Join(dir, d.File))
	switch {
	case err != nil:
		return err
	case size != d.Size:
		return fmt.Errorf("%s has %d bytes instead of %d", d.File, size, d.Size)
	case sum != d.SHA256:
		return fmt.Errorf("%s has the SHA-256 %s instead of %s", d.File, sum, d.SHA256)
	}
	return nil
}

func sizeAndSum(ctx context.Context, file string) (int64, string, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return 0, "", err
	}
	sum, err := hashReader(&reader{ctx, f})
	return fi.Size(), sum, err
}

// fetchDebian lets apt find, fetch and verify the package in a root of its
// own, so that neither the machine's sources nor root's rights are needed.
func (s *Store) fetchDebian(ctx context.Context, v, dir string) (download, error) {
	pkg := "linux-source-" + v
	ring := s.Keyring
	if ring == "" {
		ring = keyring
	}
	if _, err := os.Stat(ring); err != nil {
		return download{}, fmt.Errorf("the archive keys are missing (Debian package: debian-archive-keyring): %w", err)
	}
	work, err := s.workDir("debian-" + v)
	if err != nil {
		return download{}, err
	}
	defer os.RemoveAll(work)
	sources, err := sourcesFile(ctx, debian[v], ring)
	if err != nil {
		return download{}, err
	}
	for _, d := range []string{"parts", "lists/partial", "cache/archives/partial", "download"} {
		if err := os.MkdirAll(filepath.Join(work, d), 0o755); err != nil {
			return download{}, err
		}
	}
	for name, text := range map[string]string{"parts/farm.sources": sources, "status": ""} {
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			return download{}, err
		}
	}
	options := []string{
		"-o", "Dir::Etc::sourcelist=/dev/null",
		"-o", "Dir::Etc::sourceparts=" + filepath.Join(work, "parts"),
		"-o", "Dir::Etc::preferences=/dev/null",
		"-o", "Dir::Etc::preferencesparts=/dev/null",
		"-o", "Dir::State::Lists=" + filepath.Join(work, "lists"),
		"-o", "Dir::State::status=" + filepath.Join(work, "status"),
		"-o", "Dir::Cache=" + filepath.Join(work, "cache"),
		"-o", "APT::Sandbox::User=",
		"-o", "APT::Get::AllowUnauthenticated=false",
		"-o", "Acquire::AllowInsecureRepositories=false",
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"-o", "Acquire::Retries=2",
		"-q",
	}
	s.See("fetch", "the archive's list of packages", 0, 0)
	if _, err := apt(ctx, work, "apt-get", append(options, "-o", "APT::Update::Error-Mode=any", "update")...); err != nil {
		return download{}, err
	}
	stanza, err := apt(ctx, work, "apt-cache", append(options, "show", "--no-all-versions", pkg)...)
	if err != nil {
		return download{}, err
	}
	d := download{Package: pkg, Version: field(stanza, "Version"), SHA256: field(stanza, "SHA256")}
	if _, err := fmt.Sscan(field(stanza, "Size"), &d.Size); err != nil || d.Version == "" || len(d.SHA256) != 64 {
		return download{}, fmt.Errorf("the archive has no usable record of %s", pkg)
	}
	into := filepath.Join(work, "download")
	stop := s.watch(into, pkg+" "+d.Version, d.Size)
	_, err = apt(ctx, into, "apt-get", append(options, "download", pkg+"="+d.Version)...)
	stop()
	if err != nil {
		return download{}, err
	}
	debs, err := filepath.Glob(filepath.Join(into, "*.deb"))
	if err != nil || len(debs) != 1 {
		return download{}, fmt.Errorf("apt-get download left %d packages instead of one", len(debs))
	}
	d.File = filepath.Base(debs[0])
	if err := d.check(ctx, into); err != nil {
		return download{}, err
	}
	record, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return download{}, err
	}
	if err := writeFileAtomic(filepath.Join(into, "download.json"), append(record, '\n')); err != nil {
		return download{}, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return download{}, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return download{}, err
	}
	return d, os.Rename(into, dir)
}

// watch reports the growth of a directory until it is stopped, in MiB.
func (s *Store) watch(dir, note string, size int64) (stop func()) {
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			var have int64
			files, _ := filepath.Glob(filepath.Join(dir, "*"))
			for _, f := range files {
				if fi, err := os.Lstat(f); err == nil && fi.Mode().IsRegular() {
					have += fi.Size()
				}
			}
			s.See("fetch", note+" (MiB)", int(have>>20), int(size>>20))
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(done); <-ended }
}

// apt runs one of apt's programs. Its own proxy settings and credentials hold.
func apt(ctx context.Context, dir, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%s is not installed: debian: sources need apt; use tree: or tarball: here", program)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}

// field is a field of a package's record.
func field(stanza []byte, name string) string {
	for line := range strings.Lines(string(stanza)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// sourcesFile is a deb822 description of the suites. The archive's address is
// the machine's own.
func sourcesFile(ctx context.Context, places suites, keyring string) (string, error) {
	main, security := os.Getenv(mirrorVariable), ""
	if main == "" {
		var err error
		if main, security, err = mirrors(ctx); err != nil {
			return "", err
		}
	}
	if strings.ContainsAny(main+security, "\n\r") {
		return "", fmt.Errorf("%q is not the address of an archive", main+security)
	}
	stanza := func(uri string, names []string) string {
		if uri == "" || len(names) == 0 {
			return ""
		}
		return fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n", uri, strings.Join(names, " "), keyring)
	}
	return stanza(main, places.main) + stanza(security, places.security), nil
}

// mirrors asks apt which of the machine's archives are Debian's own.
func mirrors(ctx context.Context) (main, security string, err error) {
	out, err := apt(ctx, "/", "apt-get", "indextargets", "--format", "$(LABEL)\t$(ORIGIN)\t$(REPO_URI)", "Identifier: Packages")
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 3 || f[1] != "Debian" {
			continue
		}
		switch {
		case f[0] == "Debian" && main == "":
			main = f[2]
		case f[0] == "Debian-Security" && security == "":
			security = f[2]
		}
	}
	if main == "" {
		return "", "", fmt.Errorf("apt knows no archive of Debian on this machine: run \"apt-get update\", or set %s to the address of one", mirrorVariable)
	}
	return main, security, nil
}

var sourceInDeb = regexp.MustCompile(`^\./usr/src/linux-source-[0-9.]+\.tar\.(xz|gz|bz2|zst)$`)

// unwrapDeb gives the tar stream of the kernel source in a package to use.
func unwrapDeb(ctx context.Context, deb string, use func(io.Reader) error) error {
	if err := sandbox.Look("dpkg-deb", "dpkg"); err != nil {
		return err
	}
	f, err := os.Open(deb)
	if err != nil {
		return err
	}
	defer f.Close()
	return filter(ctx, []string{"dpkg-deb", "--fsys-tarfile", "/dev/stdin"}, "dpkg", f, func(r io.Reader) error {
		tr := tar.NewReader(r)
		for {
			h, err := tr.Next()
			if err == io.EOF {
				return fmt.Errorf("%s has no kernel source in it", filepath.Base(deb))
			}
			if err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(deb), err)
			}
			if h.Typeflag == tar.TypeReg && sourceInDeb.MatchString(h.Name) {
				if err := decompress(ctx, tr, use); err != nil {
					return err
				}
				_, err := io.Copy(io.Discard, r)
				return err
			}
		}
	})
}
