// Package notify delivers events about findings and exceptions to webhooks, as
// the Standard Webhooks specification defines requests and signatures
// (https://www.standardwebhooks.com).
//
// Events are functions of the ledger and the time. So nothing is queued: what
// has happened and was not delivered is computed again, also after a restart.
// An event is delivered at least once, under one ID.
package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"muniment.dev/muniment/controls/posture"
	"muniment.dev/muniment/internal/crash"
)

// A Source has the events of tenants.
type Source interface {
	// Tenants returns the names of the tenants.
	Tenants() []string
	// Events returns the events of a tenant that have happened.
	Events(ctx context.Context, tenant string, lead time.Duration) ([]posture.Event, error)
}

// A Config configures a Notifier.
type Config struct {
	Source     Source
	Deliveries Deliveries
	Log        *slog.Logger
	Now        func() time.Time
	// Interval is the time between two searches for events, and the first delay
	// after a failure. 0: 15 seconds.
	Interval time.Duration
	// Tried is called for each attempt to deliver.
	Tried func(delivered bool)
}

// Bounds of what one search does.
const (
	maxDelay  = 10 * time.Minute // between attempts
	maxEvents = 10_000           // that one search delivers
)

// A Notifier delivers events to hooks.
type Notifier struct {
	cfg Config

	mu      sync.Mutex
	hooks   []Hook
	changed chan struct{}  // closed when the hooks change
	waiting map[string]int // events by hook
}

// New returns a notifier without hooks.
func New(cfg Config) *Notifier {
	if cfg.Interval == 0 {
		cfg.Interval = 15 * time.Second
	}
	return &Notifier{cfg: cfg, changed: make(chan struct{}), waiting: map[string]int{}}
}

// Set replaces the hooks.
func (n *Notifier) Set(hooks []Hook) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hooks, n.waiting = slices.Clone(hooks), map[string]int{}
	close(n.changed)
	n.changed = make(chan struct{})
}

// Waiting returns the number of events that have happened and were not
// delivered.
func (n *Notifier) Waiting() (events int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range n.waiting {
		events += k
	}
	return events
}

func (n *Notifier) wait(hook string, events int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting[hook] = events
}

func (n *Notifier) current() ([]Hook, chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hooks, n.changed
}

// Run delivers events until the context ends. Each hook has a goroutine, so
// that a receiver that does not answer delays no other.
func (n *Notifier) Run(ctx context.Context) {
	for ctx.Err() == nil {
		hooks, changed := n.current()
		inner, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		for i := range hooks {
			running.Go(func() {
				defer crash.Report()
				n.serve(inner, &hooks[i])
			})
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
		stop()
		running.Wait()
	}
}

// serve delivers the events of one hook until the context ends.
func (n *Notifier) serve(ctx context.Context, h *Hook) {
	client := h.client()
	defer client.CloseIdleConnections()
	delay := n.cfg.Interval
	for {
		err := n.search(ctx, h, func(ctx context.Context, id string, body []byte) error {
			return h.deliver(ctx, client, id, body, n.cfg.Now())
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			n.cfg.Log.Warn("event not delivered: trying again later", "webhook", h.Name, "delay", delay, "err", err)
		} else {
			delay = n.cfg.Interval
		}
		// Receivers that failed together are not asked together.
		timer := time.NewTimer(delay/2 + rand.N(delay/2+1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if err != nil {
			delay = min(2*delay, maxDelay)
		}
	}
}

// A message is the body of a request.
type message struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Tenant    string    `json:"tenant"`
	Data      any       `json:"data"`
}

// A pending event is one that was not delivered.
type pending struct {
	posture.Event
	tenant string
}

// search delivers what has happened, the oldest first, and returns the first
// error.
func (n *Notifier) search(ctx context.Context, h *Hook, deliver func(ctx context.Context, id string, body []byte) error) error {
	now := n.cfg.Now()
	due, err := n.due(ctx, h, now)
	if err != nil {
		return err
	}
	n.wait(h.Name, len(due))
	for i, e := range due {
		if i > 0 { // the delivery of those before can have taken long
			if stale, err := n.stale(ctx, h, &e); stale || err != nil {
				return err
			}
		}
		body, err := json.Marshal(&message{e.Type, e.Time, e.tenant, e.Data})
		if err != nil {
			return err
		}
		err = deliver(ctx, e.ID, body)
		if err != nil && ctx.Err() != nil { // it can have arrived, and is delivered again
			return ctx.Err()
		}
		delivered := err == nil
		if delivered {
			n.wait(h.Name, len(due)-i-1)
			err = n.cfg.Deliveries.Deliver(ctx, h.Name, e.ID, e.Time, n.cfg.Now())
		}
		n.cfg.Tried(delivered)
		if err != nil {
			return fmt.Errorf("event %s (%s): %w", e.ID, e.Type, err)
		}
	}
	return nil
}

// stale reports whether an event is no longer to be delivered by this server:
// another one has taken over. Then the next search finds what is.
func (n *Notifier) stale(ctx context.Context, h *Hook, e *pending) (bool, error) {
	if !slices.Contains(n.cfg.Source.Tenants(), e.tenant) {
		return true, nil
	}
	delivered, err := n.cfg.Deliveries.Delivered(ctx, h.Name, []string{e.ID})
	return delivered[e.ID], err
}

// due returns the events for a hook that were not delivered, the oldest first.
func (n *Notifier) due(ctx context.Context, h *Hook, now time.Time) ([]pending, error) {
	// A server that does not deliver remembers since when there is the hook,
	// too: it may take over before the one that does has.
	since, err := n.cfg.Deliveries.Since(ctx, h.Name, now)
	if err != nil {
		return nil, err
	}
	var all []pending
	var ids []string
	for _, tenant := range n.cfg.Source.Tenants() {
		if len(h.Tenants) > 0 && !slices.Contains(h.Tenants, tenant) {
			continue
		}
		events, err := n.cfg.Source.Events(ctx, tenant, h.Lead)
		if err != nil {
			return nil, fmt.Errorf("events of tenant %s: %w", tenant, err)
		}
		for _, e := range events {
			if h.receives(tenant, e.Type) && !e.Time.Before(since) && now.Sub(e.Time) <= keep {
				all, ids = append(all, pending{e, tenant}), append(ids, e.ID)
			}
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	delivered, err := n.cfg.Deliveries.Delivered(ctx, h.Name, ids)
	if err != nil {
		return nil, err
	}
	due := slices.DeleteFunc(all, func(e pending) bool { return delivered[e.ID] })
	slices.SortStableFunc(due, func(a, b pending) int { return a.Time.Compare(b.Time) })
	return due[:min(len(due), maxEvents)], nil
}
