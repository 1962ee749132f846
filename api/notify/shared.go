package notify

import (
	"context"
	"sync"
	"time"

	"muniment.dev/muniment/ledger/store"
)

// storeTime limits one question to the store.
const storeTime = 10 * time.Second

// A Shared remembers deliveries in the store that several servers share. It
// implements Deliveries. One of the servers delivers at a time, but for the
// moment in which another one takes over.
type Shared struct {
	store store.Deliveries
	// file is what this server remembers from the time when its log had no such
	// store. The store takes it over for hooks that it does not have.
	file *File

	mu sync.Mutex // guards what follows, and is not held while the store is asked
	// known has the IDs of events that were delivered, by hook.
	known map[string]map[string]bool
	// unwritten has deliveries that the store may lack, by hook.
	unwritten map[string][]store.Delivery
}

// maxKnown is the number of events of a hook that are known without asking the
// store.
const maxKnown = 100_000

// NewShared returns the deliveries in a store.
func NewShared(s store.Deliveries, file *File) *Shared {
	return &Shared{store: s, file: file, known: map[string]map[string]bool{}, unwritten: map[string][]store.Delivery{}}
}

// Since implements Deliveries.
func (s *Shared) Since(ctx context.Context, hook string, now time.Time) (time.Time, error) {
	if err := s.write(ctx, hook, now); err != nil {
		return now, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	since, err := s.store.Webhook(ctx, hook)
	if err != nil || !since.IsZero() {
		return since, err
	}
	since, received := s.file.received(hook, now)
	if err := s.store.AddWebhook(ctx, hook, since, received); err != nil {
		return since, err
	}
	return s.store.Webhook(ctx, hook) // another server may have been first
}

// received returns what the file has of a hook.
func (f *File) received(hook string, now time.Time) (since time.Time, received []store.Delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.hooks[hook]
	if h == nil {
		return now, nil
	}
	for id, at := range h.Delivered {
		received = append(received, store.Delivery{Event: id, Happened: at})
	}
	return h.Since, received
}

// Delivered implements Deliveries. It asks the store about events that it does
// not know to be delivered.
func (s *Shared) Delivered(ctx context.Context, hook string, events []string) (map[string]bool, error) {
	delivered := map[string]bool{}
	var unknown []string
	s.mu.Lock()
	for _, id := range events {
		if s.known[hook][id] {
			delivered[id] = true
		} else {
			unknown = append(unknown, id)
		}
	}
	s.mu.Unlock()
	if len(unknown) == 0 {
		return delivered, nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	received, err := s.store.Delivered(ctx, hook, unknown)
	if err != nil {
		return nil, err
	}
	s.know(hook, received...)
	for _, id := range received {
		delivered[id] = true
	}
	return delivered, nil
}

// know notes events that were delivered.
func (s *Shared) know(hook string, events ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[hook] == nil || len(s.known[hook]) > maxKnown {
		s.known[hook] = map[string]bool{}
	}
	for _, id := range events {
		s.known[hook][id] = true
	}
}

// Deliver implements Deliveries.
func (s *Shared) Deliver(ctx context.Context, hook, event string, happened, now time.Time) error {
	s.know(hook, event)
	s.mu.Lock()
	s.unwritten[hook] = append(s.unwritten[hook], store.Delivery{Event: event, Happened: happened})
	s.mu.Unlock()
	return s.write(ctx, hook, now)
}

// write writes what the store may lack of a hook. It stays to be written if the
// store does not answer. A hook has one goroutine that calls it.
func (s *Shared) write(ctx context.Context, hook string, now time.Time) error {
	// The event has arrived, also if the server is about to end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	s.mu.Lock()
	missing := s.unwritten[hook]
	s.mu.Unlock()
	for i, d := range missing {
		if err := s.store.Deliver(ctx, hook, d, now.Add(-keep)); err != nil {
			return err
		}
		s.mu.Lock()
		s.unwritten[hook] = missing[i+1:]
		s.mu.Unlock()
	}
	return nil
}
