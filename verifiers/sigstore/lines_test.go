package sigstore

import (
	"bytes"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/ledger/entry"
)

// A trusted root file of JSON Lines: one of its roots must trust all that a
// bundle requires.
func TestSeveralTrustedRoots(t *testing.T) {
	a, b, stranger, now := newAuthority(t), newAuthority(t), newAuthority(t), time.Now()
	var lines [][]byte
	for _, x := range []*authority{a, b} {
		line, err := protojson.Marshal(x.root.proto)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	file := append(bytes.Join(lines, []byte("\r\n\n")), '\n')
	roots, err := ParseTrustedRoot(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(roots.Each()); n != 2 {
		t.Fatalf("%d roots", n)
	}
	v, err := NewCertificateVerifier(roots, Requirements{LogEntries: None, Timestamps: None, SCTs: None, CurrentTime: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range []*authority{a, b} {
		bundle := x.sign(t, now.Add(-time.Hour), now.Add(time.Hour), x509.ExtKeyUsageCodeSigning)
		out, err := v.Verify(bundle, nil)
		if err != nil {
			t.Fatalf("root %d: %v", i, err)
		}
		if out.TrustedRoot != entry.SHA256(file) || !roots.Knows(bundle) || roots.Each()[1-i].Knows(bundle) {
			t.Errorf("root %d: verified under %s", i, out.TrustedRoot)
		}
		if d := roots.Each()[i].Describe(); d.Digest != entry.SHA256(lines[i]) {
			t.Errorf("root %d: described as %s", i, d.Digest)
		}
	}
	foreign := stranger.sign(t, now.Add(-time.Hour), now.Add(time.Hour), x509.ExtKeyUsageCodeSigning)
	if _, err := v.Verify(foreign, nil); !errors.Is(err, ErrNotVerified) || roots.Knows(foreign) {
		t.Errorf("by an authority of none: %v", err)
	}

	for name, bad := range map[string][]byte{
		"too many":       bytes.Repeat(append(lines[0], '\n'), MaxTrustedRoots+1),
		"one is no root": append(append([]byte{}, file...), `{"mediaType":"x"}`...),
	} {
		if _, err := ParseTrustedRoot(bad); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), map[string]string{"too many": "17 trusted roots", "one is no root": "document 3"}[name]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
