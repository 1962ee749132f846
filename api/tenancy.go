package api

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"muniment.dev/muniment/api/auth"
)

// inTenant is an interceptor that refuses requests for a tenant other than the
// caller's, even if a handler forgets to, and ends streams when the credentials
// of their caller end.
type inTenant struct{ s *Server }

func (i inTenant) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if err := checkTenant(ctx, req.Spec().Procedure, req.Any()); err != nil {
			return nil, err
		}
		i.s.limits.Decoded(ctx, req)
		if id := auth.Caller(ctx); id != nil {
			done, err := i.s.limits.TakeRecord(ctx, req.Spec().Procedure, i.s.limits.Usage(id.Tenant.Name), req.Any())
			if err != nil {
				return nil, err
			}
			defer done()
		}
		res, err := next(ctx, req)
		if err == nil {
			err = i.s.limits.Encoding(ctx, res)
		}
		if err != nil {
			return nil, err
		}
		return res, nil
	}
}

func (inTenant) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i inTenant) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if id := auth.Caller(ctx); id != nil {
			done, err := i.s.limits.TakeRecord(ctx, conn.Spec().Procedure, i.s.limits.Usage(id.Tenant.Name), nil)
			if err != nil {
				return err
			}
			defer done()
		}
		return next(ctx, &tenantConn{conn, ctx, i.s})
	}
}

// A tenantConn checks each message that names a tenant.
type tenantConn struct {
	connect.StreamingHandlerConn
	ctx context.Context
	s   *Server
}

func (c *tenantConn) Send(m any) error {
	if err := c.s.auth.CheckAgain(auth.Caller(c.ctx)); err != nil {
		return err
	}
	return c.StreamingHandlerConn.Send(m)
}

func (c *tenantConn) Receive(m any) error {
	if err := c.StreamingHandlerConn.Receive(m); err != nil {
		return err
	}
	if err := c.s.auth.CheckAgain(auth.Caller(c.ctx)); err != nil {
		return err
	}
	return checkTenant(c.ctx, c.Spec().Procedure, m)
}

func checkTenant(ctx context.Context, procedure string, m any) error {
	if needsNoCredentials(apiRoutes[procedure]) {
		return nil
	}
	tenant, ok := "", false
	switch m := m.(type) {
	case interface{ GetTenant() string }:
		tenant, ok = m.GetTenant(), true
	case proto.Message:
		tenant, ok = tenantOf(m.ProtoReflect())
	}
	if ok {
		_, err := auth.CallerOf(ctx, tenant)
		return err
	}
	return nil
}

// tenantOf returns the tenant that a request names, in its own field or in its
// header, which the first message of a stream has.
func tenantOf(m protoreflect.Message) (string, bool) {
	fields := m.Descriptor().Fields()
	if f := fields.ByName("tenant"); f != nil && f.Kind() == protoreflect.StringKind {
		return m.Get(f).String(), true
	}
	if f := fields.ByName("header"); f != nil && f.Kind() == protoreflect.MessageKind && m.Has(f) {
		return tenantOf(m.Get(f).Message())
	}
	return "", false
}
