package wire

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// A Stream checks a message while it arrives, so that an oversized one is
// refused before it is completely received or decompressed. A message that
// passes must still be checked as a whole.
type Stream struct {
	message *rules
	started bool
	// spaced is set if the first byte could also be white space before JSON.
	// Only an excess counts as an error then.
	spaced bool
	ended  bool
	binary scanner
	text   *jsonStream // nil unless the message is in JSON
}

// NewStream returns a stream for one message in either encoding.
func NewStream(md protoreflect.MessageDescriptor) *Stream {
	return &Stream{message: rulesOf(md)}
}

// Check checks the next bytes. Its errors are those of [Check] and [CheckJSON].
func (s *Stream) Check(p []byte) error {
	if len(p) == 0 || s.ended {
		return nil
	}
	if !s.started {
		s.started = true
		s.binary.message = s.message
		s.spaced = bytes.IndexByte([]byte(" \t\r\n"), p[0]) >= 0
		if p[0] == '{' { // in the binary encoding, a group, which no message has
			s.text = &jsonStream{message: s.message}
		}
	}
	if s.text != nil {
		return s.text.scan(p)
	}
	err := s.binary.scan(p)
	if err == nil {
		return nil
	}
	s.ended = true
	if s.spaced && !errors.As(err, new(excess)) {
		return nil
	}
	return err
}

// A jsonStream counts the values of a message in JSON. It limits the lists of
// the outermost message individually, and everything else by the total number
// of values.
type jsonStream struct {
	message *rules
	values  int
	count   counter // of the outermost message
	field   *field  // the current member's field; nil: unknown

	depth           int
	quoted, escaped bool
	scalar          bool // in a number or literal
	value           bool // the next token at depth 1 is a value, not a name
	name            []byte
}

// maxName exceeds the length of every field name.
const maxName = 64

func (j *jsonStream) scan(p []byte) error {
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case j.quoted && j.escaped:
			j.escaped = false
		case j.quoted && j.depth > 1 && c != '"' && c != '\\':
			// In a payload, the next relevant byte is far away.
			rest := p[i:]
			if n := bytes.IndexByte(rest, '"'); n >= 0 {
				rest = rest[:n]
			}
			if n := bytes.IndexByte(rest, '\\'); n >= 0 {
				rest = rest[:n]
			}
			i += len(rest) - 1
		case j.quoted:
			j.inString(c)
		default:
			if err := j.outside(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// inString consumes a byte of a string.
func (j *jsonStream) inString(c byte) {
	j.escaped = c == '\\'
	if c != '"' {
		if len(j.name) < maxName {
			j.name = append(j.name, c)
		}
		return
	}
	j.quoted = false
	if j.depth == 1 && !j.value {
		j.field = j.message.names[string(j.name)]
	}
}

// outside consumes a byte outside of strings.
func (j *jsonStream) outside(c byte) error {
	switch c {
	case ' ', '\t', '\r', '\n':
		j.scalar = false
	case ',', ':':
		j.scalar = false
		if j.depth == 1 {
			j.value = c == ':'
		}
	case '}', ']':
		j.scalar = false
		j.depth--
	case '"':
		j.quoted, j.name = true, j.name[:0]
		return j.begin()
	case '{', '[':
		err := j.begin()
		j.depth++
		return err
	default:
		if !j.scalar {
			j.scalar = true
			return j.begin()
		}
	}
	return nil
}

// begin counts a value or member name.
func (j *jsonStream) begin() error {
	if j.depth == 2 && j.field != nil && j.field.repeats && !j.field.isMap {
		if err := j.count.add(j.field); err != nil {
			return err
		}
	}
	if j.values++; j.values > j.message.values {
		return excess{fmt.Sprintf("more than %d values, the maximum for this message", j.message.values)}
	}
	return nil
}
