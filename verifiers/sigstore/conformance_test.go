//go:build conformance

package sigstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
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
	found := differences{}
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		all++
		got := conformanceReason(t, base, folder.Name(), found)
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
	t.Logf("sigstore-go: %d conformance cases compared, %d kinds of difference", all, len(found))
	if _, known := knownDifferences(t); !reflect.DeepEqual(found, known) {
		t.Errorf("differences %q, other than those in sigstore-oracles.json", found)
	}
	if all < len(reasons) {
		t.Errorf("%d cases, fewer than the %d that are known", all, len(reasons))
	}
}

// conformanceReason returns the reason of this package for a case, and compares
// it with sigstore-go's verdict.
func conformanceReason(t *testing.T, base, name string, found differences) Code {
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
	q := question{
		bundle:   read(name, "bundle.sigstore.json", "bundle.sigstore.json"),
		roots:    [][]byte{read(name, "trusted_root.json", "trusted-root-public-good.json")},
		artifact: read(name, "artifact", "a.txt"),
	}
	var identities []Identity
	if key := read(name, "key.pub", ""); key != nil {
		q.keys = [][]byte{key}
	} else {
		id := vectorIdentity{
			Name:   text("identity", "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"),
			Issuer: text("issuer", "https://token.actions.githubusercontent.com"),
		}
		q.identities, identities = []vectorIdentity{id}, []Identity{{Name: id.Name, Issuer: id.Issuer}}
	}
	artifact, err := ReadArtifact(bytes.NewReader(q.artifact))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := NewTrust(q.roots, identities, q.keys)
	if err == nil {
		_, err = trust.Verify(q.bundle, artifact)
	}
	var r *Refusal
	if err != nil && !errors.As(err, &r) {
		t.Fatal(err)
	}
	if r == nil {
		r = &Refusal{}
	} else {
		t.Logf("%s: %v", name, err)
	}
	found.compare(name, r.Code, q)
	return r.Code
}
