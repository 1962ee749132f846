package policy

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/format"
)

// keyPair returns a deterministic private key, its public key in PEM, and the
// key ID.
func keyPair(t *testing.T, seed byte) (ed25519.PrivateKey, string, string) {
	t.Helper()
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	k, err := dsse.NewKey("", private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return private, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), k.ID
}

// sign returns an envelope signed with the keys. The key ID is the one that its
// signatures claim.
func sign(t *testing.T, payload, keyID string, keys ...ed25519.PrivateKey) evidence.Signed {
	t.Helper()
	const payloadType = "application/vnd.in-toto+json"
	env := map[string]any{"payloadType": payloadType, "payload": base64.StdEncoding.EncodeToString([]byte(payload))}
	var signatures []map[string]string
	for _, k := range keys {
		signatures = append(signatures, map[string]string{"keyid": keyID, "sig": base64.StdEncoding.EncodeToString(ed25519.Sign(k, sslib.PAE(payloadType, []byte(payload))))})
	}
	env["signatures"] = signatures
	text, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	return signed(t, format.Envelope, text)
}

// signed returns a document with signatures.
func signed(t *testing.T, f *format.Format, text []byte) evidence.Signed {
	t.Helper()
	d, err := f.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	return d.Signed
}

func mustParse(t *testing.T, text string) *AdmissionPolicy {
	t.Helper()
	p, err := Parse([]byte(text), kindNames)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func TestDecide(t *testing.T) {
	ours, ourPEM, ourID := keyPair(t, 'a')
	second, secondPEM, secondID := keyPair(t, 'b')
	other, _, _ := keyPair(t, 'c')
	block := func(s string) string {
		return "|\n        " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n        ")
	}
	signers := fmt.Sprintf(`
signers:
  us:
    keys:
      - %s
    require: {log_entries: 0}
  both:
    threshold: 2
    keys:
      - %s
      - %s
    require: {log_entries: 0}
  logged:
    keys:
      - %s
`, block(ourPEM), block(ourPEM), block(secondPEM), block(ourPEM))
	policy := func(mode, rules string) *AdmissionPolicy {
		return mustParse(t, "version: 1\nmode: "+mode+signers+"rules:\n"+rules)
	}
	app := entry.Subject{Name: "registry.acme.example/team/app", Digest: map[string]string{"sha256": "aa"}}
	foreign := entry.Subject{Name: "registry.globex.example/app", Digest: map[string]string{"sha256": "bb"}}
	nameless := entry.Subject{Digest: map[string]string{"sha512": "cc"}}
	evidence := func(change ...func(*Evidence)) *Evidence {
		ev := &Evidence{Tenant: "acme", Submitter: "token:ci", Kind: "attestation", MediaType: "application/vnd.dsse.envelope.v1+json", PredicateType: "https://slsa.dev/provenance/v1",
			Subjects: []entry.Subject{app}, Predicate: []byte(`{"builder":"b1","n":3,"list":[1,2,3]}`), Signed: sign(t, "{}", "", ours)}
		for _, c := range change {
			c(ev)
		}
		return ev
	}
	signedBy := func(keyID string, keys ...ed25519.PrivateKey) func(*Evidence) {
		return func(ev *Evidence) { ev.Signed = sign(t, "{}", keyID, keys...) }
	}
	about := func(s ...entry.Subject) func(*Evidence) { return func(ev *Evidence) { ev.Subjects = s } }
	const admitted, recorded, refused = entry.Admitted, entry.Recorded, Refused
	const verified, unverified, failed = entry.Verified, entry.Unverified, entry.Failed
	for _, c := range []struct {
		name         string
		rules        string
		ev           *Evidence
		result, rule string
		verification string
		reason       string // part of it
	}{
		{"signed by us", "  - {name: r, signers: [us]}\n", evidence(), admitted, "r", verified, ""},
		{"signed by us, claims another key", "  - {name: r, signers: [us]}\n", evidence(signedBy("sha256:00", ours)), admitted, "r", verified, ""},
		{"signed by another key", "  - {name: r, signers: [us]}\n", evidence(signedBy("", other)), refused, "", unverified, "not signed by us: "},
		{"signed by another key, claims ours", "  - {name: r, signers: [us]}\n", evidence(signedBy(ourID, other)), refused, "", failed, "not signed by us: "},
		{"an invalid signature, with a rule that requires none", "  - {name: r, unsigned: true}\n", evidence(signedBy(ourID, other)), refused, "", failed, "invalid signatures"},
		{"an unknown key, with a rule that requires none", "  - {name: r, unsigned: true}\n", evidence(signedBy("", other)), admitted, "r", unverified, ""},
		{"not signed at all", "  - {name: r, signers: [us]}\n", evidence(func(ev *Evidence) { ev.Signed = nil }), refused, "", unverified, "no signature"},
		{"not signed, with a rule that requires no signature", "  - {name: r, unsigned: true}\n", evidence(func(ev *Evidence) { ev.Signed = nil }), admitted, "r", unverified, ""},
		{"a log entry is the default", "  - {name: r, signers: [logged]}\n", evidence(), refused, "", verified, "allow it with require: {log_entries: 0}"},
		{"both", "  - {name: r, signers: [both]}\n", evidence(signedBy("", ours, second)), admitted, "r", verified, ""},
		{"one of both", "  - {name: r, signers: [both]}\n", evidence(), refused, "", verified, "not signed by both"},
		{"one twice is not both", "  - {name: r, signers: [both]}\n", evidence(signedBy("", ours, ours)), refused, "", verified, "not signed by both"},
		{"either", "  - {name: r, signers: [both, us]}\n", evidence(), admitted, "r", verified, ""},
		{"the first rule that is met decides", "  - {name: a, signers: [both]}\n  - {name: b, signers: [us]}\n  - {name: c, unsigned: true}\n", evidence(), admitted, "b", verified, ""},

		{"another kind", "  - {name: r, unsigned: true, kinds: [finding]}\n", evidence(), refused, "", verified, "kind attestation is not one of its kinds"},
		{"the media type", "  - {name: r, unsigned: true, media_types: ['application/vnd.dsse.*']}\n", evidence(func(ev *Evidence) { ev.MediaType += "; charset=utf-8" }), admitted, "r", verified, ""},
		{"another media type", "  - {name: r, unsigned: true, media_types: ['text/*']}\n", evidence(), refused, "", verified, "none of its media types"},
		{"the predicate type", "  - {name: r, unsigned: true, predicate_types: ['https://slsa.dev/provenance/*']}\n", evidence(), admitted, "r", verified, ""},
		{"another predicate type", "  - {name: r, unsigned: true, predicate_types: ['https://spdx.dev/**']}\n", evidence(), refused, "", verified, "none of its predicate types"},
		{"no predicate type", "  - {name: r, unsigned: true, predicate_types: ['**']}\n", evidence(func(ev *Evidence) { ev.PredicateType = "" }), refused, "", verified, "no predicate type"},
		{"another submitter", "  - {name: r, unsigned: true, submitters: ['token:cd']}\n", evidence(), refused, "", verified, "none of its submitters"},
		{"subjects", "  - {name: r, unsigned: true, subjects: {names: ['registry.acme.example/**'], digests: [sha256]}}\n", evidence(), admitted, "r", verified, ""},
		{"one star stops at a slash", "  - {name: r, unsigned: true, subjects: {names: ['registry.acme.example/*']}}\n", evidence(), refused, "", verified, "none of its subjects"},
		{"one foreign subject of two", "  - {name: r, unsigned: true, subjects: {names: ['registry.acme.example/**']}}\n", evidence(about(app, foreign)), refused, "", verified, "registry.globex.example/app"},
		{"a subject without a name", "  - {name: r, unsigned: true, subjects: {names: ['registry.acme.example/**']}}\n", evidence(about(app, nameless)), refused, "", verified, "no name"},
		{"another digest", "  - {name: r, unsigned: true, subjects: {digests: [sha256]}}\n", evidence(about(nameless)), refused, "", verified, "no sha256 digest"},
		{"no subject", "  - {name: r, unsigned: true, subjects: {digests: [sha256]}}\n", evidence(about()), refused, "", verified, "no subjects"},
		{"denied by one subject of two", "  - {name: d, deny: true, subjects: {names: ['registry.globex.example/**']}}\n  - {name: r, unsigned: true}\n", evidence(about(app, foreign)), refused, "d", verified, "the rule denies it"},
		{"not denied", "  - {name: d, deny: true, subjects: {names: ['registry.globex.example/**']}}\n  - {name: r, unsigned: true}\n", evidence(), admitted, "r", verified, ""},

		{"a condition", "  - {name: r, unsigned: true, condition: \"predicate.builder == 'b1' && predicate.n < 4 && submitter.startsWith('token:') && subjects.all(s, 'sha256' in s.digest)\"}\n", evidence(), admitted, "r", verified, ""},
		{"a condition on the signer", "  - {name: r, signers: [us], condition: \"signer.name == 'us' && signer.key_id == '" + ourID + "' && size(claims) == 0\"}\n", evidence(), admitted, "r", verified, ""},
		{"a false condition", "  - {name: r, unsigned: true, condition: predicate.n > 3}\n", evidence(), refused, "", verified, "does not hold"},
		{"an absent member", "  - {name: r, unsigned: true, condition: predicate.nothing == 1}\n", evidence(), refused, "", verified, "no such key: nothing"},
		{"no predicate at all", "  - {name: r, unsigned: true, condition: predicate == null}\n", evidence(func(ev *Evidence) { ev.Predicate = nil }), admitted, "r", verified, ""},
		{"a condition that is not boolean", "  - {name: r, unsigned: true, condition: predicate.n}\n", evidence(), refused, "", verified, "must be true or false"},
		{"a condition that costs too much", "  - {name: r, unsigned: true, condition: \"predicate.list.all(a, predicate.list.all(b, predicate.list.all(c, a + b + c > 0)))\"}\n",
			evidence(func(ev *Evidence) { ev.Predicate = []byte(`{"list":[` + strings.Repeat("1,", 2000) + `1]}`) }), refused, "", verified, "the condition "},
		{"a predicate that is too large", "  - {name: r, unsigned: true, condition: has(predicate.x)}\n",
			evidence(func(ev *Evidence) { ev.Predicate = []byte(`{"x":"` + strings.Repeat("x", condition.MaxJSON) + `"}`) }), refused, "", verified, "above the limit"},
		{"a predicate that is too large, and not used", "  - {name: r, unsigned: true, condition: kind == 'attestation'}\n",
			evidence(func(ev *Evidence) { ev.Predicate = []byte(`{"x":"` + strings.Repeat("x", condition.MaxJSON) + `"}`) }), admitted, "r", verified, ""},
		{"a denial in doubt denies", "  - {name: d, deny: true, condition: predicate.nothing == 1}\n  - {name: r, unsigned: true}\n", evidence(), refused, "d", verified, "denies"},
		{"a denial with a false condition", "  - {name: d, deny: true, condition: has(predicate.nothing)}\n  - {name: r, unsigned: true}\n", evidence(), admitted, "r", verified, ""},
	} {
		for mode, want := range map[string]string{Enforce: c.result, Record: map[string]string{refused: recorded, admitted: admitted}[c.result]} {
			p := policy(mode, c.rules)
			d := p.Decide(context.Background(), c.ev, nil)
			if d.Result != want || d.Rule != c.rule || d.Verification.Result != c.verification || !strings.Contains(d.Reason, c.reason) || c.reason == "" && d.Reason != "" {
				t.Errorf("%s, mode %s: %s by rule %q (%s), %s; want %s by rule %q (%s), %s", c.name, mode, d.Result, d.Rule, d.Reason, d.Verification.Result, want, c.rule, c.reason, c.verification)
			}
			if len(d.Steps) != len(p.Rules) {
				t.Errorf("%s: %d steps for %d rules", c.name, len(d.Steps), len(p.Rules))
			}
			if (d.Verification.Result == verified) != (len(d.Signers) > 0) {
				t.Errorf("%s: %s, signers %+v", c.name, d.Verification.Result, d.Signers)
			}
		}
	}
	d := policy(Enforce, "  - {name: r, signers: [both]}\n").Decide(context.Background(), evidence(signedBy("", second, ours)), nil)
	if len(d.Signers) != 2 || d.Signers[0].KeyID != ourID || d.Signers[1].KeyID != secondID {
		t.Errorf("signers of an envelope with two: %+v", d.Signers)
	}
}
