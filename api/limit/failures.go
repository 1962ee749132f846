package limit

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"connectrpc.com/connect"
	"muniment.dev/muniment/internal/edge"
)

// isFailure reports whether a call that ends with the error counts as failed.
// Correct clients do not repeat such calls. A refusal with a retry delay does
// not count.
func isFailure(err error) bool {
	if err == nil {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeUnimplemented:
		return true
	case connect.CodeResourceExhausted:
		var ce *connect.Error
		return errors.As(err, &ce) && ce.Meta().Get("Retry-After") == ""
	}
	return false
}

// payDebt waits while the request's owner has debts, up to Wait.
func (l *Limiter) payDebt(r *http.Request) {
	if l.debts.Pay(r.Context(), ownerOf(r), l.cfg.Now(), l.cfg.Wait, l.cfg.Drain) {
		l.cfg.Observer.Delayed()
	}
}

// AfterDebt delays callers with failed calls before their request is read.
func (l *Limiter) AfterDebt(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.payDebt(r)
		next.ServeHTTP(w, r)
	})
}

// ChargeRefusal counts a call that was refused before it got a place. It delays
// the response if the caller has debts and may hold another delayed response.
func (l *Limiter) ChargeRefusal(r *http.Request) {
	owner := ownerOf(r)
	l.debts.Charge(owner, l.cfg.Now(), 1)
	h := l.book.Open(owner)
	defer h.Release()
	if h.Take(Refusals, 1) == nil {
		l.payDebt(r)
	}
}

// Priced charges the owner of a failed RPC. An RPC that never reaches the
// interceptors failed in decoding.
func (l *Limiter) Priced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, r := begun(r)
		c.body.ReadCloser = r.Body
		r.Body = &c.body
		defer func() {
			if !c.good && r.Context().Err() == nil {
				l.debts.Charge(c.owner(r), l.cfg.Now(), priceOf(c.body.n.Load()))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// priceOf returns the number of failures that a failed call counts as. Larger
// requests cost more work before they are refused.
func priceOf(received int64) int { return 1 + int(min(received/SmallRequest, 1<<10)) }

// A pricedBody counts the bytes received of a request.
type pricedBody struct {
	io.ReadCloser
	n atomic.Int64
}

// Read implements io.Reader.
func (b *pricedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// PricedByStatus is Priced for calls that are not RPCs.
func (l *Limiter) PricedByStatus(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted := &edge.Answer{ResponseWriter: w}
		next.ServeHTTP(counted, r)
		switch counted.Status() {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
			l.debts.Charge(ownerOf(r), l.cfg.Now(), 1)
		}
	})
}

// Endings is an interceptor that records which RPCs succeeded.
type Endings struct{}

func note(ctx context.Context, err error) {
	if c := callOf(ctx); c != nil {
		c.good = !isFailure(err)
	}
}

// WrapUnary implements connect.Interceptor.
func (Endings) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		note(ctx, err)
		return res, err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (Endings) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (Endings) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		note(ctx, err)
		return err
	}
}
