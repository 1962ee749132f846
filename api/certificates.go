package api

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
)

// A CertificateRule grants a role to the holder of a client certificate.
// Exactly one of URI, DNS and CommonName is set, and must be equal.
type CertificateRule struct {
	URI        string // subject alternative name, such as a SPIFFE ID
	DNS        string // subject alternative name
	CommonName string
	Role       Role
	Kinds      []string
}

// String returns the name of the rule and of its holder, such as
// "uri:spiffe://acme.example/ci".
func (r *CertificateRule) String() string {
	switch {
	case r.URI != "":
		return "uri:" + r.URI
	case r.DNS != "":
		return "dns:" + r.DNS
	}
	return "cn:" + r.CommonName
}

func (r *CertificateRule) match(c *x509.Certificate) bool {
	switch {
	case r.URI != "":
		for _, u := range c.URIs {
			if u.String() == r.URI {
				return true
			}
		}
		return false
	case r.DNS != "":
		return slices.Contains(c.DNSNames, r.DNS)
	}
	return r.CommonName != "" && c.Subject.CommonName == r.CommonName
}

var (
	errNoCertificateRule  = errors.New("authorization: no rule is for this client certificate")
	errCertificateTenants = errors.New("authorization: rules of several tenants are for this client certificate; make one that is for one tenant")
)

// identifyCertificate returns the holder of the connection's client
// certificate, whose chain has been verified, or nil if there is none. It
// checks the expiry again, because a connection can outlive its certificate.
func (s *Server) identifyCertificate(state *tls.ConnectionState) (*identity, error) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil, nil
	}
	cert := state.PeerCertificates[0]
	if !s.now().Before(cert.NotAfter) {
		return nil, errExpired("client certificate", cert.NotAfter)
	}
	var found *identity
	tenants := s.dir.Load().tenants
	for i := range tenants {
		t := &tenants[i]
		j := slices.IndexFunc(t.Certificates, func(r CertificateRule) bool { return r.match(cert) })
		if j < 0 {
			continue
		}
		if found != nil {
			return nil, errCertificateTenants
		}
		r := &t.Certificates[j]
		found = &identity{tenant: t, name: "cert:" + r.String(), role: r.Role, kinds: r.Kinds, expires: cert.NotAfter}
	}
	if found == nil {
		return nil, errNoCertificateRule
	}
	if found.tenant.Suspended {
		return nil, errSuspended
	}
	return found, nil
}

// certificateInForce returns nil if the tenant still has the rule by which the
// holder of a client certificate was identified.
func (s *Server) certificateInForce(id *identity) error {
	if err := s.tenantInForce(id.tenant.Name); err != nil {
		return err
	}
	for _, r := range s.dir.Load().byName[id.tenant.Name].Certificates {
		if "cert:"+r.String() == id.name && r.Role == id.role {
			return nil
		}
	}
	return errNoCertificateRule
}
