package rpc

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/rpcerr"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Tokens issues and revokes tokens.
type Tokens struct {
	Auth *auth.Authenticator
	// CheckKinds returns an error unless a grant of the role can be limited to
	// the kinds.
	CheckKinds func(role auth.Role, kinds []string) error
	Now        func() time.Time
	Public     Public
}

// IssueToken implements AdminService.
func (s *Tokens) IssueToken(ctx context.Context, req *connect.Request[munimentv1.IssueTokenRequest]) (*connect.Response[munimentv1.IssueTokenResponse], error) {
	who, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	m := req.Msg.Grant
	g := auth.Grant{ID: m.Id, Role: m.Role, Kinds: m.Kinds}
	if err := s.CheckKinds(g.Role, g.Kinds); err != nil {
		return nil, rpcerr.Field(connect.CodeInvalidArgument, "grant.kinds", "%s", err)
	}
	if m.Expires != nil {
		if err := m.Expires.CheckValid(); err != nil {
			return nil, rpcerr.Field(connect.CodeInvalidArgument, "grant.expires", "not a valid time")
		}
		if g.Expires = m.Expires.AsTime(); !s.Now().Before(g.Expires) {
			return nil, rpcerr.Field(connect.CodeInvalidArgument, "grant.expires", "not in the future")
		}
	}
	token, r, err := s.Auth.Issue(ctx, who, g, req.Msg.TokenSha256, req.Msg.Reason)
	switch {
	case errors.Is(err, auth.ErrIDTaken):
		return nil, rpcerr.Field(connect.CodeAlreadyExists, "grant.id", "%s", err)
	case errors.Is(err, auth.ErrTokenTaken):
		return nil, rpcerr.Field(connect.CodeAlreadyExists, "token_sha256", "%s", err)
	case errors.Is(err, auth.ErrTooManyGrants):
		return nil, rpcerr.Field(connect.CodeFailedPrecondition, "grant.id", "%s", err)
	case err != nil:
		return nil, s.Public(err)
	}
	return connect.NewResponse(&munimentv1.IssueTokenResponse{Token: token, Grant: grantMessage(g), Appended: appended(r)}), nil
}

// RevokeToken implements AdminService.
func (s *Tokens) RevokeToken(ctx context.Context, req *connect.Request[munimentv1.RevokeTokenRequest]) (*connect.Response[munimentv1.RevokeTokenResponse], error) {
	who, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	r, err := s.Auth.Revoke(ctx, who, req.Msg.Id, req.Msg.Reason)
	if errors.Is(err, auth.ErrNoGrant) {
		return nil, rpcerr.Field(connect.CodeNotFound, "id", "no token %q is in force", req.Msg.Id)
	}
	if err != nil {
		return nil, s.Public(err)
	}
	return connect.NewResponse(&munimentv1.RevokeTokenResponse{Appended: appended(r)}), nil
}

// ListTokens implements AdminService.
func (s *Tokens) ListTokens(ctx context.Context, req *connect.Request[munimentv1.ListTokensRequest]) (*connect.Response[munimentv1.ListTokensResponse], error) {
	who, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	res := &munimentv1.ListTokensResponse{}
	for _, g := range s.Auth.Grants(who.Tenant) {
		res.Grants = append(res.Grants, grantMessage(g))
	}
	slices.SortFunc(res.Grants, func(a, b *munimentv1.Grant) int { return cmp.Compare(a.Id, b.Id) })
	return connect.NewResponse(res), nil
}

func grantMessage(g auth.Grant) *munimentv1.Grant {
	m := &munimentv1.Grant{Id: g.ID, Role: g.Role, Kinds: g.Kinds}
	if !g.Expires.IsZero() {
		m.Expires = timestamppb.New(g.Expires)
	}
	return m
}
