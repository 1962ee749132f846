package shape

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf16"
)

const (
	statement = `{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x","predicate":{}}`
	envelope  = `{"payloadType":"x","payload":"eyJ9","signatures":[{"sig":"AA=="}]}`
	bundle    = `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{}}`
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		text string
		want Set
	}{
		{statement, Statement},
		{envelope, Envelope},
		{bundle, Bundle},
		{"\ufeff" + statement, Statement},
		{" \r\n\t" + statement + " trailing", Statement},
		{`{"a":1,"a":2,` + statement[1:], Statement},                      // a member twice
		{`{"a":"` + "\xff" + `",` + statement[1:], Statement},             // not UTF-8
		{`{"a":"\udce9",` + statement[1:], Statement},                     // half a surrogate pair
		{`{"a":{"b":["{\"",1]},` + statement[1:], Statement},              // braces in strings
		{strings.Replace(statement, "_type", `_t\u0079pe`, 1), Statement}, // escaped
		{strings.Replace(statement, "https://in-", `https:\/\/in-`, 1), Statement},
		{strings.Replace(statement, "_type", "_Type", 1), Statement},
		{strings.Replace(statement, "/v1", "/v2", 1), Statement},
		{`{"_type":"x",` + statement[1:], Statement},
		{strings.Replace(envelope, "payloadType", "payload_type", 1), Envelope},
		{strings.Replace(envelope, "payloadType", "PayloadType", 1), Envelope},
		{strings.Replace(bundle, "mediaType", "media_type", 1), Bundle},
		{`{"verification_material":{},"dsse_envelope":{}}`, Bundle},
		{statement[:len(statement)-1] + "," + envelope[1:], Statement | Envelope},
		{encode(utf16LE, statement), Statement | UTF16},
		{encode(utf16BE, statement), Statement | UTF16},
		{"\xFF\xFE" + encode(utf16LE, statement), Statement | UTF16},
		{"\xFE\xFF" + encode(utf16BE, statement), Statement | UTF16},
		{encode(utf16LE, " \r\n{ \n"+envelope[1:]), Envelope | UTF16},
		{encode(utf16BE, bundle), Bundle | UTF16},
		{encode(utf32LE, "\ufeff"+statement), Statement | UTF16},
		{encode(utf32BE, statement), Statement | UTF16},
		// bytes of quotes and braces
		{encode(utf16LE, `{"a":"\u2222`+"\u2222\u225c\u0122\u7b7d\U0001f600"+`",`+statement[1:]), Statement | UTF16},
		{encode(utf16LE, strings.Replace(statement, "_type", `_t\u0079pe`, 1)), Statement | UTF16},
		{encode(utf16LE, statement[:len(statement)-1]+","+envelope[1:]), Statement | Envelope | UTF16},
		{encode(utf16LE, `{"spdxVersion":"SPDX-2.3"}`), None},
		{encode(utf16LE, `{"predicate":`+statement+`}`), None},
		// binary
		{"{\x00\"\x00\x17\x92", None},
		{"{\x00}\x00\x17\x92", None},
		{"\x00{\x00\r\x00\n\x00}", None},
		{"{\x00\x00\"\x00", None},
		{"{\x00\x00\x00\x00\"", None},
		{"{\x00\x00\x00\xff\xff\xff\xff" + encode(utf32LE, statement[1:]), None},
		{"{\x00\x17\x00\"", None},
		{"{\x17\x92 : , \x00\x00\xff", None},
		{"\xFE\xFF{\x17", None},
		{"\x00\x00{\x17\x00", None},
		{`{"a":1` + "\x00," + statement[1:], Statement},
		{`{"predicate":` + statement + `}`, None}, // not outermost
		{`{"note":"https://in-toto.io/Statement/v1"}`, None},
		{`{"payload":"x","signatures":[]}`, None}, // a JWS
		{`[` + statement + `]`, None},
		{`"` + "_type", None},
		{"", None},
		{"plain text { }", None},
		{`{"spdxVersion":"SPDX-2.3"}`, None},
	} {
		if got := Of([]byte(c.text)); got != c.want {
			t.Errorf("%q: %b, want %b", c.text, got, c.want)
		}
		var s Scanner
		for i := range len(c.text) {
			s.Write([]byte(c.text[i : i+1]))
		}
		if got := s.Set(); got != c.want {
			t.Errorf("%q, byte by byte: %b, want %b", c.text, got, c.want)
		}
	}
}

var (
	utf16LE = func(b []byte, r rune) []byte { return units(b, r, binary.LittleEndian) }
	utf16BE = func(b []byte, r rune) []byte { return units(b, r, binary.BigEndian) }
	utf32LE = func(b []byte, r rune) []byte { return binary.LittleEndian.AppendUint32(b, uint32(r)) }
	utf32BE = func(b []byte, r rune) []byte { return binary.BigEndian.AppendUint32(b, uint32(r)) }
)

func units(b []byte, r rune, order binary.AppendByteOrder) []byte {
	for _, u := range utf16.AppendRune(nil, r) {
		b = order.AppendUint16(b, u)
	}
	return b
}

// encode returns a text in another encoding.
func encode(to func([]byte, rune) []byte, text string) string {
	var b []byte
	for _, r := range text {
		b = to(b, r)
	}
	return string(b)
}

// A scanner keeps a few hundred bytes of a document, however large it is.
func TestScannerHolds(t *testing.T) {
	var s Scanner
	s.Write([]byte(`{"` + strings.Repeat("a", 1<<20) + `":"` + strings.Repeat("b", 1<<20)))
	s.Write([]byte(`","x":[` + strings.Repeat("[", 1<<20)))
	if cap(s.text) > 4*maxText || len(s.members) > 6 || s.depth != 1<<20+2 {
		t.Errorf("it holds %d bytes and %d members at depth %d", cap(s.text), len(s.members), s.depth)
	}
}

// Noise is not taken for JSON in another encoding, whatever its first byte.
func TestNoise(t *testing.T) {
	rng := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, 4096)
	for i := range 20_000 {
		rng.Read(noise)
		noise[0] = "{\x00 \xFE\xFF"[i%5]
		noise[1] = "{{{\x17"[i%4]
		if i%7 == 0 {
			copy(noise, []string{"{\x00\"\x00", "\x00{\x00\"\x00", "{\x00\x00\x00\"\x00\x00\x00"}[i%3])
		}
		if got := Of(noise); got != None {
			t.Fatalf("%d, %q…: %b", i, noise[:20], got)
		}
	}
}
