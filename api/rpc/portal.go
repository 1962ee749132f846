package rpc

import (
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// Portal implements PortalService, which answers the views of the portal.
type Portal struct {
	munimentv1connect.UnimplementedPortalServiceHandler
}
