package sigstore

import (
	"fmt"

	"muniment.dev/muniment/ledger/entry/strictjson"
)

// Limits of docs/spec/sigstore-verification.md, section 2.
const (
	maxEntries     = 32
	maxStamps      = 32
	maxChain       = 16
	maxProofHashes = 63
	maxCheckpoint  = 1 << 20
)

// A bundleDocument is a bundle in the form of
// docs/spec/sigstore-verification.md, section 2.
type bundleDocument struct {
	version     int    // 1 to 3, for 0.1 to 0.3
	certificate []byte // nil if the bundle was signed with a key
	entries     []entryDocument
	stamps      [][]byte
	signature   []byte

	digestAlgorithm string // of a bare signature, otherwise ""
	digest          []byte
	payloadType     string // of an envelope
	payload         []byte
}

func (b *bundleDocument) bare() bool { return b.digestAlgorithm != "" }

// An entryDocument is an entry of a transparency log.
type entryDocument struct {
	log            []byte
	kind, version  string
	body           []byte
	index          int64
	integratedTime int64
	promise        []byte // nil if absent
	proof          *proofDocument
}

// isV2 reports whether the entry is one of Rekor v2.
func (e *entryDocument) isV2() bool { return e.kind == "hashedrekord" && e.version == "0.0.2" }

type proofDocument struct {
	checkpoint  string // "" if absent
	root        []byte
	size, index int64
	hashes      [][]byte
}

var bundleVersions = map[string]int{
	MediaTypePrefix + "+json;version=0.1": 1,
	MediaTypePrefix + "+json;version=0.2": 2,
	MediaTypePrefix + "+json;version=0.3": 3,
	MediaTypePrefix + ".v0.3+json":        3,
}

// parseBundle performs step 1.
func parseBundle(data []byte) (*bundleDocument, *Refusal) {
	if len(data) > MaxBundleSize {
		return nil, refuse("bundle-malformed", "%d bytes, more than %d", len(data), MaxBundleSize)
	}
	tree, err := strictjson.Members(data)
	if err != nil {
		return nil, refuse("bundle-malformed", "%w", err)
	}
	b := &bundleDocument{}
	if mediaType, ok := tree["mediaType"].(string); ok {
		if b.version = bundleVersions[mediaType]; b.version == 0 {
			return nil, refuse("bundle-version", "unsupported media type %.80q", mediaType)
		}
	}
	m := &members{}
	b.read(m, tree)
	if m.err != nil {
		return nil, refuse("bundle-malformed", "%w", m.err)
	}
	return b, b.checkEntries()
}

func (b *bundleDocument) read(m *members, tree map[string]any) {
	o := m.object(tree, "bundle", "mediaType", "verificationMaterial", "messageSignature", "dsseEnvelope")
	m.text(o["mediaType"], "mediaType")
	if (o["messageSignature"] == nil) == (o["dsseEnvelope"] == nil) {
		m.fail("bundle", "must have either messageSignature or dsseEnvelope")
		return
	}
	b.readMaterial(m, o["verificationMaterial"])
	if o["messageSignature"] != nil {
		s := m.object(o["messageSignature"], "messageSignature", "messageDigest", "signature")
		d := m.object(s["messageDigest"], "messageSignature.messageDigest", "algorithm", "digest")
		b.digestAlgorithm = m.text(d["algorithm"], "messageSignature.messageDigest.algorithm")
		b.digest = m.bytes(d["digest"], "messageSignature.messageDigest.digest")
		b.signature = m.bytes(s["signature"], "messageSignature.signature")
		return
	}
	e := m.object(o["dsseEnvelope"], "dsseEnvelope", "payload", "payloadType", "signatures")
	b.payloadType = m.text(e["payloadType"], "dsseEnvelope.payloadType")
	if text, ok := e["payload"].(string); !ok || text != "" {
		b.payload = m.bytes(e["payload"], "dsseEnvelope.payload")
	}
	signatures := m.list(e["signatures"], "dsseEnvelope.signatures", 1)
	if len(signatures) != 1 {
		m.fail("dsseEnvelope.signatures", "must be exactly one")
		return
	}
	s := m.object(signatures[0], "dsseEnvelope.signatures[0]", "sig", "keyid")
	m.optionalText(s["keyid"], "dsseEnvelope.signatures[0].keyid")
	b.signature = m.bytes(s["sig"], "dsseEnvelope.signatures[0].sig")
}

func (b *bundleDocument) readMaterial(m *members, v any) {
	o := m.object(v, "verificationMaterial", "certificate", "x509CertificateChain", "publicKey", "tlogEntries", "timestampVerificationData")
	n := 0
	for _, name := range []string{"certificate", "x509CertificateChain", "publicKey"} {
		if o[name] != nil {
			n++
		}
	}
	switch {
	case n != 1:
		m.fail("verificationMaterial", "must have exactly one of certificate, x509CertificateChain and publicKey")
	case o["certificate"] != nil:
		b.certificate = m.certificate(o["certificate"], "verificationMaterial.certificate")
	case o["publicKey"] != nil:
		k := m.object(o["publicKey"], "verificationMaterial.publicKey", "hint")
		m.optionalText(k["hint"], "verificationMaterial.publicKey.hint")
	case b.version == 3:
		m.fail("verificationMaterial", "a bundle of version 0.3 has no x509CertificateChain")
	default:
		if chain := m.chain(o["x509CertificateChain"], "verificationMaterial.x509CertificateChain"); len(chain) > 0 {
			b.certificate = chain[0] // the others are not used
		}
	}
	for i, v := range m.list(o["tlogEntries"], "verificationMaterial.tlogEntries", maxEntries) {
		b.entries = append(b.entries, readEntry(m, v, fmt.Sprintf("verificationMaterial.tlogEntries[%d]", i)))
	}
	if o["timestampVerificationData"] == nil {
		return
	}
	const path = "verificationMaterial.timestampVerificationData"
	t := m.object(o["timestampVerificationData"], path, "rfc3161Timestamps")
	for _, v := range m.list(t["rfc3161Timestamps"], path, maxStamps) {
		b.stamps = append(b.stamps, m.bytes(m.object(v, path, "signedTimestamp")["signedTimestamp"], path))
	}
}

func (m *members) certificate(v any, path string) []byte {
	return m.bytes(m.object(v, path, "rawBytes")["rawBytes"], path+".rawBytes")
}

func (m *members) chain(v any, path string) (chain [][]byte) {
	for _, c := range m.list(m.object(v, path, "certificates")["certificates"], path, maxChain) {
		chain = append(chain, m.certificate(c, path))
	}
	if len(chain) == 0 {
		m.fail(path, "no certificates")
	}
	return chain
}

func readEntry(m *members, v any, path string) entryDocument {
	o := m.object(v, path, "logId", "kindVersion", "canonicalizedBody", "logIndex", "integratedTime", "inclusionPromise", "inclusionProof")
	kind := m.object(o["kindVersion"], path+".kindVersion", "kind", "version")
	e := entryDocument{
		log:     m.bytes(m.object(o["logId"], path+".logId", "keyId")["keyId"], path+".logId.keyId"),
		kind:    m.text(kind["kind"], path+".kindVersion.kind"),
		version: m.text(kind["version"], path+".kindVersion.version"),
		body:    m.bytes(o["canonicalizedBody"], path+".canonicalizedBody"),
		index:   m.integer(o["logIndex"], path+".logIndex"), integratedTime: m.integer(o["integratedTime"], path+".integratedTime"),
	}
	if p := o["inclusionPromise"]; p != nil {
		e.promise = m.bytes(m.object(p, path+".inclusionPromise", "signedEntryTimestamp")["signedEntryTimestamp"], path+".inclusionPromise")
	}
	if o["inclusionProof"] == nil {
		return e
	}
	path += ".inclusionProof"
	p := m.object(o["inclusionProof"], path, "checkpoint", "rootHash", "treeSize", "logIndex", "hashes")
	e.proof = &proofDocument{root: m.hash(p["rootHash"], path+".rootHash"), size: m.integer(p["treeSize"], path+".treeSize"), index: m.integer(p["logIndex"], path+".logIndex")}
	if p["checkpoint"] != nil {
		e.proof.checkpoint = m.text(m.object(p["checkpoint"], path+".checkpoint", "envelope")["envelope"], path+".checkpoint.envelope")
	}
	for _, h := range m.list(p["hashes"], path+".hashes", maxProofHashes) {
		e.proof.hashes = append(e.proof.hashes, m.hash(h, path+".hashes"))
	}
	return e
}

// checkEntries checks that the entries have what the bundle's version requires.
func (b *bundleDocument) checkEntries() *Refusal {
	for i, e := range b.entries {
		switch {
		case b.version == 1 && e.promise == nil:
			return refuse("promise-missing", "log entry %d has no inclusion promise, which bundles of version 0.1 require", i)
		case (b.version > 1 || e.isV2()) && e.proof == nil:
			return refuse("proof-missing", "log entry %d has no inclusion proof", i)
		case e.proof != nil && e.proof.checkpoint == "":
			return refuse("proof-missing", "the inclusion proof of log entry %d has no checkpoint", i)
		}
	}
	return nil
}
