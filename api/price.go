package api

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"muniment.dev/muniment/api/account"
)

const (
	// failuresPerSecond are the failed calls of one caller that cost it
	// nothing.
	failuresPerSecond = 50
	// failureBurst are those that it may have at once after a pause.
	failureBurst = 200
	// maxDebt bounds how long failures of the past slow a caller down.
	maxDebt = 5 * time.Second
	// maxDebtors bounds the table of callers. Above it, those without debts are
	// removed.
	maxDebtors = 4096
)

// prices is the table of what failed calls cost. A failed call costs the server
// about as much as a good one, but records nothing and counts against no limit
// of entries or bytes. So an owner has a bucket of failures; while it is empty,
// the owner's calls wait before anything of them is read. See also ownerOf.
// The zero value is an empty table.
type prices struct {
	mu     sync.Mutex // guards the rest
	owners map[string]*rate.Limiter
}

// charge counts a failed call.
func (p *prices) charge(owner string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owners == nil {
		p.owners = map[string]*rate.Limiter{}
	}
	l := p.owners[owner]
	if l == nil {
		if len(p.owners) >= maxDebtors {
			for o, l := range p.owners {
				if l.TokensAt(now) >= failureBurst/2 {
					delete(p.owners, o)
				}
			}
			if len(p.owners) >= maxDebtors {
				return
			}
		}
		l = rate.NewLimiter(failuresPerSecond, failureBurst)
		p.owners[owner] = l
	}
	if debt(l, now) < maxDebt {
		l.ReserveN(now, 1)
	}
}

// owed returns how long the owner's next call has to wait.
func (p *prices) owed(owner string, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.owners[owner]; l != nil {
		return debt(l, now)
	}
	return 0
}

func debt(l *rate.Limiter, now time.Time) time.Duration {
	return max(0, time.Duration(-l.TokensAt(now)*float64(time.Second)/failuresPerSecond))
}

// isFailure reports whether a call that ends with the error counts as failed:
// those that a correct client does not make over and over. A refusal with a
// time to try again after is not one.
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

// payDebt waits as long as the owner of the request owes, at most LimitWait.
func (s *Server) payDebt(r *http.Request) {
	wait := min(s.prices.owed(ownerOf(r), time.Now()), s.cfg.LimitWait)
	if wait <= 0 {
		return
	}
	s.cfg.Metrics.delayed.Inc()
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.drain:
	case <-r.Context().Done():
	}
}

// afterDebt pays what the caller owes before anything of a request is read.
func (s *Server) afterDebt(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.payDebt(r)
		next.ServeHTTP(w, r)
	})
}

// chargeRefusal counts a call that is refused before it has a place, and delays
// the answer while the caller owes, as far as it may have answers delayed.
func (s *Server) chargeRefusal(r *http.Request) {
	owner := ownerOf(r)
	s.prices.charge(owner, time.Now())
	h := s.book.Open(owner)
	defer h.Release()
	if h.Take(account.Refusals, 1) == nil {
		s.payDebt(r)
	}
}

type endingKey struct{}

// An ending is how an RPC ended. It belongs to the request's goroutine.
type ending struct{ good bool }

// priced charges the owner of an RPC that fails. One that does not reach the
// interceptors has failed while it was decoded.
func (s *Server) priced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := &ending{}
		defer func() {
			if !o.good && r.Context().Err() == nil {
				s.prices.charge(ownerOf(r), time.Now())
			}
		}()
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), endingKey{}, o)))
	})
}

// pricedByStatus is priced for calls that are no RPCs.
func (s *Server) pricedByStatus(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted := &countingWriter{ResponseWriter: w}
		next.ServeHTTP(counted, r)
		switch counted.status() {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
			s.prices.charge(ownerOf(r), time.Now())
		}
	})
}

// endings is the interceptor that notes which RPCs have not failed.
type endings struct{}

func note(ctx context.Context, err error) {
	if o, ok := ctx.Value(endingKey{}).(*ending); ok {
		o.good = !isFailure(err)
	}
}

// WrapUnary implements connect.Interceptor.
func (endings) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		note(ctx, err)
		return res, err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (endings) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (endings) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		note(ctx, err)
		return err
	}
}
