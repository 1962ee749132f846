package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A certificateAuthority signs client certificates.
type certificateAuthority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) *certificateAuthority {
	t.Helper()
	ca := &certificateAuthority{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	pair := ca.sign(template)
	ca.cert, ca.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	return ca
}

// sign returns a certificate with a key of its own, signed by the CA, or by
// itself if there is none yet.
func (ca *certificateAuthority) sign(template *x509.Certificate) tls.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		ca.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (ca *certificateAuthority) client(edit func(*x509.Certificate)) tls.Certificate {
	c := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	edit(c)
	return ca.sign(c)
}

func TestClientCertificates(t *testing.T) {
	ca, foreign := newCA(t), newCA(t)
	ts := newServer(t, func(_ *ledger.Config, c *api.Config) {
		c.Tenants[0].Certificates = []auth.CertificateRule{
			{URI: "spiffe://acme.example/ci", Role: munimentv1.Role_ROLE_APPENDER, Kinds: []string{"attestation"}},
			{DNS: "auditor.acme.example", Role: munimentv1.Role_ROLE_AUDITOR},
			{CommonName: "robot", Role: munimentv1.Role_ROLE_READER},
		}
		c.Tenants[1].Certificates = []auth.CertificateRule{{DNS: "ci.globex.example", Role: munimentv1.Role_ROLE_READER}}
	})
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	hs := httptest.NewUnstartedServer(ts.api.Handler())
	hs.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool}
	// failed handshakes are logged here
	hs.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	hs.StartTLS()
	t.Cleanup(hs.Close)
	who := func(token string, certs ...tls.Certificate) (*munimentv1.WhoAmIResponse, error) {
		tr := hs.Client().Transport.(*http.Transport).Clone()
		tr.TLSClientConfig.Certificates = certs
		defer tr.CloseIdleConnections()
		var opts []connect.ClientOption
		if token != "" {
			opts = append(opts, connect.WithInterceptors(bearer(token)))
		}
		res, err := munimentv1connect.NewIdentityServiceClient(&http.Client{Transport: tr}, hs.URL, opts...).WhoAmI(context.Background(), connect.NewRequest(&munimentv1.WhoAmIRequest{}))
		if err != nil {
			return nil, err
		}
		return res.Msg, nil
	}
	uri := func(s string) func(*x509.Certificate) {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return func(c *x509.Certificate) { c.URIs = []*url.URL{u} }
	}
	for name, c := range map[string]struct {
		cert     tls.Certificate
		token    string
		identity string
		role     munimentv1.Role
	}{
		"URI":                  {ca.client(uri("spiffe://acme.example/ci")), "", "cert:uri:spiffe://acme.example/ci", munimentv1.Role_ROLE_APPENDER},
		"DNS":                  {ca.client(func(c *x509.Certificate) { c.DNSNames = []string{"a.example", "auditor.acme.example"} }), "", "cert:dns:auditor.acme.example", munimentv1.Role_ROLE_AUDITOR},
		"common name":          {ca.client(func(c *x509.Certificate) { c.Subject.CommonName = "robot" }), "", "cert:cn:robot", munimentv1.Role_ROLE_READER},
		"a token goes before":  {ca.client(uri("spiffe://acme.example/ci")), acmeToken, "token:acme", munimentv1.Role_ROLE_ADMIN},
		"no rule, but a token": {ca.client(uri("spiffe://acme.example/nobody")), acmeToken, "token:acme", munimentv1.Role_ROLE_ADMIN},
	} {
		got, err := who(c.token, c.cert)
		if err != nil || got.Identity != c.identity || got.Role != c.role || got.Tenant != "acme" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, c := range map[string]struct {
		cert tls.Certificate
		want string
	}{
		"a longer URI":     {ca.client(uri("spiffe://acme.example/ci/x")), "no rule matches this client certificate"},
		"a subdomain":      {ca.client(func(c *x509.Certificate) { c.DNSNames = []string{"x.auditor.acme.example"} }), "no rule matches this client certificate"},
		"a name elsewhere": {ca.client(func(c *x509.Certificate) { c.Subject.CommonName = "auditor.acme.example" }), "no rule matches this client certificate"},
		"of two tenants": {ca.client(func(c *x509.Certificate) { c.DNSNames = []string{"auditor.acme.example", "ci.globex.example"} }),
			"rules of several tenants match this client certificate"},
		"another CA": {foreign.client(uri("spiffe://acme.example/ci")), "tls:"},
		"expired": {ca.client(func(c *x509.Certificate) {
			uri("spiffe://acme.example/ci")(c)
			c.NotAfter = time.Now().Add(-time.Hour)
		}), "tls:"},
		"for servers": {ca.client(func(c *x509.Certificate) {
			uri("spiffe://acme.example/ci")(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), "tls:"},
	} {
		if _, err := who("", c.cert); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := who(""); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("no certificate and no token: %v", err)
	}
}
