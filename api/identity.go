package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// An identityService implements IdentityService.
type identityService struct{ *Server }

func (s *identityService) WhoAmI(ctx context.Context, _ *connect.Request[munimentv1.WhoAmIRequest]) (*connect.Response[munimentv1.WhoAmIResponse], error) {
	id := caller(ctx)
	res := &munimentv1.WhoAmIResponse{Tenant: id.tenant.Name, Identity: id.name, Role: id.role, Kinds: id.kinds}
	if !id.expires.IsZero() {
		res.Expires = timestamppb.New(id.expires)
	}
	return connect.NewResponse(res), nil
}

// ExchangeToken implements IdentityService. Used identity tokens are remembered
// in memory, and recovered from the entries after a restart.
func (s *identityService) ExchangeToken(ctx context.Context, req *connect.Request[munimentv1.ExchangeTokenRequest]) (*connect.Response[munimentv1.ExchangeTokenResponse], error) {
	dir := s.dir.Load()
	if dir.identities == nil {
		return nil, rpcerr.Field(connect.CodeUnauthenticated, "identity_token", "this ledger takes none; use a token of the tenant")
	}
	tok, err := dir.identities.Verify(ctx, req.Msg.IdentityToken)
	if err != nil {
		return nil, s.refusedIdentity(err)
	}
	t, rule := dir.ruleFor(req.Msg.Tenant, tok)
	if rule == nil { // does not reveal whether the tenant exists
		return nil, s.refusedIdentity(fmt.Errorf("%w: tenant %q has no rule for the subject %q of %s", oidc.ErrRefused, req.Msg.Tenant, tok.Subject, tok.Issuer))
	}
	done, err := s.limits.TakeRecord(ctx, req.Spec().Procedure, s.limits.Usage(t.Name), len(req.Msg.IdentityToken))
	if err != nil {
		return nil, err
	}
	defer done()
	now := s.now()
	key := sha256.Sum256([]byte(tok.Issuer + "\x00" + tok.ID))
	if err := s.grants.useIdentity(key, tok.Expires.Add(oidc.MaxSkew), now); err != nil {
		return nil, s.refusedIdentity(err)
	}
	token, hash := newToken(t.Name)
	g := &grant{identity: identity{
		tenant: t, hash: hash, name: oidcIdentity(tok.Issuer, tok.Subject), role: rule.Role, kinds: rule.Kinds, expires: now.Add(rule.life()).UTC().Truncate(time.Second),
	}}
	r, err := s.recordExchange(ctx, g, tok, rule, key)
	if err != nil {
		if !errors.Is(err, errUsedBefore) {
			s.grants.releaseIdentity(key)
		}
		return nil, s.refusedIdentity(err)
	}
	s.grants.add(g)
	return connect.NewResponse(&munimentv1.ExchangeTokenResponse{
		Token: token, Expires: timestamppb.New(g.expires), Role: g.role, Kinds: g.kinds, Identity: g.name, Index: r.Index,
	}), nil
}

func (r *IdentityRule) life() time.Duration {
	if r.Life > 0 {
		return min(r.Life, MaxSession)
	}
	return MaxSession
}

// oidcIdentity returns the submitter name of an identity token's holder.
func oidcIdentity(issuer, subject string) string { return "oidc:" + issuer + "#" + subject }

// ruleFor returns the tenant's first rule that matches the token. A suspended
// tenant has none.
func (d *directory) ruleFor(tenant string, tok *oidc.Token) (*Tenant, *IdentityRule) {
	t := d.byName[tenant]
	if t == nil || t.Suspended {
		return nil, nil
	}
	for j := range t.Rules {
		if ok, _ := t.Rules[j].Match(tok); ok {
			return t, &t.Rules[j]
		}
	}
	return nil, nil
}

func (s *Server) recordExchange(ctx context.Context, g *grant, tok *oidc.Token, rule *IdentityRule, key [sha256.Size]byte) (ledger.Result, error) {
	d := g.document()
	d.Identity = &identityDocument{Issuer: tok.Issuer, Subject: tok.Subject, Rule: rule.Name, Claims: rule.Matched(tok), Expires: tok.Expires.UTC()}
	document, err := json.Marshal(d)
	if err != nil {
		return ledger.Result{}, err
	}
	name := fmt.Sprintf("%s/%x", exchangeType, key)
	who := ingest.Submitter{Tenant: g.tenant.Name, Identity: ingest.ServerIdentity, Stream: g.tenant.Stream}
	r, err := s.ingest.RecordOnce(context.WithoutCancel(ctx), who, kindname.Config, name, &munimentv1.Config{
		Name: name, Document: string(document), Digest: ingest.DocumentDigest(document), Actor: g.name,
	})
	if errors.Is(err, ledger.ErrKeyReused) || err == nil && r.Duplicate {
		return r, errUsedBefore
	}
	return r, err
}

func (s *Server) refusedIdentity(err error) error {
	switch {
	case errors.Is(err, oidc.ErrRefused):
		return rpcerr.Field(connect.CodeUnauthenticated, "identity_token", "%s", err)
	case errors.Is(err, oidc.ErrUnavailable):
		s.log.Warn("identity tokens can't be verified", "err", err)
		return rpcerr.Retry(connect.CodeUnavailable, errors.New("identity_token: the keys of its issuer can't be fetched now; the server's log has the cause"), 10*time.Second)
	case errors.Is(err, errBusyIdentity):
		return rpcerr.Retry(connect.CodeResourceExhausted, err, 30*time.Second)
	}
	return s.public(err)
}
