package sigstore

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// checkTimes is step 5.
func (a *attempt) checkTimes() *Refusal {
	if a.key != nil {
		return nil
	}
	for i := range a.entries {
		if e := &a.entries[i]; e.promise != nil && a.logOf(e) != nil {
			a.times = append(a.times, time.Unix(e.integratedTime, 0))
		}
	}
	var failed error
	for _, stamp := range a.stamps {
		t, err := a.stampTime(stamp)
		if err != nil {
			failed = err
			continue
		}
		a.times = append(a.times, t)
	}
	switch {
	case len(a.times) == 0 && failed != nil:
		return refuse("timestamp-invalid", "no timestamp is valid: %w", failed)
	case len(a.times) == 0:
		return refuse("time-missing", "cannot establish the signing time: the bundle has no timestamp and no log entry with a signed time")
	}
	for i := range a.entries {
		e := &a.entries[i]
		log := a.logOf(e)
		if log != nil && e.promise == nil && !slices.ContainsFunc(a.times, validityOf(log).Contains) {
			return refuse("log-validity", "the log's key was not valid at the signing time")
		}
	}
	return nil
}

// stampTime verifies an RFC 3161 timestamp of the signature.
func (a *attempt) stampTime(stamp []byte) (t time.Time, err error) {
	if !hasTSTInfo(stamp) {
		return t, errors.New("not a granted timestamp")
	}
	err = errNoAuthority
	for _, tsa := range a.root.material.TimestampingAuthorities() {
		var got *root.Timestamp
		if got, err = tsa.Verify(stamp, a.signature); err == nil {
			return got.Time, nil
		}
	}
	return t, err
}

var (
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
)

// hasTSTInfo checks the types in a timestamp, which sigstore-go does not check.
func hasTSTInfo(stamp []byte) bool {
	in := cryptobyte.String(stamp)
	var whole, status, token, content, signed, digests, inner cryptobyte.String
	var version int
	var outerType, innerType asn1.ObjectIdentifier
	return in.ReadASN1(&whole, casn1.SEQUENCE) && in.Empty() &&
		whole.ReadASN1(&status, casn1.SEQUENCE) && whole.ReadASN1(&token, casn1.SEQUENCE) && whole.Empty() &&
		token.ReadASN1ObjectIdentifier(&outerType) && outerType.Equal(oidSignedData) &&
		token.ReadASN1(&content, casn1.Tag(0).ContextSpecific().Constructed()) && token.Empty() &&
		content.ReadASN1(&signed, casn1.SEQUENCE) && content.Empty() &&
		signed.ReadASN1Integer(&version) && signed.ReadASN1(&digests, casn1.SET) && signed.ReadASN1(&inner, casn1.SEQUENCE) &&
		inner.ReadASN1ObjectIdentifier(&innerType) && innerType.Equal(oidTSTInfo)
}

// Extensions that a path may have as critical ones.
var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidSCTs             = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
	oidIssuerV1         = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	oidIssuerV2         = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
)

// checkCertificate is step 6.
func (a *attempt) checkCertificate() *Refusal {
	if a.key != nil {
		return nil
	}
	cert, err := parseCertificate(a.certificate)
	if err != nil {
		return refuse("certificate-malformed", "%w", err)
	}
	if _, err := algorithmOf(cert.PublicKey); err != nil {
		return refuse("algorithm-unsupported", "%w", err)
	}
	a.leaf = cert
	validity := Validity{&cert.NotBefore, &cert.NotAfter}
	for _, t := range a.times {
		if !validity.Contains(t) {
			return refuse("certificate-time", "the certificate is not valid at the signing time %s", t.UTC().Format(time.RFC3339))
		}
	}
	for _, e := range a.entries {
		if t := time.Unix(e.integratedTime, 0); e.integratedTime != 0 && !validity.Contains(t) {
			return refuse("certificate-time", "the certificate is not valid at the time of the log entry, %s", t.UTC().Format(time.RFC3339))
		}
	}
	// sigstore-go reads other names, which Go's parser leaves unhandled.
	cert.UnhandledCriticalExtensions = slices.DeleteFunc(cert.UnhandledCriticalExtensions, oidSubjectAltName.Equal)
	for _, t := range a.times {
		chains := a.chainsAt(cert, t)
		if len(chains) == 0 {
			return refuse("certificate-untrusted", "no authority of the trusted root issued the certificate")
		}
		a.chains = append(a.chains, chains...)
	}
	return nil
}

func (a *attempt) chainsAt(cert *x509.Certificate, t time.Time) (out [][]*x509.Certificate) {
	if cert.IsCA || len(cert.ExtKeyUsage) == 0 {
		return nil
	}
	for _, ca := range a.root.material.FulcioCertificateAuthorities() {
		chains, err := ca.Verify(cert, t)
		if err != nil {
			continue
		}
		for _, chain := range chains {
			if !slices.ContainsFunc(chain, hasOtherCritical) {
				out = append(out, chain)
			}
		}
	}
	return out
}

func hasOtherCritical(cert *x509.Certificate) bool {
	for _, e := range cert.Extensions {
		if e.Critical && !e.Id.Equal(oidKeyUsage) && !e.Id.Equal(oidSubjectAltName) && !e.Id.Equal(oidBasicConstraints) && !e.Id.Equal(oidExtKeyUsage) {
			return true
		}
	}
	return false
}

// checkSCTs is step 7.
func (a *attempt) checkSCTs() *Refusal {
	if a.key != nil {
		return nil
	}
	if extension(a.leaf, oidSCTs) == nil {
		return refuse("sct-missing", "the certificate has no signed certificate timestamp")
	}
	if err := verify.VerifySignedCertificateTimestamp(a.chains, 1, a.root.material); err != nil {
		return refuse("sct-invalid", "%w", err)
	}
	return nil
}

func extension(cert *x509.Certificate, id asn1.ObjectIdentifier) []byte {
	for _, e := range cert.Extensions {
		if e.Id.Equal(id) {
			return e.Value
		}
	}
	return nil
}

// issuerName returns the OIDC issuer of a certificate, "" if it has none.
func issuerName(cert *x509.Certificate) string {
	if der := extension(cert, oidIssuerV2); der != nil {
		var s cryptobyte.String
		in := cryptobyte.String(der)
		if in.ReadASN1(&s, casn1.UTF8String) && in.Empty() {
			return string(s)
		}
		return ""
	}
	return string(extension(cert, oidIssuerV1))
}

// subjectName returns the name of a certificate, "" if it has none.
func subjectName(cert *x509.Certificate) string {
	der := cryptobyte.String(extension(cert, oidSubjectAltName))
	var names cryptobyte.String
	if !der.ReadASN1(&names, casn1.SEQUENCE) {
		return ""
	}
	byTag := map[casn1.Tag]string{}
	for !names.Empty() {
		var name cryptobyte.String
		var tag casn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return ""
		}
		if byTag[tag] == "" {
			byTag[tag] = string(name)
		}
	}
	for _, tag := range []casn1.Tag{6, 1} {
		if name := byTag[tag.ContextSpecific()]; name != "" {
			return name
		}
	}
	name, err := cryptoutils.UnmarshalOtherNameSAN(cert.Extensions)
	if err != nil {
		return ""
	}
	return name
}
