// SPDX-License-Identifier: Apache-2.0

package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"noiommu-farm/kernels/sandbox"
)

// Limits on an archive, several times what a kernel tree needs (about 100,000
// files, 1.8 GB, the largest 24 MB).
const (
	maxFiles    = 1_000_000
	maxFileSize = 512 << 20
	maxTotal    = 16 << 30
	maxName     = 1024
)

// unpack writes the tar stream r under root and returns what it wrote. An
// archive that names anything outside root, or holds anything but files,
// directories and links that stay inside, is an error.
func unpack(r io.Reader, root *os.Root, seen func(files int)) (Manifest, error) {
	tr := tar.NewReader(r)
	var m Manifest
	var total int64
	links := map[string]bool{}
	dirs := map[string]bool{".": true}
	buffer := make([]byte, 1<<18)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			// What follows the end mark is padding; read it, so that the
			// program that feeds us can end.
			_, err := io.Copy(io.Discard, r)
			m.sort()
			return m, err
		}
		if err != nil {
			return nil, fmt.Errorf("archive: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name, err := cleanName(h.Name)
		if err != nil {
			return nil, err
		}
		if name == "." {
			continue
		}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if links[dir] {
				return nil, fmt.Errorf("archive: %q lies behind the link %q", h.Name, dir)
			}
		}
		if len(m) >= maxFiles {
			return nil, fmt.Errorf("archive: more than %d files", maxFiles)
		}
		if h.Typeflag != tar.TypeDir {
			if err := makeDirs(root, path.Dir(name), dirs); err != nil {
				return nil, fmt.Errorf("archive: %w", err)
			}
		}
		switch h.Typeflag {
		case tar.TypeDir:
			if err := makeDirs(root, name, dirs); err != nil {
				return nil, fmt.Errorf("archive: %w", err)
			}
		case tar.TypeReg:
			total += h.Size
			if h.Size > maxFileSize || total > maxTotal {
				return nil, fmt.Errorf("archive: %q: too much data", h.Name)
			}
			e, err := writeFile(root, name, h.FileInfo().Mode()&0o111 != 0, tr, buffer)
			if err != nil {
				return nil, fmt.Errorf("archive: %w", err)
			}
			m = append(m, e)
			if seen != nil && len(m)%512 == 0 {
				seen(len(m))
			}
		case tar.TypeSymlink:
			if err := checkLink(name, h.Linkname); err != nil {
				return nil, fmt.Errorf("archive: %w", err)
			}
			if err := root.Symlink(h.Linkname, name); err != nil {
				return nil, fmt.Errorf("archive: %w", err)
			}
			links[name] = true
			m = append(m, Entry{Path: name, Kind: 'l', Data: h.Linkname})
		default:
			return nil, fmt.Errorf("archive: %q: a kernel source has no entries of type %q", h.Name, h.Typeflag)
		}
	}
}

// writeFile makes a file that must not exist and returns its entry.
func writeFile(root *os.Root, name string, executable bool, r io.Reader, buffer []byte) (Entry, error) {
	mode, kind := fs.FileMode(0o644), byte('f')
	if executable {
		mode, kind = 0o755, 'x'
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return Entry{}, err
	}
	sum := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, sum)}, struct{ io.Reader }{r}, buffer); err != nil {
		f.Close()
		return Entry{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := f.Close(); err != nil {
		return Entry{}, err
	}
	return Entry{Path: name, Kind: kind, Data: hex.EncodeToString(sum.Sum(nil))}, nil
}

func makeDirs(root *os.Root, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := root.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	made[dir] = true
	return nil
}

// cleanName is the tree-relative form of an archive's name for a file.
func cleanName(name string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("archive: name %.200q %s", name, why)
	}
	switch {
	case len(name) > maxName:
		return bad("is too long")
	case strings.HasPrefix(name, "/"):
		return bad("is absolute")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return bad("has a control character")
	}
	clean := path.Clean(name)
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return bad("goes upwards")
		}
	}
	return clean, nil
}

// checkLink says whether a symbolic link stays in the tree.
func checkLink(name, target string) error {
	switch {
	case target == "" || len(target) > maxName || strings.ContainsFunc(target, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("link %q has a bad target", name)
	case path.IsAbs(target):
		return fmt.Errorf("link %q leads out of the tree, to %q", name, target)
	}
	// A ".." behind a name may stand behind another link, where counting
	// says nothing.
	down := false
	for part := range strings.SplitSeq(target, "/") {
		if part == ".." && down {
			return fmt.Errorf("link %q goes down and up again, to %q", name, target)
		}
		down = down || part != ".." && part != "."
	}
	if to := path.Join(path.Dir(name), target); to == ".." || strings.HasPrefix(to, "../") {
		return fmt.Errorf("link %q leads out of the tree, to %q", name, target)
	}
	return nil
}

// decompress gives f's content through use, whatever it is compressed with.
// xz and zstd have no decoder in the standard library; their programs run in
// the sandbox, because the file may be anything.
func decompress(ctx context.Context, f io.Reader, use func(io.Reader) error) error {
	r := bufio.NewReaderSize(f, 1<<18)
	magic, err := r.Peek(6)
	if err != nil {
		return fmt.Errorf("archive: %w", noEOF(err))
	}
	switch {
	case bytes.HasPrefix(magic, []byte("\xfd7zXZ\x00")):
		return filter(ctx, []string{"xz", "-dc"}, "xz-utils", r, use)
	case bytes.HasPrefix(magic, []byte("\x28\xb5\x2f\xfd")):
		return filter(ctx, []string{"zstd", "-dcq"}, "zstd", r, use)
	case bytes.HasPrefix(magic, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(r)
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		return use(z)
	case bytes.HasPrefix(magic, []byte("BZh")):
		return use(bzip2.NewReader(r))
	default:
		return use(r)
	}
}

// filter feeds in through a sandboxed program and gives what comes out to use.
func filter(ctx context.Context, args []string, pkg string, in io.Reader, use func(io.Reader) error) error {
	if err := sandbox.Look(args[0], pkg); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pr, pw := io.Pipe()
	ended := make(chan error, 1)
	var complaint bytes.Buffer
	go func() {
		err := sandbox.Run(ctx, sandbox.Command{Args: args, Stdin: in, Stdout: pw, Stderr: &complaint})
		if err != nil {
			err = fmt.Errorf("archive: %w: %s", err, strings.TrimSpace(complaint.String()))
		}
		pw.CloseWithError(noNil(err))
		ended <- err
	}()
	err := use(pr)
	if err != nil {
		cancel(err)
	}
	pr.CloseWithError(errors.New("no longer needed"))
	if runErr := <-ended; err == nil {
		err = runErr
	}
	return err
}

// noNil makes the end of a stream out of no error, as CloseWithError wants.
func noNil(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
