// SPDX-License-Identifier: Apache-2.0

package series

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-mbox"
)

// Bounds on what is read in all.
const (
	maxInput = 256 << 20 // bytes, decompressed
	maxMails = 10_000
)

// Forms are the ways to name a series.
var Forms = []string{"FILE.mbox", "FILE.patch", "MAILDIR", "DIR of .patch files", "any of them and @vN for a version", "DIR@A..B for a range of git commits"}

var asked = regexp.MustCompile(`^(.+)@v([0-9]{1,3})$`)

// Load reads a series: from an mbox (also one that holds a whole thread, with
// replies and other versions; also in gzip), a maildir, a directory of .patch
// files, a single patch, or the commits A..B of the git tree DIR. With @vN it
// is that version, else the newest. What cannot be read, or does not make a
// whole series, is a *fault.Usage.
func Load(ctx context.Context, spec string) (Series, error) {
	s, err := load(ctx, spec)
	if err != nil {
		if ctx.Err() != nil {
			return Series{}, context.Cause(ctx)
		}
		return Series{}, usage(spec, err)
	}
	return s, nil
}

func load(ctx context.Context, spec string) (Series, error) {
	if spec == "" || strings.ContainsAny(spec, "\x00\n\r") {
		return Series{}, fmt.Errorf("names no series (allowed: %s)", strings.Join(Forms, ", "))
	}
	if dir, from, to, ok := commitRange(spec); ok {
		return loadCommits(ctx, dir, from, to)
	}
	path, version := spec, 0
	if _, err := os.Stat(path); err != nil {
		if m := asked.FindStringSubmatch(spec); m != nil {
			path = m[1]
			version, _ = strconv.Atoi(m[2])
		}
	}
	fi, err := os.Stat(path)
	if err != nil {
		return Series{}, err
	}
	var mails []*mail
	switch {
	case fi.IsDir() && isMaildir(path):
		mails, err = readDir(ctx, path, []string{"cur", "new"}, func(string) bool { return true })
	case fi.IsDir():
		mails, err = readDir(ctx, path, []string{"."}, func(name string) bool {
			return slices.Contains([]string{".patch", ".diff", ".eml", ".mbx"}, filepath.Ext(name))
		})
	case fi.Mode().IsRegular():
		mails, err = readFile(path)
	default:
		err = errors.New("neither a file nor a directory")
	}
	if err != nil {
		return Series{}, err
	}
	s, err := choose(mails, version)
	if err != nil {
		return Series{}, err
	}
	if s.Spec, err = filepath.Abs(path); err != nil {
		return Series{}, err
	}
	if version > 0 {
		s.Spec += fmt.Sprintf("@v%d", version)
	}
	return s, nil
}

func isMaildir(dir string) bool {
	for _, sub := range []string{"cur", "new"} {
		if fi, err := os.Stat(filepath.Join(dir, sub)); err != nil || !fi.IsDir() {
			return false
		}
	}
	return true
}

// readDir reads the files of directories below dir that are wanted, a mail
// each, in the order of their names. It follows no links.
func readDir(ctx context.Context, dir string, below []string, wanted func(name string) bool) ([]*mail, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var mails []*mail
	left := int64(maxInput)
	for _, sub := range below {
		entries, err := fs.ReadDir(root.FS(), sub)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if !e.Type().IsRegular() || !wanted(e.Name()) {
				continue
			}
			f, err := root.Open(filepath.Join(sub, e.Name()))
			if err != nil {
				return nil, err
			}
			data, err := io.ReadAll(io.LimitReader(f, maxMail+1))
			f.Close()
			if err != nil {
				return nil, err
			}
			if left -= int64(len(data)); left < 0 || len(mails) == maxMails {
				return nil, fmt.Errorf("more than %d mails or %d bytes", maxMails, maxInput)
			}
			mails = append(mails, readMail(e.Name(), withoutFrom(data)))
		}
	}
	return mails, nil
}

// withoutFrom takes away the line that starts a mail in an mbox: git
// format-patch writes it into every file.
func withoutFrom(data []byte) []byte {
	if bytes.HasPrefix(data, []byte("From ")) {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	return data
}

// readFile reads an mbox, or a single mail.
func readFile(path string) ([]*mail, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	start := make([]byte, 2)
	if _, err := io.ReadFull(f, start); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if bytes.Equal(start, []byte("\x1f\x8b")) { // as an archive gives out threads
		if r, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxInput {
		return nil, fmt.Errorf("more than %d bytes", maxInput)
	}
	if !bytes.HasPrefix(data, []byte("From ")) {
		return []*mail{readMail(filepath.Base(path), data)}, nil
	}
	var mails []*mail
	box := mbox.NewReader(bytes.NewReader(quoteFrom(data)))
	for {
		r, err := box.NextMessage()
		if err == io.EOF {
			return mails, nil
		}
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		if len(mails) == maxMails {
			return nil, fmt.Errorf("more than %d mails", maxMails)
		}
		mails = append(mails, readMail(fmt.Sprintf("mail %d of %s", len(mails)+1, filepath.Base(path)), text))
	}
}

// separator is a line that starts a mail in an mbox: it ends in a time and a
// year, as git has it too.
var separator = regexp.MustCompile(`^From \S.*[0-9]:[0-9]{2}(:[0-9]{2})?.* (19|2[0-9])[0-9]{2}( [+-][0-9]{4})?\r?\n?$`)

// quoteFrom quotes lines that only look like separators: git format-patch
// writes a commit message that says "From here on" as it is.
func quoteFrom(data []byte) []byte {
	var b bytes.Buffer
	b.Grow(len(data))
	lines := bufio.NewReaderSize(bytes.NewReader(data), 1<<16)
	start := true // of a line
	for {
		part, err := lines.ReadSlice('\n')
		if start && bytes.HasPrefix(part, []byte("From ")) && !separator.Match(part) {
			b.WriteByte('>')
		}
		b.Write(part)
		start = err == nil
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return b.Bytes()
		}
	}
}
