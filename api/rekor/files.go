package rekor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	trustrootv1 "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/tsa"
	"muniment.dev/muniment/internal/pemfile"
)

// Media types of https://github.com/sigstore/protobuf-specs.
const (
	trustedRootType   = root.TrustedRootMediaType01
	signingConfigType = root.SigningConfigMediaType02
)

// A Service is another service of a Sigstore installation, which the files list
// beside the log.
type Service struct {
	URL   string // can be empty in a trusted root
	Chain []byte // of a certificate or timestamp authority: PEM, issuing certificate first
	Key   []byte // of a certificate transparency log: public key in PEM or DER
}

// Services are the other services of a Sigstore installation.
type Services struct {
	Fulcio, TSA, CTLog []Service
	OIDC               []Service
	Operator           string // operator of all services; "" for the log's origin
}

// CheckURL returns an error if clients that are configured with the URL would
// not accept the log's checkpoints. Clients take the origin from the URL's
// host, without the port.
func (d *Description) CheckURL(base string) error {
	u, err := parseURL(base)
	if err != nil {
		return err
	}
	if u.Hostname() != d.Origin {
		return fmt.Errorf("the host of %s is %q, but clients expect the log's origin, %q: use a URL whose host is the origin", base, u.Hostname(), d.Origin)
	}
	return nil
}

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not an http or https URL", s)
	}
	return u, nil
}

// TrustedRoot returns Sigstore's trusted root with this log, its timestamp
// authority, if any, and the other services.
func (d *Description) TrustedRoot(base string, others Services) ([]byte, error) {
	if err := d.CheckURL(base); err != nil {
		return nil, err
	}
	base = strings.TrimRight(base, "/")
	root := &trustrootv1.TrustedRoot{MediaType: trustedRootType}
	for i := range d.Keys {
		k := &d.Keys[i]
		root.Tlogs = append(root.Tlogs, instance(base, k.PublicKey, commonv1.PublicKeyDetails_PKIX_ED25519, k.LogID, validity(k.ValidFrom, k.ValidUntil)))
	}
	stampers := others.TSA
	if d.TimestampChain != "" {
		stampers = append([]Service{{URL: base + timestampPath, Chain: []byte(d.TimestampChain)}}, stampers...)
	}
	for _, part := range []struct {
		name     string
		services []Service
		to       *[]*trustrootv1.CertificateAuthority
	}{{"certificate authority", others.Fulcio, &root.CertificateAuthorities}, {"timestamp authority", stampers, &root.TimestampAuthorities}} {
		for _, s := range part.services {
			a, err := authority(s)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", part.name, s.URL, err)
			}
			*part.to = append(*part.to, a)
		}
	}
	for _, s := range others.CTLog {
		l, err := ctLog(s)
		if err != nil {
			return nil, fmt.Errorf("certificate transparency log %s: %w", s.URL, err)
		}
		root.Ctlogs = append(root.Ctlogs, l)
	}
	return write(root)
}

// Paths of the timestamp authority.
const (
	timestampPath    = "/api/v1/timestamp"
	certificatesPath = timestampPath + "/certchain"
)

// SigningConfig returns Sigstore's signing configuration for this log and the
// other services.
func (d *Description) SigningConfig(base string, others Services) ([]byte, error) {
	if err := d.CheckURL(base); err != nil {
		return nil, err
	}
	base = strings.TrimRight(base, "/")
	operator := others.Operator
	if operator == "" {
		operator = d.Origin
	}
	from := d.Keys[len(d.Keys)-1].ValidFrom
	service := func(u string, version uint32) *trustrootv1.Service {
		return &trustrootv1.Service{Url: u, MajorApiVersion: version, Operator: operator, ValidFor: validity(from, nil)}
	}
	anyOne := &trustrootv1.ServiceConfiguration{Selector: trustrootv1.ServiceSelector_ANY}
	c := &trustrootv1.SigningConfig{MediaType: signingConfigType, RekorTlogUrls: []*trustrootv1.Service{service(base, 2)}, RekorTlogConfig: anyOne, TsaConfig: anyOne}
	if d.TimestampChain != "" {
		c.TsaUrls = append(c.TsaUrls, service(base+timestampPath, 1))
	}
	for _, part := range []struct {
		services []Service
		to       *[]*trustrootv1.Service
	}{{others.Fulcio, &c.CaUrls}, {others.OIDC, &c.OidcUrls}, {others.TSA, &c.TsaUrls}} {
		for _, s := range part.services {
			if _, err := parseURL(s.URL); err != nil {
				return nil, err
			}
			*part.to = append(*part.to, service(s.URL, 1))
		}
	}
	return write(c)
}

// write encodes a message as indented JSON. Its output is stable, unlike
// protojson's white space.
func write(m proto.Message) ([]byte, error) {
	data, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return nil, err
	}
	return append(b.Bytes(), '\n'), nil
}

func validity(from time.Time, until *time.Time) *commonv1.TimeRange {
	r := &commonv1.TimeRange{Start: timestamppb.New(from)}
	if until != nil {
		r.End = timestamppb.New(*until)
	}
	return r
}

func instance(base string, key []byte, details commonv1.PublicKeyDetails, id []byte, valid *commonv1.TimeRange) *trustrootv1.TransparencyLogInstance {
	return &trustrootv1.TransparencyLogInstance{
		BaseUrl: base, HashAlgorithm: commonv1.HashAlgorithm_SHA2_256, LogId: &commonv1.LogId{KeyId: id},
		PublicKey: &commonv1.PublicKey{RawBytes: key, KeyDetails: details, ValidFor: valid},
	}
}

func authority(s Service) (*trustrootv1.CertificateAuthority, error) {
	chain, err := tsa.ParseChain(s.Chain)
	if err != nil {
		return nil, err
	}
	root := chain[len(chain)-1]
	a := &trustrootv1.CertificateAuthority{
		Uri: s.URL, Subject: &commonv1.DistinguishedName{CommonName: root.Subject.CommonName},
		CertChain: &commonv1.X509CertificateChain{}, ValidFor: validity(chain[0].NotBefore, nil),
	}
	if len(root.Subject.Organization) > 0 {
		a.Subject.Organization = root.Subject.Organization[0]
	}
	for _, c := range chain {
		a.CertChain.Certificates = append(a.CertChain.Certificates, &commonv1.X509Certificate{RawBytes: c.Raw})
	}
	return a, nil
}

// ctLog describes a certificate transparency log (RFC 6962). Its ID is the hash
// of its key.
func ctLog(s Service) (*trustrootv1.TransparencyLogInstance, error) {
	der := s.Key
	if pemfile.Is(s.Key) {
		var err error
		if der, err = pemfile.SubjectPublicKeyInfo(s.Key); err != nil {
			return nil, err
		}
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("not a public key in PEM or DER")
	}
	details, err := keyDetails(pub)
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(der)
	return instance(s.URL, der, details, id[:], validity(time.Unix(0, 0), nil)), nil
}

func keyDetails(pub any) (commonv1.PublicKeyDetails, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return commonv1.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, nil
		case elliptic.P384():
			return commonv1.PublicKeyDetails_PKIX_ECDSA_P384_SHA_384, nil
		}
	case ed25519.PublicKey:
		return commonv1.PublicKeyDetails_PKIX_ED25519, nil
	case *rsa.PublicKey:
		switch k.Size() {
		case 2048 / 8:
			return commonv1.PublicKeyDetails_PKIX_RSA_PKCS1V15_2048_SHA256, nil
		case 4096 / 8:
			return commonv1.PublicKeyDetails_PKIX_RSA_PKCS1V15_4096_SHA256, nil
		}
	}
	return 0, errors.New("trusted roots do not support keys of this type")
}
