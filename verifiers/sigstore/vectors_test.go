package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var update = flag.Bool("update", false, "write the vectors anew, with new keys")

const vectorsFile = "../../docs/spec/vectors/sigstore.json"

// A vectors file is docs/spec/vectors/sigstore.json.
type vectors struct {
	TrustedRoots map[string]json.RawMessage `json:"trustedRoots"`
	Keys         map[string]string          `json:"keys"`
	Artifacts    map[string][]byte          `json:"artifacts"`
	Cases        []vector                   `json:"cases"`
}

type vector struct {
	Name           string           `json:"name"`
	Bundle         []byte           `json:"bundleBase64"`
	TrustedRoots   []string         `json:"trustedRoots"`
	Identities     []vectorIdentity `json:"identities,omitempty"`
	Keys           []string         `json:"keys,omitempty"`
	Artifact       string           `json:"artifact,omitempty"`
	ArtifactDigest string           `json:"artifactDigest,omitempty"`
	Verdict        string           `json:"verdict"`
	Reason         Code             `json:"reason,omitempty"`
	Signer         *vectorSigner    `json:"signer,omitempty"`
}

type vectorIdentity struct {
	Name   string `json:"name"`
	Issuer string `json:"issuer"`
}

// A vectorSigner is an identity or the name of a key.
type vectorSigner struct {
	Name   string `json:"name,omitempty"`
	Issuer string `json:"issuer,omitempty"`
	Key    string `json:"key,omitempty"`
}

func (v *vectors) verify(c *vector) (*vectorSigner, *Refusal, error) {
	var roots, keys [][]byte
	for _, name := range c.TrustedRoots {
		roots = append(roots, v.TrustedRoots[name])
	}
	for _, name := range c.Keys {
		keys = append(keys, []byte(v.Keys[name]))
	}
	var identities []Identity
	for _, id := range c.Identities {
		identities = append(identities, Identity{Name: id.Name, Issuer: id.Issuer})
	}
	var artifact *Artifact
	var err error
	switch {
	case c.Artifact != "":
		artifact, err = ReadArtifact(bytes.NewReader(v.Artifacts[c.Artifact]))
	case c.ArtifactDigest != "":
		artifact, err = ArtifactDigest("sha256:" + c.ArtifactDigest)
	}
	if err != nil {
		return nil, nil, err
	}
	trust, err := NewTrust(roots, identities, keys)
	var got *Verified
	if err == nil {
		got, err = trust.Verify(c.Bundle, artifact)
	}
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return nil, r, nil
	case err != nil:
		return nil, nil, err
	case len(keys) > 0:
		for i := range trust.keys {
			if trust.keys[i].ID == got.Signer.KeyID {
				return &vectorSigner{Key: c.Keys[i]}, nil, nil
			}
		}
	}
	return &vectorSigner{Name: got.Signer.Identity, Issuer: got.Signer.Issuer}, nil, nil
}

func TestVectors(t *testing.T) {
	if *update {
		made := makeVectors(t)
		data, err := json.MarshalIndent(made, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsFile, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	v := &vectors{}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
	for _, c := range v.Cases {
		signer, r, err := v.verify(&c)
		verdict, reason := "verified", Code("")
		switch {
		case err != nil:
			t.Fatal(err)
		case r != nil && r.NotChecked():
			verdict, reason = "not-checked", r.Code
		case r != nil:
			verdict, reason = "refused", r.Code
		}
		if verdict != c.Verdict || reason != c.Reason {
			t.Errorf("%s: %s %s (%v), want %s %s", c.Name, verdict, reason, r, c.Verdict, c.Reason)
		} else if c.Signer != nil && *signer != *c.Signer {
			t.Errorf("%s: signed by %+v, want %+v", c.Name, *signer, *c.Signer)
		}
	}
}

const entry0 = "verificationMaterial"

// makeVectors signs all cases with a new Sigstore.
func makeVectors(t *testing.T) *vectors {
	s, other := newLocalSigstore(t), newLocalSigstore(t)
	ec, p384, another := newKey(t, elliptic.P256()), newKey(t, elliptic.P384()), newKey(t, elliptic.P256())
	_, ed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	rsa := rsaKey(t)
	v := &vectors{Artifacts: map[string][]byte{"hello": []byte(hello), "other": []byte("other\n")}, Keys: map[string]string{"damaged": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}}
	for name, k := range map[string]crypto.Signer{"P-256": ec, "P-384": p384, "another": another, "Ed25519": ed, "RSA": rsa} {
		v.Keys[name] = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spkiOf(t, k.Public())}))
	}
	drop := func(name string) func(map[string]any) { return func(tree map[string]any) { delete(tree, name) } }
	valid := func(list, period string, value any) func(map[string]any) {
		return func(tree map[string]any) {
			for _, item := range tree[list].([]any) {
				of := item.(map[string]any)
				if key, ok := of["publicKey"].(map[string]any); ok {
					of = key
				}
				of["validFor"] = map[string]any{"start": "2025-06-01T00:00:00Z", period: value}
			}
		}
	}
	v.TrustedRoots = map[string]json.RawMessage{
		"local": s.trustedRoot(nil), "other": other.trustedRoot(nil),
		"no logs": s.trustedRoot(drop("tlogs")), "no certificate logs": s.trustedRoot(drop("ctlogs")),
		"no authorities": s.trustedRoot(drop("certificateAuthorities")), "no timestamps": s.trustedRoot(drop("timestampAuthorities")),
		"logs until the signing time":      s.trustedRoot(valid("tlogs", "end", "2026-01-02T03:04:05Z")),
		"logs until before":                s.trustedRoot(valid("tlogs", "end", "2026-01-02T03:04:04.999Z")),
		"authorities from later":           s.trustedRoot(valid("certificateAuthorities", "start", "2026-01-02T03:04:06Z")),
		"timestamps until before":          s.trustedRoot(valid("timestampAuthorities", "end", "2026-01-02T03:04:04Z")),
		"certificate logs from later":      s.trustedRoot(valid("ctlogs", "start", "2026-01-02T03:04:06Z")),
		"a null end":                       s.trustedRoot(valid("tlogs", "end", nil)),
		"no start":                         s.trustedRoot(valid("tlogs", "start", nil)),
		"a wrong time":                     s.trustedRoot(valid("tlogs", "end", "2026-13-01T00:00:00Z")),
		"another media type":               s.trustedRoot(func(tree map[string]any) { tree["mediaType"] = "application/json" }),
		"an unknown member":                s.trustedRoot(func(tree map[string]any) { tree["x"] = "y" }),
		"data at the end of a certificate": s.trustedRoot(changedAnchor(t, func(der []byte) []byte { return withData(t, der) })),
		"a default in a certificate": s.trustedRoot(changedAnchor(t, func(der []byte) []byte {
			// The default of critical is FALSE.
			return bytes.Replace(der, []byte{1, 1, 0xff, 4}, []byte{1, 1, 0, 4}, 1)
		})),
		"a log with another hash algorithm": s.trustedRoot(func(tree map[string]any) {
			tree["tlogs"].([]any)[0].(map[string]any)["hashAlgorithm"] = "SHA2_512"
		}),
		"a certificate of version 1":  s.trustedRoot(changedAnchor(t, ofVersion(0))),
		"a certificate of version 2":  s.trustedRoot(changedAnchor(t, ofVersion(1))),
		"a certificate of version 67": s.trustedRoot(changedAnchor(t, ofVersion(66))),
		"twice the same log": s.trustedRoot(func(tree map[string]any) {
			logs := tree["tlogs"].([]any)
			tree["tlogs"] = append(logs, logs[0])
		}),
	}
	h := sha256.Sum256([]byte(hello))
	about := func(more string) []byte {
		return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a","digest":{"sha256":"%x"%s}}],"predicateType":"https://example.com/p","predicate":{"ratio":-1.5e3,"deep":[[[]]]}}`, h, more)
	}
	statement := about("")
	me := []vectorIdentity{{localName, localIssuer}}
	add := func(name string, want Code, r recipe, change func(*vector)) {
		c := vector{Name: name, Bundle: s.bundle(r), TrustedRoots: []string{"local"}, Artifact: "hello", Reason: want}
		if !r.managed {
			c.Identities = me
		}
		if change != nil {
			change(&c)
		}
		c.Verdict = "verified"
		if want != "" {
			c.Verdict = "refused"
			if (&Refusal{Code: want}).NotChecked() {
				c.Verdict = "not-checked"
			}
		}
		if want == "" && len(c.Keys) == 0 {
			c.Signer = &vectorSigner{Name: localName, Issuer: localIssuer}
		}
		v.Cases = append(v.Cases, c)
	}
	root := func(names ...string) func(*vector) {
		return func(c *vector) { c.TrustedRoots = append([]string{}, names...) }
	}
	key := func(names ...string) func(*vector) { return func(c *vector) { c.Keys = names } }
	identity := func(ids ...vectorIdentity) func(*vector) { return func(c *vector) { c.Identities = ids } }
	artifact := func(name string) func(*vector) { return func(c *vector) { c.Artifact = name } }
	byDigest := func(digest string) func(*vector) {
		return func(c *vector) { c.Artifact, c.ArtifactDigest = "", digest }
	}
	entry := func(path []any, name string, value any) func(map[string]any) {
		return func(tree map[string]any) {
			o := at(tree, append([]any{entry0, "tlogEntries", 0}, path...)...).(map[string]any)
			if o[name] = value; value == nil {
				delete(o, name)
			}
		}
	}
	flip := func(path ...any) func(map[string]any) {
		return func(tree map[string]any) {
			o := at(tree, path[:len(path)-1]...).(map[string]any)
			name := path[len(path)-1].(string)
			b, err := base64.StdEncoding.DecodeString(o[name].(string))
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)-1] ^= 1
			o[name] = base64Of(b)
		}
	}
	// forgedBy replaces a part of the log entry by that of another instance.
	forgedBy := func(r recipe, path ...any) func(map[string]any) {
		return func(tree map[string]any) {
			r.key, r.managed = ec, true
			var foreign map[string]any
			if err := json.Unmarshal(other.bundle(r), &foreign); err != nil {
				t.Fatal(err)
			}
			all := append([]any{entry0, "tlogEntries", 0}, path...)
			name := all[len(all)-1].(string)
			at(tree, all[:len(all)-1]...).(map[string]any)[name] = at(foreign, all...)
		}
	}
	checkpoint := func(edit func(string) string) func(map[string]any) {
		return func(tree map[string]any) {
			o := at(tree, entry0, "tlogEntries", 0, "inclusionProof", "checkpoint").(map[string]any)
			o["envelope"] = edit(o["envelope"].(string))
		}
	}

	// What verifies.
	add("keyless", "", recipe{}, nil)
	add("keyless, envelope", "", recipe{payload: statement}, nil)
	add("keyless, envelope, digest of the artifact", "", recipe{payload: statement}, byDigest(hex.EncodeToString(h[:])))
	add("keyless, envelope, no artifact", "", recipe{payload: statement}, artifact(""))
	add("keyless, envelope that is no statement, no artifact", "", recipe{payload: []byte("text"), payType: "text/plain"}, artifact(""))
	add("keyless, intoto entry", "", recipe{payload: statement, kind: "intoto 0.0.2"}, nil)
	add("keyless, Rekor v2", "", recipe{v2: true}, nil)
	add("keyless, Rekor v2, envelope", "", recipe{v2: true, payload: statement}, nil)
	add("keyless, Rekor v1 and a timestamp", "", recipe{stamp: signingTime.Add(time.Second)}, nil)
	add("keyless, P-384", "", recipe{key: p384, hash: crypto.SHA384}, nil)
	add("keyless, P-384 with SHA-384, envelope", "", recipe{key: p384, hash: crypto.SHA384, payload: statement}, nil)
	add("keyless, P-384, Rekor v2", "", recipe{key: p384, hash: crypto.SHA384, v2: true}, nil)
	add("keyless, P-521, Rekor v2, envelope", "", recipe{key: newKey(t, elliptic.P521()), hash: crypto.SHA512, v2: true, payload: statement}, nil)
	add("keyless, RSA", "", recipe{key: rsa}, nil)
	add("keyless, Ed25519, envelope", "", recipe{key: ed, payload: statement}, nil)
	add("managed key", "", recipe{key: ec, managed: true}, key("P-256"))
	add("managed key, envelope", "", recipe{key: ec, managed: true, payload: statement}, key("P-256"))
	add("managed key, Rekor v2", "", recipe{key: ec, managed: true, v2: true, noStamp: true}, key("P-256"))
	add("managed key, P-384 with SHA-256", "", recipe{key: p384, managed: true}, key("P-384"))
	add("managed key, RSA, Rekor v2", "", recipe{key: rsa, managed: true, v2: true, noStamp: true}, key("RSA"))
	add("managed key, Ed25519, envelope", "", recipe{key: ed, managed: true, payload: statement}, key("Ed25519"))
	add("managed key, the second of two", "", recipe{key: ec, managed: true}, key("another", "P-256"))
	add("two roots, the second one", "", recipe{}, root("other", "local"))
	add("the second of two identities", "", recipe{}, identity(vectorIdentity{"x@acme.example", localIssuer}, me[0]))
	add("a log's key that ends at the signing time", "", recipe{}, root("logs until the signing time"))
	add("a log's key with a null end", "", recipe{}, root("a null end"))
	add("a URI as name", "", recipe{template: func(c *x509.Certificate) {
		c.EmailAddresses, c.URIs = nil, []*url.URL{{Scheme: "https", Host: "acme.example", Path: "/w.yml@refs/heads/main"}}
	}}, identity(vectorIdentity{"https://acme.example/w.yml@refs/heads/main", localIssuer}))

	// Errors of the caller.
	add("neither identities nor keys", "policy-missing", recipe{}, identity())
	add("identities and keys", "policy-missing", recipe{}, key("P-256"))
	add("an identity without an issuer", "identity-missing", recipe{}, identity(vectorIdentity{localName, ""}))
	add("an identity without a name", "identity-missing", recipe{}, identity(vectorIdentity{"", localIssuer}))
	add("a damaged key", "key-malformed", recipe{key: ec, managed: true}, key("damaged"))
	for _, name := range []string{"no start", "a wrong time", "another media type", "an unknown member", "data at the end of a certificate", "a default in a certificate", "a log with another hash algorithm", "a certificate of version 1", "a certificate of version 2", "a certificate of version 67", "twice the same log"} {
		add("a trusted root with "+name, "trusted-root-malformed", recipe{}, root(name))
	}
	add("no trusted root", "trusted-root-malformed", recipe{}, root())
	add("a bare signature without the artifact", "artifact-missing", recipe{}, artifact(""))
	add("a bare signature with the digest of the artifact", "artifact-missing", recipe{}, byDigest(hex.EncodeToString(h[:])))

	// Steps 1 to 3.
	add("an unknown version", "bundle-version", recipe{change: func(tree map[string]any) { tree["mediaType"] = MediaTypePrefix + ".v0.4+json" }}, nil)
	add("no media type", "bundle-malformed", recipe{change: drop("mediaType")}, nil)
	add("an unknown member", "bundle-malformed", recipe{change: entry(nil, "x", "y")}, nil)
	add("a negative index", "bundle-malformed", recipe{change: entry(nil, "logIndex", "-1")}, nil)
	add("a number with a fraction", "bundle-malformed", recipe{change: entry(nil, "logIndex", 1.5)}, nil)
	add("two signatures", "bundle-malformed", recipe{payload: statement, change: func(tree map[string]any) {
		e := tree["dsseEnvelope"].(map[string]any)
		e["signatures"] = append(e["signatures"].([]any), e["signatures"].([]any)[0])
	}}, nil)
	add("an envelope and a bare signature", "bundle-malformed", recipe{change: func(tree map[string]any) {
		tree["dsseEnvelope"] = object{"payload": "", "payloadType": "x", "signatures": []any{}}
	}}, nil)
	for _, bad := range badInputs {
		add(bad.name, "bundle-malformed", recipe{payload: statement}, func(c *vector) { c.Bundle = bad.change(c.Bundle) })
	}
	add("a payload type that lies", "signature", recipe{key: ec, managed: true, payload: statement, payType: "text/plain", change: func(tree map[string]any) {
		tree["dsseEnvelope"].(map[string]any)["payloadType"] = "application/vnd.in-toto+json"
	}}, key("P-256"))
	add("a chain in version 0.3", "bundle-malformed", recipe{change: chained(3)}, nil)
	add("a chain in version 0.2", "", recipe{change: chained(2)}, nil)
	add("version 0.1 without an inclusion promise", "promise-missing", recipe{v2: true, change: chained(1)}, nil)
	add("no inclusion proof", "proof-missing", recipe{change: entry(nil, "inclusionProof", nil)}, nil)
	add("no checkpoint", "proof-missing", recipe{change: entry([]any{"inclusionProof"}, "checkpoint", nil)}, nil)
	add("a key where a certificate is expected", "material-mismatch", recipe{key: ec, managed: true}, identity(me...))
	add("a certificate where a key is expected", "material-mismatch", recipe{}, func(c *vector) { c.Identities, c.Keys = nil, []string{"P-256"} })
	add("another artifact", "artifact-mismatch", recipe{}, artifact("other"))
	add("another artifact, envelope", "artifact-mismatch", recipe{payload: statement}, artifact("other"))
	add("a subject with one right and one wrong digest", "artifact-mismatch", recipe{payload: about(`,"sha512":"00"`)}, nil)
	add("a subject with two digests of an algorithm", "statement-malformed", recipe{payload: about(`,"SHA256":"00"`)}, nil)
	add("an envelope of another type", "statement-malformed", recipe{payload: statement, payType: "text/plain"}, nil)
	add("a payload that is not JSON", "statement-malformed", recipe{payload: []byte("{")}, nil)
	add("a payload with a duplicate member", "statement-malformed", recipe{payload: bytes.Replace(statement, []byte(`"predicate":{`), []byte(`"predicate":{"ratio":1,`), 1)}, nil)
	add("an unsupported digest", "algorithm-unsupported", recipe{change: func(tree map[string]any) {
		at(tree, "messageSignature", "messageDigest").(map[string]any)["algorithm"] = "SHA3_256"
	}}, nil)

	// Step 4.
	add("no log entry", "entry-missing", recipe{change: func(tree map[string]any) { delete(at(tree, entry0).(map[string]any), "tlogEntries") }}, nil)
	add("twice the same log entry", "entry-duplicate", recipe{change: func(tree map[string]any) {
		m := at(tree, entry0).(map[string]any)
		m["tlogEntries"] = append(m["tlogEntries"].([]any), m["tlogEntries"].([]any)[0])
	}}, nil)
	add("an entry of another kind", "entry-kind", recipe{change: entry([]any{"kindVersion"}, "kind", "rpm")}, nil)
	add("a bare signature with an entry about an envelope", "entry-kind", recipe{kind: "dsse 0.0.1"}, nil)
	add("an entry whose body is of another kind", "entry-malformed", recipe{payload: statement, change: func(tree map[string]any) {
		entry(nil, "kindVersion", object{"kind": "intoto", "version": "0.0.2"})(tree)
	}}, nil)
	add("another signature", "entry-signature", recipe{change: flip("messageSignature", "signature")}, nil)
	add("another signature, Rekor v2", "entry-signature", recipe{v2: true, change: flip("messageSignature", "signature")}, nil)
	add("another signature, envelope", "entry-signature", recipe{payload: statement, change: func(tree map[string]any) {
		flip("sig")(at(tree, "dsseEnvelope", "signatures", 0).(map[string]any))
	}}, nil)
	add("another certificate", "entry-key", recipe{change: flip(entry0, "certificate", "rawBytes")}, nil)
	add("another managed key", "entry-key", recipe{key: ec, managed: true}, key("another"))
	add("a tampered payload", "entry-digest", recipe{payload: statement, change: func(tree map[string]any) {
		tree["dsseEnvelope"].(map[string]any)["payload"] = base64Of(bytes.Replace(statement, []byte("ratio"), []byte("RATIO"), 1))
	}}, nil)
	add("a tampered payload, Rekor v2", "entry-digest", recipe{v2: true, payload: statement, change: func(tree map[string]any) {
		tree["dsseEnvelope"].(map[string]any)["payload"] = base64Of(bytes.Replace(statement, []byte("ratio"), []byte("RATIO"), 1))
	}}, nil)
	add("a forged inclusion promise", "promise-signature", recipe{change: flip(entry0, "tlogEntries", 0, "inclusionPromise", "signedEntryTimestamp")}, nil)
	add("an inclusion promise of another log", "promise-signature", recipe{key: ec, managed: true, change: forgedBy(recipe{}, "inclusionPromise")}, key("P-256"))
	add("an inclusion promise of another time", "promise-signature", recipe{change: entry(nil, "integratedTime", fmt.Sprint(signingTime.Unix()+1))}, nil)
	add("an inclusion promise of another index", "promise-signature", recipe{change: entry(nil, "logIndex", "100002")}, nil)
	add("a checkpoint of another log", "checkpoint-invalid", recipe{key: ec, managed: true, change: forgedBy(recipe{}, "inclusionProof", "checkpoint")}, key("P-256"))
	add("a checkpoint of another log, Rekor v2", "checkpoint-invalid", recipe{v2: true, key: ec, managed: true, change: forgedBy(recipe{v2: true}, "inclusionProof", "checkpoint")}, key("P-256"))
	add("a checkpoint with another origin", "checkpoint-invalid", recipe{v2: true, change: checkpoint(func(s string) string { return "x" + s })}, nil)
	add("a checkpoint without a signature", "checkpoint-invalid", recipe{v2: true, change: checkpoint(func(s string) string { return s[:bytes.Index([]byte(s), []byte("\n\n"))+2] })}, nil)
	add("a checkpoint with an unknown signature as well", "", recipe{v2: true, change: checkpoint(func(s string) string { return s + "\u2014 witness.example AAAAAAAAAAAAAAAA\n" })}, nil)
	add("a checkpoint with an unknown signature as well, Rekor v1", "checkpoint-invalid", recipe{change: checkpoint(func(s string) string { return s + "\u2014 witness.example AAAAAAAAAAAAAAAA\n" })}, nil)
	add("a checkpoint of another tree", "checkpoint-mismatch", recipe{change: entry([]any{"inclusionProof"}, "treeSize", "4")}, nil)
	add("a proof of another root", "checkpoint-mismatch", recipe{change: flip(entry0, "tlogEntries", 0, "inclusionProof", "rootHash")}, nil)
	add("an entry with another index than its proof, Rekor v2", "checkpoint-mismatch", recipe{v2: true, change: entry(nil, "logIndex", "2")}, nil)
	add("a proof of another index", "inclusion", recipe{change: entry([]any{"inclusionProof"}, "logIndex", "0")}, nil)
	add("a proof with one hash too few", "inclusion", recipe{change: func(tree map[string]any) {
		p := at(tree, entry0, "tlogEntries", 0, "inclusionProof").(map[string]any)
		p["hashes"] = p["hashes"].([]any)[:1]
	}}, nil)
	add("an unknown log", "log-unknown", recipe{}, root("no logs"))
	add("another instance", "log-unknown", recipe{}, root("other"))
	add("an entry with the ID of no log, Rekor v2", "log-unknown", recipe{v2: true, change: flip(entry0, "tlogEntries", 0, "logId", "keyId")}, nil)

	// Steps 5 to 9.
	add("a log's key that ends before the signing time", "log-validity", recipe{}, root("logs until before"))
	add("a log's key that ends before the signing time, Rekor v2", "log-validity", recipe{v2: true}, root("logs until before"))
	add("Rekor v2 without a timestamp", "time-missing", recipe{v2: true, noStamp: true}, nil)
	add("an unknown timestamp authority", "timestamp-invalid", recipe{v2: true}, root("no timestamps"))
	add("a timestamp authority that ended", "timestamp-invalid", recipe{v2: true}, root("timestamps until before"))
	add("an unknown timestamp authority, but a signed entry", "", recipe{stamp: signingTime}, root("no timestamps"))
	add("a timestamp of another signature", "timestamp-invalid", recipe{v2: true, change: func(tree map[string]any) {
		at(tree, entry0, "timestampVerificationData", "rfc3161Timestamps", 0).(map[string]any)["signedTimestamp"] = base64Of(s.stampOf([]byte("x"), signingTime))
	}}, nil)
	add("a damaged timestamp", "timestamp-invalid", recipe{v2: true, change: func(tree map[string]any) {
		flip("signedTimestamp")(at(tree, entry0, "timestampVerificationData", "rfc3161Timestamps", 0).(map[string]any))
	}}, nil)
	add("an expired certificate", "certificate-time", recipe{at: signingTime.Add(time.Hour)}, nil)
	add("a certificate that is not valid yet", "certificate-time", recipe{at: signingTime.Add(-time.Hour)}, nil)
	add("an expired certificate, by the timestamp", "certificate-time", recipe{v2: true, stamp: signingTime.Add(10 * time.Minute)}, nil)
	add("a certificate that ends at the signing time", "", recipe{at: signingTime.Add(9 * time.Minute)}, nil)
	add("an unknown authority", "certificate-untrusted", recipe{}, root("no authorities"))
	add("an authority from a later time", "certificate-untrusted", recipe{}, root("authorities from later"))
	add("a certificate for servers", "certificate-untrusted", recipe{template: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }}, nil)
	add("a certificate without usage", "certificate-untrusted", recipe{template: func(c *x509.Certificate) { c.ExtKeyUsage = nil }}, nil)
	add("a certificate that states not to be a CA", "certificate-malformed", recipe{template: func(c *x509.Certificate) {
		// The default of cA is FALSE.
		c.BasicConstraintsValid = false
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: basicConstraints, Value: []byte{0x30, 3, 1, 1, 0}})
	}}, nil)
	add("no signed certificate timestamp", "sct-missing", recipe{noSCT: true}, nil)
	add("an unknown certificate log", "sct-invalid", recipe{}, root("no certificate logs"))
	add("a certificate log from a later time", "sct-invalid", recipe{}, root("certificate logs from later"))
	add("a certificate that was not the logged one", "sct-invalid", recipe{noSCT: true, template: withForeignSCT(other)}, nil)
	add("Ed25519, bare", "algorithm-unsupported", recipe{key: ed, managed: true}, key("Ed25519"))
	add("P-256 with SHA-512", "algorithm-unsupported", recipe{key: ec, managed: true, hash: crypto.SHA512}, key("P-256"))
	add("RSA with SHA-512, envelope", "signature", recipe{key: rsa, managed: true, hash: crypto.SHA512, payload: statement}, key("RSA"))
	add("another name", "identity-mismatch", recipe{}, identity(vectorIdentity{"x@acme.example", localIssuer}))
	add("the name in other case", "identity-mismatch", recipe{}, identity(vectorIdentity{"CI@acme.example", localIssuer}))
	add("another issuer", "issuer-mismatch", recipe{}, identity(vectorIdentity{localName, localIssuer + "/"}))
	add("name and issuer of two identities", "identity-mismatch", recipe{}, identity(vectorIdentity{localName, "https://x.example"}, vectorIdentity{"x@acme.example", localIssuer}))
	add("two roots, neither of them", "sct-invalid", recipe{}, root("other", "no certificate logs"))
	for i := range v.Cases {
		c := &v.Cases[i]
		if c.Verdict == "verified" && len(c.Identities) == 1 {
			c.Signer = &vectorSigner{Name: c.Identities[0].Name, Issuer: c.Identities[0].Issuer}
		}
		if c.Verdict == "verified" && len(c.Keys) > 0 {
			c.Signer = &vectorSigner{Key: c.Keys[len(c.Keys)-1]}
		}
	}
	return v
}

// chained gives a bundle an older version, and a chain in place of the
// certificate.
func chained(version int) func(map[string]any) {
	return func(tree map[string]any) {
		tree["mediaType"] = fmt.Sprintf("%s+json;version=0.%d", MediaTypePrefix, version)
		m := at(tree, entry0).(map[string]any)
		m["x509CertificateChain"] = object{"certificates": []any{m["certificate"], object{"rawBytes": "AAAA"}}}
		delete(m, "certificate")
	}
}

// withForeignSCT adds a timestamp of another instance for another certificate.
func withForeignSCT(other *localSigstore) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkixExtension(other.sct([]byte("tbs"))))
	}
}

// changedAnchor changes the anchor of the certificate authority.
func changedAnchor(t testing.TB, change func([]byte) []byte) func(map[string]any) {
	return func(tree map[string]any) {
		authority := tree["certificateAuthorities"].([]any)[0].(map[string]any)
		certs := authority["certChain"].(map[string]any)["certificates"].([]any)
		last := certs[len(certs)-1].(map[string]any)
		der, err := base64.StdEncoding.DecodeString(last["rawBytes"].(string))
		if err != nil {
			t.Fatal(err)
		}
		last["rawBytes"] = base64.StdEncoding.EncodeToString(change(der))
	}
}

// ofVersion changes the version of a certificate. Zero is version 1.
func ofVersion(version byte) func([]byte) []byte {
	return func(der []byte) []byte {
		return bytes.Replace(der, []byte{0xa0, 3, 2, 1, 2}, []byte{0xa0, 3, 2, 1, version}, 1)
	}
}

// withData returns a certificate with NULL after its last element.
func withData(t testing.TB, der []byte) []byte {
	in := cryptobyte.String(der)
	var content cryptobyte.String
	if !in.ReadASN1(&content, casn1.SEQUENCE) {
		t.Fatal("not a certificate")
	}
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(append(content, 5, 0)) })
	return b.BytesOrPanic()
}
