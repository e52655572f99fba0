// SPDX-License-Identifier: Apache-2.0

package ktap

import "bytes"

// MaxLine is the longest line that [Lines] hands on when its Max is not set,
// in bytes.
const MaxLine = 16 << 10

// Lines cuts a stream of bytes into lines, however the stream was cut into
// pieces. The zero value is ready.
type Lines struct {
	Max int // bytes of a line that are kept; 0 is MaxLine

	line []byte // what has come of the unfinished line
	cut  int    // bytes of it that were dropped
	open bool   // a line has begun
}

// Feed takes the next piece of the stream and calls emit for every line that
// ends in it, without the line feed and a carriage return before it. cut is
// the number of bytes that the line lost at its end; 0 for a whole line.
func (l *Lines) Feed(piece []byte, emit func(line string, cut int)) {
	for len(piece) > 0 {
		end := bytes.IndexByte(piece, '\n')
		if end < 0 {
			l.add(piece)
			return
		}
		l.add(piece[:end])
		l.emit(emit)
		piece = piece[end+1:]
	}
}

// Flush hands on the last line if the stream ended without a line feed.
func (l *Lines) Flush(emit func(line string, cut int)) {
	if l.open {
		l.emit(emit)
	}
}

func (l *Lines) add(b []byte) {
	l.open = true
	limit := l.Max
	if limit <= 0 {
		limit = MaxLine
	}
	keep := min(len(b), limit-len(l.line))
	l.line = append(l.line, b[:keep]...)
	l.cut += len(b) - keep
}

func (l *Lines) emit(emit func(line string, cut int)) {
	line := l.line
	if l.cut == 0 {
		line = bytes.TrimSuffix(line, []byte{'\r'})
	}
	emit(string(line), l.cut)
	l.line, l.cut, l.open = l.line[:0], 0, false
}
