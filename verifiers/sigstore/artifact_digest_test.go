package sigstore

import (
	"strings"
	"testing"
)

func TestArtifactDigest(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	for _, good := range []string{"sha256:" + hex, "sha256:" + strings.ToUpper(hex), "SHA256:" + hex} {
		if a, err := ArtifactDigest(good); err != nil || a.Digest() != "sha256:"+hex {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", hex, "sha256:", "sha256:12", "sha512:" + hex + hex, "sha256:" + hex[:63] + "g", "sha256:" + hex + "00"} {
		if _, err := ArtifactDigest(bad); err == nil {
			t.Errorf("%q is a digest", bad)
		}
	}
}
