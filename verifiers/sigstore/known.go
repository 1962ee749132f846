package sigstore

import (
	"crypto/ed25519"
	"errors"
	"slices"

	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/tlog"

	"muniment.dev/muniment/verifiers/dsse"
)

// Check returns an error if the requirements are incomplete or cannot be met:
// by signatures with keys or, if keys is false, with certificates.
func (r Requirements) Check(keys bool) error { return r.check(keys) }

// Usual returns the usual requirements for certificates under one root from
// Each: a signing time, a log entry if the root has logs, and an SCT if it has
// certificate transparency logs.
func (r *TrustedRoot) Usual() Requirements {
	need := Requirements{LogEntries: None, Timestamps: 1, SCTs: None}
	if len(r.material.RekorLogs()) > 0 {
		need.LogEntries = 1
	}
	if len(r.material.CTLogs()) > 0 {
		need.SCTs = 1
	}
	return need
}

// Knows reports whether an authority of the root issued the bundle's
// certificate. It checks nothing else.
func (r *TrustedRoot) Knows(b *Bundle) bool {
	return slices.ContainsFunc(r.all, func(one *TrustedRoot) bool { return one.knows(b) })
}

func (r *TrustedRoot) knows(b *Bundle) bool {
	content, err := b.entity.VerificationContent()
	if err != nil || content.Certificate() == nil {
		return false
	}
	cert := content.Certificate()
	for _, ca := range r.material.FulcioCertificateAuthorities() {
		if _, err := ca.Verify(cert, cert.NotBefore); err == nil {
			return true
		}
	}
	return false
}

// Missing returns an error if the bundle does not even claim to meet one of the
// requirements.
func (b *Bundle) Missing(r Requirements) error {
	if r.LogEntries != None && len(b.entity.entries) == 0 {
		return errors.New("the bundle has no log entry")
	}
	stamps, err := b.entity.Timestamps()
	if r.Timestamps == None || err != nil || len(stamps) > 0 || r.LogEntries != None && slices.ContainsFunc(b.entity.entries, (*tlog.Entry).HasInclusionPromise) {
		return nil
	}
	return errors.New("cannot establish the signing time of the bundle: it has no timestamp and no timed log entry")
}

// HasKey reports whether the bundle was signed with a raw key instead of a
// certificate.
func (b *Bundle) HasKey() bool { return b.hasKey() }

// Hints reports whether the bundle claims to be signed with the key. The claim
// is unsigned.
func (b *Bundle) Hints(k *dsse.Key) bool { return b.hasKey() && meant(k, b.hint()) }

// CheckOwn checks the signature with the bundle's own certificate, if it has
// one and the artifact is not needed. A bundle with a wrong signature was
// changed or forged, whatever the trusted root. The error wraps
// dsse.ErrUnsupported if the form of the signature or the type of the key is
// not supported. Such a signature may be valid.
func (b *Bundle) CheckOwn() error {
	content, err := b.entity.VerificationContent()
	if err != nil || content.Certificate() == nil {
		return nil
	}
	public := content.Certificate().PublicKey
	message := dsse.NewMessage(sslib.PAE(b.PayloadType, b.Payload))
	if b.digest != nil {
		if _, pure := public.(ed25519.PublicKey); pure {
			return nil
		}
		if err := b.digest.check(public); err != nil {
			if errors.Is(err, dsse.ErrUnsupported) {
				return err
			}
			return nil
		}
		message = b.digest.message()
	}
	return dsse.CheckSignature(public, message, b.entity.content.Signature())
}
