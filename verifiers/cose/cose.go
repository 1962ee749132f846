// Package cose reads and verifies SCITT signed statements: COSE_Sign1 messages
// (RFC 9052) with CWT claims in the protected header (RFC 9597), as specified
// in docs/spec/scitt.md, section 1. Receipts are in package ledger/cosereceipt.
package cose

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	gocose "github.com/veraison/go-cose"

	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt/strictcbor"
	"muniment.dev/muniment/verifiers/dsse"
)

// MediaType is the media type of a statement.
const MediaType = "application/cose"

// MaxSize is the size limit of a statement in bytes.
const MaxSize = 16 << 20

var (
	// ErrMalformed is wrapped by errors about documents that are not signed
	// statements.
	ErrMalformed = errors.New("malformed")
	// ErrNotVerified is wrapped by errors that are a verdict about the
	// signature.
	ErrNotVerified = errors.New("not verified")
)

// Labels of the protected header for which go-cose has no constants.
const (
	labelPayloadHashAlg  = int64(258)
	labelPayloadPreimage = int64(259)
	claimIssuer          = int64(1)
	claimSubject         = int64(2)
	maxClaim             = 2048 // bytes of an issuer, subject or content type
	maxKeyID             = 256
	maxChain             = 10
	algSHA256, algSHA384 = int64(-16), int64(-43)
	algSHA512            = int64(-44)
)

// A Statement is a parsed signed statement.
type Statement struct {
	Bytes   []byte // the registered form, with an empty unprotected header
	Issuer  string
	Subject string
	// type of the payload, or of the content that a hash envelope refers to; ""
	// if absent
	ContentType string
	KeyID       string // hexadecimal; "" if the statement has a certificate chain instead
	Payload     []byte
	Digest      *entry.Subject // of a hash envelope; nil if the payload is the content itself

	message *gocose.Sign1Message
	chain   []*x509.Certificate
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("signed statement: %w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Parse reads a statement and drops its unprotected header. The error wraps
// ErrMalformed and names the invalid member.
func Parse(data []byte) (*Statement, error) {
	if len(data) > MaxSize {
		return nil, malformed("%d bytes, more than %d", len(data), MaxSize)
	}
	m, err := strictcbor.ParseSign1(data)
	if err != nil {
		return nil, malformed("%s", err)
	}
	s := &Statement{message: gocose.NewSign1Message()}
	if _, err = strictcbor.Bytes(m.Protected); err != nil {
		return nil, malformed("protected header: %s", err)
	}
	if _, err = strictcbor.Bytes(m.Signature); err != nil {
		return nil, malformed("signature: %s", err)
	}
	if s.Payload, err = strictcbor.Bytes(m.Payload); err != nil {
		return nil, malformed("payload: %s (a detached payload is not accepted)", err)
	}
	m.Unprotected = cbor.RawMessage{0xa0} // the empty map
	if s.Bytes, err = m.Marshal(); err != nil {
		return nil, malformed("%s", err)
	}
	if err := s.message.UnmarshalCBOR(s.Bytes); err != nil {
		return nil, malformed("%s", plain.DecodeError(err))
	}
	if err := s.readProtected(); err != nil {
		return nil, err
	}
	return s, nil
}

// algorithms lists the algorithms in docs/spec/scitt.md, section 1.
var algorithms = []gocose.Algorithm{gocose.AlgorithmES256, gocose.AlgorithmES384, gocose.AlgorithmEdDSA, gocose.AlgorithmPS256}

func (s *Statement) readProtected() error {
	h := s.message.Headers.Protected
	alg, err := h.Algorithm()
	if err != nil {
		return malformed("protected header: alg: %s", plain.DecodeError(err))
	}
	if !slices.Contains(algorithms, alg) {
		return malformed("protected header: alg (1): %d is not one of ES256, ES384, EdDSA and PS256", int64(alg))
	}
	if err := checkCritical(h); err != nil {
		return err
	}
	claims, ok := h[gocose.HeaderLabelCWTClaims].(map[any]any)
	if !ok {
		return malformed("protected header: CWT claims (15): missing")
	}
	for _, c := range []struct {
		name  string
		label int64
		to    *string
	}{{"iss", claimIssuer, &s.Issuer}, {"sub", claimSubject, &s.Subject}} {
		v, _ := claims[c.label].(string)
		if v == "" || len(v) > maxClaim || !utf8.ValidString(v) {
			return malformed("protected header: CWT claim %s: not a text string of 1 to %d bytes", c.name, maxClaim)
		}
		*c.to = v
	}
	if v, ok := h[gocose.HeaderLabelContentType].(string); ok {
		s.ContentType = v
	}
	if err := s.readKey(); err != nil {
		return err
	}
	if err := s.readHashEnvelope(); err != nil {
		return err
	}
	if len(s.ContentType) > maxClaim {
		return malformed("protected header: content type: more than %d bytes", maxClaim)
	}
	return nil
}

// understood lists the labels of the members that this package reads.
var understood = []any{
	gocose.HeaderLabelAlgorithm, gocose.HeaderLabelCritical, gocose.HeaderLabelContentType, gocose.HeaderLabelKeyID, gocose.HeaderLabelCWTClaims, gocose.HeaderLabelX5Chain,
	labelPayloadHashAlg, labelPayloadPreimage,
}

// checkCritical refuses a statement with a critical member that is not
// supported (RFC 9052, section 3.1). go-cose has checked that the critical
// members exist.
func checkCritical(h gocose.ProtectedHeader) error {
	labels, err := h.Critical()
	if err != nil {
		return malformed("protected header: crit (2): %s", plain.DecodeError(err))
	}
	for _, l := range labels {
		if !slices.Contains(understood, l) {
			return malformed("protected header: crit (2): %.100q is not supported", fmt.Sprint(l))
		}
	}
	return nil
}

func (s *Statement) readKey() error {
	h := s.message.Headers.Protected
	kid, hasKID := h[gocose.HeaderLabelKeyID].([]byte)
	chain, hasChain := h[gocose.HeaderLabelX5Chain]
	switch {
	case !hasKID && !hasChain:
		return malformed("protected header: neither kid (4) nor x5chain (33)")
	case hasKID && (len(kid) == 0 || len(kid) > maxKeyID):
		return malformed("protected header: kid: not 1 to %d bytes", maxKeyID)
	}
	s.KeyID = hex.EncodeToString(kid)
	if !hasChain {
		return nil
	}
	var certs []any
	switch c := chain.(type) {
	case []byte:
		certs = []any{c}
	case []any:
		certs = c
	}
	if len(certs) == 0 || len(certs) > maxChain {
		return malformed("protected header: x5chain: not 1 to %d certificates", maxChain)
	}
	for i, c := range certs {
		der, _ := c.([]byte)
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return malformed("protected header: x5chain[%d]: %s", i, plain.DecodeError(err))
		}
		s.chain = append(s.chain, cert)
	}
	return nil
}

// readHashEnvelope reads the headers of a COSE hash envelope, whose payload is
// the hash of the signed content.
func (s *Statement) readHashEnvelope() error {
	h := s.message.Headers.Protected
	v, ok := h[labelPayloadHashAlg]
	if !ok {
		return nil
	}
	alg, _ := v.(int64)
	names := map[int64]struct {
		name string
		size int
	}{algSHA256: {"sha256", 32}, algSHA384: {"sha384", 48}, algSHA512: {"sha512", 64}}
	a, known := names[alg]
	if !known {
		return malformed("protected header: payload-hash-alg (258): %v is not one of SHA-256, SHA-384 and SHA-512", v)
	}
	if len(s.Payload) != a.size {
		return malformed("payload: %d bytes, but a %s hash has %d", len(s.Payload), a.name, a.size)
	}
	s.Digest = &entry.Subject{Digest: map[string]string{a.name: hex.EncodeToString(s.Payload)}}
	if t, ok := h[labelPayloadPreimage].(string); ok {
		s.ContentType = t
	}
	return nil
}

// Verify checks the statement's signature and returns the key that made it. A
// statement with a certificate chain verifies if the key of its first
// certificate is one of the keys. The chain itself is not verified. The error
// wraps ErrNotVerified.
func (s *Statement) Verify(keys []*dsse.Key) (*dsse.Key, error) {
	alg, err := s.message.Headers.Protected.Algorithm()
	if err != nil {
		return nil, fmt.Errorf("signed statement: %w: alg: %w", ErrNotVerified, err)
	}
	for _, k := range keys {
		if len(s.chain) > 0 {
			if leaf, err := dsse.NewKey("", s.chain[0].PublicKey); err != nil || leaf.ID != k.ID {
				continue
			}
		}
		v, err := gocose.NewVerifier(alg, k.Public())
		if err != nil {
			continue // a key of another type
		}
		if s.message.Verify(nil, v) == nil {
			return k, nil
		}
	}
	return nil, fmt.Errorf("signed statement: %w: not signed with any of the %d keys", ErrNotVerified, len(keys))
}
