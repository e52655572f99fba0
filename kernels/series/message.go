// SPDX-License-Identifier: Apache-2.0

package series

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // mails say what they are written in
	header "github.com/emersion/go-message/mail"
)

// A mail is a message, or a commit that looks like one.
type mail struct {
	origin    string
	tags      tags
	subject   string // whole
	messageID string
	inReplyTo string
	author    string
	text      string // decoded, lines end in \n
	flowed    bool   // the mail was format=flowed
	err       error  // why it cannot be used, if somebody wants to
}

// Bounds on a message.
const (
	maxMail   = 16 << 20 // bytes, decoded too
	maxHeader = 1 << 20
	maxDepth  = 8  // of parts in parts
	maxParts  = 64 // in all
)

var headerLine = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*:([ \t]|\r?\n)`)

// readMail reads a message, or a diff without one. A message that cannot be
// read has an err: it may be one that nobody asks for.
func readMail(origin string, data []byte) *mail {
	m := &mail{origin: origin, subject: origin, tags: tags{version: 1, title: origin}}
	if m.err = m.read(data); m.err == nil && strings.ContainsRune(m.text, 0) {
		m.err = errors.New("holds a NUL byte")
	}
	return m
}

func (m *mail) read(data []byte) error {
	if len(data) > maxMail {
		data = data[:maxHeader] // enough to say whose it is
		m.err = fmt.Errorf("has more than %d bytes", maxMail)
	}
	data = bytes.TrimLeft(data, "\r\n")
	if !headerLine.Match(data) || bytes.HasPrefix(data, []byte("Index: ")) { // which some write before a diff
		m.text = normalize(data)
		return m.err
	}
	e, err := message.ReadWithOptions(bytes.NewReader(data), &message.ReadOptions{MaxHeaderBytes: maxHeader})
	if e == nil {
		return fmt.Errorf("has a header that cannot be read: %w", err)
	}
	h := header.Header{Header: e.Header}
	if text, err := h.Text("Subject"); err == nil {
		m.subject = strings.Join(strings.Fields(text), " ")
	} else {
		m.subject = h.Get("Subject")
	}
	m.tags = parseSubject(m.subject)
	m.messageID, _ = h.MessageID() // one that is not well-formed is as good as none
	if ids, _ := h.MsgIDList("In-Reply-To"); len(ids) > 0 {
		m.inReplyTo = ids[0]
	}
	if m.author, _ = h.Text("From"); m.author == "" {
		m.author = h.Get("From")
	}
	if m.err != nil {
		return m.err
	}
	if err != nil {
		return err
	}
	p := parts{mail: m}
	if err := p.add(e, 0); err != nil {
		return err
	}
	m.text = p.text.String()
	if strings.HasPrefix(m.text, "From: ") { // its sender is not its author
		line, rest, _ := strings.Cut(m.text, "\n")
		m.author, m.text = strings.TrimPrefix(line, "From: "), strings.TrimPrefix(rest, "\n")
	}
	return nil
}

// parts collects the text of a message: that of the first text part, and that
// of other text parts that hold a diff.
type parts struct {
	mail *mail
	text strings.Builder
	seen int
}

func (p *parts) add(e *message.Entity, depth int) error {
	if p.seen++; p.seen > maxParts {
		return fmt.Errorf("has more than %d parts", maxParts)
	}
	if depth > maxDepth {
		return fmt.Errorf("has parts in parts, more than %d deep", maxDepth)
	}
	if r := e.MultipartReader(); r != nil {
		for {
			part, err := r.NextPart()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return fmt.Errorf("a part that cannot be read: %w", err)
			}
			if err := p.add(part, depth+1); err != nil {
				return err
			}
		}
	}
	kind, params, err := e.Header.ContentType()
	if err != nil {
		kind, params = "text/plain", nil // as for a mail that does not say
	}
	if kind != "" && !strings.HasPrefix(kind, "text/") || kind == "text/html" {
		return nil
	}
	raw, err := io.ReadAll(io.LimitReader(e.Body, maxMail+1))
	if err != nil {
		return fmt.Errorf("text that cannot be decoded (%s): %w", e.Header.Get("Content-Transfer-Encoding"), err)
	}
	if p.text.Len()+len(raw) > maxMail {
		return fmt.Errorf("more than %d bytes of text", maxMail)
	}
	text := normalize(raw)
	if strings.EqualFold(params["format"], "flowed") {
		text = unflow(text, strings.EqualFold(params["delsp"], "yes"))
		p.mail.flowed = true
	}
	if p.text.Len() == 0 {
		p.text.WriteString(text)
		return nil
	}
	if !hasDiff(text) {
		return nil // a list's footer, a key
	}
	if hasDiff(p.text.String()) {
		return errors.New("two of its parts hold a diff")
	}
	p.text.WriteString("\n" + text)
	return nil
}

// normalize makes every line end in \n alone.
func normalize(b []byte) string {
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

// unflow undoes format=flowed (RFC 3676): a line that ends in a space goes on
// in the next, and one space before a line was put there.
func unflow(text string, delsp bool) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, end := strings.CutSuffix(line, "\n")
		line = strings.TrimPrefix(line, " ")
		flows := strings.HasSuffix(line, " ") && line != "-- "
		if flows && delsp {
			line = strings.TrimSuffix(line, " ")
		}
		b.WriteString(line)
		if end && !flows {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
