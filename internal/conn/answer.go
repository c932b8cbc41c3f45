package conn

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

const (
	growAtLeast  = 64 << 10  // bytes
	keepBuffer   = 4 << 20   // a larger one is not kept for the next answer
	keepTogether = 256 << 10 // the IDs of a larger answer are copied: they are kept for as long as their tasks run
	largeText    = 4 << 10   // bytes of a text that gets memory of its own at once
	deepest      = 8         // arrays in arrays, of what is skipped
	lineEnd      = "\r\n"
)

// answer takes an answer as it comes. Large texts are kept apart, so that they are copied once and never moved.
type answer struct {
	bytes []byte   // without the large texts
	large []string // these, in their order
}

// Write takes a line.
func (a *answer) Write(p []byte) (int, error) {
	a.bytes = append(a.bytes, p...)
	return len(p), nil
}

// ReadFrom takes a text. It grows with what comes, whatever length was announced.
func (a *answer) ReadFrom(r io.Reader) (total int64, err error) {
	limited, ok := r.(*io.LimitedReader)
	if ok && limited.N-int64(len(lineEnd)) >= largeText {
		if total, err = a.readLarge(limited); errors.Is(err, io.EOF) {
			return total, nil // as below: who copies sees that it is too short
		} else if err != nil {
			return total, err
		}
	}
	for {
		room := growAtLeast
		if ok {
			if limited.N <= 0 {
				return total, nil
			}
			room = int(min(limited.N, int64(max(growAtLeast, len(a.bytes)))))
		}
		a.bytes = slices.Grow(a.bytes, room)
		n, err := r.Read(a.bytes[len(a.bytes) : len(a.bytes)+room])
		a.bytes = a.bytes[:len(a.bytes)+n]
		total += int64(n)
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// readLarge takes a large text without the line end behind it, into the memory that it keeps.
func (a *answer) readLarge(r *io.LimitedReader) (total int64, err error) {
	size := int(r.N) - len(lineEnd)
	var text []byte
	for len(text) < size {
		if len(text) == cap(text) {
			text = slices.Grow(text, min(size-len(text), max(keepBuffer, len(text))))
		}
		n, err := r.Read(text[len(text):min(size, cap(text))])
		text = text[:len(text)+n]
		if err != nil {
			return int64(len(text)), err
		}
	}
	a.large = append(a.large, unsafe.String(unsafe.SliceData(text), len(text))) //nolint:gosec // nobody has these bytes any more
	return int64(size), nil
}

// reset makes room for the next answer.
func (a *answer) reset() {
	clear(a.large)
	a.large = a.large[:0]
	if cap(a.bytes) > keepBuffer {
		a.bytes = nil
	}
	a.bytes = a.bytes[:0]
}

// streams reads what XREAD or XREADGROUP answered: a map in RESP3, pairs in RESP2, nothing, or an error of the server. Nothing of what it
// returns lies in the buffer, but all fields that are not large lie in one piece of memory: who keeps a part of one for long copies it.
func (a *answer) streams() ([]Stream, error) {
	p := parser{text: string(a.bytes), large: a.large}
	streams, err := p.streams()
	if err != nil {
		return nil, err
	}
	if len(a.bytes) > keepTogether {
		for _, s := range streams {
			for i := range s.Entries {
				s.Entries[i].ID = strings.Clone(s.Entries[i].ID)
			}
		}
	}
	return streams, nil
}

// parser reads RESP2 and RESP3. What it returns are parts of text.
type parser struct {
	text   string
	large  []string // what was left out of text
	fields []string // of all entries
}

func (p *parser) streams() ([]Stream, error) {
	kind, head, err := p.start()
	if err != nil {
		return nil, err
	}
	if isNull(kind, head) {
		return nil, nil
	}
	if kind != '*' && kind != '%' {
		return nil, errProtocol
	}
	n, err := p.count(head)
	if err != nil {
		return nil, err
	}
	streams := make([]Stream, 0, n)
	for range n {
		if kind == '*' {
			if size, err := p.array(); err != nil || size != 2 {
				return nil, errors.Join(errProtocol, err)
			}
		}
		s, err := p.stream()
		if err != nil {
			return nil, err
		}
		streams = append(streams, s)
	}
	return streams, nil
}

// start takes the first line. An error of the server is an error.
func (p *parser) start() (kind byte, head string, err error) {
	kind, head, err = p.line()
	for err == nil && kind == '|' { // attributes come before what they are about
		if err = p.skipItems(head, 2, 0); err == nil {
			kind, head, err = p.line()
		}
	}
	if err == nil && kind == '!' {
		kind = '-'
		head, err = p.body(head)
	}
	if err == nil && kind == '-' {
		err = serverError(strings.Clone(head))
	}
	return kind, head, err
}

// isNull tells a null of either protocol.
func isNull(kind byte, head string) bool {
	return kind == '_' || head == "-1" && (kind == '*' || kind == '$')
}

func (p *parser) stream() (Stream, error) {
	key, err := p.value()
	if err != nil {
		return Stream{}, err
	}
	n, err := p.array()
	if err != nil {
		return Stream{}, err
	}
	s := Stream{Key: key, Entries: make([]Entry, max(n, 0))}
	for i := range s.Entries {
		if s.Entries[i], err = p.entry(); err != nil {
			return Stream{}, err
		}
	}
	return s, nil
}

// entry is an ID and its fields. What a later server adds is skipped.
func (p *parser) entry() (e Entry, err error) {
	size, err := p.array()
	if err != nil || size < 2 {
		return e, errors.Join(errProtocol, err)
	}
	if e.ID, err = p.value(); err != nil {
		return e, err
	}
	n, err := p.array()
	if err != nil {
		return e, err
	}
	if n >= 0 {
		if e.Fields, err = p.values(n); err != nil {
			return e, err
		}
	}
	for range size - 2 {
		if err := p.skip(0); err != nil {
			return e, err
		}
	}
	return e, nil
}

// values reads n of them into the memory that all entries share.
func (p *parser) values(n int) ([]string, error) {
	if len(p.fields)+n > cap(p.fields) {
		p.fields = make([]string, 0, max(n, 2*cap(p.fields), 16))
	}
	from := len(p.fields)
	for range n {
		value, err := p.value()
		if err != nil {
			return nil, err
		}
		p.fields = append(p.fields, value)
	}
	return p.fields[from:len(p.fields):len(p.fields)], nil
}

// line takes a line: its first byte, and the rest.
func (p *parser) line() (kind byte, rest string, err error) {
	end := strings.IndexByte(p.text, '\r')
	if end < 1 || end+1 >= len(p.text) || p.text[end+1] != '\n' {
		return 0, "", errProtocol
	}
	kind, rest, p.text = p.text[0], p.text[1:end], p.text[end+2:]
	return kind, rest, nil
}

// array takes the start of an array and returns its length, -1 for null.
func (p *parser) array() (int, error) {
	kind, head, err := p.line()
	switch {
	case err != nil:
		return 0, err
	case isNull(kind, head):
		return -1, nil
	case kind != '*':
		return 0, errProtocol
	}
	return p.count(head)
}

// count reads how many values follow. Each takes three bytes or more, so that a wrong one allocates nothing.
func (p *parser) count(head string) (int, error) {
	n, err := strconv.Atoi(head)
	if err != nil || n < 0 || n > len(p.text)/3 {
		return 0, errProtocol
	}
	return n, nil
}

// value takes a text or a number.
func (p *parser) value() (string, error) {
	kind, head, err := p.line()
	if err != nil {
		return "", err
	}
	switch kind {
	case '$':
		return p.body(head)
	case '+', ':':
		return head, nil
	default:
		return "", errProtocol
	}
}

// body takes a text of the length that head tells.
func (p *parser) body(head string) (string, error) {
	n, err := strconv.Atoi(head)
	if err != nil || n < 0 {
		return "", errProtocol
	}
	body, within := "", n
	if len(p.large) > 0 && len(p.large[0]) == n {
		body, within, p.large = p.large[0], 0, p.large[1:]
	}
	rest, ok := "", false
	if within <= len(p.text) {
		rest, ok = strings.CutPrefix(p.text[within:], lineEnd)
	}
	if !ok {
		return "", errProtocol
	}
	if within > 0 {
		body = p.text[:within]
	}
	p.text = rest
	return body, nil
}

// skip takes one value of any kind.
func (p *parser) skip(depth int) error {
	kind, head, err := p.line()
	if err != nil {
		return err
	}
	switch kind {
	case '$', '=', '!':
		if head == "-1" {
			return nil
		}
		_, err = p.body(head)
		return err
	case '*', '~', '>':
		return p.skipItems(head, 1, depth)
	case '%':
		return p.skipItems(head, 2, depth)
	case '|':
		if err = p.skipItems(head, 2, depth); err != nil {
			return err
		}
		return p.skip(depth)
	default:
		return nil
	}
}

func (p *parser) skipItems(head string, each, depth int) error {
	if head == "-1" {
		return nil
	}
	n, err := p.count(head)
	if err != nil || depth == deepest {
		return fmt.Errorf("%w: %d values, %d deep", errProtocol, n, depth)
	}
	for range n * each {
		if err := p.skip(depth + 1); err != nil {
			return err
		}
	}
	return nil
}
