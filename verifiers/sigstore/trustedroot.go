package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"fmt"
	"net/url"
	"sync"
	"time"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	prototrustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"

	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/documents"
	"muniment.dev/muniment/verifiers/sniff"
)

// MaxTrustedRootSize is the size limit of a trusted root file in bytes.
const MaxTrustedRootSize = 4 << 20

// A TrustedRoot lists the trusted certificate authorities, transparency logs
// and timestamp authorities, with their periods of validity.
type TrustedRoot struct {
	material *root.TrustedRoot
	proto    *prototrustroot.TrustedRoot
	digest   string // of the file
	own      string // of the root's line of the file
	all      []*TrustedRoot
}

// MaxTrustedRoots is the maximum number of roots in a file. Each root adds a
// verification.
const MaxTrustedRoots = 16

// ParseTrustedRoot reads a trusted root file (JSON, media type
// application/vnd.dev.sigstore.trustedroot+json;version=0.1). A file of JSON
// Lines, the output of gh attestation trusted-root, contains several roots. A
// bundle must verify under a single one of them. The error wraps ErrMalformed.
func ParseTrustedRoot(data []byte) (*TrustedRoot, error) {
	r, err := parseTrustedRoot(data)
	if err != nil {
		return nil, plain.Malformed(ErrMalformed, "trusted root", err)
	}
	return r, nil
}

func parseTrustedRoot(data []byte) (*TrustedRoot, error) {
	if len(data) > MaxTrustedRootSize {
		return nil, fmt.Errorf("%d bytes, more than %d", len(data), MaxTrustedRootSize)
	}
	roots, err := documents.Split(data)
	switch {
	case err != nil:
		return nil, err
	case len(roots) > MaxTrustedRoots:
		return nil, fmt.Errorf("%d trusted roots, more than %d", len(roots), MaxTrustedRoots)
	}
	var all []*TrustedRoot
	for i, one := range roots {
		r, err := parseRoot(one, entry.SHA256(data))
		switch {
		case err != nil && len(roots) > 1:
			return nil, fmt.Errorf("document %d: %w", i+1, err)
		case err != nil:
			return nil, err
		}
		r.all = []*TrustedRoot{r}
		all = append(all, r)
	}
	first := *all[0]
	first.all = all
	return &first, nil
}

func parseRoot(data []byte, file string) (*TrustedRoot, error) {
	if err := sniff.JSON(data); err != nil {
		return nil, err
	}
	pb, err := root.NewTrustedRootProtobuf(data)
	if err != nil {
		return nil, err
	}
	material, err := root.NewTrustedRootFromProtobuf(pb)
	if err != nil {
		return nil, err
	}
	return &TrustedRoot{material: material, proto: pb, digest: file, own: entry.SHA256(data)}, nil
}

// Each returns the roots of the file. All have the file's digest.
func (r *TrustedRoot) Each() []*TrustedRoot { return r.all }

// Digest returns the SHA-256 of the file, as sha256: and hexadecimal digits.
func (r *TrustedRoot) Digest() string { return r.digest }

//go:embed public-good.json
var publicGood []byte

// PublicGoodJSON returns the built-in trusted root of the Sigstore public-good
// instance.
func PublicGoodJSON() []byte { return append([]byte(nil), publicGood...) }

// PublicGood returns the parsed PublicGoodJSON.
var PublicGood = sync.OnceValue(func() *TrustedRoot {
	r, err := ParseTrustedRoot(publicGood)
	if err != nil {
		panic(err) // it is embedded in the program
	}
	return r
})

// A Description lists the content of a trusted root for display.
type Description struct {
	MediaType              string      `json:"mediaType"`
	Digest                 string      `json:"digest"`
	CertificateAuthorities []Authority `json:"certificateAuthorities"`
	TransparencyLogs       []Log       `json:"transparencyLogs"`
	TimestampAuthorities   []Authority `json:"timestampAuthorities"`
	CertificateLogs        []Log       `json:"certificateTransparencyLogs"`
}

// An Authority issues certificates or timestamps.
type Authority struct {
	URI         string `json:"uri,omitempty"`
	Operator    string `json:"operator,omitempty"`
	Subject     string `json:"subject"`     // of the chain's root certificate
	Fingerprint string `json:"fingerprint"` // SHA-256 of the chain's root certificate
	Chain       int    `json:"chain"`       // number of certificates
	Validity    `json:"validity"`
	// period in which all certificates of the chain are valid
	Certificate Validity `json:"certificateValidity"`
}

// A Log is a transparency log, of signatures or of certificates.
type Log struct {
	URL      string `json:"url,omitempty"`
	Origin   string `json:"origin,omitempty"` // the name in checkpoints of Rekor v2
	Operator string `json:"operator,omitempty"`
	KeyID    string `json:"keyId"` // hexadecimal
	Key      string `json:"key"`   // its type
	Validity `json:"validity"`
}

// Validity is a period of time, including its ends. A nil Start or End means no
// limit.
type Validity struct {
	Start *time.Time `json:"start,omitempty"`
	End   *time.Time `json:"end,omitempty"`
}

// Contains reports whether t is in the period.
func (v Validity) Contains(t time.Time) bool {
	return (v.Start == nil || !t.Before(*v.Start)) && (v.End == nil || !t.After(*v.End))
}

// Describe returns the content of the root. For a file with several roots, call
// it on each root from Each.
func (r *TrustedRoot) Describe() Description {
	d := Description{MediaType: r.proto.GetMediaType(), Digest: r.own}
	for _, a := range r.proto.GetCertificateAuthorities() {
		d.CertificateAuthorities = append(d.CertificateAuthorities, describeAuthority(a))
	}
	for _, a := range r.proto.GetTimestampAuthorities() {
		d.TimestampAuthorities = append(d.TimestampAuthorities, describeAuthority(a))
	}
	for _, l := range r.proto.GetTlogs() {
		d.TransparencyLogs = append(d.TransparencyLogs, describeLog(l, r.material.RekorLogs()))
	}
	for _, l := range r.proto.GetCtlogs() {
		d.CertificateLogs = append(d.CertificateLogs, describeLog(l, r.material.CTLogs()))
	}
	return d
}

func describeAuthority(a *prototrustroot.CertificateAuthority) Authority {
	out := Authority{URI: a.GetUri(), Operator: a.GetOperator(), Validity: validity(a.GetValidFor()), Chain: len(a.GetCertChain().GetCertificates())}
	for _, c := range a.GetCertChain().GetCertificates() {
		cert, err := x509.ParseCertificate(c.GetRawBytes())
		if err != nil {
			continue // cannot happen: it was parsed with the root
		}
		sum := sha256.Sum256(cert.Raw)
		out.Subject, out.Fingerprint = cert.Subject.String(), hex.EncodeToString(sum[:])
		if s := out.Certificate.Start; s == nil || cert.NotBefore.After(*s) {
			out.Certificate.Start = &cert.NotBefore
		}
		if e := out.Certificate.End; e == nil || cert.NotAfter.Before(*e) {
			out.Certificate.End = &cert.NotAfter
		}
	}
	return out
}

func describeLog(l *prototrustroot.TransparencyLogInstance, parsed map[string]*root.TransparencyLog) Log {
	id := hex.EncodeToString(l.GetLogId().GetKeyId())
	out := Log{URL: l.GetBaseUrl(), Operator: l.GetOperator(), KeyID: id, Validity: validity(l.GetPublicKey().GetValidFor())}
	if u, err := url.Parse(l.GetBaseUrl()); err == nil {
		out.Origin = u.Hostname()
	}
	if p := parsed[id]; p != nil {
		out.Key = keyType(p.PublicKey)
	}
	return out
}

func keyType(public crypto.PublicKey) string {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	default:
		return "unsupported type"
	}
}

func validity(r *protocommon.TimeRange) Validity {
	var v Validity
	if s := r.GetStart(); s != nil {
		t := s.AsTime()
		v.Start = &t
	}
	if e := r.GetEnd(); e != nil {
		t := e.AsTime()
		v.End = &t
	}
	return v
}
