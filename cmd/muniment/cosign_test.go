package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers/sigstorerig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// TestCosignEvidence checks that evidence signed by cosign is accepted under an
// enforcing policy and that its header names the signer. Evidence that was
// changed, that has another signer or that is incomplete is refused and not
// recorded. Everything except the OIDC issuer is the real program.
func TestCosignEvidence(t *testing.T) {
	soak.WithoutRace(t)
	r := sigstorerig.Start(t, sigstorerig.Fulcio(), sigstorerig.TSA(), sigstorerig.Rekor())
	r.WriteFile(t, "app.tgz", "an artifact\n")
	r.WriteFile(t, "p.json", `{"buildDefinition":{"buildType":"https://acme.example/build","externalParameters":{"ref":"main"}},"runDetails":{"builder":{"id":"https://acme.example/builder"}}}`)
	private, public := r.GenerateKey(t, "release")
	foreign, _ := r.GenerateKey(t, "foreign")
	sign := func(name string, args ...string) string {
		r.Cosign(t, append(append(args, "--bundle", name, "app.tgz"), r.Services()...)...)
		return filepath.Join(r.Dir, name)
	}
	attest := []string{"attest-blob", "--predicate", "p.json", "--type", "slsaprovenance1"}
	with := func(args []string, more ...string) []string { return append(append([]string{}, args...), more...) }
	good := map[string]string{ // bundle → the signer in its header
		sign("blob-key.json", "sign-blob", "--key", private):                                                  "sha256:",
		sign("attest-key.json", with(attest, "--key", private)...):                                            "sha256:",
		sign("blob-person.json", "sign-blob", "--identity-token", r.Issuer.Email(t, "ci@acme.example")):       "ci@acme.example " + r.Issuer.URL,
		sign("attest-person.json", with(attest, "--identity-token", r.Issuer.Email(t, "ci@acme.example"))...): "ci@acme.example " + r.Issuer.URL,
		sign("attest-job.json", with(attest, "--identity-token", r.Issuer.Job(t, "acme/app"))...):             "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main " + r.Issuer.CI,
	}
	others := map[string]string{ // bundle → why it is refused
		sign("by-mallory.json", with(attest, "--identity-token", r.Issuer.Email(t, "mallory@acme.example"))...): `issued to "mallory@acme.example", not to "ci@acme.example"`,
		sign("by-other-job.json", with(attest, "--identity-token", r.Issuer.Job(t, "mallory/app"))...):          "identity is from issuer",
		sign("by-foreign-key.json", with(attest, "--key", foreign)...):                                          "not signed by release key",
	}

	key, err := os.ReadFile(public)
	if err != nil {
		t.Fatal(err)
	}
	policy := r.WriteFile(t, "admission.yaml", fmt.Sprintf(`version: 1
mode: enforce
signers:
  release key:
    trusted_root: ours
    keys:
      - |
        %s
  person:
    identity: ci@acme.example
    issuer: %s
    trusted_root: ours
    require: {log_entries: 1, timestamps: 1, signed_timestamps: true, scts: 0}
  job:
    identity_regexp: https://github\.com/acme/[a-z]+/\.github/workflows/release\.yml@refs/heads/main
    issuer: %s
    trusted_root: ours
    require: {scts: 0}
rules:
  - name: releases
    kinds: [attestation]
    signers: [release key, person, job]
    condition: predicate == null || predicate.buildDefinition.externalParameters.ref == "main"
`, strings.ReplaceAll(strings.TrimSpace(string(key)), "\n", "\n        "), r.Issuer.URL, r.Issuer.CI))

	c := newCompany(t, "acme")
	c.must("trusted-root", "update", "--data", c.data, "--name", "ours", "--from", r.TrustedRoot)
	c.startLog()
	server := []string{"--server", c.log.url, "--token-file", filepath.Join(c.data, "tokens", "acme.token")}
	c.must(append([]string{"policy", "set", policy, "--reason", "releases only"}, server...)...)

	entries := func() int {
		return strings.Count(c.must(append([]string{"list", "--limit", "0", "--json"}, server...)...), `"index":`)
	}
	add := func(file string) (string, int) {
		return c.run(append([]string{"append", file, "--receipt-dir", filepath.Join(r.Dir, "receipts")}, server...)...)
	}
	for file, signer := range good {
		// the same decision offline
		c.must("policy", "test", policy, file, "--trusted-root", "ours="+r.TrustedRoot)
		out, code := add(file)
		if code != 0 {
			t.Errorf("%s: %s", filepath.Base(file), out)
			continue
		}
		index, _, _ := strings.Cut(out, "\t")
		entry := c.must(append([]string{"get", index}, server...)...)
		for _, want := range []string{"signer          " + signer, "verification    verified: in the log " + r.Log, "admission       admitted (rule releases)", "trusted root    sha256:"} {
			if !strings.Contains(entry, want) {
				t.Errorf("%s: the header does not say %q:\n%s", filepath.Base(file), want, entry)
			}
		}
	}
	before := entries()
	refuse := func(what, file, why string) {
		t.Helper()
		out, code := add(file)
		if code != term.ExitNo || !strings.Contains(out, why) {
			t.Errorf("%s: exit code %d, want the refusal to say %q:\n%s", what, code, why, out)
		}
	}
	for file, why := range others {
		refuse(filepath.Base(file), file, why)
	}
	for file := range good {
		for _, m := range changes {
			if changed := m.apply(t, file); changed != "" {
				refuse(filepath.Base(file)+" with "+m.what, changed, "")
			}
		}
	}
	if now := entries(); now != before {
		t.Errorf("%d entries after the refusals, %d before", now, before)
	}
}

// changes are ways to damage a bundle in transit. Each leaves a bundle that
// can be read.
var changes = []change{
	{"another subject", func(b map[string]any) bool {
		e, ok := b["dsseEnvelope"].(map[string]any)
		if !ok {
			return false
		}
		payload, _ := base64.StdEncoding.DecodeString(e["payload"].(string))
		changed := bytes.Replace(payload, []byte(`"sha256":"`), []byte(`"sha256":"0`), 1)
		i := bytes.Index(changed, []byte(`"sha256":"0`)) + len(`"sha256":"0`)
		changed = append(changed[:i], changed[i+1:]...)
		e["payload"] = base64.StdEncoding.EncodeToString(changed)
		return !bytes.Equal(payload, changed)
	}},
	{"another digest", func(b map[string]any) bool {
		m, ok := b["messageSignature"].(map[string]any)
		if ok {
			m["messageDigest"].(map[string]any)["digest"] = base64.StdEncoding.EncodeToString(make([]byte, 32))
		}
		return ok
	}},
	{"no digest algorithm", func(b map[string]any) bool {
		m, ok := b["messageSignature"].(map[string]any)
		if ok {
			m["messageDigest"].(map[string]any)["algorithm"] = "HASH_ALGORITHM_UNSPECIFIED"
		}
		return ok
	}},
	{"another signature", func(b map[string]any) bool {
		holder, member := b["messageSignature"], "signature"
		if e, ok := b["dsseEnvelope"].(map[string]any); ok {
			holder, member = e["signatures"].([]any)[0], "sig"
		}
		m := holder.(map[string]any)
		sig, _ := base64.StdEncoding.DecodeString(m[member].(string))
		sig[len(sig)-1] ^= 1
		m[member] = base64.StdEncoding.EncodeToString(sig)
		return true
	}},
	{"no log entry", func(b map[string]any) bool {
		delete(b["verificationMaterial"].(map[string]any), "tlogEntries")
		return true
	}},
	{"no timestamp", func(b map[string]any) bool {
		m := b["verificationMaterial"].(map[string]any)
		_, certificate := m["certificate"]
		delete(m, "timestampVerificationData")
		return certificate
	}},
}

type change struct {
	what string
	do   func(bundle map[string]any) bool
}

// apply writes the changed bundle to a file, and returns its path, or "" if
// there is nothing in it to change.
func (c change) apply(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var bundle map[string]any
	if err := json.Unmarshal(data, &bundle); err != nil {
		t.Fatal(err)
	}
	if !c.do(bundle) {
		return ""
	}
	if data, err = json.Marshal(bundle); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "changed.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
