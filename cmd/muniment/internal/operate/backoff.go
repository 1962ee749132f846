package operate

import (
	"errors"
	"math/rand/v2"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
)

// A backoff is the time until the next attempt. It doubles with each failure in
// a row, up to the longest time.
type backoff struct {
	first, most time.Duration
	delay       time.Duration
	failures    int
}

func newBackoff(first time.Duration) backoff {
	return backoff{first: first, most: max(first, longestRetry), delay: first}
}

func (b *backoff) succeeded() { b.delay, b.failures = b.first, 0 }

// failed notes a failure. A server can ask for more time in the error, up to
// the longest.
func (b *backoff) failed(err error) {
	if b.failures++; b.failures > 1 {
		b.delay = min(2*b.delay, b.most)
	}
	b.delay = max(b.delay, min(requestedDelay(err), b.most))
}

// requestedDelay returns the time after which a server asks to be called again,
// or 0.
func requestedDelay(err error) time.Duration {
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return 0
	}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.RetryInfo); ok {
				return info.RetryDelay.AsDuration()
			}
		}
	}
	return 0
}

// jittered returns the delay, or up to a fifth less, so that replicas that have
// failed together do not return together.
func (b *backoff) jittered() time.Duration { return b.delay - rand.N(b.delay/5+1) }
