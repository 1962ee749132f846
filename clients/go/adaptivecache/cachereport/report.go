// Package cachereport records the hit ratios, waits, staleness checks and
// lifetimes of adaptive caches in a ledger: an entry of the kind
// metric-snapshot for each cache and window of time. Section 15 of
// docs/spec/adaptive-cache.md specifies its metrics.
package cachereport

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/clients/go/adaptivecache"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/kindname"
)

// A Cache is an [adaptivecache.Cache] of any type.
type Cache interface {
	Stats() adaptivecache.Stats
}

// A Ledger records entries, as a [muniment.Client] does. With a policy, the
// client verifies each receipt before the entry counts as recorded.
type Ledger interface {
	Append(context.Context, muniment.Submission) (muniment.Result, error)
}

// Options configures a Reporter. Ledger, Service and Caches are required.
type Options struct {
	Ledger  Ledger
	Service string           // that uses the caches, 1 to 128 bytes
	Caches  map[string]Cache // by their resolvers, of 1 to 127 bytes each

	Window time.Duration // 5 min, from 1 s to 24 h
	Queue  int           // how many entries may wait for the ledger, 1024

	// Recorded is called for each entry with the result, which contains its
	// receipt, and with its payload.
	Recorded func(r muniment.Result, payload []byte)
}

// ErrLost reports that the ledger lacks entries about windows that have passed.
var ErrLost = errors.New("windows were not recorded in the ledger")

const (
	firstPause = time.Second // after a failed attempt; doubled by each further one
	maxPause   = time.Minute
)

// A Reporter records the windows of the caches of one process.
type Reporter struct {
	o         Options
	resolvers []string
	instance  string // part of the idempotency keys
	cancel    context.CancelFunc

	stop, wake chan struct{} // ends the windows; announces an item
	windows    sync.WaitGroup
	sent       chan struct{} // closed when nothing is sent any more
	closing    sync.Once

	mu       sync.Mutex // guards what follows
	last     map[string]adaptivecache.Stats
	cut      time.Time // the end of the last window
	queue    []item
	numbered uint64
	recorded uint64
	lost     uint64
	reason   error // of the latest loss or failed attempt
	closed   bool  // no item follows
}

// An item is an entry that waits for the ledger.
type item struct {
	key     string
	payload []byte
}

// Start starts a reporter. [Reporter.Close] ends it.
func Start(o Options) (*Reporter, error) {
	o.Window, o.Queue = cmp.Or(o.Window, 5*time.Minute), cmp.Or(o.Queue, 1024)
	switch {
	case o.Ledger == nil:
		return nil, errors.New("a reporter must have a ledger")
	case o.Service == "" || len(o.Service) > 128:
		return nil, fmt.Errorf("service: must have 1 to 128 bytes, has %d", len(o.Service))
	case len(o.Caches) == 0:
		return nil, errors.New("a reporter must have at least one cache")
	case o.Window < time.Second || o.Window > 24*time.Hour:
		return nil, fmt.Errorf("window: must be from 1 s to 24 h, is %v", o.Window)
	case o.Queue < len(o.Caches):
		return nil, fmt.Errorf("queue: must have room for the %d caches, has %d", len(o.Caches), o.Queue)
	}
	r := &Reporter{
		o: o, resolvers: slices.Sorted(maps.Keys(o.Caches)), instance: rand.Text(), stop: make(chan struct{}),
		wake: make(chan struct{}, 1), sent: make(chan struct{}), last: map[string]adaptivecache.Stats{}, cut: time.Now(),
	}
	for _, name := range r.resolvers {
		if name == "" || len(name) > 127 {
			return nil, fmt.Errorf("resolver %q: must have 1 to 127 bytes, has %d", name, len(name))
		}
		r.last[name] = o.Caches[name].Stats()
	}
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	r.windows.Go(func() {
		defer crash.Report()
		r.run()
	})
	go func() {
		defer crash.Report()
		defer close(r.sent)
		r.send(ctx)
	}()
	return r, nil
}

// run ends a window at each tick.
func (r *Reporter) run() {
	ticker := time.NewTicker(r.o.Window)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.endWindow()
		case <-r.stop:
			r.endWindow()
			return
		}
	}
}

// endWindow adds an item for each cache to the queue. If there are too many,
// the oldest ones are lost.
func (r *Reporter) endWindow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	// Windows end by the wall clock. Their length is that of the monotonic
	// clock, so a wall clock that jumps makes none negative.
	w := window{service: r.o.Service, to: now, from: now.Add(-max(now.Sub(r.cut), time.Millisecond)), lost: r.lost}
	r.cut = now
	for _, name := range r.resolvers {
		stats := r.o.Caches[name].Stats()
		payload, err := w.payload(name, r.last[name], stats)
		r.last[name] = stats
		r.numbered++
		if err != nil {
			r.lose(1, err)
			continue
		}
		r.queue = append(r.queue, item{fmt.Sprintf("%s/%d", r.instance, r.numbered), payload})
	}
	if more := len(r.queue) - r.o.Queue; more > 0 {
		r.queue = slices.Delete(r.queue, 0, more)
		r.lose(more, r.reason)
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// lose counts lost entries, under r.mu.
func (r *Reporter) lose(n int, reason error) {
	r.lost += uint64(n)
	r.reason = reason
}

// next removes the oldest item from the queue. It reports false if there is
// none, and whether none can follow.
func (r *Reporter) next() (i item, ok, end bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return i, false, r.closed
	}
	i, r.queue = r.queue[0], r.queue[1:]
	return i, true, false
}

// send records items in the order of their windows.
func (r *Reporter) send(ctx context.Context) {
	for {
		i, ok, end := r.next()
		switch {
		case ok:
			r.record(ctx, i)
		case end:
			return
		default:
			select {
			case <-r.wake:
			case <-ctx.Done():
				return
			}
		}
	}
}

// record repeats an item until the ledger has it, refuses it, or ctx ends. The
// bytes and the idempotency key are always the same, so it is recorded once.
func (r *Reporter) record(ctx context.Context, i item) {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		result, err := r.o.Ledger.Append(ctx, muniment.Submission{Kind: kindname.MetricSnapshot, Payload: i.payload, IdempotencyKey: i.key})
		final := ctx.Err() != nil || connect.CodeOf(err) == connect.CodeInvalidArgument
		r.mu.Lock()
		switch {
		case err == nil:
			r.recorded++
		case final:
			r.lose(1, err)
		default:
			r.reason = err
		}
		r.mu.Unlock()
		switch {
		case err == nil:
			if r.o.Recorded != nil {
				r.o.Recorded(result, i.payload)
			}
			return
		case final:
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// State is what a reporter has done.
type State struct {
	Recorded, Lost uint64 // entries
	Waiting        int    // entries in the queue
	Err            error  // of the latest failed attempt or loss
}

// State returns what the reporter has done so far.
func (r *Reporter) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return State{Recorded: r.recorded, Lost: r.lost, Waiting: len(r.queue), Err: r.reason}
}

// Close ends the window in progress, waits until the queue is empty or ctx
// ends, and stops the reporter. Its error wraps ErrLost if the ledger lacks
// entries, at any time since the start.
func (r *Reporter) Close(ctx context.Context) error {
	r.closing.Do(func() {
		close(r.stop)
		r.windows.Wait()
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		select {
		case r.wake <- struct{}{}:
		default:
		}
		select {
		case <-r.sent:
		case <-ctx.Done():
		}
		r.cancel()
		<-r.sent
		r.mu.Lock()
		r.lost += uint64(len(r.queue))
		r.queue = nil
		r.mu.Unlock()
	})
	s := r.State()
	if s.Lost == 0 {
		return nil
	}
	if s.Err == nil {
		return fmt.Errorf("%w: %d of %d entries", ErrLost, s.Lost, s.Lost+s.Recorded)
	}
	return fmt.Errorf("%w: %d of %d entries: %w", ErrLost, s.Lost, s.Lost+s.Recorded, s.Err)
}
