// Package charset names the encoding of a text that is not plain UTF-8.
package charset

import "bytes"

// The encodings that Of recognizes.
const (
	UTF8BOM = "UTF-8 with a byte order mark"
	UTF16   = "UTF-16"
	UTF32   = "UTF-32"
)

// marks lists the byte order marks. That of UTF-16 is a prefix of one of
// UTF-32.
var marks = []struct{ mark, encoding string }{
	{"\xef\xbb\xbf", UTF8BOM},
	{"\xff\xfe\x00\x00", UTF32}, {"\x00\x00\xfe\xff", UTF32},
	{"\xff\xfe", UTF16}, {"\xfe\xff", UTF16},
}

// Of returns the encoding of a text that begins with a byte order mark, or that
// begins with a character of first in UTF-16 or UTF-32. Otherwise it returns
// "". If first is "", the text can begin with any printable ASCII character.
func Of(text []byte, first string) string {
	for _, m := range marks {
		if bytes.HasPrefix(text, []byte(m.mark)) {
			return m.encoding
		}
	}
	for _, form := range []struct {
		width, at int // of a character, and where its ASCII byte is
		encoding  string
	}{{4, 0, UTF32}, {4, 3, UTF32}, {2, 0, UTF16}, {2, 1, UTF16}} {
		if len(text) < form.width {
			continue
		}
		unit := bytes.Clone(text[:form.width])
		c := unit[form.at]
		unit[form.at] = 0
		if bytes.Count(unit, []byte{0}) == form.width && c > ' ' && c <= '~' && (first == "" || bytes.IndexByte([]byte(first), c) >= 0) {
			return form.encoding
		}
	}
	return ""
}

// Explain returns the cause and remedy for a text that a reader refused, or ""
// if its encoding is not the cause. The text must have been refused: a binary
// file can begin as text in UTF-16 does.
func Explain(text []byte) string {
	encoding := Of(text, "")
	if encoding == "" {
		return ""
	}
	return "it is encoded in " + encoding + ": save it as UTF-8 without BOM"
}
