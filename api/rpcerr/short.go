package rpcerr

import (
	"context"
	"errors"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"connectrpc.com/connect"
)

// Errors quote what they are about, which the caller has chosen. An answer is
// never larger because a request was: over gRPC an error is a header, which
// clients and proxies bound.

const (
	maxErrorText    = 1024 // bytes of a message
	maxErrorDetails = 4096 // bytes of all details
	maxViolations   = 8
)

// Shorten cuts a text that is too long for an error.
func Shorten(s string) string {
	if len(s) <= maxErrorText {
		return s
	}
	return strings.ToValidUTF8(s[:maxErrorText], "") + " …"
}

// ShortText returns an error with a message that is not too long.
func ShortText(err error) error {
	if err == nil || len(err.Error()) <= maxErrorText {
		return err
	}
	return errors.New(Shorten(err.Error()))
}

// Short returns the error as it may leave the server.
func Short(err *connect.Error) *connect.Error {
	details := 0
	for _, d := range err.Details() {
		details += len(d.Bytes())
	}
	if len(err.Message()) <= maxErrorText && details <= maxErrorDetails {
		return err
	}
	out := connect.NewError(err.Code(), errors.New(Shorten(err.Message())))
	for k, v := range err.Meta() {
		out.Meta()[k] = v
	}
	left := maxErrorDetails
	for _, d := range err.Details() {
		if d = shortDetail(d); d != nil && len(d.Bytes()) <= left {
			left -= len(d.Bytes())
			out.AddDetail(d)
		}
	}
	return out
}

// shortDetail returns a detail with no more than the first violations.
func shortDetail(d *connect.ErrorDetail) *connect.ErrorDetail {
	m, err := d.Value()
	if err != nil {
		return nil
	}
	v, ok := m.(*validate.Violations)
	if !ok {
		return d
	}
	v.Violations = v.Violations[:min(len(v.Violations), maxViolations)]
	for _, x := range v.Violations {
		if len(x.GetMessage()) > maxErrorText/4 {
			cut := strings.ToValidUTF8(x.GetMessage()[:maxErrorText/4], "")
			x.Message = &cut
		}
	}
	d, _ = connect.NewErrorDetail(v) // nil if it can't be encoded
	return d
}

// Interceptor is the interceptor that bounds the errors of RPCs.
type Interceptor struct{}

func asShort(err error) error {
	var ce *connect.Error
	if errors.As(err, &ce) {
		return Short(ce)
	}
	return ShortText(err)
}

// WrapUnary implements connect.Interceptor.
func (Interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		if err != nil {
			return nil, asShort(err)
		}
		return res, nil
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (Interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (Interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := next(ctx, conn); err != nil {
			return asShort(err)
		}
		return nil
	}
}
