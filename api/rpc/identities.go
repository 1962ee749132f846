package rpc

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/api/rpcerr"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Identities implements IdentityService.
type Identities struct {
	Auth    *auth.Authenticator
	Log     *slog.Logger
	Public  Public
	Replica bool // the server is one
}

func (s *Identities) WhoAmI(ctx context.Context, _ *connect.Request[munimentv1.WhoAmIRequest]) (*connect.Response[munimentv1.WhoAmIResponse], error) {
	id := auth.Caller(ctx)
	res := &munimentv1.WhoAmIResponse{Tenant: id.Tenant.Name, Identity: id.Name, Role: id.Role, Kinds: id.Kinds, Replica: s.Replica}
	if !id.Expires.IsZero() {
		res.Expires = timestamppb.New(id.Expires)
	}
	return connect.NewResponse(res), nil
}

func (s *Identities) ExchangeToken(ctx context.Context, req *connect.Request[munimentv1.ExchangeTokenRequest]) (*connect.Response[munimentv1.ExchangeTokenResponse], error) {
	t, err := s.Auth.Exchange(ctx, req.Spec().Procedure, req.Msg.Tenant, req.Msg.IdentityToken)
	if err != nil {
		return nil, s.refusedIdentity(err)
	}
	return connect.NewResponse(&munimentv1.ExchangeTokenResponse{
		Token: t.Token, Expires: timestamppb.New(t.Expires), Role: t.Role, Kinds: t.Kinds, Identity: t.Name, Index: t.Index,
	}), nil
}

func (s *Identities) refusedIdentity(err error) error {
	switch {
	case errors.Is(err, oidc.ErrRefused), errors.Is(err, auth.ErrNoIssuers):
		return rpcerr.Field(connect.CodeUnauthenticated, "identity_token", "%s", err)
	case errors.Is(err, oidc.ErrUnavailable):
		s.Log.Warn("identity tokens cannot be verified", "err", err)
		return rpcerr.Retry(connect.CodeUnavailable, errors.New("identity_token: the keys of its issuer cannot be fetched at the moment; see the server's log for the cause"), 10*time.Second)
	case errors.Is(err, auth.ErrBusy):
		return rpcerr.Retry(connect.CodeResourceExhausted, err, 30*time.Second)
	}
	return s.Public(err)
}
