package adaptivecache

import (
	"errors"
	"fmt"
)

const (
	maxMembers     = 4096
	maxMemberBytes = 64
)

// A Sequencer is the state of a bus: it orders messages and knows who holds a
// lease. It has no clock and no network of its own, and is not safe for
// concurrent use. Times are in microseconds.
type Sequencer struct {
	epoch   string
	lease   int64
	window  int
	head    uint64
	log     []Message // the last ones, at most window
	members map[string]*memberState
	opened  int64 // no invalidation completes before
}

type memberState struct {
	acked    uint64
	leaseEnd int64
}

// NewSequencer returns a sequencer that starts at now, without the state of an
// earlier one. The epoch must never have been used before.
func NewSequencer(epoch string, lease int64, window int, now int64) *Sequencer {
	return &Sequencer{
		epoch: epoch, lease: lease, window: window, members: map[string]*memberState{},
		opened: now + longer(lease),
	}
}

// longer returns the term of a lease on the sequencer's clock, which may be
// faster than the member's.
func longer(lease int64) int64 { return 9 * lease / 8 }

// Poll answers a poll, and reports whether the answer may wait for a message.
func (s *Sequencer) Poll(p Poll, now int64) (g Grant, mayWait bool, err error) {
	if p.Member == "" || len(p.Member) > maxMemberBytes {
		return g, false, errors.New("a member's ID must have 1 to 64 bytes")
	}
	m := s.members[p.Member]
	if m == nil {
		s.forget(now)
		if len(s.members) >= maxMembers {
			return g, false, fmt.Errorf("more than %d members: close some", maxMembers)
		}
		m = &memberState{}
		s.members[p.Member] = m
	}
	m.leaseEnd = max(m.leaseEnd, now+longer(s.lease))
	oldest := s.head - uint64(len(s.log))
	if p.Epoch != s.epoch || p.Applied > s.head || p.Applied < oldest {
		// Nothing is acknowledged: the member may hold a lease, and this poll
		// may be a late copy whose answer it never gets.
		return Grant{Epoch: s.epoch, Head: s.head, Reset: true}, false, nil
	}
	m.acked = max(m.acked, p.Applied)
	return Grant{Epoch: s.epoch, Head: s.head, Messages: s.log[p.Applied-oldest:]}, p.Applied == s.head, nil
}

// Invalidate orders a message and returns its number.
func (s *Sequencer) Invalidate(tags []string) (uint64, error) {
	m := Message{Seq: s.head + 1, Tags: tags}
	if !m.whole() {
		return 0, fmt.Errorf("an invalidation must have 1 to %d tags of 1 to %d bytes", maxMessageTags, maxTagBytes)
	}
	s.head++
	if len(s.log) >= s.window {
		s.log = s.log[len(s.log)-s.window+1:]
	}
	s.log = append(s.log, m)
	return s.head, nil
}

// Completed reports whether a message is complete at now. If it is not, then
// it completes at the time until, or earlier by acknowledgements.
func (s *Sequencer) Completed(seq uint64, now int64) (complete bool, until int64) {
	if now < s.opened {
		until = s.opened
	}
	for _, m := range s.members {
		if m.acked < seq && now <= m.leaseEnd {
			until = max(until, m.leaseEnd+1)
		}
	}
	return until == 0, until
}

// forget removes members without a lease.
func (s *Sequencer) forget(now int64) {
	for id, m := range s.members {
		if now > m.leaseEnd {
			delete(s.members, id)
		}
	}
}
