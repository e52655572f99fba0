// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"noiommu-farm/internal/fault"
)

// fromTarball imports an archive of the user's: tar, or tar in gzip, bzip2,
// xz or zstd.
func (s *Store) fromTarball(ctx context.Context, spec Spec) (id, origin string, err error) {
	usage := func(err error) error {
		return &fault.Usage{Key: "kernel", Value: spec.String(), Err: err}
	}
	f, err := os.Open(spec.arg)
	if err != nil {
		return "", "", usage(err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return "", "", usage(errors.New("not a file"))
	}
	sum, err := hashReader(&reader{ctx, f})
	if err != nil {
		return "", "", usage(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", "", usage(err)
	}
	id, err = s.importArchive(ctx, "sha256-"+sum, func(use func(io.Reader) error) error {
		return decompress(ctx, f, use)
	})
	if err != nil && ctx.Err() == nil && archiveFault(err) {
		err = usage(err)
	}
	return id, fmt.Sprintf("%s (sha256 %s)", filepath.Base(spec.arg), sum), err
}

// archiveFault tells a bad archive from a bad machine.
func archiveFault(err error) bool {
	var path *os.PathError
	var link *os.LinkError
	return !errors.As(err, &path) && !errors.As(err, &link)
}

func hashReader(r io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{r}, make([]byte, 1<<18)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
