package entry

import (
	"strings"
	"testing"
)

func TestParseDigest(t *testing.T) {
	upper, lower := strings.Repeat("AB", 32), strings.Repeat("ab", 32)
	for in, want := range map[string]string{
		"sha256:" + upper: "sha256:" + lower, "SHA256:" + lower: "sha256:" + lower, "gitCommit:" + upper[:40]: "gitCommit:" + lower[:40],
		"dirHash:h1:AbC=": "dirhash:h1:AbC=", "x:AB": "x:ab",
		"sha256:ab": "", "sha256:" + lower + "0": "", "sha256:" + strings.Repeat("xy", 32): "", "sha512:" + lower: "", "abcdef": "", ":": "", "x:": "", ":x": "", "": "", "sha256:" + lower[:63] + "g": "",
	} {
		d, err := ParseDigest(in)
		if (err == nil) != (want != "") || err == nil && d.String() != want {
			t.Errorf("%q: %s, %v, want %q", in, d, err, want)
		}
	}
}

// TestDigestsCompareFolded checks that equal digests compare equal in any case.
func TestDigestsCompareFolded(t *testing.T) {
	upper, lower := strings.Repeat("AB", 32), strings.Repeat("ab", 32)
	for _, in := range []string{upper, lower} {
		h := &Header{Subjects: []Subject{{Digest: map[string]string{"sha256": in}}}, Materials: []Subject{{Digest: map[string]string{"SHA256": in}}}}
		for _, asked := range []string{"sha256:" + upper, "SHA256:" + lower} {
			if !h.HasSubject(asked) || !h.HasMaterial(asked) {
				t.Errorf("%s is not found as %s", in, asked)
			}
		}
		if h.HasSubject("sha256:"+lower[:62]+"00") || h.HasSubject("sha512:"+lower) || h.HasSubject(":") || h.HasSubject("sha256") {
			t.Error("another digest is found")
		}
	}
}
