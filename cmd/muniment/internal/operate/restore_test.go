package operate

import (
	"strings"
	"testing"
)

func TestRestoreDigest(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	for text, ok := range map[string]bool{
		"":                               true,
		hex:                              true,
		"sha256:" + hex:                  true,
		"SHA256:" + strings.ToUpper(hex): true,
		"sha256:12":                      false,
		"12":                             false,
		"sha256:":                        false,
		"sha512:" + hex + hex:            false,
		"other:x":                        false,
	} {
		d, err := (&restoreCmd{Digest: text}).digest()
		switch {
		case (err == nil) != ok:
			t.Errorf("%q: %v", text, err)
		case ok && text != "" && d.Value() != hex:
			t.Errorf("%q is read as %s", text, d)
		case !ok && !strings.HasPrefix(err.Error(), "--digest: "):
			t.Errorf("%q: %v", text, err)
		}
	}
}
