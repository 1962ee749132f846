package receipt

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"

	"muniment.dev/muniment/ledger/receipt/strictjson"
)

// A jsonWriter appends JSON text; commas are put where they belong.
type jsonWriter struct {
	b   []byte
	err error
}

func (w *jsonWriter) comma() {
	if c := w.b[len(w.b)-1]; c != '{' && c != '[' {
		w.b = append(w.b, ',')
	}
}

func (w *jsonWriter) open(c byte) {
	if last := w.b[len(w.b)-1]; last != ':' {
		w.comma()
	}
	w.b = append(w.b, c)
}

func (w *jsonWriter) close(c byte) { w.b = append(w.b, c) }

// name appends the name of a member, which must need no escape.
func (w *jsonWriter) name(name string) {
	w.comma()
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

// anyName appends a name that comes from outside.
func (w *jsonWriter) anyName(name string) {
	w.comma()
	w.quote(name)
	w.b = append(w.b, ':')
}

func (w *jsonWriter) member(name, value string) {
	w.name(name)
	w.quote(value)
}

func (w *jsonWriter) optional(name, value string) {
	if value != "" {
		w.member(name, value)
	}
}

func (w *jsonWriter) integer(name string, n uint64) {
	if n > strictjson.MaxInteger && w.err == nil {
		w.err = fmt.Errorf("%s: %d is more than 2⁵³−1", name, n)
	}
	w.name(name)
	w.b = strconv.AppendUint(w.b, n, 10)
}

func (w *jsonWriter) base64(name string, data []byte) {
	w.name(name)
	w.b = append(w.b, '"')
	w.b = base64.StdEncoding.AppendEncode(w.b, data)
	w.b = append(w.b, '"')
}

// quote appends a JSON string. A receipt is mostly two long strings, so this
// looks at eight bytes at a time.
func (w *jsonWriter) quote(s string) {
	if !utf8.ValidString(s) && w.err == nil {
		w.err = errors.New("a string is not valid UTF-8")
	}
	b := append(w.b, '"')
	start := 0
	for i := 0; i < len(s); {
		n := min(8, len(s)-i)
		var word uint64
		if n == 8 {
			word = binary.LittleEndian.Uint64([]byte(s[i : i+8]))
		} else {
			word = ' ' * eachByte // pads with what needs no escape
			for k := range n {
				word = word&^(0xff<<(8*k)) | uint64(s[i+k])<<(8*k)
			}
		}
		at := firstToEscape(word)
		if at == 8 {
			i += n
			continue
		}
		i += at
		b = append(b, s[start:i]...)
		b = appendEscaped(b, s[i])
		i++
		start = i
	}
	b = append(b, s[start:]...)
	w.b = append(b, '"')
}

const (
	eachByte = 0x0101010101010101
	highBits = 0x80 * eachByte
)

// firstToEscape returns the position of the first of eight bytes that is a
// control character, a quotation mark or a backslash, or 8. A byte less than n,
// for n ≤ 128, is one whose high bit is set by subtracting n and was not set
// before; a borrow can only make wrong hits behind a right one.
func firstToEscape(word uint64) int {
	quote, backslash := word^'"'*eachByte, word^'\\'*eachByte
	hits := ((word - ' '*eachByte) & ^word) | ((quote - eachByte) & ^quote) | ((backslash - eachByte) & ^backslash)
	return bits.TrailingZeros64(hits&highBits) / 8
}

func appendEscaped(b []byte, c byte) []byte {
	const hexDigits = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, '\\', 'b')
	case '\f':
		return append(b, '\\', 'f')
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
