package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers/sigstorerig"
	"muniment.dev/muniment/internal/term"
)

const releaseJob = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"

// A keylessExport is an export of a tenant whose manifest a CI job signs with
// its identity.
type keylessExport struct {
	*company
	rig       *sigstorerig.Rig
	files     string // folder
	statement string
}

// TestKeylessExport signs an export manifest with the identity of a CI job. It
// is verified, by stock cosign too, recorded under a policy that requires the
// identity, and refused for others.
func TestKeylessExport(t *testing.T) {
	if testing.Short() {
		t.Skip("make test runs it, with a private Sigstore")
	}
	rig := sigstorerig.Start(t, sigstorerig.Fulcio(), sigstorerig.TSA(), sigstorerig.Rekor())
	x := newKeylessExport(t, rig)
	x.refusesToSign()

	manifest := filepath.Join(t.TempDir(), "q2.export.sigstore.json")
	x.must("export-manifest", "sign", x.statement, "--identity-token", x.token("acme/app"), "--signing-config", rig.SigningConfig, "-o", manifest)
	var bundle struct {
		VerificationMaterial struct {
			TlogEntries               []json.RawMessage
			TimestampVerificationData struct{ Rfc3161Timestamps []json.RawMessage }
		}
	}
	if text, err := os.ReadFile(manifest); err != nil {
		t.Fatal(err)
	} else if err := json.Unmarshal(text, &bundle); err != nil {
		t.Fatal(err)
	}
	if m := bundle.VerificationMaterial; len(m.TlogEntries) != 1 || len(m.TimestampVerificationData.Rfc3161Timestamps) != 1 {
		t.Errorf("the bundle has %d log entries and %d timestamps, want one of each", len(m.TlogEntries), len(m.TimestampVerificationData.Rfc3161Timestamps))
	}
	x.verifiedByCosign(manifest)
	receipt := x.recorded(manifest)

	rig.Stop() // verification needs none of it
	x.verified(manifest, receipt)
}

func newKeylessExport(t *testing.T, rig *sigstorerig.Rig) *keylessExport {
	t.Helper()
	x := &keylessExport{company: newCompany(t, "export"), rig: rig, files: filepath.Join(rig.Dir, "q2")}
	if err := os.Mkdir(x.files, 0o700); err != nil {
		t.Fatal(err)
	}
	rig.WriteFile(t, "q2/rows.csv", "id,score\n1,0.5\n")
	description := rig.WriteFile(t, "description.json", `{"tenant": "acme", "exportId": "q2",
  "residency": {"claims": [{"activity": "storage", "locations": [{"country": "DE"}]}]}}`)
	x.statement = filepath.Join(rig.Dir, "q2.statement.json")
	x.must("export-manifest", "create", x.files, "--description", description, "--license", "CC0-1.0",
		"--claimed-by-identity", releaseJob, "--claimed-by-issuer", rig.Issuer.CI, "-o", x.statement)
	return x
}

// token returns the file with the token of a job of a repository.
func (x *keylessExport) token(repository string) string {
	x.t.Helper()
	return x.rig.WriteFile(x.t, strings.ReplaceAll(repository, "/", "-")+".jwt", x.rig.Issuer.Job(x.t, repository)+"\n")
}

// refusesToSign signs for others than those who make the claims, and without
// what it takes.
func (x *keylessExport) refusesToSign() {
	t, out := x.t, filepath.Join(x.t.TempDir(), "refused.json")
	person := x.rig.WriteFile(t, "person.jwt", x.rig.Issuer.Email(t, "ada@acme.example"))
	expired := x.rig.WriteFile(t, "expired.jwt", x.rig.Issuer.Token(t, map[string]any{"sub": "ada@acme.example", "email": "ada@acme.example", "email_verified": true, "exp": 1}))
	nothing := x.rig.WriteFile(t, "nothing.json", "{}")
	for name, c := range map[string]struct {
		code  int
		says  string
		flags []string
	}{
		"another job":         {term.ExitNo, "claim by " + releaseJob, []string{"--identity-token", x.token("mallory/app"), "--signing-config", x.rig.SigningConfig}},
		"a person":            {term.ExitNo, "ada@acme.example (" + x.rig.Issuer.URL + ") signs", []string{"--identity-token", person, "--signing-config", x.rig.SigningConfig}},
		"an expired token":    {term.ExitFailed, "sign with the identity", []string{"--identity-token", expired, "--signing-config", x.rig.SigningConfig}},
		"no services":         {term.ExitFailed, "--identity-token and --signing-config require each other", []string{"--identity-token", person}},
		"no identity":         {term.ExitFailed, "--identity-token and --signing-config require each other", []string{"--key", "k", "--signing-config", x.rig.SigningConfig}},
		"no signer":           {term.ExitFailed, "nothing to sign with", nil},
		"a key and a token":   {term.ExitFailed, "exclude each other", []string{"--key", "k", "--identity-token", person, "--signing-config", x.rig.SigningConfig}},
		"a malformed service": {term.ExitFailed, "--signing-config", []string{"--identity-token", person, "--signing-config", nothing}},
	} {
		printed, code := x.run(append([]string{"export-manifest", "sign", x.statement, "-o", out}, c.flags...)...)
		if code != c.code || !strings.Contains(printed, c.says) {
			t.Errorf("sign with %s: exit code %d, want %d and %q:\n%s", name, code, c.code, c.says, printed)
		}
		if _, err := os.Stat(out); err == nil {
			t.Fatalf("sign with %s: wrote a manifest", name)
		}
	}
}

// verifiedByCosign verifies the manifest with stock cosign.
func (x *keylessExport) verifiedByCosign(manifest string) {
	changed := x.rig.WriteFile(x.t, "changed.csv", "id,score\n1,0.6\n")
	file := filepath.Join(x.files, "rows.csv")
	for name, c := range map[string]struct {
		identity, issuer, file string
		pass                   bool
	}{
		"as signed":       {releaseJob, x.rig.Issuer.CI, file, true},
		"other identity":  {strings.Replace(releaseJob, "acme", "mallory", 1), x.rig.Issuer.CI, file, false},
		"other issuer":    {releaseJob, x.rig.Issuer.URL, file, false},
		"a changed file":  {releaseJob, x.rig.Issuer.CI, changed, false},
		"not the exports": {releaseJob, x.rig.Issuer.CI, x.statement, false},
	} {
		out, err := x.rig.TryCosign("verify-blob-attestation", "--bundle", manifest, "--trusted-root", x.rig.TrustedRoot, "--insecure-ignore-sct",
			"--type", "https://muniment.dev/predicate/export-manifest/v2", "--certificate-identity", c.identity, "--certificate-oidc-issuer", c.issuer, c.file)
		if (err == nil) != c.pass {
			x.t.Errorf("cosign, %s: %v\n%s", name, err, out)
		}
	}
}

// recorded appends the manifest to a log that requires the job's identity, and
// one of another job, which the log refuses. It returns the receipt.
func (x *keylessExport) recorded(manifest string) string {
	t := x.t
	x.must("trusted-root", "update", "--data", x.data, "--name", "ours", "--from", x.rig.TrustedRoot)
	x.startLog()
	flags := []string{"--server", x.log.url, "--token-file", filepath.Join(x.data, "tokens", "acme.token")}
	policy := x.rig.WriteFile(t, "policy.yaml", fmt.Sprintf(`version: 1
mode: enforce
signers:
  exporter: {identity: %q, issuer: %q, trusted_root: ours, require: {scts: 0}}
rules:
  - {name: manifests, kinds: [export-manifest], signers: [exporter]}
`, releaseJob, x.rig.Issuer.CI))
	x.must(append([]string{"policy", "set", policy, "--reason", "the job signs manifests"}, flags...)...)

	theirs := filepath.Join(x.rig.Dir, "theirs.export.sigstore.json")
	text, err := os.ReadFile(x.statement)
	if err != nil {
		t.Fatal(err)
	}
	mallory := strings.ReplaceAll(string(text), releaseJob, strings.Replace(releaseJob, "acme", "mallory", 1))
	x.must("export-manifest", "sign", x.rig.WriteFile(t, "theirs.json", mallory), "--identity-token", x.token("mallory/app"), "--signing-config", x.rig.SigningConfig, "-o", theirs)
	if out, code := x.run(append([]string{"append", theirs, "--kind", "export-manifest"}, flags...)...); code == 0 {
		t.Errorf("the log has recorded the manifest of another job:\n%s", out)
	}

	receipts := t.TempDir()
	x.must(append([]string{"append", manifest, "--kind", "export-manifest", "--receipt-dir", receipts}, flags...)...)
	return filepath.Join(receipts, filepath.Base(manifest)+".receipt.json")
}

// verified verifies the manifest, and refuses it for other signers.
func (x *keylessExport) verified(manifest, receipt string) {
	t := x.t
	verify := func(flags ...string) (string, int) {
		return x.run(append([]string{"export-manifest", "verify", manifest, "--files", x.files, "--receipt", receipt, "--policy", filepath.Join(x.data, "policy")}, flags...)...)
	}
	root := []string{"--trusted-root", x.rig.TrustedRoot, "--insecure-ignore-sct"}
	who := func(identity, issuer string) []string {
		return append([]string{"--certificate-identity", identity, "--certificate-oidc-issuer", issuer}, root...)
	}
	out, code := verify(who(releaseJob, x.rig.Issuer.CI)...)
	for _, line := range []string{"✓ VERIFIED", "by " + releaseJob + " (" + x.rig.Issuer.CI + ")", "storage in DE: claimed by " + releaseJob, "recorded", "1 file, all as signed"} {
		if code != 0 || !strings.Contains(out, line) {
			t.Errorf("exit code %d, no %q:\n%s", code, line, out)
		}
	}
	_, key := x.rig.GenerateKey(t, "other")
	for name, c := range map[string]struct {
		code  int
		says  string
		flags []string
	}{
		"no signer":              {term.ExitFailed, "no signer specified", root},
		"no issuer":              {term.ExitFailed, "require each other", append([]string{"--certificate-identity", releaseJob}, root...)},
		"no identity":            {term.ExitFailed, "require each other", append([]string{"--certificate-oidc-issuer", x.rig.Issuer.CI}, root...)},
		"an empty identity":      {term.ExitFailed, "--certificate-identity: must not be empty", who("", x.rig.Issuer.CI)},
		"an empty issuer":        {term.ExitFailed, "--certificate-oidc-issuer: must not be empty", who(releaseJob, "")},
		"another identity":       {term.ExitNo, "(signature-unverified)", who(strings.Replace(releaseJob, "acme", "mallory", 1), x.rig.Issuer.CI)},
		"a part of the identity": {term.ExitNo, "(signature-unverified)", who(strings.TrimSuffix(releaseJob, "main"), x.rig.Issuer.CI)},
		"another issuer":         {term.ExitNo, "(signature-unverified)", who(releaseJob, x.rig.Issuer.URL)},
		"a key":                  {term.ExitNo, "(signature-unverified)", append([]string{"--key", key}, root...)},
		"SCTs":                   {term.ExitNo, "(signature-unverified)", who(releaseJob, x.rig.Issuer.CI)[:6]},
		"the public root":        {term.ExitNo, "(signature-unverified)", append(who(releaseJob, x.rig.Issuer.CI)[:4], "--insecure-ignore-sct")},
	} {
		if out, code := verify(c.flags...); code != c.code || !strings.Contains(out, c.says) {
			t.Errorf("verify with %s: exit code %d, want %d and %q:\n%s", name, code, c.code, c.says, out)
		}
	}
}
