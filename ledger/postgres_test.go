package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// TestWritersInPostgreSQL is TestWriters with servers that share a real
// database, over a network that loses and delays.
func TestWritersInPostgreSQL(t *testing.T) {
	soak.WithoutRace(t)
	rig := postgresrig.ForTest(t, postgresrig.Config{Settings: map[string]string{"fsync": "on"}})
	seed := soak.Seed(t)
	for i := range soak.Length(t, "logs that servers share", 2, 200) {
		t.Run(fmt.Sprint(seed+uint64(i)), func(t *testing.T) {
			c := &databaseCluster{
				url: fmt.Sprintf("%s&single_node=true&schema=log_%d", rig.URL(postgresrig.User), i), faults: []float64{0.3, 0}[i%2],
				rng: rand.New(rand.NewPCG(seed+uint64(i), 0)),
			}
			w := newWriters(t, c, 3, 20*time.Millisecond)
			w.run(t)
			c.late.Wait()
			w.check(t)
		})
	}
}

// A databaseCluster is a database behind a network with faults.
type databaseCluster struct {
	url    string
	faults float64 // share of commits that something happens to
	late   sync.WaitGroup
	losses atomic.Int64

	mu  sync.Mutex // guards rng
	rng *rand.Rand
}

func (c *databaseCluster) open(t *testing.T) store.Store {
	s, err := engine.Open(context.Background(), c.url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (c *databaseCluster) join(t *testing.T) member {
	return &databaseMember{Store: c.open(t), cluster: c}
}

func (c *databaseCluster) final(t *testing.T) store.Store { return c.open(t) }

func (c *databaseCluster) lost() int { return int(c.losses.Load()) }

// A databaseMember is the database as one of the servers sees it.
type databaseMember struct {
	store.Store
	cluster *databaseCluster
	crashed atomic.Bool
}

// Crash makes every later commit fail. Requests that are under way arrive.
func (m *databaseMember) Crash() { m.crashed.Store(true) }

var errDatabaseCrash = errors.New("the server has crashed")

// Commit implements store.Store.
func (m *databaseMember) Commit(ctx context.Context, p *store.Commit) error {
	if m.crashed.Load() {
		return errDatabaseCrash
	}
	c := m.cluster
	c.mu.Lock()
	fault := -1
	if c.rng.Float64() < c.faults {
		fault = c.rng.IntN(3)
	}
	delay := time.Duration(c.rng.IntN(20)) * time.Millisecond
	c.mu.Unlock()
	switch fault {
	case 0:
		return fmt.Errorf("the request was lost: %w", store.ErrUndecided)
	case 1:
		copied := storetest.Clone(p)
		c.late.Go(func() {
			time.Sleep(delay)
			_ = m.Store.Commit(context.Background(), copied) // without an answer
		})
		return fmt.Errorf("the request is delayed: %w", store.ErrUndecided)
	case 2:
		_ = m.Store.Commit(ctx, p)
		return fmt.Errorf("the answer was lost: %w", store.ErrUndecided)
	}
	err := m.Store.Commit(ctx, p)
	if errors.Is(err, store.ErrLost) {
		c.losses.Add(1)
	}
	return err
}
