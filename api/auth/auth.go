// Package auth identifies the callers of a server: by tokens, by client
// certificates, and by identity tokens that they exchange for tokens.
//
// It does not decide who is allowed to do what. The caller of
// [Authenticator.Admit] specifies the roles that each handler requires.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
)

// Config configures an Authenticator.
type Config struct {
	Ledger *ledger.Ledger
	Ingest *ingest.Ingester // records grants and exchanges
	Limits *limit.Limiter
	Log    *slog.Logger
	Now    func() time.Time
	// Browser returns the identity of the session whose cookie a request has,
	// nil if it has none, or an error if the session has ended or may not be
	// used for the request. Nil: there are no sessions.
	Browser func(*http.Request) (*Identity, error)
	// Refuse answers a request with an error.
	Refuse func(http.ResponseWriter, *http.Request, *connect.Error)
}

// An Authenticator identifies callers. Its methods are safe for concurrent use,
// except for Reload.
type Authenticator struct {
	cfg    Config
	grants *grants
	dir    atomic.Pointer[directory]
	opened uint64 // size of the log before its grants were first read

	catching sync.Mutex        // held by CatchUp; guards the next field
	caught   map[string]uint64 // by tenant: entries whose grants are in force
}

// maxCatchUp limits how long a token is looked for in what other servers have
// recorded.
const maxCatchUp = 2 * time.Second

// New returns an authenticator for the directory. It reads the grants in force
// from the ledger and applies the tenants' limits.
func New(ctx context.Context, cfg Config, d Directory) (*Authenticator, error) {
	a := &Authenticator{cfg: cfg, opened: cfg.Ledger.Published().Size, caught: map[string]uint64{}}
	a.grants = newGrants(a.inForce)
	dir, err := a.newDirectory(ctx, d)
	if err != nil {
		return nil, err
	}
	for i := range dir.tenants {
		if err := a.loadTenantGrants(ctx, a.grants, &dir.tenants[i]); err != nil {
			return nil, err
		}
	}
	cfg.Limits.SetUsages(dir.usages)
	a.dir.Store(dir)
	return a, nil
}

// An Identity is an authenticated caller of a tenant.
type Identity struct {
	Tenant  *Tenant
	Name    string // recorded in headers as the submitter
	Role    Role
	Kinds   []string  // limits the kinds of entries; empty: all kinds of the role
	Expires time.Time // zero: never
	Display string    // a name to show; "" if none is known

	hash    tokenHash       // of the token; zero for a certificate or a person
	person  *oidc.Token     // of a person in a browser; otherwise nil
	rule    *IdentityRule   // that matched the person
	browser *BrowserSession // of the person
	session func() error    // of a browser: an error once it has ended; otherwise nil
	again   func(*Identity) error
	// introduce records the session of a person before it is used to act. Nil:
	// the identity is recorded already, or part of the configuration.
	introduce func(context.Context, *Identity) error
}

// Submitter returns the identity as ingest records it.
func (id *Identity) Submitter() ingest.Submitter {
	who := ingest.Submitter{Tenant: id.Tenant.Name, Identity: id.Name, Stream: id.Tenant.Stream, Valid: id.valid}
	if id.introduce != nil {
		who.Introduce = func(ctx context.Context) error { return id.introduce(ctx, id) }
	}
	return who
}

// valid returns an error once the credentials are no longer in force.
func (id *Identity) valid() error {
	if id.again == nil {
		return nil
	}
	return id.again(id)
}

// A Slot contains the identity of a request's caller once it is authenticated.
type Slot struct{ id atomic.Pointer[Identity] }

// Caller returns the identity, or nil.
func (s *Slot) Caller() *Identity { return s.id.Load() }

// SlotKey is the key of the *Slot in a request's context.
type SlotKey struct{}

// Caller returns the identity of the caller, or nil.
func Caller(ctx context.Context) *Identity {
	if s, ok := ctx.Value(SlotKey{}).(*Slot); ok {
		return s.Caller()
	}
	return nil
}

// identified stores the caller in the request's slot, adding a slot if there is
// none.
func identified(r *http.Request, id *Identity) *http.Request {
	s, ok := r.Context().Value(SlotKey{}).(*Slot)
	ctx := limit.WithTenant(r.Context(), id.Tenant.Name)
	if !ok {
		s = &Slot{}
		ctx = context.WithValue(ctx, SlotKey{}, s)
	}
	s.id.Store(id)
	if ctx == r.Context() {
		return r
	}
	return r.WithContext(ctx)
}

// CallerOf returns the caller if it may act for the tenant. The handler of
// every RPC that names a tenant calls it first.
func CallerOf(ctx context.Context, tenant string) (*Identity, error) {
	id := Caller(ctx)
	if id == nil {
		return nil, connect.NewError(connect.CodeUnauthenticated, errNoToken)
	}
	if id.Tenant.Name != tenant {
		return nil, rpcerr.Field(connect.CodePermissionDenied, "tenant", "this token is not for tenant %q", tenant)
	}
	return id, nil
}

// Admit serves requests from callers with one of the roles. It adds the
// identity of a tenant's caller to the context.
func (a *Authenticator) Admit(roles Roles, next http.Handler) http.Handler {
	return a.admit(roles, false, next)
}

func (a *Authenticator) admit(roles Roles, browser bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if roles.Has(OperatorRole) {
			o, err := a.Operator(r)
			if err != nil {
				a.refuse(w, r, connect.CodeUnauthenticated, err)
				return
			}
			if o != nil {
				next.ServeHTTP(w, r)
				return
			}
		}
		id, err := a.identify(r, browser)
		if err != nil {
			a.refuse(w, r, connect.CodeUnauthenticated, err)
			return
		}
		r = identified(r, id)
		if err := roles.check(id.Role); err != nil {
			a.refuse(w, r, connect.CodePermissionDenied, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (a *Authenticator) refuse(w http.ResponseWriter, r *http.Request, code connect.Code, err error) {
	a.cfg.Limits.ChargeRefusal(r)
	a.cfg.Refuse(w, r, connect.NewError(code, err))
}

var (
	errNoToken      = errors.New("authorization: no token; send the header \"Authorization: Bearer TOKEN\"")
	errWrongToken   = errors.New("authorization: the token is not valid here")
	errRevokedToken = errors.New("authorization: the token was revoked; ask the tenant's administrator for another")
)

func errExpired(what string, t time.Time) error {
	return fmt.Errorf("authorization: the %s expired at %s; get a new one", what, t.UTC().Format(time.RFC3339))
}

// identify returns the holder of the request's token. If there is none, it
// returns the holder of the session of a browser, or of the client certificate.
func (a *Authenticator) identify(r *http.Request, browser bool) (*Identity, error) {
	header := r.Header.Get("Authorization")
	if header == "" && browser && a.cfg.Browser != nil {
		if id, err := a.cfg.Browser(r); id != nil || err != nil {
			return id, err
		}
	}
	if header == "" {
		if id, err := a.identifyCertificate(r.TLS); id != nil || err != nil {
			return id, err
		}
	}
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, errNoToken
	}
	return a.identifyToken(strings.TrimSpace(token))
}

// check returns an error unless the grant is in force.
func (a *Authenticator) check(g *grant) error {
	switch {
	case g == nil:
		return errWrongToken
	case a.tenantInForce(g.Tenant.Name) != nil:
		return a.tenantInForce(g.Tenant.Name)
	case g.revoked:
		return errRevokedToken
	case !g.Expires.IsZero() && !a.cfg.Now().Before(g.Expires):
		return errExpired("token", g.Expires)
	}
	return nil
}

// CheckAgain returns an error unless the caller's credentials are still in
// force. A stream can outlive them.
func (a *Authenticator) CheckAgain(id *Identity) error {
	if id == nil { // the call needs no credentials
		return nil
	}
	return a.inForce(id)
}

func (a *Authenticator) inForce(id *Identity) error {
	var err error
	switch {
	case id.person != nil:
		err = a.personInForce(id)
	case id.hash != tokenHash{}:
		err = a.check(a.grants.find(id.hash))
	case !a.cfg.Now().Before(id.Expires):
		err = errExpired("client certificate", id.Expires)
	default:
		err = a.certificateInForce(id)
	}
	if err == nil && id.session != nil {
		err = id.session()
	}
	if err != nil {
		return connect.NewError(connect.CodeUnauthenticated, err)
	}
	return nil
}
