package ingest

import (
	"errors"
	"fmt"
)

// A jsonCheck checks that the bytes written to it are one JSON document (RFC
// 8259, in UTF-8) of any size. It stores little more than one byte for each
// level of nesting. It agrees with jsontext.Value.IsValid, except that it
// accepts duplicate names and unpaired surrogates.
type jsonCheck struct {
	state   jsonState
	object  []bool // whether each open value is an object rather than an array, innermost last
	name    bool   // the current string is the name of a member
	literal string // remaining characters of true, false or null
	// remaining digits of an escape; RFC 8259, section 8.2, allows unpaired
	// surrogates
	hex    int
	more   int   // remaining bytes of a multi-byte character
	lo, hi byte  // bounds of the character's next byte
	at     int64 // bytes written before
}

type jsonState byte

const (
	wantValue      jsonState = iota
	wantValueOrEnd           // after [
	wantNameOrEnd            // after {
	wantName
	wantColon
	afterValue
	inString
	inEscape
	inHex
	inLiteral
	afterMinus
	afterZero
	inInteger
	afterPoint
	inFraction
	afterE
	afterSign
	inExponent
)

// maxJSONDepth equals the limit of package jsontext.
const maxJSONDepth = 10000

// Write checks the next bytes.
func (j *jsonCheck) Write(p []byte) (int, error) {
	for i, c := range p {
		if j.state == inString && c >= ' ' && c < 0x80 && c != '"' && c != '\\' && j.more == 0 {
			continue
		}
		if err := j.step(c); err != nil {
			return i, fmt.Errorf("byte %d: %w", j.at+int64(i), err)
		}
	}
	j.at += int64(len(p))
	return len(p), nil
}

// Close returns an error if the document is incomplete.
func (j *jsonCheck) Close() error {
	switch j.state {
	case afterZero, inInteger, inFraction, inExponent:
		j.state = afterValue
	}
	if j.state != afterValue || len(j.object) > 0 {
		return fmt.Errorf("byte %d: unexpected end", j.at)
	}
	return nil
}

var errJSON = errors.New("unexpected character")

func (j *jsonCheck) step(c byte) error {
	space := c == ' ' || c == '\t' || c == '\n' || c == '\r'
	switch j.state {
	case wantValue:
		if space {
			return nil
		}
		return j.value(c)
	case wantValueOrEnd:
		if space {
			return nil
		}
		if c == ']' {
			return j.close(false)
		}
		return j.value(c)
	case wantNameOrEnd:
		if space {
			return nil
		}
		if c == '}' {
			return j.close(true)
		}
		return j.beginName(c)
	case wantName:
		if space {
			return nil
		}
		return j.beginName(c)
	case wantColon:
		if space {
			return nil
		}
		return j.expect(c == ':', wantValue)
	case afterValue:
		return j.after(c, space)
	case inString:
		return j.string(c)
	case inEscape:
		return j.beginEscape(c)
	case inHex:
		return j.hexDigit(c)
	case inLiteral:
		if c != j.literal[0] {
			return errJSON
		}
		if j.literal = j.literal[1:]; j.literal == "" {
			j.state = afterValue
		}
		return nil
	}
	return j.number(c)
}

func (j *jsonCheck) expect(ok bool, next jsonState) error {
	if !ok {
		return errJSON
	}
	j.state = next
	return nil
}

func (j *jsonCheck) value(c byte) error {
	switch {
	case c == '{':
		return j.open(true, wantNameOrEnd)
	case c == '[':
		return j.open(false, wantValueOrEnd)
	case c == '"':
		j.state, j.name = inString, false
	case c == 't':
		j.state, j.literal = inLiteral, "rue"
	case c == 'f':
		j.state, j.literal = inLiteral, "alse"
	case c == 'n':
		j.state, j.literal = inLiteral, "ull"
	case c == '-':
		j.state = afterMinus
	case c == '0':
		j.state = afterZero
	case isDigit(c):
		j.state = inInteger
	default:
		return errJSON
	}
	return nil
}

func (j *jsonCheck) open(object bool, next jsonState) error {
	if len(j.object) == maxJSONDepth {
		return fmt.Errorf("nested deeper than %d levels", maxJSONDepth)
	}
	j.object = append(j.object, object)
	j.state = next
	return nil
}

func (j *jsonCheck) close(object bool) error {
	if n := len(j.object); n == 0 || j.object[n-1] != object {
		return errJSON
	}
	j.object = j.object[:len(j.object)-1]
	j.state = afterValue
	return nil
}

func (j *jsonCheck) beginName(c byte) error {
	j.name = true
	return j.expect(c == '"', inString)
}

func (j *jsonCheck) after(c byte, space bool) error {
	n := len(j.object)
	switch {
	case space:
		return nil
	case c == '}' || c == ']':
		return j.close(c == '}')
	case c == ',' && n > 0 && j.object[n-1]:
		j.state = wantName
	case c == ',' && n > 0:
		j.state = wantValue
	default:
		return errJSON
	}
	return nil
}

func (j *jsonCheck) string(c byte) error {
	switch {
	case j.more > 0:
		if c < j.lo || c > j.hi {
			return errors.New("invalid UTF-8")
		}
		j.more--
		j.lo, j.hi = 0x80, 0xBF
	case c == '"' && j.name:
		j.state = wantColon
	case c == '"':
		j.state = afterValue
	case c == '\\':
		j.state = inEscape
	case c < ' ':
		return errors.New("control character in a string")
	case c >= 0x80:
		return j.lead(c)
	}
	return nil
}

// lead checks the first byte of a multi-byte character against table 3-7 of the
// Unicode Standard.
func (j *jsonCheck) lead(c byte) error {
	j.lo, j.hi = 0x80, 0xBF
	switch {
	case c >= 0xC2 && c <= 0xDF:
		j.more = 1
	case c >= 0xE0 && c <= 0xEF:
		j.more = 2
		if c == 0xE0 {
			j.lo = 0xA0
		} else if c == 0xED {
			j.hi = 0x9F
		}
	case c >= 0xF0 && c <= 0xF4:
		j.more = 3
		if c == 0xF0 {
			j.lo = 0x90
		} else if c == 0xF4 {
			j.hi = 0x8F
		}
	default:
		return errors.New("invalid UTF-8")
	}
	return nil
}

func (j *jsonCheck) beginEscape(c byte) error {
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		j.state = inString
	case 'u':
		j.state, j.hex = inHex, 4
	default:
		return errJSON
	}
	return nil
}

func (j *jsonCheck) hexDigit(c byte) error {
	switch {
	case isDigit(c):
	case c >= 'a' && c <= 'f':
	case c >= 'A' && c <= 'F':
	default:
		return errJSON
	}
	if j.hex--; j.hex == 0 {
		j.state = inString
	}
	return nil
}

func (j *jsonCheck) number(c byte) error {
	digit := isDigit(c)
	switch j.state {
	case afterMinus:
		if c == '0' {
			j.state = afterZero
			return nil
		}
		return j.expect(digit, inInteger)
	case afterPoint:
		return j.expect(digit, inFraction)
	case afterE:
		if c == '+' || c == '-' {
			j.state = afterSign
			return nil
		}
		return j.expect(digit, inExponent)
	case afterSign:
		return j.expect(digit, inExponent)
	}
	switch { // the number may end here
	case digit && j.state != afterZero:
		return nil
	case c == '.' && (j.state == afterZero || j.state == inInteger):
		j.state = afterPoint
		return nil
	case (c == 'e' || c == 'E') && j.state != inExponent:
		j.state = afterE
		return nil
	}
	j.state = afterValue
	return j.step(c)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
