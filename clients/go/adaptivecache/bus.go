package adaptivecache

import (
	"context"
	"errors"
	"fmt"
)

// A Bus orders invalidations, delivers them to members, and grants leases. An
// implementation connects members to one sequencer, whose rules are in section
// 5 of the specification; [Sequencer] follows them. Messages may get lost,
// repeated and reordered.
type Bus interface {
	// Poll acknowledges the messages up to p.Applied, and returns the messages
	// after it. If there are none, it may wait for a quarter of the lease.
	Poll(ctx context.Context, p Poll) (Grant, error)

	// Invalidate orders one message with these tags. It returns nil as soon as
	// each member has acknowledged it or has lost its lease.
	Invalidate(ctx context.Context, tags []string) error
}

// A Poll is the message of a member to the sequencer.
type Poll struct {
	Member  string `json:"member"`
	Epoch   string `json:"epoch"`   // empty until the first grant
	Applied uint64 `json:"applied"` // the number of the last message it has applied
}

// A Grant answers a poll. It renews the lease of the member.
type Grant struct {
	Epoch    string    `json:"epoch"`
	Head     uint64    `json:"head"`  // the number of the last message
	Reset    bool      `json:"reset"` // messages are missing: the member flushes
	Messages []Message `json:"messages,omitempty"`
}

// A Message is one invalidation.
type Message struct {
	Seq  uint64   `json:"seq"`
	Tags []string `json:"tags"`
}

const (
	maxMessageTags = 64
	maxEpochBytes  = 64
)

// ErrBus reports that an invalidation may not have reached every member.
var ErrBus = errors.New("invalidation not confirmed by the bus: repeat it")

// whole reports whether a message is as the specification requires.
func (m Message) whole() bool {
	if len(m.Tags) == 0 || len(m.Tags) > maxMessageTags {
		return false
	}
	for _, tag := range m.Tags {
		if tag == "" || len(tag) > maxTagBytes {
			return false
		}
	}
	return true
}

// follows checks that the messages of a grant continue those up to applied.
func (g Grant) follows(applied uint64) error {
	if len(g.Messages) == 0 {
		if g.Head > applied {
			return fmt.Errorf("no messages between %d and %d", applied, g.Head)
		}
		return nil
	}
	first := g.Messages[0].Seq
	if first == 0 || first > applied+1 {
		return fmt.Errorf("messages begin at %d instead of %d", first, applied+1)
	}
	for i, m := range g.Messages {
		if m.Seq != first+uint64(i) {
			return fmt.Errorf("message %d follows %d", m.Seq, first+uint64(i)-1)
		}
	}
	if last := g.Messages[len(g.Messages)-1].Seq; last != g.Head {
		return fmt.Errorf("messages end at %d instead of %d", last, g.Head)
	}
	return nil
}
