package sigstorerig

import (
	"strings"
	"testing"
)

// TestRig signs and verifies with all parts.
func TestRig(t *testing.T) {
	r := Start(t, Fulcio(), TSA(), Rekor())
	r.WriteFile(t, "a.txt", "hello\n")
	r.WriteFile(t, "p.json", "{}")
	for _, c := range []struct{ name, token, identity, issuer string }{
		{"person", r.Issuer.Email(t, "ci@acme.example"), "ci@acme.example", r.Issuer.URL},
		{"job", r.Issuer.Job(t, "acme/app"), "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main", r.Issuer.CI},
	} {
		r.Cosign(t, append([]string{"attest-blob", "--identity-token", c.token, "--bundle", c.name + ".json", "--predicate", "p.json", "--type", "https://example.com/p", "a.txt"}, r.Services()...)...)
		verify := []string{"verify-blob-attestation", "--bundle", c.name + ".json", "--trusted-root", r.TrustedRoot, "--insecure-ignore-sct", "--type", "https://example.com/p",
			"--certificate-oidc-issuer", c.issuer, "a.txt", "--certificate-identity"}
		r.Cosign(t, append(verify, c.identity)...)
		if out, err := r.TryCosign(append(verify, "else@acme.example")...); err == nil || !strings.Contains(out, c.identity) {
			t.Errorf("%s: another identity: %v\n%s", c.name, err, out)
		}
	}
}

// TestKeyOnly signs with a key, which needs no authority.
func TestKeyOnly(t *testing.T) {
	r := Start(t)
	r.WriteFile(t, "a.txt", "hello\n")
	private, public := r.GenerateKey(t, "k")
	r.Cosign(t, append([]string{"sign-blob", "--key", private, "--bundle", "b.json", "a.txt"}, r.Services()...)...)
	r.Cosign(t, "verify-blob", "--key", public, "--bundle", "b.json", "--trusted-root", r.TrustedRoot, "--insecure-ignore-tlog", "a.txt")
}
