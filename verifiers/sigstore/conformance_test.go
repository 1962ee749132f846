//go:build conformance

package sigstore

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The public cases for verifiers of Sigstore come out right, each with the
// reason in docs/spec/vectors/sigstore-conformance.json. .ci/conformance runs
// this test.
func TestConformance(t *testing.T) {
	base := os.Getenv("SIGSTORE_CONFORMANCE")
	folders, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	var reasons map[string]Code
	data, err := os.ReadFile("../../docs/spec/vectors/sigstore-conformance.json")
	if err == nil {
		err = json.Unmarshal(data, &reasons)
	}
	if err != nil {
		t.Fatal(err)
	}
	right, all := 0, 0
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		all++
		got := conformanceReason(t, base, folder.Name())
		want, listed := reasons[folder.Name()]
		switch fails := strings.HasSuffix(folder.Name(), "_fail"); {
		case fails != (got != ""):
			t.Errorf("%s: the reason is %q", folder.Name(), got)
		case listed && got != want:
			t.Errorf("%s: the reason is %q, not %q", folder.Name(), got, want)
		default:
			right++
		}
	}
	t.Logf("Go: %d of %d conformance cases come out right", right, all)
	if all < len(reasons) {
		t.Errorf("%d cases, fewer than the %d that are known", all, len(reasons))
	}
}

func conformanceReason(t *testing.T, base, name string) Code {
	read := func(name, file, otherwise string) []byte {
		data, err := os.ReadFile(filepath.Join(base, name, file))
		if errors.Is(err, os.ErrNotExist) && otherwise != "" {
			data, err = os.ReadFile(filepath.Join(base, otherwise))
		}
		if err != nil && otherwise != "" {
			t.Fatal(err)
		}
		return data
	}
	text := func(file, otherwise string) string {
		if data := read(name, file, ""); data != nil {
			return strings.TrimSpace(string(data))
		}
		return otherwise
	}
	var identities []Identity
	var keys [][]byte
	if key := read(name, "key.pub", ""); key != nil {
		keys = [][]byte{key}
	} else {
		identities = []Identity{{
			Name:   text("identity", "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"),
			Issuer: text("issuer", "https://token.actions.githubusercontent.com"),
		}}
	}
	artifact, err := ReadArtifact(strings.NewReader(string(read(name, "artifact", "a.txt"))))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := NewTrust([][]byte{read(name, "trusted_root.json", "trusted-root-public-good.json")}, identities, keys)
	if err == nil {
		_, err = trust.Verify(read(name, "bundle.sigstore.json", "bundle.sigstore.json"), artifact)
	}
	var r *Refusal
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &r):
		t.Fatal(err)
	}
	t.Logf("%s: %v", name, err)
	return r.Code
}
