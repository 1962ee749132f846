package adaptivecache

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"time"
)

// A LocalBus connects the members of one process.
type LocalBus struct {
	now   func() time.Duration
	lease time.Duration

	mu      sync.Mutex
	seq     *Sequencer
	ordered chan struct{} // closed and replaced by each message
	acked   chan struct{} // closed and replaced by each poll
}

// BusOptions configures a bus. The zero value has the defaults.
type BusOptions struct {
	Lease  time.Duration        // of members, 3 s by default; all members must have the same
	Window int                  // how many messages a member may lag behind, 4096 by default
	Now    func() time.Duration // a monotonic clock
}

// NewLocalBus returns a bus for the members of this process. It has no members
// yet, so its invalidations complete from the start.
func NewLocalBus(o BusOptions) (*LocalBus, error) {
	o.Lease, o.Window = orElse(o.Lease, defaultLease), orElse(o.Window, 4096)
	if o.Now == nil {
		o.Now = monotonic()
	}
	if err := within("bus window", o.Window, 1, 1<<20); err != nil {
		return nil, err
	}
	if err := within("bus lease", o.Lease, minLease, maxLease); err != nil {
		return nil, err
	}
	b := &LocalBus{now: o.Now, lease: o.Lease, ordered: make(chan struct{}), acked: make(chan struct{})}
	b.seq = NewSequencer(rand.Text(), o.Lease.Microseconds(), o.Window, b.micros())
	b.seq.opened = 0 // there was no earlier sequencer
	return b, nil
}

func (b *LocalBus) micros() int64 { return b.now().Microseconds() }

// wake closes a channel that others wait for, and replaces it.
func wake(c *chan struct{}) {
	close(*c)
	*c = make(chan struct{})
}

// Poll implements [Bus].
func (b *LocalBus) Poll(ctx context.Context, p Poll) (Grant, error) {
	timer := time.NewTimer(b.lease / 4)
	defer timer.Stop()
	for waited := false; ; {
		b.mu.Lock()
		g, mayWait, err := b.seq.Poll(p, b.micros())
		ordered := b.ordered
		wake(&b.acked)
		b.mu.Unlock()
		if err != nil || !mayWait || waited {
			return g, err
		}
		select {
		case <-ordered:
		case <-timer.C:
			waited = true
		case <-ctx.Done():
			return Grant{}, ctx.Err()
		}
	}
}

// Invalidate implements [Bus].
func (b *LocalBus) Invalidate(ctx context.Context, tags []string) error {
	b.mu.Lock()
	seq, err := b.seq.Invalidate(slices.Clone(tags))
	if err == nil {
		wake(&b.ordered)
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	for {
		b.mu.Lock()
		now := b.micros()
		complete, until := b.seq.Completed(seq, now)
		acked := b.acked
		b.mu.Unlock()
		if complete {
			return nil
		}
		timer := time.NewTimer(time.Duration(until-now) * time.Microsecond)
		select {
		case <-acked:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}
