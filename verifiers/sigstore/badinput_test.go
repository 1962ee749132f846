package sigstore

import (
	"bytes"
	"compress/gzip"
	"slices"
	"strings"
)

// badInputs are bundles that attack the reader rather than the format.
var badInputs = []struct {
	name   string
	change func(bundle []byte) []byte
}{
	{"empty", func([]byte) []byte { return []byte{} }},
	{"an array", func(b []byte) []byte { return slices.Concat([]byte("["), b, []byte("]")) }},
	{"compressed", func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		w.Write(b)
		w.Close()
		return out.Bytes()
	}},
	{"a byte order mark", func(b []byte) []byte { return slices.Concat([]byte("\ufeff"), b) }},
	{"data after the end", func(b []byte) []byte { return append(slices.Clone(b), "{}"...) }},
	{"invalid UTF-8", first("\"x\":\"\xff\"")},
	{"a lone surrogate", first(`"x":"\ud800"`)},
	{"a member twice", first(`"mediaType":"application/json"`)},
	{"a member twice, in another spelling", first(`"media\u0054ype":"application/json"`)},
	{"__proto__", first(`"__proto__":{"mediaType":"x"}`)},
	{"constructor", first(`"constructor":{"prototype":{}}`)},
	{"__proto__ in the envelope", func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"dsseEnvelope":{`), []byte(`"dsseEnvelope":{"__proto__":null,`), 1)
	}},
	{"a number beyond all floats", first(`"x":1e400`)},
	{"NaN", first(`"x":NaN`)},
	{"an integer of 5,000 digits", first(`"x":` + strings.Repeat("9", 5000))},
	{"nested too deep", first(`"x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16))},
	{"nested 100,000 deep", func([]byte) []byte { return bytes.Repeat([]byte(`{"x":`), 100_000) }},
	{"base64 with a line break", func(b []byte) []byte {
		return bytes.Replace(b, []byte(`"payload":"`), []byte(`"payload":"\n`), 1)
	}},
}

// first inserts a member at the beginning.
func first(member string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte("{"), []byte("{"+member+","), 1) }
}
