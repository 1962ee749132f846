package memstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"muniment.dev/muniment/ledger/store"
)

// A Cluster is a store that several servers share, over a network that delays,
// repeats and loses requests and answers.
type Cluster struct {
	shared *Store

	mu      sync.Mutex // guards what follows
	rng     *rand.Rand
	faults  float64         // share of commits that something happens to
	delayed []*store.Commit // requests that arrive later
	Counts  Counts          // may be read when all members are closed
}

// Counts counts what happened to the commits of a cluster.
type Counts struct {
	Won, Lost                        int
	LostRequests, LostAnswers, Delay int
}

// NewCluster returns an empty store to share. Faults is the share of commits
// that the network does something to, from 0 to 1.
func NewCluster(seed uint64, faults float64) *Cluster {
	return &Cluster{shared: New(), rng: rand.New(rand.NewPCG(seed, 0)), faults: faults}
}

// Join returns the store as another server sees it.
func (c *Cluster) Join() *Member { return &Member{Store: c.shared, cluster: c} }

// Restart returns the cluster as it is after a loss of power. Its former
// members fail, and requests that were under way are gone.
func (c *Cluster) Restart() *Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &Cluster{shared: c.shared.Restart(), rng: c.rng, faults: c.faults, Counts: c.Counts}
}

// A Member is a Cluster's store as one of the servers sees it.
type Member struct {
	*Store
	cluster *Cluster

	mu      sync.Mutex // guards crashed
	crashed bool
}

var errCrashed = errors.New("the server has crashed")

// Crash makes every later commit of the server fail. Its requests that are
// under way may still arrive.
func (m *Member) Crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashed = true
}

// Close implements store.Store. The other servers go on.
func (m *Member) Close() error { return nil }

// Follow implements store.Store.
func (m *Member) Follow(ctx context.Context, from uint64) (*store.State, error) {
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	m.cluster.arrive(ctx)
	return m.Store.Follow(ctx, from)
}

// Commit implements store.Store.
func (m *Member) Commit(ctx context.Context, c *store.Commit) error {
	m.mu.Lock()
	crashed := m.crashed
	m.mu.Unlock()
	if crashed {
		return errCrashed
	}
	l := m.cluster
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrive(ctx)
	if l.rng.Float64() < l.faults {
		switch l.rng.IntN(3) {
		case 0:
			l.Counts.LostRequests++
			return fmt.Errorf("the request was lost: %w", store.ErrUndecided)
		case 1:
			l.Counts.Delay++
			l.delayed = append(l.delayed, clone(c))
			return fmt.Errorf("the request is delayed: %w", store.ErrUndecided)
		default:
			l.Counts.LostAnswers++
			l.deliver(ctx, c)
			return fmt.Errorf("the answer was lost: %w", store.ErrUndecided)
		}
	}
	return l.deliver(ctx, c)
}

// arrive delivers some of the delayed requests, in any order.
func (l *Cluster) arrive(ctx context.Context) {
	for i := len(l.delayed) - 1; i >= 0; i-- {
		if l.rng.IntN(2) == 0 {
			late := l.delayed[i]
			l.delayed = append(l.delayed[:i], l.delayed[i+1:]...)
			l.deliver(ctx, late)
		}
	}
}

func (l *Cluster) deliver(ctx context.Context, c *store.Commit) error {
	err := l.shared.Commit(ctx, c)
	switch {
	case err == nil:
		l.Counts.Won++
	case errors.Is(err, store.ErrLost):
		l.Counts.Lost++
	}
	return err
}
