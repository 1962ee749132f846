package receipt

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf16"
)

// inEncodings returns the text as editors save it in other encodings.
func inEncodings(text string) map[string]string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(text)) {
		b.Write([]byte{byte(u), byte(u >> 8)})
	}
	return map[string]string{
		"UTF-8 with a byte order mark": "\ufeff" + text,
		"UTF-16":                       "\xff\xfe" + b.String(),
		"UTF-16: save":                 b.String(), // without a mark
	}
}

func code(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// The error for a file in another encoding names the encoding and no part of
// the file.
func TestEncodingIsNamed(t *testing.T) {
	for encoding, text := range inEncodings(`{"mediaType":"` + MediaType + `"}`) {
		if _, err := Parse([]byte(text)); code(err) != ReceiptMalformed || !strings.Contains(err.Error(), "encoded in "+encoding) {
			t.Errorf("a receipt: %v", err)
		}
	}
	for encoding, text := range inEncodings("log ledger.example+00000000+AAAA\nquorum none\n") {
		if _, err := ParseTrustPolicy("p", []byte(text)); code(err) != PolicyMalformed || !strings.Contains(err.Error(), "encoded in "+encoding) {
			t.Errorf("a policy: %v", err)
		}
	}
}
