package auth

import (
	"crypto/tls"
	"errors"
	"slices"
)

var (
	errNoCertificateRule  = errors.New("authorization: no rule matches this client certificate")
	errCertificateTenants = errors.New("authorization: rules of several tenants match this client certificate: use a certificate that only one tenant's rules match")
)

// identifyCertificate returns the holder of the connection's client
// certificate, whose chain has been verified, or nil if there is none. It
// checks the expiry again, because a connection can outlive its certificate.
func (a *Authenticator) identifyCertificate(state *tls.ConnectionState) (*Identity, error) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil, nil
	}
	cert := state.PeerCertificates[0]
	if !a.cfg.Now().Before(cert.NotAfter) {
		return nil, errExpired("client certificate", cert.NotAfter)
	}
	var found *Identity
	tenants := a.dir.Load().tenants
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
		found = &Identity{Tenant: t, Name: "cert:" + r.String(), Role: r.Role, Kinds: r.Kinds, Expires: cert.NotAfter, again: a.inForce}
	}
	if found == nil {
		return nil, errNoCertificateRule
	}
	if found.Tenant.Suspended {
		return nil, errSuspended
	}
	return found, nil
}

// certificateInForce returns an error unless the tenant still has the rule that
// identified the holder of a client certificate.
func (a *Authenticator) certificateInForce(id *Identity) error {
	if err := a.tenantInForce(id.Tenant.Name); err != nil {
		return err
	}
	for _, r := range a.dir.Load().byName[id.Tenant.Name].Certificates {
		if "cert:"+r.String() == id.Name && r.Role == id.Role {
			return nil
		}
	}
	return errNoCertificateRule
}
