package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
)

// A Tenant is a customer of the log, with a stream of its own.
type Tenant struct {
	Name         string
	Stream       *ledger.Stream
	Tokens       []Token
	Rules        []IdentityRule    // the first one that matches decides
	Certificates []CertificateRule // the first one that matches decides
	Limits       limit.Quota
	// Suspended tenants keep their entries and credentials, but their calls are
	// refused.
	Suspended bool
}

// A Token is a static token of the configuration.
type Token struct {
	ID      string // unique in the tenant
	Hash    [sha256.Size]byte
	Role    Role
	Kinds   []string  // the only kinds that may be appended; empty: all kinds of the role
	Expires time.Time // zero: never
}

// An IdentityRule grants a role to the holders of matching identity tokens.
type IdentityRule struct {
	Name string // recorded
	oidc.Rule
	Role  Role
	Kinds []string
	Life  time.Duration // of the ledger's token, at most MaxSession; 0: MaxSession
}

// MaxSession is the longest lifetime of a token issued for an identity token.
const MaxSession = 15 * time.Minute

// An identity is an authenticated caller.
type identity struct {
	tenant  *Tenant
	name    string // recorded in headers as the submitter
	role    Role
	kinds   []string  // the only kinds that may be appended; empty: all kinds of the role
	expires time.Time // zero: never
	hash    tokenHash // of the token; zero for a certificate
}

func (id *identity) submitter() ingest.Submitter {
	return ingest.Submitter{Tenant: id.tenant.Name, Identity: id.name, Stream: id.tenant.Stream}
}

type identityKey struct{}

// caller returns the identity of the caller, or nil.
func caller(ctx context.Context) *identity {
	id, _ := ctx.Value(identityKey{}).(*identity)
	return id
}

// authenticate admits requests with valid credentials of any role and puts the
// identity into the context.
func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := s.identify(r)
		if err != nil {
			s.limits.ChargeRefusal(r)
			s.refuse(w, r, connect.NewError(connect.CodeUnauthenticated, err))
			return
		}
		if req, ok := r.Context().Value(requestKey{}).(*request); ok {
			req.caller.Store(id)
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(limit.WithTenant(r.Context(), id.tenant.Name), identityKey{}, id)))
	})
}

var (
	errNoToken      = errors.New("authorization: no token; send the header \"Authorization: Bearer TOKEN\"")
	errWrongToken   = errors.New("authorization: the token is not valid here")
	errRevokedToken = errors.New("authorization: the token was revoked; ask the tenant's administrator for another")
)

func errExpired(what string, t time.Time) error {
	return fmt.Errorf("authorization: the %s expired at %s; get a new one", what, t.UTC().Format(time.RFC3339))
}

// identify returns the holder of the request's token, or of its client
// certificate if there is no token.
func (s *Server) identify(r *http.Request) (*identity, error) {
	header := r.Header.Get("Authorization")
	if header == "" {
		if id, err := s.identifyCertificate(r.TLS); id != nil || err != nil {
			return id, err
		}
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, errNoToken
	}
	token = strings.TrimSpace(token)
	g := s.grants.find(sha256.Sum256([]byte(token)))
	if err := s.check(g); err != nil {
		return nil, err
	}
	// Clients choose the hashes of the tokens they issue, so a matching hash is
	// not enough: another tenant could have registered it.
	if !strings.HasPrefix(token, tokenPrefix(g.tenant.Name)) {
		return nil, errWrongToken
	}
	return &g.identity, nil
}

// check returns nil if the grant is in force.
func (s *Server) check(g *grant) error {
	switch {
	case g == nil:
		return errWrongToken
	case s.tenantInForce(g.tenant.Name) != nil:
		return s.tenantInForce(g.tenant.Name)
	case g.revoked:
		return errRevokedToken
	case !g.expires.IsZero() && !s.now().Before(g.expires):
		return errExpired("token", g.expires)
	}
	return nil
}

// checkAgain returns nil if the caller's credentials are still in force. A
// stream can outlive them.
func (s *Server) checkAgain(id *identity) error {
	var err error
	switch {
	case id == nil: // of a call that needs none
	case id.hash != tokenHash{}:
		err = s.check(s.grants.find(id.hash))
	case !s.now().Before(id.expires):
		err = errExpired("client certificate", id.expires)
	default:
		err = s.certificateInForce(id)
	}
	if err != nil {
		return connect.NewError(connect.CodeUnauthenticated, err)
	}
	return nil
}
