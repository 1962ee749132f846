package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// A moodyStore is a store whose next calls of Follow fail.
type moodyStore struct {
	store.Store
	mu    sync.Mutex
	err   error
	times int // -1: all
	asked int
}

func (s *moodyStore) Follow(ctx context.Context, from uint64) (*store.State, error) {
	s.mu.Lock()
	fails := s.times != 0
	if fails {
		s.asked++
		s.times = max(s.times-1, -1)
	}
	s.mu.Unlock()
	if fails {
		return nil, s.err
	}
	return s.Store.Follow(ctx, from)
}

func (s *moodyStore) fail(err error, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.times, s.asked = err, times, 0
}

// A server that temporarily cannot follow the others continues when it can. It
// stops after a deadline, and at once if the store is damaged.
func TestFollowAsksAgain(t *testing.T) {
	away := errors.New("connection refused")
	for _, c := range []struct {
		name  string
		err   error
		times int
		fatal bool
		asked int // at least; at most once if 1
	}{
		{"three times", away, 3, false, 3},
		{"always", away, -1, true, 2},
		{"damaged", fmt.Errorf("entry 3: %w", store.ErrDamaged), -1, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := memstore.NewCluster(1, 0)
			moody := &moodyStore{Store: cluster.Join()}
			limit := time.Minute
			if c.fatal {
				limit = 20 * time.Millisecond
			}
			here := newTestLogOn(t, Config{FollowEvery: time.Millisecond, MaxUndecided: limit}, moody)
			cfg := here.cfg
			cfg.Store = cluster.Join()
			there, err := Open(context.Background(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer there.Close()
			moody.fail(c.err, c.times)
			if _, err := there.Append(context.Background(), []Draft{acme.draft("by another server")}); err != nil {
				t.Fatal(err)
			}
			await(t, "the server has followed, or failed", func() bool { return here.Published().Size == 1 || len(here.fatals()) > 0 })
			if fatal := len(here.fatals()) > 0; fatal != c.fatal {
				t.Fatalf("the server has failed: %t (%v)", fatal, here.fatals())
			}
			if c.fatal {
				time.Sleep(20 * here.cfg.FollowEvery) // a failed ledger does not ask again
			}
			moody.mu.Lock()
			asked := moody.asked
			moody.mu.Unlock()
			if asked < c.asked || c.asked == 1 && asked > 1 {
				t.Errorf("the store was asked %d times", asked)
			}
			if !c.fatal {
				here.mustAppend(t, globex.draft("and goes on"))
				here.Close()
				there.Close()
				checkLog(t, here, acme, globex)
			}
		})
	}
}

// A lateStore can leave commits undecided, for the test to deliver.
type lateStore struct {
	*memstore.Store
	mu      sync.Mutex
	late    bool
	pending *store.Commit
}

func (s *lateStore) Commit(ctx context.Context, c *store.Commit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.late {
		s.pending = c
		return store.ErrUndecided
	}
	return s.Store.Commit(ctx, c)
}

// A commit that is decided after its server has given up keeps its large
// payload, although the caller discarded it.
func TestUndecidedLargePayload(t *testing.T) {
	s := &lateStore{Store: memstore.New()}
	tl := newTestLogOn(t, Config{MaxUndecided: 20 * time.Millisecond}, s)
	payload := strings.Repeat("large ", 1000)
	d := tl.spool(t, acme, payload)
	s.mu.Lock()
	s.late = true
	s.mu.Unlock()
	_, err := tl.Append(context.Background(), []Draft{unspooled(d)})
	wantErr(t, "an append whose commit stays undecided", err, ErrFailed)
	d.Large.Discard()
	tl.Close()
	if err := s.Store.Commit(context.Background(), s.pending); err != nil {
		t.Fatalf("the commit arrives late: %v", err)
	}
	tl.open(t, s.Restart())
	r, err := openPayload(context.Background(), tl.Ledger, acme.stream, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if content, err := io.ReadAll(r); err != nil || string(content) != payload {
		t.Errorf("the payload has %d bytes, error %v", len(content), err)
	}
}

// A payload whose commit is not proposed, because the evidence is already
// recorded, can be discarded.
func TestDuplicateLargePayload(t *testing.T) {
	tl := newTestLog(t, Config{})
	payload := strings.Repeat("large ", 1000)
	for i := range 2 {
		d := tl.spool(t, acme, payload)
		results, err := tl.Append(context.Background(), []Draft{unspooled(d)})
		if err != nil || results[0].Err != nil || results[0].Duplicate != (i == 1) {
			t.Fatal(results, err)
		}
		d.Large.Discard()
		if n := tl.store.Unnamed(); n != 0 {
			t.Errorf("%d payloads belong to no entry", n)
		}
	}
}

// A ledger that is closed does not wait until its store answers again.
func TestCloseWithoutStore(t *testing.T) {
	moody := &moodyStore{Store: memstore.NewCluster(1, 0).Join()}
	tl := newTestLogOn(t, Config{FollowEvery: time.Millisecond, MaxUndecided: time.Hour}, moody)
	moody.fail(store.ErrNoAnswer, -1)
	asked := func() int {
		moody.mu.Lock()
		defer moody.mu.Unlock()
		return moody.asked
	}
	await(t, "the store to be asked again", func() bool { return asked() > 2 })
	tl.Close()
	if fatal := tl.fatals(); len(fatal) > 0 {
		t.Errorf("the server has failed: %v", fatal)
	}
}
