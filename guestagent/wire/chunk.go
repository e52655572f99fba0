// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// chunkHeader is the length of what stands before the data of a chunk.
const chunkHeader = 4 + 4 + 1

func (s Stream) valid() bool { return s >= Stdout && s <= Core }

func (s Stream) String() string {
	switch s {
	case Stdout:
		return "stdout"
	case Stderr:
		return "stderr"
	case Core:
		return "core"
	}
	return fmt.Sprintf("stream %d", uint8(s))
}

// WriteChunk writes c with one Write. The data must have 1 to [MaxChunk]
// bytes; anything else, or a stream that does not exist, is a [Violation] and
// nothing is written.
func WriteChunk(w io.Writer, c Chunk) error {
	if err := check(uint32(len(c.Data)), c.Stream); err != nil {
		return fmt.Errorf("write chunk: %w", err)
	}
	b := make([]byte, chunkHeader, chunkHeader+len(c.Data))
	binary.BigEndian.PutUint32(b[0:], uint32(len(c.Data)))
	binary.BigEndian.PutUint32(b[4:], c.Run)
	b[8] = byte(c.Stream)
	if _, err := w.Write(append(b, c.Data...)); err != nil {
		return fmt.Errorf("write chunk: %w", err)
	}
	return nil
}

// ReadChunk reads one chunk; its data is the caller's. The error is io.EOF
// when the port ended between two chunks, io.ErrUnexpectedEOF when it ended
// inside one, and wraps a [Violation] when what came is rubbish.
func ReadChunk(r io.Reader) (Chunk, error) {
	var head [chunkHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if err == io.EOF {
			return Chunk{}, io.EOF
		}
		return Chunk{}, fmt.Errorf("read chunk: %w", err)
	}
	n, stream := binary.BigEndian.Uint32(head[0:]), Stream(head[8])
	if err := check(n, stream); err != nil {
		return Chunk{}, fmt.Errorf("read chunk: %w", err)
	}
	c := Chunk{Run: binary.BigEndian.Uint32(head[4:]), Stream: stream, Data: make([]byte, n)}
	if _, err := io.ReadFull(r, c.Data); err != nil {
		return Chunk{}, fmt.Errorf("read chunk: %w", inside(err))
	}
	return c, nil
}

func check(n uint32, s Stream) error {
	if n == 0 || n > MaxChunk {
		return fmt.Errorf("%d bytes: %w", n, ErrLength)
	}
	if !s.valid() {
		return fmt.Errorf("%v: %w", s, ErrStream)
	}
	return nil
}
