package limit

import (
	"context"
	"net/http"

	"muniment.dev/muniment/internal/edge"
)

// A Call is the limiter's state for one request. It is allocated once, and
// every middleware finds it in the request's context instead of adding values
// to the context. It belongs to the request's goroutine.
type Call struct {
	tenant string // "" without credentials
	shape  *Shape // nil until it is looked up
	hold   Hold   // of its place; empty until it gets one
	held   heldBytes
	body   pricedBody
	good   bool // it ended without an error
}

// CallKey is the key of the *Call in a request's context.
type CallKey struct{}

// callOf returns the call of a context, or nil.
func callOf(ctx context.Context) *Call {
	c, _ := ctx.Value(CallKey{}).(*Call)
	return c
}

// begun returns the request's call, creating it if necessary.
func begun(r *http.Request) (*Call, *http.Request) {
	if c := callOf(r.Context()); c != nil {
		return c, r
	}
	c := &Call{}
	return c, r.WithContext(context.WithValue(r.Context(), CallKey{}, c))
}

// shapeFor returns the shape of the request.
func (c *Call) shapeFor(r *http.Request) *Shape {
	if c.shape == nil {
		c.shape = shapeOf(r)
	}
	return c.shape
}

// owner returns the owner that the call is charged to: the caller's tenant, or
// an address.
func (c *Call) owner(r *http.Request) string {
	if c.tenant != "" {
		return c.tenant
	}
	return addressOwner + edge.Address(r.RemoteAddr)
}

// WithTenant records the tenant of an authenticated caller. The call is charged
// to that tenant from then on.
func WithTenant(ctx context.Context, name string) context.Context {
	if c := callOf(ctx); c != nil {
		c.tenant = name
		return ctx
	}
	return context.WithValue(ctx, CallKey{}, &Call{tenant: name})
}

// HeldBy returns the call's hold, or nil if the call has no place.
func HeldBy(ctx context.Context) *Hold {
	if c := callOf(ctx); c != nil && c.hold.book != nil {
		return &c.hold
	}
	return nil
}
