package attest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/internal/peers/sigstorerig"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/intoto"
)

func pass(digest string) *Pass {
	return &Pass{
		Origin: "ledger.example.com", Type: "image", Stage: "deploy", Environment: "production/eu=1", Deploys: true,
		Subjects:   []entry.Subject{{Name: "registry.example.com/app", Digest: map[string]string{"sha256": digest}}},
		ControlSet: "sha256:" + strings.Repeat("ab", 32), Satisfied: []string{"B-2", "A_1"}, Decided: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC),
	}
}

// TestStatements checks that the statements conform to the definitions of their
// types and assert only what held.
func TestStatements(t *testing.T) {
	all, err := Statements(pass(strings.Repeat("1", 64)))
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, text := range all {
		s, err := intoto.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		s.Check()
		if !s.Conforms() {
			t.Errorf("%s deviates: %s", s.PredicateType, s.Deviations.Strings())
		}
		types = append(types, s.PredicateType)
	}
	if want := []string{intoto.SLSASummaryV1, intoto.SVR, intoto.Deployment}; strings.Join(types, " ") != strings.Join(want, " ") {
		t.Errorf("types %q, want %q", types, want)
	}
	var v struct {
		Predicate struct {
			ResourceURI    string   `json:"resourceUri"`
			VerifiedLevels []string `json:"verifiedLevels"`
			Scopes         map[string]string
		}
	}
	if err := json.Unmarshal(all[0], &v); err != nil {
		t.Fatal(err)
	}
	if got, want := v.Predicate.ResourceURI, "oci://registry.example.com/app#stage=deploy&environment=production/eu%3D1"; got != want {
		t.Errorf("resource URI %s, want %s", got, want)
	}
	if got, want := strings.Join(v.Predicate.VerifiedLevels, " "), "MUNIMENT_CONTROL_A_1 MUNIMENT_CONTROL_B-2"; got != want {
		t.Errorf("levels %s, want %s", got, want)
	}
	if err := json.Unmarshal(all[2], &v); err != nil || v.Predicate.Scopes[environmentScope] != "production/eu=1" {
		t.Errorf("scopes %v, %v", v.Predicate.Scopes, err)
	}
}

func TestStatementsAreNotMadeFor(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Pass)
		count  int
		err    error
	}{
		"a pass with an exception":         {func(p *Pass) { p.Exceptions = 1 }, 0, ErrRestricted},
		"nothing satisfied":                {func(p *Pass) { p.Satisfied = nil }, 0, nil},
		"a deployment without environment": {func(p *Pass) { p.Environment = "" }, 2, nil},
		"a stage that is not a deployment": {func(p *Pass) { p.Deploys = false }, 2, nil},
		"a deployment with an environment": {func(*Pass) {}, 3, nil},
	} {
		p := pass(strings.Repeat("1", 64))
		c.change(p)
		all, err := Statements(p)
		if len(all) != c.count || !errors.Is(err, c.err) {
			t.Errorf("%s: %d statements, %v; want %d, %v", name, len(all), err, c.count, c.err)
		}
	}
}

// TestResourceURI checks that no two places have one URI.
func TestResourceURI(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"", "a", "a#stage=deploy", "a%23stage=deploy"} {
		for _, stage := range []string{"deploy", "deploy&environment=x"} {
			for _, env := range []string{"", "x", "x&environment=y", "%78"} {
				uri := ResourceURI("image", entry.Subject{Name: name, Digest: map[string]string{"sha256": "00", "sha512": "11"}}, stage, env)
				at := name + "|" + stage + "|" + env
				if other, ok := seen[uri]; ok {
					t.Errorf("%s is the URI of %q and %q", uri, other, at)
				}
				seen[uri] = at
			}
		}
	}
}

// TestCosign verifies the published attestations with cosign.
func TestCosign(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	rig := sigstorerig.Start(t)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(rig.Dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("gate.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	write("artifact", []byte("an artifact"))
	write("other", []byte("another artifact"))
	sum := sha256.Sum256([]byte("an artifact"))
	all, err := Statements(pass(hex.EncodeToString(sum[:])))
	if err != nil {
		t.Fatal(err)
	}
	for i, predicateType := range []string{intoto.SLSASummaryV1, intoto.SVR, intoto.Deployment} {
		bundle, err := signer.Bundle(all[i])
		if err != nil {
			t.Fatal(err)
		}
		write("bundle.json", bundle)
		verify := []string{"verify-blob-attestation", "--key", "gate.pub", "--bundle", "bundle.json", "--type", predicateType, "--insecure-ignore-tlog"}
		rig.Cosign(t, append(verify, "artifact")...)
		if out, err := rig.TryCosign(append(verify, "other")...); err == nil {
			t.Errorf("%s: cosign accepts it for another artifact:\n%s", predicateType, out)
		}
	}
}
