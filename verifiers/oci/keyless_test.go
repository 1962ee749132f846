package oci

import (
	"os"
	"testing"

	"muniment.dev/muniment/internal/peers/sigstorerig"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

// An image that was signed and attested without a key: with a certificate of
// Fulcio's, a timestamp and an entry in a log.
func TestKeyless(t *testing.T) {
	if testing.Short() {
		t.Skip("make test runs it, with cosign")
	}
	rig := sigstorerig.Start(t, sigstorerig.Fulcio(), sigstorerig.TSA(), sigstorerig.Rekor())
	rig.WriteFile(t, "prov.json", provenance)
	text, err := os.ReadFile(rig.TrustedRoot)
	if err != nil {
		t.Fatal(err)
	}
	root, err := sigstore.ParseTrustedRoot(text)
	if err != nil {
		t.Fatal(err)
	}
	need := sigstore.ForCertificates
	need.SCTs = sigstore.None
	for name, reg := range registries {
		t.Run(name, func(t *testing.T) {
			ref := pushImage(t, reg.start(t), "app")
			token := rig.Issuer.Email(t, "ci@acme.example")
			rig.Cosign(t, append([]string{"attest", "--identity-token", token, "--type", "slsaprovenance1", "--predicate", "prov.json", ref}, rig.Services()...)...)
			rig.Cosign(t, append([]string{"sign", "--identity-token", rig.Issuer.Email(t, "ci@acme.example"), ref}, rig.Services()...)...)
			criteria := Criteria{Signer: &evidence.Signer{
				Identity: sigstore.Identity{Name: "ci@acme.example", Issuer: rig.Issuer.URL}, Root: evidence.Root{Trusted: root}, Need: need,
			}}
			report := verify(t, ref, criteria)
			found := map[intoto.Category]bool{}
			for _, f := range counting(report) {
				found[f.Category] = f.Source == reg.source && f.Signer.Identity == "ci@acme.example" && f.TrustedRoot == root.Digest()
			}
			if !report.Verified || !found[intoto.BuiltBy] || !found[intoto.SignedBy] {
				t.Errorf("got %+v", report.Artifacts[0].Findings)
			}
			criteria.Signer.Identity = sigstore.Identity{Name: "ci@evil.example", Issuer: rig.Issuer.URL}
			if report := verify(t, ref, criteria); report.Verified {
				t.Error("verified as somebody else's")
			}
			if report := verify(t, ref, newCosigner(t).criteria()); report.Verified {
				t.Error("verified with a key")
			}
		})
	}
}
