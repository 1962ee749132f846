package ingest

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

func subject(name, alg, digest string) entry.Subject {
	return entry.Subject{Name: name, Digest: map[string]string{alg: digest}}
}

var (
	sigstore130 = subject("pkg:npm/sigstore@1.3.0", "sha512", "76176ffa33808b54602c7c35de5c6e9a4deb96066dba6533f50ac234f4f1f4c6b3527515dc17c06fbe2860030f410eee69ea20079bd3a2c6f3dcf3b329b10751")
	sigstore200 = subject("pkg:npm/sigstore@2.0.0", "sha512", "46d4e2f74c4877316640000a6fdf8a8b59f1e0847667973e9859f774dd31b8f1e0937813b777fb66a2ac67d50540fe34640966eee9fc2ccca387082b4c85cd3c")
	slsa007     = subject("slsa-provenance-0.0.7.tgz", "sha512", "bbfd372fc9beeb777fe35d05bb10c0c70a9733d366a75fed7dd18866c7391de3ee7e88ba74dd47abf3e15c845e547fcf0e5c3da80854c751554224d3a6d4e55f")
	releaseJS   = entry.Signer{Identity: "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main", Issuer: "https://token.actions.githubusercontent.com"}
)

// TestRealEvidence checks that the formats of real evidence are detected and
// that the header has the evidence's contents.
func TestRealEvidence(t *testing.T) {
	in, who, policy := newIngester(t)
	const v01, v03 = "application/vnd.dev.sigstore.bundle+json;version=0.1", "application/vnd.dev.sigstore.bundle.v0.3+json"
	for i, c := range []struct {
		path, mediaType, predicateType string
		subject                        entry.Subject
		signer                         entry.Signer
	}{
		{provenance, v01, "https://slsa.dev/provenance/v0.2", sigstore130, releaseJS},
		{"examples/bundle-publish.json", v01, "https://github.com/npm/attestation/tree/main/specs/publish/v0.1", sigstore130, entry.Signer{KeyID: "SHA256:jl3bwswu80PjjokCgh0o2w5c2U4LhQAE57gj9cz1kzA"}},
		{statement, "application/vnd.in-toto+json", "https://slsa.dev/provenance/v0.2", sigstore130, entry.Signer{}},
		{bundles + "dsse.sigstore.json", v01, "https://slsa.dev/provenance/v0.2", slsa007, entry.Signer{Identity: "brian@dehamer.com", Issuer: "https://github.com/login/oauth"}},
		{bundles + "dsse-2sigs.sigstore.json", v01, "https://slsa.dev/provenance/v0.2", slsa007, entry.Signer{Identity: "brian@dehamer.com", Issuer: "https://github.com/login/oauth"}},
		{bundles + "othername.sigstore.json", v03, "", subject("", "sha256", "bc103b4a84971ef6459b294a2b98568a2bfb72cded09d4acd1e16366a401f95b"), entry.Signer{Identity: "foo!oidc.local", Issuer: "http://oidc.local:8080"}},
		{bundles + "public-key-validity.sigstore.json", v03, "", subject("", "sha256", "6ae8a75555209fd6c44157c0aed8016e763ff435a19cf186f76863140143ff72"), entry.Signer{KeyID: "IpekKjxVkmTfB4YqY8q5sGEAeVtF9x3m7jHdhAxpgjQ="}},
		{bundles + "sigstore.js@2.0.0-provenance.sigstore.json", v01, "https://slsa.dev/provenance/v1", sigstore200, releaseJS},
	} {
		payload := realEvidence(t, c.path)
		for round, mediaType := range []string{"", c.mediaType} {
			results, err := in.Append(context.Background(), who, []Submission{{Kind: "attestation", MediaType: mediaType, Payload: payload}})
			if err != nil || results[0].Err != nil {
				t.Fatalf("%s: %v %v", c.path, err, results)
			}
			checkFacts(t, in, who, results[0].Index)
			if r := results[0]; r.Index != uint64(i) || r.Duplicate != (round == 1) {
				t.Errorf("%s, media type %q: entry %d, duplicate %t", c.path, mediaType, r.Index, r.Duplicate)
			}
			s, err := receipt.Verify(results[0].Receipt, []*receipt.TrustPolicy{policy}, receipt.Options{Payload: payload, Tenant: new("acme"), Kind: new("attestation"), StreamKey: &who.Stream.Key})
			if err != nil {
				t.Fatalf("%s: %v", c.path, err)
			}
			want := &entry.Header{
				Origin: "ledger.test/log", Tenant: "acme", Kind: "attestation", MediaType: c.mediaType, Subjects: []entry.Subject{c.subject}, PredicateType: c.predicateType,
				Materials: s.Header.Materials, Submitter: "token:acme", Verification: entry.Verification{Result: entry.Unverified}, Payload: entry.PayloadRef{Commitment: s.Header.Payload.Commitment, Size: uint64(len(payload))},
			}
			if c.signer != (entry.Signer{}) {
				want.Signers = []entry.Signer{c.signer}
			}
			if !reflect.DeepEqual(s.Header, want) {
				t.Errorf("%s: header\n%+v\nwant\n%+v", c.path, s.Header, want)
			}
		}
	}
	for _, path := range []string{"examples/signing_config.v0.2.json", "examples/trusted-root-public-good.json"} {
		_, err := in.read(&Submission{Kind: "attestation", Payload: realEvidence(t, path)})
		wantField(t, path, err, "media type", "specified")
	}
}

// recorded returns the part of the contents that goes into the header.
func (c contents) recorded() contents {
	c.signed, c.statement, c.document, c.payload = nil, nil, nil, nil
	return c
}

func TestStatementsAndEnvelopes(t *testing.T) {
	in, _, _ := newIngester(t)
	const v1 = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"1","sha512":"2"}},{"digest":{"gitCommit":"3"}}],"predicateType":"https://p.example/v1","predicate":{"x":1}}`
	subjects := []entry.Subject{{Name: "a", Digest: map[string]string{"sha256": "1", "sha512": "2"}}, {Digest: map[string]string{"gitCommit": "3"}}}
	const dsse, intoto = "application/vnd.dsse.envelope.v1+json", "application/vnd.in-toto+json"
	for _, c := range []struct {
		name, payload string
		want          contents
	}{
		{"statement", v1, contents{mediaType: intoto, subjects: subjects, predicateType: "https://p.example/v1"}},
		{"statement v0.1", strings.Replace(v1, "Statement/v1", "Statement/v0.1", 1), contents{mediaType: intoto, subjects: subjects, predicateType: "https://p.example/v1"}},
		{"statement in white space", " \n" + v1 + "\t\n", contents{mediaType: intoto, subjects: subjects, predicateType: "https://p.example/v1"}},
		{"statement without a predicate", strings.Replace(v1, `,"predicate":{"x":1}`, "", 1), contents{mediaType: intoto, subjects: subjects, predicateType: "https://p.example/v1"}},
		{"envelope of a statement", envelope(intoto, []byte(v1), "k1", "k2"), contents{mediaType: dsse, subjects: subjects, predicateType: "https://p.example/v1", signers: []entry.Signer{{KeyID: "k1"}, {KeyID: "k2"}}}},
		{"envelope without key IDs", envelope(intoto, []byte(v1), ""), contents{mediaType: dsse, subjects: subjects, predicateType: "https://p.example/v1"}},
		{"envelope of something else", envelope("text/plain", []byte("hello"), "k"), contents{mediaType: dsse, signers: []entry.Signer{{KeyID: "k"}}}},
	} {
		for _, mediaType := range []string{"", c.want.mediaType} {
			got, err := in.read(&Submission{Kind: "attestation", MediaType: mediaType, Payload: []byte(c.payload)})
			if got = got.recorded(); err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s, media type %q: got %+v, %v, want %+v", c.name, mediaType, got, err, c.want)
			}
		}
	}
	for mediaType, payload := range map[string]string{
		"application/spdx+json": `{"spdxVersion":"SPDX-2.3"}`, "application/vnd.cyclonedx+json": `{"bomFormat":"CycloneDX"}`, "application/json; charset=utf-8": "[1,2]", "text/plain": "\xff\x00",
		"application/octet-stream": "{",
	} {
		got, err := in.read(&Submission{Kind: "attestation", MediaType: mediaType, Payload: []byte(payload)})
		if got, want := got.recorded(), (contents{mediaType: mediaType}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", mediaType, got, err)
		}
	}
}

// TestBadEvidence checks that the error about an invalid submission names the
// field, and that nothing is recorded.
func TestBadEvidence(t *testing.T) {
	in, who, _ := newIngester(t)
	const dsse, intoto, bundle = "application/vnd.dsse.envelope.v1+json", "application/vnd.in-toto+json", "application/vnd.dev.sigstore.bundle.v0.3+json"
	real := string(realEvidence(t, provenance))
	st := func(rest string) string { return `{"_type":"https://in-toto.io/Statement/v1"` + rest + `}` }
	const sub = `,"subject":[{"digest":{"sha256":"1"}}]`
	var many strings.Builder
	for i := range 1025 {
		fmt.Fprintf(&many, `,{"digest":{"sha256":"%d"}}`, i)
	}
	broken := func(old, new string) string {
		if !strings.Contains(real, old) {
			t.Fatalf("the bundle does not contain %s", old)
		}
		return strings.Replace(real, old, new, 1)
	}
	for _, c := range []struct {
		name, mediaType, payload, field, wantErr string
	}{
		{"statement without a predicate type", "", st(sub), "payload", "predicateType"},
		{"statement without subjects", "", st(`,"predicateType":"p"`), "payload", "subject"},
		{"statement with an empty list of subjects", "", st(`,"predicateType":"p","subject":[]`), "payload", "subject"},
		{"statement with a subject without a digest", "", st(`,"predicateType":"p","subject":[{"digest":{"sha256":"1"}},{"name":"x"}]`), "payload", "subject[1].digest"},
		{"statement with an empty digest", "", st(`,"predicateType":"p","subject":[{"digest":{"sha256":""}}]`), "payload", "subject[0].digest"},
		{"statement with an empty algorithm", "", st(`,"predicateType":"p","subject":[{"digest":{"":"x"}}]`), "payload", "subject[0].digest"},
		{"statement with a digest that is a number", "", st(`,"predicateType":"p","subject":[{"digest":{"sha256":1}}]`), "payload", "subject"},
		{"statement with 1,025 subjects", "", st(`,"predicateType":"p","subject":[` + many.String()[1:] + `]`), "payload", "more than 1024 subjects"},
		{"statement with a member twice", "", st(sub + sub + `,"predicateType":"p"`), "payload", "subject"},
		{"statement with invalid UTF-8", "", st(`,"predicateType":"p` + "\xff" + `"` + sub), "payload", "UTF-8"},
		{"statement with trailing data", "", st(sub+`,"predicateType":"p"`) + "x", "payload", ""},
		{"truncated statement", "", st(sub + `,"predicateType":"p"`)[:60], "payload", ""},
		{"statement of an unknown type", intoto, `{"_type":"https://in-toto.io/Statement/v9"}`, "payload", "_type"},
		{"envelope without its members", dsse, "{}", "payload", "payloadType"},
		{"envelope with a payload that is not base64", "", `{"payloadType":"x","payload":"?","signatures":[{"sig":"c2ln"}]}`, "payload", "payload"},
		{"envelope without signatures", "", `{"payloadType":"x","payload":"eA==","signatures":[]}`, "payload", "signatures"},
		{"envelope with an empty signature", "", `{"payloadType":"x","payload":"eA==","signatures":[{"keyid":"k","sig":""}]}`, "payload", "signatures[0].sig"},
		{"pre-v3 cosign bundle", "", `{"base64Signature":"eA==","cert":"eA==","rekorBundle":{}}`, "payload", "cosign"},
		{"byte order mark", "", "\xef\xbb\xbf" + real, "payload", "byte order mark"},
		{"JSON with a byte order mark", "application/json", "\xef\xbb\xbf{}", "payload", "byte order mark"},
		{"UTF-16", "", "\xff\xfe{\x00}\x00", "payload", "UTF-16"},
		{"JSON Lines", "", "{}\n{}\n", "payload", "JSON Lines"},
		{"bundle that is empty", bundle, "{}", "payload", "bundle"},
		{"bundle without material", "", `{"mediaType":"` + bundle + `"}`, "payload", "bundle"},
		{"bundle of an unknown version", "", `{"mediaType":"application/vnd.dev.sigstore.bundle.v9.9+json"}`, "payload", "bundle"},
		{"truncated bundle", "", real[:len(real)-100], "payload", "bundle"},
		{"bundle whose certificate is broken", "", broken(`"rawBytes":"MII`, `"rawBytes":"AAA`), "payload", "bundle"},
		{"bundle whose envelope is broken", "", broken(`"payloadType":"application/vnd.in-toto+json"`, `"payloadType":7`), "payload", "bundle"},
		{"bundle of another version than claimed", bundle, real, "media type", "version=0.1"},
		{"JSON that is none", "application/spdx+json", "{", "payload", "application/spdx+json"},
		{"JSON with something after it", "application/json", "{} {}", "payload", "application/json"},
		{"JSON with invalid UTF-8", "application/json", "\"\xff\"", "payload", "application/json"},
		{"no media type", "", "hello", "media type", "specified"},
		{"no media type, a list", "", "[]", "media type", "specified"},
		{"no media type, another object", "", `{"mediaType":"text/plain","payload":1}`, "media type", "specified"},
		{"malformed media type", "text", "hello", "media type", `"text"`},
		{"media type with a parameter twice", "text/plain;a=1;a=2", "hello", "media type", "text/plain"},
		{"empty", "text/plain", "", "payload", "empty"},
		{"too large", "text/plain", strings.Repeat("x", 1<<20+1), "payload", "1048577 bytes"},
	} {
		results, err := in.Append(context.Background(), who, []Submission{{Kind: "attestation", MediaType: c.mediaType, Payload: []byte(c.payload)}})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		wantField(t, c.name, results[0].Err, c.field, c.wantErr)
	}
	for _, c := range []struct {
		submission     Submission
		field, wantErr string
	}{
		{Submission{Payload: []byte("x")}, "kind", "attestation, backfill-checkpoint"},
		{Submission{Kind: "Attestation", Payload: []byte("x")}, "kind", "attestation, backfill-checkpoint"},
		{Submission{Kind: "attestation", MediaType: "text/plain", Payload: []byte("x"), IdempotencyKey: "k"}, "idempotency key", "not allowed"},
		{Submission{Kind: "backfill-checkpoint", Payload: []byte("{}")}, "idempotency key", "specified"},
	} {
		_, err := in.read(&c.submission)
		wantField(t, fmt.Sprintf("%+v", c.submission), err, c.field, c.wantErr)
	}
	if n := in.Ledger.Published().Size; n != 0 {
		t.Errorf("%d entries were recorded", n)
	}
}

// TestHeaderTooLarge checks that a statement that does not fit into a header is
// refused.
func TestHeaderTooLarge(t *testing.T) {
	in, who, _ := newIngester(t)
	in.MaxPayload = 4 << 20
	payload := `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","subject":[{"name":"` + strings.Repeat("x", 2<<20) + `","digest":{"sha256":"1"}}]}`
	results, err := in.Append(context.Background(), who, []Submission{{Kind: "attestation", Payload: []byte(payload)}})
	if err != nil {
		t.Fatal(err)
	}
	wantField(t, "a name of two mebibytes", results[0].Err, "payload")
}

func TestBackfillCheckpoint(t *testing.T) {
	in, who, policy := newIngester(t)
	const good = `{"entity":"Asset","checkpoint":"50%","acaScore":0.96,"ts":"2026-04-19T12:00Z","rollbackReady":true}`
	const mediaType = "application/vnd.muniment.backfill-checkpoint.v1+json"
	for i, given := range []string{"", mediaType, "application/json"} {
		results, err := in.Append(context.Background(), who, []Submission{{Kind: "backfill-checkpoint", MediaType: given, Payload: []byte(good), IdempotencyKey: fmt.Sprint("run ", i)}})
		if err != nil || results[0].Err != nil {
			t.Fatal(err, results)
		}
		s, err := receipt.Verify(results[0].Receipt, []*receipt.TrustPolicy{policy}, receipt.Options{Payload: []byte(good), Kind: new("backfill-checkpoint")})
		if err != nil || s.Header.MediaType != mediaType || s.Header.IdempotencyKey != fmt.Sprint("run ", i) || s.Index != uint64(i) {
			t.Errorf("media type %q: %v, %+v", given, err, s)
		}
	}
	read := func(mediaType, payload string) error {
		_, err := in.read(&Submission{Kind: "backfill-checkpoint", MediaType: mediaType, Payload: []byte(payload), IdempotencyKey: "k"})
		return err
	}
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the document does not contain %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for _, payload := range []string{
		replace("50%", "0%"), replace("50%", "100%"), replace("50%", "99.99%"), replace("50%", "100.00%"), replace("0.96", "0"), replace("0.96", "1"), replace("true", "false"),
		replace("12:00Z", "12:00:00Z"), replace("12:00Z", "12:00:59.123456789Z"), replace("12:00Z", "23:59+02:00"), replace("12:00Z", "12:00:00-12:30"), " " + good + "\n",
		replace("Asset", strings.Repeat("ä", 256)),
	} {
		if err := read("", payload); err != nil {
			t.Errorf("%s: %v", payload, err)
		}
	}
	for _, c := range []struct{ payload, wantErr string }{
		{replace(`"entity":"Asset",`, ""), "entity"},
		{replace("Asset", ""), "entity"},
		{replace("Asset", strings.Repeat("x", 257)), "entity"},
		{replace(`"Asset"`, "7"), "entity"},
		{replace(`"checkpoint":"50%",`, ""), "checkpoint"},
		{replace("50%", "50"), "checkpoint"},
		{replace("50%", "101%"), "checkpoint"},
		{replace("50%", "100.01%"), "checkpoint"},
		{replace("50%", "-1%"), "checkpoint"},
		{replace("50%", "50.123%"), "checkpoint"},
		{replace("50%", "50%\\n"), "checkpoint"},
		{replace(`"50%"`, "50"), "checkpoint"},
		{replace(`"acaScore":0.96,`, ""), "acaScore"},
		{replace("0.96", "1.01"), "acaScore"},
		{replace("0.96", "-0.1"), "acaScore"},
		{replace("0.96", `"NaN"`), "acaScore"},
		{replace("0.96", `"Infinity"`), "acaScore"},
		{replace("0.96", "1e999"), "acaScore"},
		{replace("0.96", "null"), "acaScore"},
		{replace(`"ts":"2026-04-19T12:00Z",`, ""), "ts"},
		{replace("12:00Z", "12:00"), "ts"},
		{replace("12:00Z", "24:00Z"), "ts"},
		{replace("12:00Z", "12:60Z"), "ts"},
		{replace("04-19", "13-19"), "ts"},
		{replace("04-19", "04-32"), "ts"},
		{replace("2026-04-19T12:00Z", "yesterday"), "ts"},
		{replace(`,"rollbackReady":true`, ""), "rollbackReady"},
		{replace("true", `"true"`), "rollbackReady"},
		{replace("true", "1"), "rollbackReady"},
		{replace("{", `{"more":1,`), "more"},
		{replace("{", `{"entity":"Other",`), "entity"},
		{"{}", "rollbackReady"},
		{"[]", ""},
		{"", ""},
		{good + good, ""},
		{replace("Asset", "\xff"), "UTF-8"},
	} {
		wantField(t, c.payload, read("", c.payload), "payload", c.wantErr)
	}
	wantField(t, "another media type", read("text/plain", good), "media type", mediaType)
}

func TestKinds(t *testing.T) {
	if got := fmt.Sprint(Kinds()); got != "[attestation backfill-checkpoint backfill-step config control control-set erasure exception-decision exception-request export-manifest finding gate-decision inventory key-event metric-snapshot triage-action verification-report vetting]" {
		t.Errorf("kinds: %s", got)
	}
	if IsEvent("attestation") || !IsEvent("backfill-checkpoint") || IsEvent("gossip") {
		t.Error("want attestation to be evidence, backfill-checkpoint an event, and gossip not a kind")
	}
}
