package operate

import (
	"math/rand/v2"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"muniment.dev/muniment/internal/rpcdetail"
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
	info, _ := rpcdetail.Find[*errdetails.RetryInfo](err)
	return info.GetRetryDelay().AsDuration()
}

// jittered returns the delay, or up to a fifth less, so that replicas that have
// failed together do not return together.
func (b *backoff) jittered() time.Duration { return b.delay - rand.N(b.delay/5+1) }
