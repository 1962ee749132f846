package sigstore

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"muniment.dev/muniment/ledger/entry/strictjson"
)

// An entryBody contains what an entry's body is about.
type entryBody struct {
	signature []byte
	verifier  []byte // DER of the certificate or key; nil if it is neither
	isKey     bool
	algorithm string
	digest    []byte
}

// entryKinds has a row for each kind and version.
var entryKinds = map[string]struct {
	bare, envelope bool
	read           func(m *members, spec map[string]any) entryBody
}{
	"hashedrekord 0.0.1": {bare: true, read: readHashedRekord},
	"dsse 0.0.1":         {envelope: true, read: readDSSE},
	"intoto 0.0.2":       {envelope: true, read: readIntoto},
	"hashedrekord 0.0.2": {bare: true, envelope: true, read: readHashedRekordV2},
}

// checkBody compares an entry's body with the bundle (step 4.1).
func (a *attempt) checkBody(e *entryDocument) *Refusal {
	kind, ok := entryKinds[e.kind+" "+e.version]
	if !ok || a.bare() && !kind.bare || !a.bare() && !kind.envelope {
		return refuse("entry-kind", "entries of kind %.40q, version %.40q are not supported for this signature", e.kind, e.version)
	}
	tree, err := strictjson.Members(e.body)
	if err != nil {
		return refuse("entry-malformed", "log entry: %w", err)
	}
	m := &members{}
	o := m.object(tree, "entry")
	if m.text(o["kind"], "kind") != e.kind || m.text(o["apiVersion"], "apiVersion") != e.version {
		m.fail("entry", "the body is of another kind or version")
	}
	body := kind.read(m, m.object(o["spec"], "spec"))
	if m.err != nil {
		return refuse("entry-malformed", "log entry: %w", m.err)
	}
	verifier, err := a.verifier()
	switch {
	case err != nil:
		return refuse("algorithm-unsupported", "%w", err)
	case !bytes.Equal(body.signature, a.signature):
		return refuse("entry-signature", "the log entry is about another signature")
	case body.isKey != (a.key != nil) || !bytes.Equal(body.verifier, verifier):
		return refuse("entry-key", "the log entry is about another certificate or key")
	case e.isV2():
		return a.checkBodyV2(e, body)
	}
	algorithm, digest := "sha256", sum(crypto.SHA256, a.payload)
	if a.bare() {
		algorithm, digest = digestNames[a.digestAlgorithm], a.digest
	}
	if body.algorithm != algorithm || !bytes.Equal(body.digest, digest) {
		return refuse("entry-digest", "the log entry is about other content")
	}
	return nil
}

// verifier returns the DER of the certificate or of the key.
func (a *attempt) verifier() ([]byte, error) {
	if a.key == nil {
		return a.certificate, nil
	}
	return x509.MarshalPKIXPublicKey(a.key.Public())
}

// checkBodyV2 compares an entry of Rekor v2 with the only text it can be.
func (a *attempt) checkBodyV2(e *entryDocument, body entryBody) *Refusal {
	var public crypto.PublicKey
	member := "publicKey"
	if a.key != nil {
		public = a.key.Public()
	} else {
		cert, err := parseCertificate(a.certificate)
		if err != nil {
			return refuse("certificate-malformed", "%w", err)
		}
		public, member = cert.PublicKey, "x509Certificate"
	}
	alg, err := algorithmOf(public)
	if err == nil && alg.hashes == nil {
		err = fmt.Errorf("entries of Rekor v2 log Ed25519 keys only with Ed25519ph, which is not supported")
	}
	if err != nil {
		return refuse("algorithm-unsupported", "%w", err)
	}
	digest := sum(alg.hashes[0], a.message)
	if !bytes.Equal(body.digest, digest) {
		return refuse("entry-digest", "the log entry is about other content")
	}
	b64 := base64.StdEncoding.EncodeToString
	want := fmt.Sprintf(`{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_%d","digest":"%s"},"signature":{"content":"%s","verifier":{"keyDetails":"%s","%s":{"rawBytes":"%s"}}}}}}`,
		8*len(digest), b64(digest), b64(a.signature), alg.details, member, b64(body.verifier))
	if string(e.body) != want {
		return refuse("entry-malformed", "the log entry is not in its canonical form")
	}
	return nil
}

func (m *members) pem(text string) (der []byte, isKey bool) {
	for _, label := range []string{"CERTIFICATE", "PUBLIC KEY"} {
		if der, err := readPEM(label, text); err == nil {
			return der, label == "PUBLIC KEY"
		}
	}
	return nil, false
}

func (m *members) hashOf(v any, path string) (algorithm string, digest []byte) {
	h := m.object(v, path)
	digest, err := hex.DecodeString(m.text(h["value"], path+".value"))
	if err != nil {
		m.fail(path, "not hexadecimal")
	}
	return m.text(h["algorithm"], path+".algorithm"), digest
}

func readHashedRekord(m *members, spec map[string]any) (b entryBody) {
	s := m.object(spec["signature"], "spec.signature")
	b.signature = m.bytes(s["content"], "spec.signature.content")
	key := m.bytes(m.object(s["publicKey"], "spec.signature.publicKey")["content"], "spec.signature.publicKey.content")
	b.verifier, b.isKey = m.pem(string(key))
	b.algorithm, b.digest = m.hashOf(m.object(spec["data"], "spec.data")["hash"], "spec.data.hash")
	return b
}

// only returns the only element of an array of signatures.
func (m *members) only(v any, path string) map[string]any {
	l := m.list(v, path, 1)
	if len(l) != 1 {
		m.fail(path, "must be exactly one")
		return nil
	}
	return m.object(l[0], path)
}

func readDSSE(m *members, spec map[string]any) (b entryBody) {
	s := m.only(spec["signatures"], "spec.signatures")
	b.signature = m.bytes(s["signature"], "spec.signatures.signature")
	b.verifier, b.isKey = m.pem(string(m.bytes(s["verifier"], "spec.signatures.verifier")))
	b.algorithm, b.digest = m.hashOf(spec["payloadHash"], "spec.payloadHash")
	return b
}

func readIntoto(m *members, spec map[string]any) (b entryBody) {
	content := m.object(spec["content"], "spec.content")
	s := m.only(m.object(content["envelope"], "spec.content.envelope")["signatures"], "spec.content.envelope.signatures")
	b.signature = m.bytes(string(m.bytes(s["sig"], "spec.content.envelope.signatures.sig")), "spec.content.envelope.signatures.sig")
	b.verifier, b.isKey = m.pem(string(m.bytes(s["publicKey"], "spec.content.envelope.signatures.publicKey")))
	b.algorithm, b.digest = m.hashOf(content["payloadHash"], "spec.content.payloadHash")
	return b
}

func readHashedRekordV2(m *members, spec map[string]any) (b entryBody) {
	o := m.object(spec["hashedRekordV002"], "spec.hashedRekordV002")
	s := m.object(o["signature"], "spec.hashedRekordV002.signature")
	b.signature = m.bytes(s["content"], "spec.hashedRekordV002.signature.content")
	v := m.object(s["verifier"], "spec.hashedRekordV002.signature.verifier")
	raw := v["x509Certificate"]
	if b.isKey = v["publicKey"] != nil; b.isKey {
		raw = v["publicKey"]
	}
	b.verifier = m.bytes(m.object(raw, "verifier")["rawBytes"], "verifier.rawBytes")
	d := m.object(o["data"], "spec.hashedRekordV002.data")
	b.algorithm = strings.ToLower(m.text(d["algorithm"], "data.algorithm"))
	b.digest = m.bytes(d["digest"], "data.digest")
	return b
}
