package policy

import (
	"context"
	"slices"
	"sync"
)

// slots limits concurrent decisions in total and for each tenant. Waiting
// tenants are served round-robin.
//
// A slot bounds memory. It is held for a whole decision, including its parsed
// documents, and no tenant gets more than half of the slots. Package
// internal/turns bounds processor time instead: a turn can be handed over in
// the middle of the work.
type slots struct {
	total, each int

	mu      sync.Mutex
	used    int
	tenants map[string]*place // tenants that hold or wait for a slot
	turns   []string          // waiting tenants, next first
}

// A place is one tenant's share of the slots.
type place struct {
	used    int
	waiting []chan struct{} // one for each waiting caller, closed when it gets a slot
}

func newSlots(total int) *slots {
	return &slots{total: total, each: max(1, total/2), tenants: map[string]*place{}}
}

// acquire waits for a slot for the tenant.
func (s *slots) acquire(ctx context.Context, tenant string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	p := s.tenants[tenant]
	if p == nil {
		p = &place{}
		s.tenants[tenant] = p
	}
	if s.used < s.total && p.used < s.each && len(p.waiting) == 0 {
		s.used++
		p.used++
		s.mu.Unlock()
		return nil
	}
	given := make(chan struct{})
	if p.waiting = append(p.waiting, given); len(p.waiting) == 1 {
		s.turns = append(s.turns, tenant)
	}
	s.mu.Unlock()
	select {
	case <-given:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-given: // a slot was granted in the meantime
		s.free(tenant, p)
	default:
		p.waiting = slices.DeleteFunc(p.waiting, func(c chan struct{}) bool { return c == given })
		s.forget(tenant, p)
	}
	return ctx.Err()
}

func (s *slots) release(tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free(tenant, s.tenants[tenant])
}

func (s *slots) free(tenant string, p *place) {
	s.used--
	p.used--
	for i := 0; i < len(s.turns) && s.used < s.total; {
		next := s.turns[i]
		q := s.tenants[next]
		if q.used >= s.each {
			i++
			continue
		}
		s.turns = slices.Delete(s.turns, i, i+1)
		close(q.waiting[0])
		q.waiting = q.waiting[1:]
		s.used++
		q.used++
		if len(q.waiting) > 0 {
			s.turns = append(s.turns, next)
		}
	}
	s.forget(tenant, p)
}

// forget removes a tenant that neither holds nor waits for a slot.
func (s *slots) forget(tenant string, p *place) {
	if len(p.waiting) == 0 {
		s.turns = slices.DeleteFunc(s.turns, func(t string) bool { return t == tenant })
		if p.used == 0 {
			delete(s.tenants, tenant)
		}
	}
}
