package api

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ingest/policy"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

var errNoAdmission = connect.NewError(connect.CodeUnimplemented, errors.New("this server has no admission policies"))

func (s *adminService) SetPolicy(ctx context.Context, req *connect.Request[munimentv1.SetPolicyRequest]) (*connect.Response[munimentv1.SetPolicyResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if s.cfg.Admission == nil {
		return nil, errNoAdmission
	}
	r, err := s.cfg.Admission.SetPolicy(ctx, id.Submitter(), req.Msg.Policy, req.Msg.Reason)
	var wrong *policy.Error
	switch {
	case errors.As(err, &wrong):
		return nil, rpcerr.Field(connect.CodeInvalidArgument, "policy", "%s", wrong)
	case err != nil:
		return nil, s.public(err)
	}
	s.log.Info("admission policy changed", "tenant", id.Tenant.Name, "by", id.Name, "policy", policy.Digest(req.Msg.Policy), "entry", r.Index)
	return connect.NewResponse(&munimentv1.SetPolicyResponse{Digest: policy.Digest(req.Msg.Policy), Appended: appended(r)}), nil
}

func (s *adminService) GetPolicy(ctx context.Context, req *connect.Request[munimentv1.GetPolicyRequest]) (*connect.Response[munimentv1.GetPolicyResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if s.cfg.Admission == nil {
		return nil, errNoAdmission
	}
	p, index, err := s.cfg.Admission.Policy(ctx, id.Submitter())
	if err != nil {
		return nil, s.public(err)
	}
	return connect.NewResponse(&munimentv1.GetPolicyResponse{Policy: p.Text(), Digest: p.Digest(), Index: index}), nil
}
