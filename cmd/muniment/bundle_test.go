package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers/sigstorerig"
	"muniment.dev/muniment/internal/soak"
)

// verifyBundle runs the command in-process.
func verifyBundle(args ...string) (code int, out string) {
	var b bytes.Buffer
	code = run(context.Background(), append([]string{"verify-bundle"}, args...), strings.NewReader(""), &b, &b)
	return code, b.String()
}

// want fails the test unless the command exits with the code and prints all of
// the texts.
func want(t *testing.T, what string, code int, args []string, says ...string) {
	t.Helper()
	got, out := verifyBundle(args...)
	for _, s := range says {
		if !strings.Contains(out, s) {
			t.Errorf("%s: the output does not say %q:\n%s", what, s, out)
		}
	}
	if got != code {
		t.Errorf("%s: exit code %d, want %d:\n%s", what, got, code, out)
	}
}

func with(args []string, more ...string) []string { return append(slices.Clone(args), more...) }

// mutate writes a bundle with one thing changed, and returns its path.
func mutate(t *testing.T, path string, change func(bundle map[string]any)) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if data, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(out, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

func object(m map[string]any, path ...string) map[string]any {
	for _, p := range path {
		switch v := m[p].(type) {
		case map[string]any:
			m = v
		case []any:
			m = v[0].(map[string]any)
		}
	}
	return m
}

// flip changes one bit of a base64 member.
func flip(m map[string]any, member string, at int) {
	b, err := base64.StdEncoding.DecodeString(m[member].(string))
	if err != nil {
		panic(err)
	}
	b[(at+len(b))%len(b)] ^= 1
	m[member] = base64.StdEncoding.EncodeToString(b)
}

// A bundle that the real cosign signed with a private Sigstore is verified.
// Altered ones are not.
func TestBundlesOfCosign(t *testing.T) {
	soak.WithoutRace(t)
	r := sigstorerig.Start(t, sigstorerig.Fulcio(), sigstorerig.TSA(), sigstorerig.Rekor())
	artifact := r.WriteFile(t, "a.txt", "hello\n")
	const digest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
	other := r.WriteFile(t, "b.txt", "hello, world\n")
	r.WriteFile(t, "p.json", "{}")
	cosign := func(args ...string) { t.Helper(); r.Cosign(t, with(args, r.Services()...)...) }
	path := func(name string) string { return filepath.Join(r.Dir, name) }
	private, public := r.GenerateKey(t, "k")
	_, public2 := r.GenerateKey(t, "k2")

	t.Run("keyless", func(t *testing.T) {
		cosign("attest-blob", "--identity-token", r.Issuer.Email(t, "ci@acme.example"), "--bundle", "att.json", "--predicate", "p.json", "--type", "https://example.com/p", "a.txt")
		cosign("sign-blob", "--identity-token", r.Issuer.Email(t, "ci@acme.example"), "--bundle", "sig.json", "a.txt")
		who := []string{"--certificate-identity", "ci@acme.example", "--certificate-oidc-issuer", r.Issuer.URL, "--insecure-ignore-sct", "--trusted-root", r.TrustedRoot}
		att, sig := with(who, "--bundle", path("att.json")), with(who, "--bundle", path("sig.json"))

		want(t, "attestation", 0, with(att, artifact, "--type", "https://example.com/p"), "✓ VERIFIED", "ci@acme.example", "by the timestamp authority "+r.TSA, "entry 0 of "+r.Log, digest, "no SCT required")
		want(t, "attestation, digest", 0, with(att, digest))
		want(t, "attestation, signed timestamp asked for", 0, with(att, artifact, "--use-signed-timestamps"))
		want(t, "signature", 0, with(sig, artifact), "✓ VERIFIED", "entry 1 of "+r.Log)
		want(t, "signature, digest", 0, with(sig, digest))
		want(t, "json", 0, with(sig, digest, "--json"), `"verified":true`, `"signer":{"identity":"ci@acme.example","issuer":"`+r.Issuer.URL+`"}`, `"source":"timestamp-authority"`, `"notRequired":["sct"]`)
		want(t, "regexps", 0, []string{artifact, "--bundle", path("sig.json"), "--certificate-identity-regexp", `@acme\.example$`, "--certificate-oidc-issuer-regexp", "^http://127", "--insecure-ignore-sct", "--trusted-root", r.TrustedRoot})
		want(t, "no log asked for, but a timestamp", 0, with(att, artifact, "--insecure-ignore-tlog", "--use-signed-timestamps"), "no log entry required")
		want(t, "no log asked for, within the certificate's life", 0, with(att, artifact, "--insecure-ignore-tlog"), "checked at the current time")

		want(t, "no SCT", 1, with(without(att, "--insecure-ignore-sct"), artifact), "certificate timestamp")
		want(t, "another artifact", 1, with(att, other), "is not a subject of the statement")
		want(t, "another artifact, signature", 1, with(sig, other), "over another one")
		want(t, "another digest", 1, with(sig, "sha256:6"+strings.TrimPrefix(digest, "sha256:5")))
		want(t, "another type", 1, with(att, artifact, "--type", "slsaprovenance1"), `the predicate type is "https://example.com/p", not "https://slsa.dev/provenance/v1"`)
		want(t, "type of a signature", 1, with(sig, artifact, "--type", "spdx"), "not an attestation")
		want(t, "another issuer", 1, with(replaced(att, r.Issuer.URL, r.Issuer.CI), artifact), "identity is from issuer")
		want(t, "another identity", 1, with(replaced(att, "ci@acme.example", "ci@evil.example"), artifact), `issued to "ci@acme.example"`)
		want(t, "another root", 1, with(without(att, "--trusted-root", r.TrustedRoot), artifact), "not enough verified log entries")
		want(t, "a key is asked for", 1, []string{artifact, "--bundle", path("att.json"), "--key", public, "--trusted-root", r.TrustedRoot}, "not with a key")
	})

	t.Run("no longer trusted", func(t *testing.T) {
		who := []string{artifact, "--bundle", path("att.json"), "--certificate-identity", "ci@acme.example", "--certificate-oidc-issuer", r.Issuer.URL, "--insecure-ignore-sct"}
		for what, says := range map[string]string{"tlogs": "does not trust the log's key", "certificateAuthorities": "certificate verification failed", "timestampAuthorities": "timestamp is after the validity period end"} {
			root := mutate(t, r.TrustedRoot, func(m map[string]any) {
				x := object(m, what)
				if what == "tlogs" {
					x = object(x, "publicKey")
				}
				object(x, "validFor")["end"] = "2025-01-01T00:00:00Z"
			})
			want(t, what, 1, with(who, "--trusted-root", root), says)
		}
	})

	t.Run("job", func(t *testing.T) {
		cosign("sign-blob", "--identity-token", r.Issuer.Job(t, "acme/app"), "--bundle", "job.json", "a.txt")
		want(t, "claims", 0, []string{artifact, "--bundle", path("job.json"), "--certificate-identity-regexp", "^https://github.com/acme/app/", "--certificate-oidc-issuer", r.Issuer.CI,
			"--insecure-ignore-sct", "--trusted-root", r.TrustedRoot, "--json"}, `"sourceRepositoryURI":"https://github.com/acme/app"`, `"sourceRepositoryIdentifier":"1234"`, `"buildTrigger":"push"`)
	})

	t.Run("key", func(t *testing.T) {
		cosign("attest-blob", "--key", private, "--bundle", "katt.json", "--predicate", "p.json", "--type", "custom", "a.txt")
		cosign("sign-blob", "--key", private, "--bundle", "ksig.json", "a.txt")
		for _, name := range []string{"katt.json", "ksig.json"} {
			args := []string{"--bundle", path(name), "--key", public, "--trusted-root", r.TrustedRoot}
			want(t, name, 0, with(args, artifact), "✓ VERIFIED", "key "+public, "of "+r.Log)
			want(t, name+", digest", 0, with(args, digest))
			want(t, name+", timestamp", 0, with(args, artifact, "--use-signed-timestamps"), "timestamp authority")
			want(t, name+", another key", 1, with(replaced(args, public, public2), artifact))
			want(t, name+", another key, no log", 1, with(replaced(args, public, public2), artifact, "--insecure-ignore-tlog"))
			want(t, name+", another artifact", 1, with(args, other))
			want(t, name+", another root", 1, with(without(args, "--trusted-root", r.TrustedRoot), artifact))
		}
		want(t, "type by its short name", 0, []string{artifact, "--bundle", path("katt.json"), "--key", public, "--trusted-root", r.TrustedRoot, "--type", "custom"})
		want(t, "identity is asked for", 1, []string{artifact, "--bundle", path("ksig.json"), "--certificate-identity-regexp", ".", "--certificate-oidc-issuer-regexp", ".", "--trusted-root", r.TrustedRoot}, "signed with a key")
	})

	t.Run("tampered", func(t *testing.T) {
		who := []string{"--certificate-identity", "ci@acme.example", "--certificate-oidc-issuer", r.Issuer.URL, "--insecure-ignore-sct", "--trusted-root", r.TrustedRoot, artifact}
		key := []string{"--key", public, "--trusted-root", r.TrustedRoot, artifact}
		for name, c := range map[string]struct {
			bundle string
			change func(map[string]any)
		}{
			"payload":      {"att.json", func(m map[string]any) { flip(object(m, "dsseEnvelope"), "payload", -3) }},
			"signature":    {"att.json", func(m map[string]any) { flip(object(m, "dsseEnvelope", "signatures"), "sig", -1) }},
			"payload type": {"att.json", func(m map[string]any) { object(m, "dsseEnvelope")["payloadType"] = "text/plain" }},
			"certificate":  {"att.json", func(m map[string]any) { flip(object(m, "verificationMaterial", "certificate"), "rawBytes", -1) }},
			"timestamp": {"att.json", func(m map[string]any) {
				flip(object(m, "verificationMaterial", "timestampVerificationData", "rfc3161Timestamps"), "signedTimestamp", -1)
			}},
			"no timestamp": {"att.json", func(m map[string]any) { delete(object(m, "verificationMaterial"), "timestampVerificationData") }},
			"proof": {"ksig.json", func(m map[string]any) {
				p := object(m, "verificationMaterial", "tlogEntries", "inclusionProof")
				h := p["hashes"].([]any)
				p["hashes"] = h[1:]
			}},
			"index": {"ksig.json", func(m map[string]any) {
				object(m, "verificationMaterial", "tlogEntries", "inclusionProof")["logIndex"] = "0"
			}},
			"checkpoint": {"ksig.json", func(m map[string]any) {
				c := object(m, "verificationMaterial", "tlogEntries", "inclusionProof", "checkpoint")
				c["envelope"] = strings.Replace(c["envelope"].(string), "\n", "\n1", 1)
			}},
			"no log entry":   {"ksig.json", func(m map[string]any) { delete(object(m, "verificationMaterial"), "tlogEntries") }},
			"hash":           {"ksig.json", func(m map[string]any) { object(m, "messageSignature", "messageDigest")["algorithm"] = "SHA3_256" }},
			"bare signature": {"ksig.json", func(m map[string]any) { flip(object(m, "messageSignature"), "signature", -1) }},
		} {
			args := who
			if strings.HasPrefix(c.bundle, "k") {
				args = key
			}
			want(t, name, 1, with(args, "--bundle", mutate(t, path(c.bundle), c.change)), "✗ NOT VERIFIED")
		}
		// Two good bundles don't make a third.
		var sig map[string]any
		data, err := os.ReadFile(path("ksig.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &sig); err != nil {
			t.Fatal(err)
		}
		swapped := mutate(t, path("katt.json"), func(m map[string]any) {
			object(m, "verificationMaterial")["tlogEntries"] = object(sig, "verificationMaterial")["tlogEntries"]
		})
		want(t, "another bundle's log entry", 1, with(key, "--bundle", swapped), "✗ NOT VERIFIED")
	})
}

// Without a transparency log, a key is enough only if the caller asks for it.
func TestBundlesWithoutALog(t *testing.T) {
	r := sigstorerig.Start(t)
	artifact := r.WriteFile(t, "a.txt", "hello\n")
	r.WriteFile(t, "p.json", "{}")
	private, public := r.GenerateKey(t, "k")
	bundle := filepath.Join(r.Dir, "b.json")
	for _, args := range [][]string{{"sign-blob", "--key", private, "--bundle", bundle, "a.txt"}, {"attest-blob", "--key", private, "--bundle", bundle, "--predicate", "p.json", "--type", "vuln", "a.txt"}} {
		if err := os.Remove(bundle); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		r.Cosign(t, with(args, r.Services()...)...)
		flags := []string{"--bundle", bundle, "--key", public, artifact}
		want(t, args[0], 1, flags, "no log entry, but one is required")
		want(t, args[0], 0, with(flags, "--insecure-ignore-tlog"), "✓ VERIFIED", "no log entry required")
		want(t, args[0], 1, with(flags, "--insecure-ignore-tlog", "--use-signed-timestamps"), "no RFC 3161 timestamp")
	}
}

func without(args []string, drop ...string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(a string) bool { return slices.Contains(drop, a) })
}

func replaced(args []string, old, new string) []string {
	out := slices.Clone(args)
	out[slices.Index(out, old)] = new
	return out
}
