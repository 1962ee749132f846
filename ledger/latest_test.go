package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store/memstore"
)

// newTestPair opens a log by two servers that share a store.
func newTestPair(t *testing.T, cfg Config) (here *testLog, there *Ledger) {
	t.Helper()
	cluster := memstore.NewCluster(1, 0)
	here = newTestLogOn(t, cfg, cluster.Join())
	cfg = here.cfg
	cfg.Store = cluster.Join()
	there, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(there.Close)
	return here, there
}

// TestLatest checks that a server serves everything that another one had
// published before it was asked, although it never looks by itself.
func TestLatest(t *testing.T) {
	here, there := newTestPair(t, Config{FollowEvery: time.Hour})
	if !here.Shared() {
		t.Error("the log is not shared")
	}
	var seen atomic.Uint64 // the largest size that any server has shown
	var wg sync.WaitGroup
	for _, server := range []*Ledger{here.Ledger, there} {
		for range 3 {
			wg.Go(func() {
				for range 30 {
					before := seen.Load()
					if err := server.Latest(context.Background()); err != nil {
						t.Error(err)
						return
					}
					now := server.Published().Size
					if now < before {
						t.Errorf("a server shows %d entries after another has shown %d", now, before)
					}
					for last := seen.Load(); last < now && !seen.CompareAndSwap(last, now); last = seen.Load() {
					}
				}
			})
		}
	}
	for i := range 20 {
		server := here.Ledger
		if i%2 == 1 {
			server = there
		}
		if _, err := server.Append(t.Context(), []Draft{acme.draft(fmt.Sprint("entry ", i))}); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

// TestLatestCosigned checks that a server serves what another one had cosigned.
func TestLatestCosigned(t *testing.T) {
	never := errors.New("not cosigned")
	quorum := func(signed []byte) error {
		if c, err := receipt.ParseCheckpointUnverified(signed); err != nil || c.Size == 0 {
			return never
		}
		return nil
	}
	here, there := newTestPair(t, Config{FollowEvery: time.Hour, Quorum: quorum})
	here.mustAppend(t, acme.draft("an entry"))
	if err := here.Cosign(t.Context(), here.Published().Checkpoint); err != nil {
		t.Fatal(err)
	}
	if w := there.Witnessed(); w != nil {
		t.Fatalf("the other server serves size %d already", w.Size)
	}
	if err := there.Latest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := there.Witnessed(); w == nil || w.Size != 1 {
		t.Errorf("the other server serves %v", w)
	}
}
