// SPDX-License-Identifier: Apache-2.0

package series

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// commitRange cuts DIR@A..B, at the first @ behind which there is a range and
// before which there is a directory.
func commitRange(spec string) (dir, from, to string, ok bool) {
	for i := 0; i < len(spec); i++ {
		if spec[i] != '@' || i == 0 {
			continue
		}
		a, b, found := strings.Cut(spec[i+1:], "..")
		if fi, err := os.Stat(spec[:i]); err == nil && fi.IsDir() && found {
			return spec[:i], a, b, true
		}
	}
	return "", "", "", false
}

// ErrEmpty is the error of a range of commits in which there is none.
var ErrEmpty = errors.New("the range has no commits")

// loadCommits makes a series of the commits that to has and from has not. git
// runs without anything that the repository's configuration or attributes
// could have it run.
func loadCommits(ctx context.Context, dir, from, to string) (Series, error) {
	var s Series
	commit := func(ref string) (string, error) {
		if ref == "" {
			return "", errors.New("a range has a commit on either side: A..B")
		}
		out, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
		if err != nil {
			return "", fmt.Errorf("git knows no commit %q in %s", ref, dir)
		}
		return strings.TrimSpace(out), nil
	}
	a, err := commit(from)
	if err != nil {
		return s, err
	}
	b, err := commit(to)
	if err != nil {
		return s, err
	}
	out, err := git(ctx, dir, "rev-list", "--reverse", "--topo-order", fmt.Sprintf("--max-count=%d", maxPatches+1), "--parents", "^"+a, b, "--")
	if err != nil {
		return s, err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	switch {
	case out == "":
		return s, ErrEmpty
	case len(lines) > maxPatches:
		return s, fmt.Errorf("the range has more than %d commits", maxPatches)
	}
	for _, l := range lines {
		if ids := strings.Fields(l); len(ids) != 2 {
			return s, fmt.Errorf("commit %.12s is a merge or a root: it is no patch", ids[0])
		}
	}
	for i, l := range lines {
		ids := strings.Fields(l)
		m := &mail{origin: "commit " + ids[0], tags: tags{patch: true, version: 1, number: i + 1, total: len(lines)}}
		about, err := git(ctx, dir, "log", "-1", "--no-show-signature", "--no-notes", "--no-color", "--encoding=UTF-8", "--format=%an <%ae>%n%s%n%b", ids[0], "--")
		if err != nil {
			return s, err
		}
		diff, err := git(ctx, dir, "diff-tree", "-p", "-M", "--full-index", "--no-commit-id", "--no-ext-diff", "--no-textconv", "--no-color",
			"--src-prefix=a/", "--dst-prefix=b/", "--submodule=short", ids[0], "--")
		if err != nil {
			return s, err
		}
		if diff == "" {
			s.Left = append(s.Left, Left{What: m.origin, Why: "an empty commit"})
			continue
		}
		m.author, about, _ = strings.Cut(about, "\n")
		m.tags.title, about, _ = strings.Cut(about, "\n")
		p, err := m.commit(about, diff)
		if err != nil {
			return s, err
		}
		s.Patches = append(s.Patches, p)
	}
	if len(s.Patches) == 0 {
		return s, errors.New("the range changes nothing")
	}
	s.Version = 1
	s.Title = s.Patches[0].Subject
	if s.Spec, err = filepath.Abs(dir); err != nil {
		return s, err
	}
	s.Spec += "@" + from + ".." + to
	return s, nil
}

// commit is the patch of a commit. Its message is kept apart from its diff: it
// may hold what looks like one.
func (m *mail) commit(message, diff string) (Patch, error) {
	m.text = diff
	p, err := m.patch()
	p.Body = message
	return p, err
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir,
		"-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=true", "-c", "log.showSignature=false"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	out, err := io.ReadAll(io.LimitReader(pipe, maxMail+1))
	if len(out) > maxMail {
		cmd.Process.Kill()
		err = fmt.Errorf("more than %d bytes", maxMail)
	}
	if waitErr := cmd.Wait(); err == nil {
		err = waitErr
	}
	if err != nil {
		return "", fmt.Errorf("git %s in %s: %w: %.300s", args[0], dir, err, strings.TrimSpace(complaint.String()))
	}
	return string(out), nil
}
