package wire

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// A scanner checks a message in the binary encoding, written to it in pieces of
// any size. It buffers nothing, and stops at the first byte that is not
// allowed.
type scanner struct {
	message *rules // rules of the outermost message
	outer   frame  // frame of the outermost message
	inner   [maxDepth + 1]frame
	depth   int   // frames of inner in use
	at      int64 // bytes scanned

	state  scanState
	field  *field
	wire   protowire.Type
	skip   int64  // remaining bytes of a value to skip
	number uint64 // varint being read
	bits   int    // of that varint so far
}

type scanState byte

const (
	inTag scanState = iota
	inLength
	inVarint
)

// A frame is a message or packed list that the scanner is inside of.
type frame struct {
	field *field // field that contains it; nil for the outermost message
	rules *rules // nil for a packed list
	end   int64
	count counter
}

// reset prepares the scanner for a new message. Inner frames are set when they
// are entered.
func (s *scanner) reset(message *rules) {
	s.message, s.outer = message, frame{}
	s.depth, s.at = 0, 0
	s.state, s.field, s.wire = inTag, nil, 0
	s.skip, s.number, s.bits = 0, 0, 0
}

func (s *scanner) top() *frame {
	if s.depth == 0 {
		return &s.outer
	}
	return &s.inner[s.depth-1]
}

// scan checks the next bytes.
func (s *scanner) scan(p []byte) error {
	if s.outer.rules == nil {
		s.outer.rules = s.message
	}
	for len(p) > 0 {
		if s.skip > 0 {
			n := min(s.skip, int64(len(p)))
			p = p[n:]
			s.at += n
			if s.skip -= n; s.skip > 0 {
				break
			}
			if err := s.finish(); err != nil {
				return s.within(err)
			}
			continue
		}
		c := p[0]
		p = p[1:]
		if s.at++; s.depth > 0 && s.at > s.top().end {
			return ErrMalformed
		}
		if s.bits == 63 && c > 1 {
			return ErrMalformed
		}
		s.number |= uint64(c&0x7f) << s.bits
		if s.bits += 7; c >= 0x80 {
			continue
		}
		n := s.number
		s.number, s.bits = 0, 0
		if err := s.varint(n); err != nil {
			return s.within(err)
		}
	}
	return nil
}

// varint handles a complete varint: a tag, a length or a value.
func (s *scanner) varint(n uint64) error {
	switch s.state {
	case inTag:
		return s.tag(n)
	case inLength:
		return s.length(n)
	}
	return s.finish()
}

func (s *scanner) tag(n uint64) error {
	number, wire := protowire.DecodeTag(n)
	if number < protowire.MinValidNumber {
		return ErrMalformed
	}
	f := s.top().rules.fields[number]
	if f == nil {
		return fmt.Errorf("unknown field %d", number)
	}
	packed := f.packed && wire == protowire.BytesType
	if wire != f.wire && !packed {
		return fmt.Errorf("%s: wrong type", f.name)
	}
	if !packed {
		if err := s.top().count.add(f); err != nil {
			return err
		}
	}
	s.field, s.wire = f, wire
	return s.value()
}

// value begins a value of the current field.
func (s *scanner) value() error {
	switch s.wire {
	case protowire.VarintType:
		s.state = inVarint
	case protowire.BytesType:
		s.state = inLength
	case protowire.Fixed32Type:
		return s.fixed(4)
	case protowire.Fixed64Type:
		return s.fixed(8)
	default:
		return ErrMalformed
	}
	return nil
}

// fixed skips bytes that need no inspection.
func (s *scanner) fixed(n int64) error {
	if s.depth > 0 && n > s.top().end-s.at {
		return ErrMalformed
	}
	if s.skip = n; n == 0 {
		return s.finish()
	}
	return nil
}

func (s *scanner) length(n uint64) error {
	if n > 1<<32 {
		return ErrMalformed
	}
	packed := s.field.packed && s.wire == protowire.BytesType
	if n == 0 || !packed && s.field.message == nil {
		return s.fixed(int64(n))
	}
	if s.depth > 0 && int64(n) > s.top().end-s.at {
		return ErrMalformed
	}
	if s.depth == maxDepth {
		return errors.New("messages are nested too deeply")
	}
	s.inner[s.depth] = frame{field: s.field, rules: s.field.message, end: s.at + int64(n)}
	s.depth++
	if !packed {
		s.state = inTag
		return nil
	}
	return s.element()
}

// element begins an element of the current packed list. It counts as an element
// of the enclosing message.
func (s *scanner) element() error {
	list := s.top().field
	s.depth--
	if err := s.top().count.add(list); err != nil {
		return err
	}
	s.depth++
	s.field, s.wire = list, list.wire
	return s.value()
}

// finish ends a value and the messages that end with it.
func (s *scanner) finish() error {
	for s.depth > 0 && s.at == s.top().end {
		s.depth--
	}
	s.state = inTag
	if s.depth > 0 && s.top().rules == nil {
		return s.element()
	}
	return nil
}

// within adds the enclosing messages to the error.
func (s *scanner) within(err error) error {
	for i := s.depth - 1; i >= 0; i-- {
		err = fmt.Errorf("%s.%w", s.inner[i].field.name, err)
	}
	return err
}

// end returns an error if the message is incomplete.
func (s *scanner) end() error {
	if s.depth > 0 || s.skip > 0 || s.bits > 0 || s.state != inTag {
		return ErrMalformed
	}
	return nil
}

// An excess is the error for a message that exceeds a limit.
type excess struct{ string }

// Error implements error.
func (e excess) Error() string { return e.string }
