package rpc

import (
	"context"
	"errors"
	"log/slog"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ingest/policy"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Policies sets and returns admission policies.
type Policies struct {
	Admission *ingest.Admission // nil: the server has no policies
	Log       *slog.Logger
	Public    Public
}

var errNoAdmission = connect.NewError(connect.CodeUnimplemented, errors.New("this server has no admission policies"))

func (s *Policies) SetPolicy(ctx context.Context, req *connect.Request[munimentv1.SetPolicyRequest]) (*connect.Response[munimentv1.SetPolicyResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if s.Admission == nil {
		return nil, errNoAdmission
	}
	r, err := s.Admission.SetPolicy(ctx, id.Submitter(), req.Msg.Policy, req.Msg.Reason)
	var wrong *policy.Error
	switch {
	case errors.As(err, &wrong):
		return nil, rpcerr.Field(connect.CodeInvalidArgument, "policy", "%s", wrong)
	case err != nil:
		return nil, s.Public(err)
	}
	s.Log.Info("admission policy changed", "tenant", id.Tenant.Name, "by", id.Name, "policy", policy.Digest(req.Msg.Policy), "entry", r.Index)
	return connect.NewResponse(&munimentv1.SetPolicyResponse{Digest: policy.Digest(req.Msg.Policy), Appended: appended(r)}), nil
}

func (s *Policies) GetPolicy(ctx context.Context, req *connect.Request[munimentv1.GetPolicyRequest]) (*connect.Response[munimentv1.GetPolicyResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if s.Admission == nil {
		return nil, errNoAdmission
	}
	p, index, err := s.Admission.Policy(ctx, id.Submitter())
	if err != nil {
		return nil, s.Public(err)
	}
	return connect.NewResponse(&munimentv1.GetPolicyResponse{Policy: p.Text(), Digest: p.Digest(), Index: index}), nil
}
