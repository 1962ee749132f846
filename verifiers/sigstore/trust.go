package sigstore

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/entry/strictjson"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/intoto"
)

// A Trust specifies which bundles to accept: the trusted roots, and either the
// accepted identities or the accepted keys. Goroutines can share it.
type Trust struct {
	roots      []*TrustedRoot
	identities []Identity
	keys       []*dsse.Key
}

// NewTrust checks the inputs of a verification. Each root is one document, and
// each key is the PEM form of a SubjectPublicKeyInfo. Regular expressions of
// identities are not used.
func NewTrust(roots [][]byte, identities []Identity, keys [][]byte) (*Trust, error) {
	t := &Trust{identities: identities}
	if (len(identities) == 0) == (len(keys) == 0) {
		return nil, refuse("policy-missing", "specify either identities or keys")
	}
	for _, id := range identities {
		if id.Name == "" || id.Issuer == "" {
			return nil, refuse("identity-missing", "an identity needs a name and an issuer: without them, anybody's signature would be accepted")
		}
	}
	if len(keys) > MaxKeys {
		return nil, refuse("key-malformed", "%d keys, more than %d", len(keys), MaxKeys)
	}
	for i, text := range keys {
		k, err := parseKey(fmt.Sprint(i), text)
		if err != nil {
			return nil, refuse("key-malformed", "key %d: %w", i+1, err)
		}
		t.keys = append(t.keys, k)
	}
	if len(roots) == 0 || len(roots) > MaxTrustedRoots {
		return nil, refuse("trusted-root-malformed", "%d trusted roots; must be 1 to %d", len(roots), MaxTrustedRoots)
	}
	for i, data := range roots {
		err := checkRoot(data)
		if err != nil {
			return nil, refuse("trusted-root-malformed", "trusted root %d: %w", i+1, err)
		}
		r, err := ParseTrustedRoot(data)
		if err != nil {
			return nil, refuse("trusted-root-malformed", "trusted root %d: %w", i+1, err)
		}
		t.roots = append(t.roots, r)
	}
	return t, nil
}

var pemForm = regexp.MustCompile(`^[ \t\r\n]*-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END (CERTIFICATE|PUBLIC KEY)-----[ \t\r\n]*$`)

// readPEM returns the content of the only block of a text.
func readPEM(label, text string) ([]byte, error) {
	parts := pemForm.FindStringSubmatch(text)
	if parts == nil || parts[1] != label || parts[3] != label {
		return nil, fmt.Errorf("not one PEM block of the type %s", label)
	}
	return strictjson.ParseBase64(strings.NewReplacer("\r", "", "\n", "").Replace(parts[2]))
}

func parseKey(name string, text []byte) (*dsse.Key, error) {
	der, err := readPEM("PUBLIC KEY", string(text))
	if err != nil {
		return nil, err
	}
	if err := checkKeyForm(der); err != nil {
		return nil, err
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	if _, err := algorithmOf(public); err != nil {
		return nil, err
	}
	return dsse.NewKey(name, public)
}

// Verify returns the signer and the content of a bundle. The artifact can be
// nil if the bundle contains an envelope. The error is a *Refusal. It wraps
// ErrNotVerified if it is a verdict.
func (t *Trust) Verify(bundle []byte, a *Artifact) (*Verified, error) {
	doc, refusal := parseBundle(bundle)
	if refusal != nil {
		return nil, refusal
	}
	keys := t.keys
	if len(keys) == 0 {
		keys = []*dsse.Key{nil}
	}
	for _, root := range t.roots {
		for _, key := range keys {
			one := &attempt{bundleDocument: doc, trust: t, root: root, key: key, artifact: a}
			failed := one.run()
			if failed == nil {
				out, err := one.library(bundle)
				if err == nil {
					slices.SortFunc(one.times, time.Time.Compare)
					out.SignedTimes = slices.CompactFunc(one.times, func(a, b time.Time) bool { return a.UnixMilli() == b.UnixMilli() })
					return out, nil
				}
				failed = refuse("library", "%w", err)
			}
			if refusal == nil || Steps[failed.Code] > Steps[refusal.Code] {
				refusal = failed
			}
		}
	}
	return nil, refusal
}

// An attempt verifies a bundle under one root, with one key or none.
type attempt struct {
	*bundleDocument
	trust    *Trust
	root     *TrustedRoot
	key      *dsse.Key // nil for certificates
	artifact *Artifact

	message []byte // what was signed
	times   []time.Time
	chains  [][]*x509.Certificate
	leaf    *x509.Certificate
}

func (a *attempt) run() *Refusal {
	steps := []func() *Refusal{a.checkMaterial, a.checkArtifact, a.checkLogEntries, a.checkTimes, a.checkCertificate, a.checkSCTs, a.checkSignature, a.checkIdentity}
	for _, step := range steps {
		if r := step(); r != nil {
			return r
		}
	}
	return nil
}

// checkMaterial is step 2.
func (a *attempt) checkMaterial() *Refusal {
	switch {
	case a.key == nil && a.certificate == nil:
		return refuse("material-mismatch", "the bundle was signed with a key, not with a certificate: give the public key")
	case a.key != nil && a.certificate != nil:
		return refuse("material-mismatch", "the bundle was signed with a certificate, not with a key")
	}
	return nil
}

var hashNames = map[string]crypto.Hash{"SHA2_256": crypto.SHA256, "SHA2_384": crypto.SHA384, "SHA2_512": crypto.SHA512}

// checkArtifact is step 3.
func (a *attempt) checkArtifact() *Refusal {
	if !a.bare() {
		a.message = sslib.PAE(a.payloadType, a.payload)
		return a.checkStatement()
	}
	hash, ok := hashNames[a.digestAlgorithm]
	if !ok {
		return refuse("algorithm-unsupported", "the message digest is of the unsupported algorithm %.40q", a.digestAlgorithm)
	}
	if a.artifact == nil || a.artifact.content == nil {
		return refuse("artifact-missing", "a bare signature is over the artifact: specify the artifact itself")
	}
	var err error
	if a.message, err = a.artifact.message(); err != nil {
		return refuse("artifact-missing", "%w", err)
	}
	if !bytes.Equal(sum(hash, a.message), a.digest) {
		return refuse("artifact-mismatch", "the artifact is %s, but the signature is over another one", a.artifact.Digest())
	}
	return nil
}

func sum(h crypto.Hash, data []byte) []byte {
	hash := h.New()
	hash.Write(data)
	return hash.Sum(nil)
}

func (a *attempt) checkStatement() *Refusal {
	if a.artifact == nil {
		return nil
	}
	if a.payloadType != intoto.MediaType {
		return refuse("statement-malformed", "the envelope signs a document of type %.80q, which names no artifact", a.payloadType)
	}
	subjects, err := statementSubjects(a.payload)
	if err != nil {
		return refuse("statement-malformed", "%w", err)
	}
	if !a.artifact.IsOneOf(subjects) {
		return refuse("artifact-mismatch", "the artifact %s is not a subject of the statement", a.artifact.Digest())
	}
	return nil
}

// checkSignature is step 8.
func (a *attempt) checkSignature() *Refusal {
	public := a.public()
	hashes, err := hashesFor(public, a.bundleDocument)
	if err != nil {
		return refuse("algorithm-unsupported", "%w", err)
	}
	for _, h := range hashes {
		if signedBy(public, h, a.message, a.signature) {
			return nil
		}
	}
	return refuse("signature", "the signature is not by the key, or over other content")
}

func (a *attempt) public() crypto.PublicKey {
	if a.key != nil {
		return a.key.Public()
	}
	return a.leaf.PublicKey
}

// checkIdentity is step 9.
func (a *attempt) checkIdentity() *Refusal {
	if a.key != nil {
		return nil
	}
	signer := signerOf(a.leaf)
	issued := false
	for _, id := range a.trust.identities {
		if id.Issuer != signer.Issuer {
			continue
		}
		if issued = true; id.Name == signer.Identity {
			return nil
		}
	}
	if !issued {
		return refuse("issuer-mismatch", "the certificate's identity is from issuer %q", signer.Issuer)
	}
	return refuse("identity-mismatch", "the certificate was issued to %q", signer.Identity)
}

// library verifies the bundle with sigstore-go, which must agree.
func (a *attempt) library(bundle []byte) (*Verified, error) {
	b, err := Parse(bundle)
	if err != nil {
		return nil, err
	}
	if a.key != nil {
		v, err := NewKeyVerifier([]*dsse.Key{a.key}, a.root, ForKeys)
		if err != nil {
			return nil, err
		}
		return v.Verify(b, a.artifact)
	}
	v, err := NewCertificateVerifier(a.root, ForCertificates)
	if err != nil {
		return nil, err
	}
	out, err := v.Verify(b, a.artifact)
	if err != nil {
		return nil, err
	}
	if want := signerOf(a.leaf); out.Signer != want {
		return nil, errors.New("the signer is read differently")
	}
	return out, nil
}

// signerOf returns the identity in a certificate by section 10 of the
// specification.
func signerOf(cert *x509.Certificate) entry.Signer {
	return entry.Signer{Identity: subjectName(cert), Issuer: issuerName(cert)}
}
