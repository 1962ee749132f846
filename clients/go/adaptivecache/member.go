package adaptivecache

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Member is a process's part in invalidation. All caches of a process share
// one.
type Member struct {
	bus         Bus // nil: the member is alone and always attached
	id          string
	lease       int64 // in microseconds, as all times below
	detachedAge int64
	now         func() time.Duration

	generations *generations
	leaseEnd    atomic.Int64 // 0 without a lease

	// owned by the goroutine of poll, or by a test in its place
	epoch   string
	applied uint64
	adopted int64 // when the epoch was adopted

	stop func() // ends poll
	done sync.WaitGroup

	grants, ignored, damaged, flushes atomic.Uint64
}

// MemberOptions configures a member. The zero value has the defaults.
type MemberOptions struct {
	Lease time.Duration // 3 s; the same as that of the bus

	// DetachedAge is how old a load may be while the bus cannot be reached.
	// With 0, nothing is cached then.
	DetachedAge time.Duration

	Slots int // how many generations it keeps, 65536; a power of two

	// Now is a monotonic clock, by default that of the process.
	Now func() time.Duration

	// Seed is the seed of hashes, by default a random one.
	Seed *uint32
}

// NewMember returns a member of a bus. With a nil bus, it is alone: its
// invalidations concern this process only. [Member.Close] ends it.
func NewMember(bus Bus, o MemberOptions) (*Member, error) {
	o.Lease, o.Slots = orElse(o.Lease, defaultLease), orElse(o.Slots, 65536)
	if err := within("Lease", o.Lease, minLease, maxLease); err != nil {
		return nil, err
	}
	if err := within("DetachedAge", o.DetachedAge, 0, time.Hour); err != nil {
		return nil, err
	}
	if err := powerOfTwo("Slots", o.Slots); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = monotonic()
	}
	if o.Seed == nil {
		o.Seed = new(uint32)
		*o.Seed = mathrand.Uint32()
	}
	m := &Member{
		bus: bus, id: rand.Text(), lease: o.Lease.Microseconds(), detachedAge: o.DetachedAge.Microseconds(), now: o.Now,
		generations: newGenerations(o.Slots, *o.Seed), stop: func() {},
	}
	if bus != nil {
		ctx, cancel := context.WithCancel(context.Background())
		m.stop = cancel
		m.done.Go(func() { m.poll(ctx) })
	}
	return m, nil
}

// Close ends the member's polls and waits for the last one. Without them, its
// lease runs out.
func (m *Member) Close() {
	m.stop()
	m.done.Wait()
}

func (m *Member) micros() int64 { return int64(m.now() / time.Microsecond) }

// poll polls the bus until ctx ends.
func (m *Member) poll(ctx context.Context) {
	for ctx.Err() == nil {
		sent := m.micros()
		attempt, cancel := context.WithTimeout(ctx, m.duration(m.lease/2))
		g, err := m.ask(attempt, Poll{Member: m.id, Epoch: m.epoch, Applied: m.applied})
		cancel()
		if err == nil && m.grant(g, sent) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(m.duration(m.lease / 16)):
		}
	}
}

// ask polls once. A panic of the bus is an error.
func (m *Member) ask(ctx context.Context, p Poll) (g Grant, err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		}
	}()
	return m.bus.Poll(ctx, p)
}

func (m *Member) duration(micros int64) time.Duration {
	return time.Duration(micros) * time.Microsecond
}

// grant processes the answer to a poll that was sent at the given time. It
// reports whether it renewed the lease.
func (m *Member) grant(g Grant, sent int64) bool {
	other := g.Epoch != m.epoch
	if g.Epoch == "" || len(g.Epoch) > maxEpochBytes || other && m.epoch != "" && sent < m.adopted {
		m.ignored.Add(1)
		return false
	}
	if g.Reset || other {
		m.flush()
		m.epoch, m.applied = g.Epoch, g.Head
		if other {
			m.adopted = m.micros()
		}
	} else if err := g.follows(m.applied); err != nil {
		m.ignored.Add(1)
		return false
	} else {
		m.apply(g.Messages)
	}
	m.grants.Add(1)
	m.leaseEnd.Store(sent + m.lease)
	return true
}

func (m *Member) apply(messages []Message) {
	for _, message := range messages {
		switch {
		case message.Seq <= m.applied:
			continue
		case message.whole():
			m.generations.apply(message.Tags)
		default:
			m.damaged.Add(1)
			m.flush()
		}
		m.applied = message.Seq
	}
}

func (m *Member) flush() {
	m.flushes.Add(1)
	m.generations.flush()
}

// attached reports whether the member holds a lease at now.
func (m *Member) attached(now int64) bool {
	if m.bus == nil {
		return true
	}
	end := m.leaseEnd.Load()
	return now < end && now >= end-m.lease
}

// allows reports whether a read at now may use a load that began at started,
// if its result is live.
func (m *Member) allows(now, started int64) bool {
	return m.attached(now) || started <= now && now < started+m.detachedAge
}

// Invalidate ends the life of all entries with one of the tags, in every
// process. Call it after the change of the origin. Once it has returned nil, no
// read that begins later returns a value from before the call. After an error,
// which wraps [ErrBus], other processes may serve such values until their
// lifetime ends, so it must be repeated.
func (m *Member) Invalidate(ctx context.Context, tags ...string) error {
	tags = shortTags(tags...)
	if len(tags) == 0 {
		return nil
	}
	m.generations.apply(tags)
	if m.bus == nil {
		return nil
	}
	for some := range slices.Chunk(tags, maxMessageTags) {
		if err := m.bus.Invalidate(ctx, some); err != nil {
			return fmt.Errorf("invalidate %d tags: %w: %w", len(tags), ErrBus, err)
		}
	}
	return nil
}

// MemberStats is a snapshot of a member's counters.
type MemberStats struct {
	Attached        bool
	Grants          uint64 // that renewed the lease
	IgnoredGrants   uint64 // that contradicted earlier ones
	DamagedMessages uint64 // each of which flushed the caches
	Flushes         uint64
	Invalidations   uint64 // applied here, with flushes
}

// Stats returns the member's counters.
func (m *Member) Stats() MemberStats {
	return MemberStats{
		Attached: m.attached(m.micros()), Grants: m.grants.Load(), IgnoredGrants: m.ignored.Load(),
		DamagedMessages: m.damaged.Load(), Flushes: m.flushes.Load(), Invalidations: m.generations.token(),
	}
}
