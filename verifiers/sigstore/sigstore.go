// Package sigstore reads Sigstore bundles, v0.1 to v0.3 (https://github.com/sigstore/protobuf-specs).
//
// It does not check signatures yet.
package sigstore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/intoto"
)

// MediaTypePrefix begins the media type of every version of a bundle.
const MediaTypePrefix = "application/vnd.dev.sigstore.bundle"

// A Bundle is what a bundle says.
type Bundle struct {
	MediaType     string
	Subjects      []receipt.Subject
	PredicateType string
	Signers       []receipt.Signer // from the certificate or key hint; nothing has checked them
}

// Parse reads a bundle and checks its structure with sigstore-go.
func Parse(data []byte) (*Bundle, error) {
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("sigstore bundle: %w", err)
	}
	out := &Bundle{MediaType: b.MediaType}
	if err := out.readSigner(&b); err != nil {
		return nil, fmt.Errorf("sigstore bundle: %w", err)
	}
	if err := out.readContent(&b); err != nil {
		return nil, fmt.Errorf("sigstore bundle: %w", err)
	}
	return out, nil
}

func (out *Bundle) readSigner(b *bundle.Bundle) error {
	vc, err := b.VerificationContent()
	if err != nil {
		return fmt.Errorf("verificationMaterial: %w", err)
	}
	if cert := vc.Certificate(); cert != nil {
		sum, err := certificate.SummarizeCertificate(cert)
		if err != nil {
			return nil // a certificate without a subject alternative name is nobody's hint
		}
		s := receipt.Signer{Identity: sum.SubjectAlternativeName, Issuer: sum.Issuer}
		if s != (receipt.Signer{}) {
			out.Signers = append(out.Signers, s)
		}
		return nil
	}
	if hint := b.GetVerificationMaterial().GetPublicKey().GetHint(); hint != "" {
		out.Signers = append(out.Signers, receipt.Signer{KeyID: hint})
	}
	return nil
}

func (out *Bundle) readContent(b *bundle.Bundle) error {
	sc, err := b.SignatureContent()
	if err != nil {
		return err
	}
	if m := sc.MessageSignatureContent(); m != nil {
		if len(m.Digest()) == 0 {
			return errors.New("messageSignature.messageDigest: missing")
		}
		alg := map[string]string{"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}[m.DigestAlgorithm()]
		if alg == "" {
			alg = strings.ToLower(m.DigestAlgorithm())
		}
		out.Subjects = []receipt.Subject{{Digest: map[string]string{alg: hex.EncodeToString(m.Digest())}}}
		return nil
	}
	env, err := b.Envelope()
	if err != nil {
		return err
	}
	if env.PayloadType != intoto.MediaType {
		return nil // some other signed document; it has no subjects that we could read
	}
	payload, err := env.DecodeB64Payload()
	if err != nil {
		return errors.New("dsseEnvelope.payload: not base64")
	}
	st, err := intoto.Parse(payload)
	if err != nil {
		return fmt.Errorf("dsseEnvelope.payload: %w", err)
	}
	out.Subjects, out.PredicateType = st.Subjects, st.PredicateType
	return nil
}
