package intake

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"muniment.dev/muniment/conductor/triage/explain"
)

// explainTime bounds the wait for a state.
const explainTime = 20 * time.Second

// An Operator may read the state of triage.
type Operator struct{ hash [sha256.Size]byte }

// ParseOperator reads a file with the token of operators, or with sha256: and
// the SHA-256 of the token in hexadecimal digits. Errors contain no tokens.
func ParseOperator(text []byte) (*Operator, error) {
	hash, err := tokenHash(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, err
	}
	return &Operator{hash}, nil
}

// Is reports whether a request has the operator's token.
func (o *Operator) Is(h http.Header) bool {
	hash, ok := bearer(h)
	return ok && subtle.ConstantTimeCompare(hash[:], o.hash[:]) == 1
}

// A Stater has the state of triage.
type Stater interface {
	State(ctx context.Context) (*explain.State, error)
}

// Explain serves the state to operators. One request is served at a time,
// because each makes the router classify all alerts.
func Explain(of Stater, operator func() *Operator) http.Handler {
	var one sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := operator()
		switch {
		case o == nil:
			http.Error(w, "no operator is configured: start triage with --operator-token-file", http.StatusNotFound)
			return
		case !o.Is(r.Header):
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "no valid token: send the header Authorization with Bearer and the token of operators", http.StatusUnauthorized)
			return
		case !one.TryLock():
			w.Header().Set("Retry-After", "1")
			http.Error(w, "another request for the state is served: repeat it later", http.StatusTooManyRequests)
			return
		}
		defer one.Unlock()
		ctx, cancel := context.WithTimeout(r.Context(), explainTime)
		defer cancel()
		text, err := encoded(ctx, of)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			http.Error(w, fmt.Sprintf("the state was not ready after %s: repeat the request later", explainTime), http.StatusServiceUnavailable)
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			w.Header().Set("Content-Type", typeJSON)
			w.Header().Set("Cache-Control", "no-store")
			_, _ = w.Write(text) // the operator has gone
		}
	})
}

func encoded(ctx context.Context, of Stater) ([]byte, error) {
	s, err := of.State(ctx)
	if err != nil {
		return nil, err
	}
	return s.Encode()
}
