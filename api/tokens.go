package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// IssueToken implements AdminService.
func (s *adminService) IssueToken(ctx context.Context, req *connect.Request[munimentv1.IssueTokenRequest]) (*connect.Response[munimentv1.IssueTokenResponse], error) {
	who, err := authorize(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	m := req.Msg.Grant
	g := &grant{id: m.Id, identity: identity{tenant: who.tenant, name: "token:" + m.Id, role: m.Role, kinds: m.Kinds}}
	if err := CheckKinds(g.role, g.kinds); err != nil {
		return nil, rpcerr.Field(connect.CodeInvalidArgument, "grant.kinds", "%s", err)
	}
	if m.Expires != nil {
		if err := m.Expires.CheckValid(); err != nil {
			return nil, rpcerr.Field(connect.CodeInvalidArgument, "grant.expires", "not a valid time")
		}
		if g.expires = m.Expires.AsTime(); !s.now().Before(g.expires) {
			return nil, rpcerr.Field(connect.CodeInvalidArgument, "grant.expires", "not in the future")
		}
	}
	var token string
	if drawn := req.Msg.TokenSha256; len(drawn) > 0 {
		g.hash = tokenHash(drawn)
	} else {
		token, g.hash = newToken(who.tenant.Name)
	}
	switch err := s.grants.reserve(g); {
	case errors.Is(err, errIDTaken):
		return nil, rpcerr.Field(connect.CodeAlreadyExists, "grant.id", "%s", err)
	case errors.Is(err, errTokenTaken):
		return nil, rpcerr.Field(connect.CodeAlreadyExists, "token_sha256", "%s", err)
	case err != nil:
		return nil, rpcerr.Field(connect.CodeFailedPrecondition, "grant.id", "%s", err)
	}
	defer s.grants.release(g)
	r, err := s.recordGrant(ctx, who, g, req.Msg.Reason)
	if err != nil {
		return nil, s.public(err)
	}
	s.grants.add(g)
	return connect.NewResponse(&munimentv1.IssueTokenResponse{Token: token, Grant: g.message(), Appended: appended(r)}), nil
}

func (s *Server) recordGrant(ctx context.Context, who *identity, g *grant, reason string) (ledger.Result, error) {
	document, err := json.Marshal(g.document())
	if err != nil {
		return ledger.Result{}, err
	}
	// What is recorded must be in force, also where the caller has gone
	// meanwhile.
	return s.ingest.RecordConfig(context.WithoutCancel(ctx), who.submitter(), grantType+"/"+g.id, document, reason)
}

// RevokeToken implements AdminService.
func (s *adminService) RevokeToken(ctx context.Context, req *connect.Request[munimentv1.RevokeTokenRequest]) (*connect.Response[munimentv1.RevokeTokenResponse], error) {
	who, err := authorize(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	g := s.grants.get(who.tenant.Name, req.Msg.Id)
	if g == nil || g.revoked {
		return nil, rpcerr.Field(connect.CodeNotFound, "id", "there is no token %q in force; list them with ListTokens", req.Msg.Id)
	}
	r, err := s.ingest.RecordConfig(context.WithoutCancel(ctx), who.submitter(), grantType+"/"+g.id, nil, req.Msg.Reason)
	if err != nil {
		return nil, s.public(err)
	}
	s.grants.revoke(g)
	return connect.NewResponse(&munimentv1.RevokeTokenResponse{Appended: appended(r)}), nil
}

// ListTokens implements AdminService.
func (s *adminService) ListTokens(ctx context.Context, req *connect.Request[munimentv1.ListTokensRequest]) (*connect.Response[munimentv1.ListTokensResponse], error) {
	who, err := authorize(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	res := &munimentv1.ListTokensResponse{}
	for _, g := range s.grants.list(who.tenant.Name, s.now()) {
		res.Grants = append(res.Grants, g.message())
	}
	slices.SortFunc(res.Grants, func(a, b *munimentv1.Grant) int { return cmp.Compare(a.Id, b.Id) })
	return connect.NewResponse(res), nil
}

func (g *grant) message() *munimentv1.Grant {
	m := &munimentv1.Grant{Id: g.id, Role: g.role, Kinds: g.kinds}
	if !g.expires.IsZero() {
		m.Expires = timestamppb.New(g.expires)
	}
	return m
}
