// Package sigstore verifies Sigstore bundles, v0.1 to v0.3
// (https://github.com/sigstore/protobuf-specs), without network access.
//
// It determines a bundle's signer and subjects under a trusted root or with
// given keys. The caller's policy decides whether to trust that signer.
package sigstore

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/shape"
	"muniment.dev/muniment/verifiers/sniff"
)

// MediaTypePrefix is the prefix of the media type of every bundle version.
const MediaTypePrefix = shape.BundleMediaType

// MaxBundleSize is the size limit of a bundle in bytes. A bundle contains the
// whole attestation, and scan reports of 130 MB exist.
const MaxBundleSize = 256 << 20

// ErrMalformed is wrapped by errors about documents that are not bundles or not
// trusted roots.
var ErrMalformed = errors.New("malformed")

// A Bundle is a parsed bundle. Parsing verifies nothing: use Verifier.Verify.
type Bundle struct {
	MediaType     string
	Subjects      []entry.Subject
	PredicateType string
	Signers       []entry.Signer // from the certificate or key hint

	PayloadType string            // of the DSSE envelope, "" if the bundle has a bare signature
	Payload     []byte            // of the DSSE envelope
	Statement   *intoto.Statement // nil unless the payload is one; its predicate is not checked
	// why the payload cannot be read, although it is, or is declared to be, a
	// statement; nil for other payloads
	Unread error

	entity *entity
	digest *messageDigest // of the bare signature
}

// Parse reads a bundle and checks its structure. The error wraps ErrMalformed
// and names the invalid part.
func Parse(data []byte) (*Bundle, error) {
	b, err := parse(data)
	if err != nil {
		if other := sniff.Explain(data); other != nil {
			err = other
		}
		return nil, plain.Malformed(ErrMalformed, "sigstore bundle", err)
	}
	return b, nil
}

func parse(data []byte) (*Bundle, error) {
	if len(data) > MaxBundleSize {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), MaxBundleSize)
	}
	e, err := newEntity(data)
	if err != nil {
		return nil, err
	}
	out := &Bundle{MediaType: e.MediaType, entity: e}
	if err := out.readSigner(); err != nil {
		return nil, err
	}
	if err := out.readContent(); err != nil {
		return nil, err
	}
	return out, nil
}

func (b *Bundle) readSigner() error {
	vc, err := b.entity.VerificationContent()
	if err != nil {
		return fmt.Errorf("verificationMaterial: %w", err)
	}
	if cert := vc.Certificate(); cert != nil {
		s, err := CertificateSigner(cert)
		if err != nil {
			return nil // a certificate without a subject alternative name is no hint
		}
		if s != (entry.Signer{}) {
			b.Signers = append(b.Signers, s)
		}
		return nil
	}
	if hint := b.hint(); hint != "" {
		b.Signers = append(b.Signers, entry.Signer{KeyID: hint})
	}
	return nil
}

// CertificateSigner returns the identity that a certificate is issued to, and
// its OIDC issuer. It verifies nothing.
func CertificateSigner(cert *x509.Certificate) (entry.Signer, error) {
	sum, err := certificate.SummarizeCertificate(cert)
	if err != nil {
		return entry.Signer{}, err
	}
	return entry.Signer{Identity: sum.SubjectAlternativeName, Issuer: sum.Issuer}, nil
}

// hint returns the bundle's hint about its key. By convention it is the base64
// SHA-256 of the key's DER form.
func (b *Bundle) hint() string { return b.entity.VerificationMaterial.GetPublicKey().GetHint() }

// hasKey reports whether the bundle was signed with a raw key instead of a
// certificate.
func (b *Bundle) hasKey() bool { return b.entity.VerificationMaterial.GetPublicKey() != nil }

func (b *Bundle) readContent() error {
	if m := b.entity.content.MessageSignatureContent(); m != nil {
		if len(m.Digest()) == 0 {
			return errors.New("messageSignature.messageDigest: missing")
		}
		b.digest = &messageDigest{digestNames[m.DigestAlgorithm()], m.Digest()}
		if b.digest.algorithm == "" {
			b.digest.algorithm = strings.ToLower(m.DigestAlgorithm())
		}
		b.Subjects = []entry.Subject{{Digest: map[string]string{b.digest.algorithm: hex.EncodeToString(m.Digest())}}}
		return nil
	}
	env := b.entity.GetDsseEnvelope()
	b.PayloadType, b.Payload = env.GetPayloadType(), env.GetPayload()
	var err error
	if b.Statement, b.Unread, err = intoto.ReadSigned(b.PayloadType, b.Payload); err != nil {
		return fmt.Errorf("dsseEnvelope.%w", err)
	}
	if b.Statement != nil {
		b.Subjects, b.PredicateType = b.Statement.Subjects, b.Statement.PredicateType
	}
	return nil
}

// digestNames maps Sigstore's names of hashes to in-toto's.
var digestNames = map[string]string{"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}

// A messageDigest is the digest that a bare signature claims to sign.
type messageDigest struct {
	algorithm string
	value     []byte
}
