package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/transparency-dev/merkle/rfc6962"

	"muniment.dev/muniment/verifiers/intoto"
)

// signingTime is the time of all signatures in the vectors.
var signingTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const (
	localName   = "ci@acme.example"
	localIssuer = "https://issuer.example"
)

// A localSigstore is an instance of Sigstore in memory, which signs whatever a
// recipe asks for: an issuing authority, logs of certificates and of
// signatures, and a timestamp authority.
type localSigstore struct {
	t            testing.TB
	root, issuer issued
	tsaRoot, tsa issued
	ct, rekor    *ecdsa.PrivateKey
	rekorV2      ed25519.PrivateKey
}

// issued is a certificate and its key.
type issued struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newLocalSigstore(t testing.TB) *localSigstore {
	s := &localSigstore{t: t, ct: newKey(t, elliptic.P256()), rekor: newKey(t, elliptic.P256())}
	var err error
	if _, s.rekorV2, err = ed25519.GenerateKey(nil); err != nil {
		t.Fatal(err)
	}
	ca := func(name string, usage x509.ExtKeyUsage, by issued) issued {
		template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
			NotBefore: signingTime.AddDate(-1, 0, 0), NotAfter: signingTime.AddDate(9, 0, 0)}
		if by.cert != nil {
			template.ExtKeyUsage, template.MaxPathLenZero = []x509.ExtKeyUsage{usage}, true
		}
		return s.issue(template, newKey(t, elliptic.P384()), by)
	}
	s.root = ca("Local Root", 0, issued{})
	s.issuer = ca("Local Issuer", x509.ExtKeyUsageCodeSigning, s.root)
	s.tsaRoot = ca("Local Timestamp Root", 0, issued{})
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	s.tsa = s.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "Local Timestamps"}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: signingTime.AddDate(-1, 0, 0), NotAfter: signingTime.AddDate(1, 0, 0),
		ExtraExtensions: []pkix.Extension{{Id: oidExtKeyUsage, Critical: true, Value: usage}}}, newKey(t, elliptic.P256()), s.tsaRoot)
	return s
}

func newKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue signs a certificate, with its own key if there is no issuer.
func (s *localSigstore) issue(template *x509.Certificate, key crypto.Signer, by issued) issued {
	if by.cert == nil {
		by = issued{template, key}
	}
	if template.SerialNumber == nil {
		serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
		if err != nil {
			s.t.Fatal(err)
		}
		template.SerialNumber = serial
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	return issued{cert, key}
}

// A recipe describes a bundle. The zero value is one with a bare signature by a
// certificate, in Rekor v1.
type recipe struct {
	key      crypto.Signer // P-256 by default
	managed  bool          // signed with the key, without a certificate
	hash     crypto.Hash   // of the signature; SHA-256 by default
	payload  []byte        // of an envelope
	payType  string        // of the payload; in-toto by default
	artifact []byte        // of a bare signature; hello by default
	kind     string        // of the log entry, such as "intoto 0.0.2"
	v2       bool          // logged in Rekor v2
	stamp    time.Time     // of the timestamp; none if zero, but the signing time for v2
	noStamp  bool
	template func(*x509.Certificate) // changes the certificate
	noSCT    bool
	at       time.Time // of the log entry; the signing time by default
	change   func(tree map[string]any)
}

func (s *localSigstore) bundle(r recipe) []byte {
	if r.key == nil {
		r.key = newKey(s.t, elliptic.P256())
	}
	if r.hash == 0 {
		r.hash = crypto.SHA256
	}
	if r.artifact == nil {
		r.artifact = []byte(hello)
	}
	if r.payType == "" {
		r.payType = intoto.MediaType
	}
	if r.at.IsZero() {
		r.at = signingTime
	}
	if r.v2 && r.stamp.IsZero() && !r.noStamp {
		r.stamp = signingTime
	}
	message, content := r.artifact, ""
	if r.payload != nil {
		message, content = sslib.PAE(r.payType, r.payload), "dsse 0.0.1"
	} else {
		content = "hashedrekord 0.0.1"
	}
	if r.v2 {
		content = "hashedrekord 0.0.2"
	}
	if r.kind == "" {
		r.kind = content
	}
	signature := signMessage(s.t, r.key, r.hash, message)
	verifier, block := s.verifierOf(&r)
	body := s.body(&r, verifier, block, message, signature)
	material := object{"tlogEntries": []any{s.entry(&r, body)}}
	if r.managed {
		material["publicKey"] = object{"hint": "key"}
	} else {
		material["certificate"] = object{"rawBytes": base64Of(verifier)}
	}
	if !r.stamp.IsZero() {
		material["timestampVerificationData"] = object{"rfc3161Timestamps": []any{object{"signedTimestamp": base64Of(s.stampOf(signature, r.stamp))}}}
	}
	tree := object{"mediaType": MediaTypePrefix + ".v0.3+json", "verificationMaterial": material}
	if r.payload != nil {
		tree["dsseEnvelope"] = object{"payload": base64Of(r.payload), "payloadType": r.payType, "signatures": []any{object{"sig": base64Of(signature)}}}
	} else {
		tree["messageSignature"] = object{"messageDigest": object{"algorithm": fmt.Sprintf("SHA2_%d", 8*r.hash.Size()), "digest": base64Of(sum(r.hash, r.artifact))}, "signature": base64Of(signature)}
	}
	if r.change != nil {
		r.change(tree)
	}
	return document(s.t, tree)
}

func signMessage(t testing.TB, key crypto.Signer, hash crypto.Hash, message []byte) []byte {
	if _, ok := key.(ed25519.PrivateKey); ok {
		return sign(t, key, message, crypto.Hash(0))
	}
	return sign(t, key, sum(hash, message), hash)
}

// verifierOf returns the DER of the certificate or key, and its PEM label.
func (s *localSigstore) verifierOf(r *recipe) (der []byte, block string) {
	if r.managed {
		der, err := x509.MarshalPKIXPublicKey(r.key.Public())
		if err != nil {
			s.t.Fatal(err)
		}
		return der, "PUBLIC KEY"
	}
	issuer, err := asn1.MarshalWithParams(localIssuer, "utf8")
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: signingTime.Add(-time.Minute), NotAfter: signingTime.Add(9 * time.Minute),
		EmailAddresses: []string{localName}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: oidIssuerV2, Value: issuer}}}
	if r.template != nil {
		r.template(template)
	}
	if !r.noSCT {
		precertificate := s.issue(template, r.key, s.issuer)
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidSCTs, Value: s.sct(precertificate.cert.RawTBSCertificate)})
	}
	return s.issue(template, r.key, s.issuer).cert.Raw, "CERTIFICATE"
}

// sct returns the extension with a signed certificate timestamp.
func (s *localSigstore) sct(tbs []byte) []byte {
	issuerHash := sha256.Sum256(s.issuer.cert.RawSubjectPublicKeyInfo)
	at := binary.BigEndian.AppendUint64(nil, uint64(signingTime.UnixMilli()))
	signed := append([]byte{0, 0}, at...)
	signed = append(append(signed, 0, 1), issuerHash[:]...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(append(signed, tbs...), 0, 0)
	signature := sign(s.t, s.ct, sum(crypto.SHA256, signed), crypto.SHA256)
	one := append([]byte{0}, sum(crypto.SHA256, spkiOf(s.t, s.ct.Public()))...)
	one = append(append(one, at...), 0, 0, 4, 3)
	one = append(binary.BigEndian.AppendUint16(one, uint16(len(signature))), signature...)
	list := append(binary.BigEndian.AppendUint16(nil, uint16(len(one))), one...)
	list = append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...)
	der, err := asn1.Marshal(list)
	if err != nil {
		s.t.Fatal(err)
	}
	return der
}

func spkiOf(t testing.TB, public crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// body returns the body of the log entry.
func (s *localSigstore) body(r *recipe, verifier []byte, block string, message, signature []byte) []byte {
	text := base64Of(pem.EncodeToMemory(&pem.Block{Type: block, Bytes: verifier}))
	hash := func(h crypto.Hash, data []byte) object {
		return object{"algorithm": fmt.Sprintf("sha%d", 8*h.Size()), "value": fmt.Sprintf("%x", sum(h, data))}
	}
	var spec object
	version := "0.0.1"
	kind := r.kind[:len(r.kind)-len(" 0.0.1")]
	switch r.kind {
	case "hashedrekord 0.0.1":
		spec = object{"data": object{"hash": hash(r.hash, message)}, "signature": object{"content": base64Of(signature), "publicKey": object{"content": text}}}
	case "dsse 0.0.1":
		spec = object{"envelopeHash": hash(crypto.SHA256, message), "payloadHash": hash(crypto.SHA256, r.payload),
			"signatures": []object{{"signature": base64Of(signature), "verifier": text}}}
	case "intoto 0.0.2":
		version = "0.0.2"
		envelope := object{"payloadType": r.payType, "signatures": []object{{"publicKey": text, "sig": base64Of([]byte(base64Of(signature)))}}}
		spec = object{"content": object{"envelope": envelope, "hash": hash(crypto.SHA256, message), "payloadHash": hash(crypto.SHA256, r.payload)}}
	default:
		version = "0.0.2"
		alg, err := algorithmOf(r.key.Public())
		if err != nil || alg.hashes == nil {
			alg = algorithm{"PKIX_ED25519_PH", []crypto.Hash{crypto.SHA512}}
		}
		member := "x509Certificate"
		if r.managed {
			member = "publicKey"
		}
		spec = object{"hashedRekordV002": object{"data": object{"algorithm": fmt.Sprintf("SHA2_%d", 8*alg.hashes[0].Size()), "digest": base64Of(sum(alg.hashes[0], message))},
			"signature": object{"content": base64Of(signature), "verifier": object{"keyDetails": alg.details, member: object{"rawBytes": base64Of(verifier)}}}}}
	}
	return document(s.t, object{"apiVersion": version, "kind": kind, "spec": spec})
}

// entry logs a body as the second of three.
func (s *localSigstore) entry(r *recipe, body []byte) object {
	leaf := rfc6962.DefaultHasher.HashLeaf
	first, third := leaf([]byte("first")), leaf([]byte("third"))
	root := rfc6962.DefaultHasher.HashChildren(rfc6962.DefaultHasher.HashChildren(first, leaf(body)), third)
	log, index := spkiOf(s.t, s.rekor.Public()), int64(1)
	origin, signNote := "rekor.example - 1234", func(text []byte) []byte { return sign(s.t, s.rekor, sum(crypto.SHA256, text), crypto.SHA256) }
	public := s.rekor.Public()
	name := "rekor.example"
	if r.v2 {
		origin, name, public = "rekor2.example", "rekor2.example", s.rekorV2.Public()
		log = spkiOf(s.t, public)
		signNote = func(text []byte) []byte { return ed25519.Sign(s.rekorV2, text) }
	} else {
		index = 100_001 // of the whole log; the proof is in one of its shards
	}
	text := fmt.Sprintf("%s\n3\n%s\n", origin, base64Of(root))
	line := base64Of(append(keyHash(origin, public), signNote([]byte(text))...))
	kind := r.kind[:len(r.kind)-len(" 0.0.1")]
	id := sum(crypto.SHA256, log)
	out := object{"logId": object{"keyId": base64Of(id)}, "kindVersion": object{"kind": kind, "version": r.kind[len(kind)+1:]},
		"logIndex": fmt.Sprint(index), "canonicalizedBody": base64Of(body),
		"inclusionProof": object{"logIndex": "1", "treeSize": "3", "rootHash": base64Of(root), "hashes": []any{base64Of(first), base64Of(third)},
			"checkpoint": object{"envelope": fmt.Sprintf("%s\n\u2014 %s %s\n", text, name, line)}}}
	if !r.v2 {
		promised := fmt.Sprintf(`{"body":"%s","integratedTime":%d,"logID":"%x","logIndex":%d}`, base64Of(body), r.at.Unix(), id, index)
		out["integratedTime"] = fmt.Sprint(r.at.Unix())
		out["inclusionPromise"] = object{"signedEntryTimestamp": base64Of(sign(s.t, s.rekor, sum(crypto.SHA256, []byte(promised)), crypto.SHA256))}
	}
	return out
}

func (s *localSigstore) stampOf(signature []byte, at time.Time) []byte {
	stamp := timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: sum(crypto.SHA256, signature), Time: at, Policy: asn1.ObjectIdentifier{1, 2, 3}, AddTSACertificate: true}
	out, err := stamp.CreateResponseWithOpts(s.tsa.cert, s.tsa.key, crypto.SHA256)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// trustedRoot returns the trusted root of the instance.
func (s *localSigstore) trustedRoot(change func(tree map[string]any)) []byte {
	since := object{"start": "2025-06-01T00:00:00Z"}
	log := func(url, details string, public crypto.PublicKey) object {
		der := spkiOf(s.t, public)
		return object{"baseUrl": url, "hashAlgorithm": "SHA2_256", "logId": object{"keyId": base64Of(sum(crypto.SHA256, der))},
			"publicKey": object{"rawBytes": base64Of(der), "keyDetails": details, "validFor": since}}
	}
	chain := func(certs ...issued) object {
		var list []any
		for _, c := range certs {
			list = append(list, object{"rawBytes": base64Of(c.cert.Raw)})
		}
		return object{"certificates": list}
	}
	tree := object{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs":                  []any{log("https://rekor.example", "PKIX_ECDSA_P256_SHA_256", s.rekor.Public()), log("https://rekor2.example:8080/", "PKIX_ED25519", s.rekorV2.Public())},
		"ctlogs":                 []any{log("https://ct.example", "PKIX_ECDSA_P256_SHA_256", s.ct.Public())},
		"certificateAuthorities": []any{object{"uri": "https://ca.example", "certChain": chain(s.issuer, s.root), "validFor": since}},
		"timestampAuthorities":   []any{object{"uri": "https://tsa.example", "certChain": chain(s.tsa, s.tsaRoot), "validFor": since}},
	}
	if change != nil {
		change(tree)
	}
	return document(s.t, tree)
}

// at returns the value at a path of member names and indexes.
func at(tree any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			tree = tree.(map[string]any)[step]
		case int:
			tree = tree.([]any)[step]
		}
	}
	return tree
}

func rsaKey(t testing.TB) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pkixExtension(scts []byte) pkix.Extension { return pkix.Extension{Id: oidSCTs, Value: scts} }
