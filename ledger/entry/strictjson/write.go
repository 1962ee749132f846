package strictjson

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
)

// A Writer appends JSON to Text, with commas where they belong. Err is the
// first error. The methods continue after an error, so that one check at the
// end suffices.
type Writer struct {
	Text []byte
	Err  error
}

func (w *Writer) Comma() {
	if c := w.Text[len(w.Text)-1]; c != '{' && c != '[' {
		w.Text = append(w.Text, ',')
	}
}

func (w *Writer) Open(c byte) {
	if last := w.Text[len(w.Text)-1]; last != ':' {
		w.Comma()
	}
	w.Text = append(w.Text, c)
}

func (w *Writer) Close(c byte) { w.Text = append(w.Text, c) }

// Name appends the name of a member. The name must not need escapes.
func (w *Writer) Name(name string) {
	w.Comma()
	w.Text = append(w.Text, '"')
	w.Text = append(w.Text, name...)
	w.Text = append(w.Text, '"', ':')
}

// AnyName appends an untrusted name.
func (w *Writer) AnyName(name string) {
	w.Comma()
	w.Quote(name)
	w.Text = append(w.Text, ':')
}

func (w *Writer) Member(name, value string) {
	w.Name(name)
	w.Quote(value)
}

func (w *Writer) Optional(name, value string) {
	if value != "" {
		w.Member(name, value)
	}
}

func (w *Writer) Integer(name string, n uint64) {
	if n > MaxInteger && w.Err == nil {
		w.Err = fmt.Errorf("%s: %d is more than 2⁵³−1", name, n)
	}
	w.Name(name)
	w.Text = strconv.AppendUint(w.Text, n, 10)
}

func (w *Writer) Base64(name string, data []byte) {
	w.Name(name)
	w.Text = append(w.Text, '"')
	w.Text = base64.StdEncoding.AppendEncode(w.Text, data)
	w.Text = append(w.Text, '"')
}

// Quote appends a JSON string. It examines eight bytes at a time, since a
// receipt consists mostly of two long strings.
func (w *Writer) Quote(s string) {
	if !utf8.ValidString(s) && w.Err == nil {
		w.Err = errors.New("a string is not valid UTF-8")
	}
	b := append(w.Text, '"')
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
	w.Text = append(b, '"')
}

const (
	eachByte = 0x0101010101010101
	highBits = 0x80 * eachByte
)

// firstToEscape returns the position of the first of eight bytes that is a
// control character, a quotation mark or a backslash, or 8 if there is none. A
// byte is less than n, for n ≤ 128, if subtracting n sets its high bit and the
// bit was not set before. A borrow can cause false hits only after a true one.
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

// Strings writes an object of strings, sorted by name. Neither the object nor
// any name or string may be empty.
func (w *Writer) Strings(name string, m map[string]string) {
	if len(m) == 0 && w.Err == nil {
		w.Err = fmt.Errorf("%s: empty", name)
	}
	w.Name(name)
	w.Open('{')
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if k == "" && w.Err == nil {
			w.Err = fmt.Errorf("%s: a member without a name", name)
		}
		w.AnyName(k)
		w.Required(name, m[k])
	}
	w.Close('}')
}

// Required appends a string that must not be empty.
func (w *Writer) Required(name, s string) {
	if s == "" && w.Err == nil {
		w.Err = fmt.Errorf("%s: an empty string", name)
	}
	w.Quote(s)
}
