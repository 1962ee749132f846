package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

func testCloseWaits(t *testing.T, disk Disk) {
	src, m := NewSource(13), NewModel()
	s := open(t, disk)
	c := src.Next(30)
	commit(t, s, c)
	m.Commit(c)
	p, err := s.Postings(context.Background(), c.Postings[0].Term)
	if err != nil {
		t.Fatal(err)
	}
	var returned atomic.Bool
	closed := make(chan error)
	go func() {
		err := s.Close()
		returned.Store(true)
		closed <- err
	}()
	// New reads are refused once Close is under way; the one that is open still
	// answers.
	for {
		if _, err := s.Header(context.Background(), 0); err != nil {
			break
		}
		runtime.Gosched()
	}
	for range 100 {
		if err := m.checkGE(p, m.postings[c.Postings[0].Term], 0); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
	if returned.Load() {
		t.Fatal("Close returned while a list was open")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	s = open(t, disk)
	check(t, m, s)
	closeStore(t, s)
}

// testReaders reads what is committed from several goroutines while commits go
// on. The race detector is half of this test.
func testReaders(t *testing.T, disk Disk) {
	const commits = 60
	src, m := NewSource(14), NewModel()
	s := open(t, disk)
	var batches []*store.Commit
	for i := range commits {
		c := src.Next(1 + i%40)
		batches = append(batches, c)
		m.Commit(c)
	}
	var done atomic.Int64 // commits that returned
	var readers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(15, uint64(r)))
			for n := done.Load(); n < commits; n = done.Load() {
				if n == 0 {
					runtime.Gosched()
					continue
				}
				if err := checkOne(s, batches[rng.Int64N(n)], m, rng); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i, c := range batches {
		commit(t, s, c)
		done.Store(int64(i + 1))
	}
	readers.Wait()

	// The same while the projections, which these reads don't use, are
	// replaced.
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := m.checkTiles(context.Background(), s); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	if err := s.ReplaceProjections(context.Background(), all(m.Projections()), src.streams); err != nil {
		t.Error(err)
	}
	close(stop)
	readers.Wait()
	check(t, m, s)
	closeStore(t, s)
}

// checkOne checks some of what one commit wrote. Later commits may be there or
// not.
func checkOne(s store.Store, c *store.Commit, m *Model, rng *rand.Rand) error {
	ctx := context.Background()
	end := c.From + uint64(len(c.Entries))
	skeletons, err := s.Skeletons(ctx, c.From, end)
	if err != nil {
		return err
	}
	i := rng.IntN(len(c.Entries))
	if skeletons[i] != c.Entries[i].Skeleton {
		return fmt.Errorf("skeleton %d is wrong", c.From+uint64(i))
	}
	h, err := s.Header(ctx, c.From+uint64(i))
	if err != nil {
		return err
	}
	if h.Salt != c.Entries[i].Header.Salt {
		return fmt.Errorf("header %d is wrong", c.From+uint64(i))
	}
	p, err := s.Payload(ctx, c.From+uint64(i))
	if err != nil {
		return err
	}
	if p.Salt != c.Entries[i].Payload.Salt {
		return fmt.Errorf("payload %d is wrong", c.From+uint64(i))
	}
	for _, tile := range c.Tiles {
		var got []entry.Hash
		if got, err = s.Tile(ctx, tile.Level, tile.Index); err != nil {
			return err
		}
		if !slices.Equal(got, tile.Hashes) {
			return fmt.Errorf("tile %d of level %d is wrong", tile.Index, tile.Level)
		}
	}
	for _, k := range c.Keys {
		if got, err := s.Lookup(ctx, k.Key); err != nil || got != k.Index {
			return fmt.Errorf("key %x: got %d and error %v, want %d", k.Key, got, err, k.Index)
		}
	}
	if len(c.Postings) == 0 {
		return nil
	}
	post := c.Postings[rng.IntN(len(c.Postings))]
	list, err := s.Postings(ctx, post.Term)
	if err != nil {
		return err
	}
	defer list.Close()
	for _, seek := range []func(uint64) (uint64, bool, error){list.SeekGE, list.SeekLE} {
		if got, ok, err := seek(post.Index); err != nil || !ok || got != post.Index {
			return fmt.Errorf("term %x: got %d, %t and error %v, want %d", post.Term, got, ok, err, post.Index)
		}
	}
	return m.checkGE(list, m.postings[post.Term], c.From)
}
