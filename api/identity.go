package api

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// An identityService implements IdentityService.
type identityService struct {
	*Server
	munimentv1connect.UnimplementedIdentityServiceHandler
}

func (s *identityService) WhoAmI(ctx context.Context, _ *connect.Request[munimentv1.WhoAmIRequest]) (*connect.Response[munimentv1.WhoAmIResponse], error) {
	id := caller(ctx)
	res := &munimentv1.WhoAmIResponse{Tenant: id.tenant.Name, Identity: id.name, Role: id.role, Kinds: id.kinds}
	if !id.expires.IsZero() {
		res.Expires = timestamppb.New(id.expires)
	}
	return connect.NewResponse(res), nil
}
