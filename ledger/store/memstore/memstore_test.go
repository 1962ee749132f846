package memstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"

	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
	"muniment.dev/muniment/ledger/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Disk {
		var last *memstore.Store
		return func() (store.Store, error) {
			if last == nil {
				last = memstore.New()
			} else {
				last = last.Restart()
			}
			return last, nil
		}
	})
}

func TestRawContract(t *testing.T) {
	storetest.RunRaw(t, func(t *testing.T) storetest.Disk {
		var last *memstore.Store
		return func() (store.Store, error) {
			if last == nil {
				last = memstore.NewRaw()
			} else {
				last = last.Restart()
			}
			return last, nil
		}
	})
}

// A decided store asks for the outcome of each commit until it is decided.
type decided struct{ *memstore.Member }

func (d decided) Commit(ctx context.Context, c *store.Commit) error {
	named := *c
	rand.Read(named.ID[:])
	for {
		if err := d.Member.Commit(ctx, &named); !errors.Is(err, store.ErrUndecided) {
			return err
		}
	}
}

func (d decided) Close() error { return d.Member.Store.Close() }

// A shared store satisfies the contract, whatever the network does to its
// commits.
func TestClusterContract(t *testing.T) {
	seed := uint64(0)
	storetest.Run(t, func(t *testing.T) storetest.Disk {
		seed++
		var last *memstore.Cluster
		return func() (store.Store, error) {
			if last == nil {
				last = memstore.NewCluster(seed, 0.5)
			} else {
				last = last.Restart()
			}
			return decided{last.Join()}, nil
		}
	})
}

// A commit that waits in BeforeReturn is visible to readers, and lost in a
// crash.
func TestBlockedCommitShows(t *testing.T) {
	ctx := context.Background()
	src, before, after := storetest.NewSource(1), storetest.NewModel(), storetest.NewModel()
	s := memstore.New()
	c := src.Next(5)
	if err := s.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
	before.Commit(c)
	after.Commit(c)

	visible, release := make(chan struct{}), make(chan struct{})
	s.BeforeReturn = func(*store.Commit) error {
		close(visible)
		<-release
		return nil
	}
	c = src.Next(5)
	after.Commit(c)
	returned := make(chan error, 1)
	go func() { returned <- s.Commit(ctx, c) }()
	<-visible
	select {
	case err := <-returned:
		t.Fatalf("the commit returned %v before it was released", err)
	default:
	}
	if err := after.Check(ctx, s); err != nil {
		t.Error(err)
	}
	if err := before.Check(ctx, s.Restart()); err != nil {
		t.Errorf("after a crash: %v", err)
	}
	close(release)
	if err := <-returned; err != nil {
		t.Fatal(err)
	}
	if err := after.Check(ctx, s.Restart()); err != nil {
		t.Errorf("after a crash of a durable commit: %v", err)
	}
}

func TestHooksFailCommits(t *testing.T) {
	ctx := context.Background()
	broken := errors.New("broken disk")
	src, m := storetest.NewSource(2), storetest.NewModel()
	s := memstore.New()
	s.BeforeCommit = func(*store.Commit) error { return broken }
	c := src.Next(5)
	if err := s.Commit(ctx, c); !errors.Is(err, broken) {
		t.Fatalf("got error %v", err)
	}
	if err := m.Check(ctx, s); err != nil {
		t.Errorf("a commit that failed before it wrote: %v", err)
	}
	s.BeforeCommit = nil
	s.BeforeReturn = func(*store.Commit) error { return broken }
	if err := s.Commit(ctx, c); !errors.Is(err, broken) {
		t.Fatalf("got error %v", err)
	}
	r := s.Restart()
	if err := m.Check(ctx, r); err != nil {
		t.Errorf("a commit that failed before it was durable: %v", err)
	}
	m.Commit(c)
	if err := r.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := m.Check(ctx, r); err != nil {
		t.Error(err)
	}
}

func TestFree(t *testing.T) {
	s := memstore.New()
	s.Free = func() (uint64, error) { return 7, nil }
	if n, err := s.FreeBytes(); n != 7 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
}

func TestErased(t *testing.T) {
	ctx := context.Background()
	s := memstore.New()
	if err := s.Commit(ctx, storetest.NewSource(3).Next(3)); err != nil {
		t.Fatal(err)
	}
	s.EraseHeader(1)
	s.ErasePayload(2)
	r := s.Restart()
	for i := range uint64(3) {
		h, err := r.Header(ctx, i)
		if err != nil || (h == nil) != (i == 1) {
			t.Errorf("header %d: %v, %v", i, h, err)
		}
		p, err := r.Payload(ctx, i)
		if err != nil || (p == nil) != (i == 2) {
			t.Errorf("payload %d: %v, %v", i, p, err)
		}
	}
}
