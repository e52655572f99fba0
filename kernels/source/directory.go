// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"noiommu-farm/internal/fault"
)

// droppings are files that a build, a patch or an editor leaves. No kernel
// tree ships one.
var droppings = map[string]bool{
	".o": true, ".a": true, ".ko": true, ".mod": true, ".cmd": true,
	".orig": true, ".rej": true, ".swp": true,
}

// fromDirectory imports a directory as it is now, dirty or not.
func (s *Store) fromDirectory(ctx context.Context, spec Spec) (id, origin string, err error) {
	usage := func(err error) error {
		return &fault.Usage{Key: "kernel", Value: spec.String(), Err: err}
	}
	root, err := os.OpenRoot(spec.arg)
	if err != nil {
		return "", "", usage(err)
	}
	defer root.Close()
	if _, err := version(root.FS()); err != nil {
		return "", "", usage(err)
	}
	// kbuild refuses to build outside a tree that was built in.
	for _, trace := range []string{".config", "include/config", "include/generated"} {
		if _, err := root.Lstat(trace); err == nil {
			return "", "", usage(fmt.Errorf("was built in (it has %s): run \"make mrproper\" there, or keep its builds outside with O=", trace))
		}
	}
	var names []string
	if _, err := root.Lstat(".git"); err == nil {
		names, err = gitFiles(ctx, spec.arg)
		if err != nil {
			return "", "", err
		}
	} else if names, err = allFiles(ctx, spec.arg); err != nil {
		return "", "", err
	}
	hashes := s.openHashes(spec.arg)
	m, err := s.list(ctx, root, names, hashes)
	if err != nil {
		return "", "", err
	}
	if err := hashes.save(); err != nil {
		return "", "", err
	}
	origin = "directory " + spec.arg
	if id := m.ID(); s.has(id) {
		return id, origin, nil
	}
	release, err := s.lock(ctx, "import-"+m.ID())
	if err != nil {
		return "", "", err
	}
	defer release()
	work, err := s.workDir("import-" + m.ID())
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(work)
	id, err = s.put(ctx, work, m, root, false)
	return id, origin, err
}

// list makes the manifest of the named files. A file that is gone (git lists
// what was deleted and not yet committed) is left out, and so is what lies in
// a submodule.
func (s *Store) list(ctx context.Context, root *os.Root, names []string, hashes *hashes) (Manifest, error) {
	slices.Sort(names) // one directory's files come together, and are looked up through it
	m := make(Manifest, len(names))
	var seen struct {
		sync.Mutex
		n int
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	const part = 1024
	for start := 0; start < len(names); start += part {
		group.Go(func() error {
			l := lister{root: root, hashes: hashes}
			defer l.close()
			end := min(start+part, len(names))
			for i := start; i < end; i++ {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				e, err := l.entry(names[i])
				if err != nil {
					return err
				}
				m[i] = e
			}
			seen.Lock()
			seen.n += end - start
			s.See("hash", "", seen.n, len(names))
			seen.Unlock()
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	kept := m[:0]
	for _, e := range m {
		if e.Kind != 0 {
			kept = append(kept, e)
		}
	}
	kept.sort()
	return kept, nil
}

// A lister makes entries of files. It keeps the directory of the last one
// open: walking the whole path anew for each of 100,000 files takes seconds.
type lister struct {
	root   *os.Root
	hashes *hashes
	path   string
	dir    *os.File // nil: path is not a directory of the tree
}

func (l *lister) close() {
	if l.dir != nil {
		l.dir.Close()
	}
}

func (l *lister) chdir(dir string) error {
	if l.path == dir {
		return nil
	}
	l.close()
	l.path, l.dir = dir, nil
	f, err := l.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	l.dir = f
	return err
}

// entry is the manifest's line for a file; the zero Entry when there is
// nothing to list.
func (l *lister) entry(name string) (Entry, error) {
	bad := func(err error) (Entry, error) {
		return Entry{}, &fault.Usage{Key: "kernel", Value: name, Err: err}
	}
	if _, err := cleanName(name); err != nil {
		return bad(err)
	}
	if err := l.chdir(path.Dir(name)); err != nil || l.dir == nil {
		return Entry{}, err
	}
	var st unix.Stat_t
	err := unix.Fstatat(int(l.dir.Fd()), path.Base(name), &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return Entry{}, nil
	}
	if err != nil {
		return Entry{}, fmt.Errorf("stat %s: %w", name, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return Entry{}, nil
	case unix.S_IFLNK:
		target, err := l.root.Readlink(name)
		if err != nil {
			return Entry{}, err
		}
		if err := checkLink(name, target); err != nil {
			return bad(err)
		}
		return Entry{Path: name, Kind: 'l', Data: target}, nil
	case unix.S_IFREG:
		sum, err := l.hashes.of(l.root, name, &st)
		if err != nil {
			return Entry{}, err
		}
		kind := byte('f')
		if st.Mode&0o111 != 0 {
			kind = 'x'
		}
		return Entry{Path: name, Kind: kind, Data: sum}, nil
	}
	return bad(errors.New("is neither a file nor a link"))
}

// allFiles lists a directory that is under no version control. It follows no
// links.
func allFiles(ctx context.Context, dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case d.IsDir():
			return nil
		case droppings[path.Ext(name)] || strings.HasSuffix(name, "~"):
			return nil
		}
		names = append(names, filepath.ToSlash(strings.TrimPrefix(name, strings.TrimSuffix(dir, "/")+"/")))
		if len(names) > maxFiles {
			return &fault.Usage{Key: "kernel", Value: dir, Err: fmt.Errorf("has more than %d files", maxFiles)}
		}
		return nil
	})
	return names, err
}

// gitFiles lists what git would commit: tracked files, and untracked ones
// that nothing says to ignore.
func gitFiles(ctx context.Context, dir string) ([]string, error) {
	out, err := git(ctx, dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	var names []string
	last := ""
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if name != last { // a conflict lists a file once a side
			names = append(names, name)
		}
		last = name
	}
	return names, nil
}

// fromCommit imports a commit of a git tree.
func (s *Store) fromCommit(ctx context.Context, spec Spec) (id, origin string, err error) {
	usage := func(err error) error {
		return &fault.Usage{Key: "kernel", Value: spec.String(), Err: err}
	}
	if fi, err := os.Stat(spec.arg); err != nil {
		return "", "", usage(err)
	} else if !fi.IsDir() {
		return "", "", usage(errors.New("not a directory"))
	}
	out, err := git(ctx, spec.arg, "rev-parse", "--verify", "--quiet", "--end-of-options", spec.ref+"^{commit}")
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && ctx.Err() == nil {
			return "", "", usage(fmt.Errorf("git knows no commit %q there", spec.ref))
		}
		return "", "", err
	}
	commit := strings.TrimSpace(string(out))
	// The tree, not the commit: a directory inside a repository is its own
	// source.
	id, err = s.importArchive(ctx, "git-"+commit+"-"+keyOf(spec.arg), func(use func(io.Reader) error) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		cmd := gitCommand(ctx, spec.arg, "archive", "--format=tar", commit)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		useErr := use(pipe)
		if useErr != nil {
			cancel()
		}
		if err := cmd.Wait(); err != nil && useErr == nil {
			return fmt.Errorf("git archive: %w: %s", err, strings.TrimSpace(complaint.String()))
		}
		return useErr
	})
	if errors.Is(err, errNotKernel) {
		err = usage(err)
	}
	return id, fmt.Sprintf("commit %s of %s", commit, filepath.Base(spec.arg)), err
}

func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := gitCommand(ctx, dir, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s in %s: %w: %s", args[0], dir, err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}

// gitCommand keeps a repository's own configuration from running programs
// that it names.
func gitCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir,
		"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=false"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0")
	return cmd
}
