package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"muniment.dev/muniment/internal/peers/bucketrig"
	"muniment.dev/muniment/internal/peers/link"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// inBucket returns the location of a log that does not exist, and the part of
// the bucket for its large payloads.
func inBucket(t *testing.T, rig *bucketrig.Rig, address string) (location, prefix string) {
	location = newLocation(t)
	prefix = location[strings.LastIndex(location, "=")+1:]
	return withBucket(location, rig.URLAt(address, prefix)), prefix
}

func withBucket(location, url string) string {
	return strings.TrimPrefix(WithObjects("postgres:"+location, url), "postgres:")
}

// TestObjects keeps large payloads in a bucket.
func TestObjects(t *testing.T) {
	defer func(n int) { storetest.Sequences = n }(storetest.Sequences)
	storetest.Sequences = 1
	rig := bucketrig.ForTest(t)
	newDisk := func(t *testing.T) storetest.Disk {
		location, _ := inBucket(t, rig, rig.Address)
		return func() (store.Store, error) { return Engine{}.Open(context.Background(), location, store.Options{}) }
	}
	t.Run("Contract", func(t *testing.T) {
		soak.WithoutRace(t)
		storetest.RunLarge(t, newDisk)
	})
	t.Run("Erasure", func(t *testing.T) { testObjectErasure(t, rig) })
	t.Run("Sweep", func(t *testing.T) { testSweep(t, rig) })
	t.Run("Damage", func(t *testing.T) { testObjectDamage(t, rig) })
	t.Run("Unconfirmed", func(t *testing.T) { testUnconfirmedObject(t, rig) })
	t.Run("Unavailable", func(t *testing.T) { testUnavailable(t, rig) })
	t.Run("Mixed", func(t *testing.T) { testMixed(t, rig) })
	t.Run("Writers", func(t *testing.T) { testObjectWriters(t, rig) })
	t.Run("Requests", func(t *testing.T) { testRequests(t, rig) })
}

// append1 commits an entry with a large payload, and returns its content.
func append1(t *testing.T, s store.Store, src *storetest.Source, m *storetest.Model, size int) []byte {
	t.Helper()
	c := src.Next(1)
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size)}).Read(content)
	c.Entries[0].Payload.Content = content
	if err := storetest.Spool(t.Context(), s, c, func(int) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), storetest.Unspooled(c)); err != nil {
		t.Fatal(err)
	}
	m.Commit(c)
	return content
}

func countFiles(t *testing.T, rig *bucketrig.Rig, prefix string) int {
	t.Helper()
	files, err := rig.Files(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// testObjectErasure looks for the content of a payload in the bucket, and for
// its objects after its erasure.
func testObjectErasure(t *testing.T, rig *bucketrig.Rig) {
	ctx := t.Context()
	location, prefix := inBucket(t, rig, rig.Address)
	s := openAt(t, location)
	src, m := storetest.NewSource(31), storetest.NewModel()
	content := append1(t, s, src, m, 2*pieceSize+1)
	append1(t, s, src, m, pieceSize)
	if err := errors.Join(m.Check(ctx, s), s.CheckLarge(ctx)); err != nil {
		t.Fatal(err)
	}
	files, err := rig.Files(prefix)
	if err != nil || len(files) != 3+1 {
		t.Fatalf("the bucket has %d objects, want 4: %v", len(files), err)
	}
	for _, f := range files {
		sealed, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for piece := range 3 {
			if bytes.Contains(sealed, content[piece*pieceSize:][:1]) && bytes.Contains(sealed, content[min(piece*pieceSize, len(content)-32):][:32]) {
				t.Errorf("the object %s contains the payload's bytes", f)
			}
		}
	}
	e := []store.Erasure{m.Erasure(0, true)}
	if err := s.Erase(ctx, e); err != nil {
		t.Fatal(err)
	}
	m.Erase(e)
	keys, err := value[int64](ctx, s, "keys", `SELECT count(key) FROM $objects`)
	if err != nil || keys != 1 {
		t.Errorf("%d keys are left after the erasure, want 1: %v", keys, err)
	}
	if err := s.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	m.Purge()
	if n := countFiles(t, rig, prefix); n != 1 {
		t.Errorf("the bucket has %d objects after the purge, want 1", n)
	}
	if err := errors.Join(m.Check(ctx, s), s.CheckLarge(ctx)); err != nil {
		t.Error(err)
	}

	// A write that arrives after the deletion is deleted a day later.
	for _, f := range files {
		if _, err := os.Stat(f); os.IsNotExist(err) {
			if err := errors.Join(os.MkdirAll(filepath.Dir(f), 0o700), os.WriteFile(f, []byte("late"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	age(t, s)
	if err := s.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if n := countFiles(t, rig, prefix); n != 1 {
		t.Errorf("the bucket has %d objects after the second deletion, want 1", n)
	}
	if rows, err := value[int64](ctx, s, "rows", `SELECT count(*) FROM $objects`); err != nil || rows != 1 {
		t.Errorf("%d rows are left, want 1: %v", rows, err)
	}
	if err := m.Check(ctx, s); err != nil {
		t.Error(err)
	}
}

// age makes all objects older than a day.
func age(t *testing.T, s *Store) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), s.sql(`UPDATE $objects SET written = written - '2 days'::interval`)); err != nil {
		t.Fatal(err)
	}
}

func spool(t *testing.T, s store.Store, size int) store.PayloadWriter {
	t.Helper()
	w, err := s.CreatePayload(t.Context())
	if err == nil {
		_, err = w.Write(make([]byte, size))
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// testSweep abandons payloads in each state. The sweep deletes them and nothing
// else, and none can be finished or named after it.
func testSweep(t *testing.T, rig *bucketrig.Rig) {
	ctx := t.Context()
	location, prefix := inBucket(t, rig, rig.Address)
	s := openAt(t, location)
	src, m := storetest.NewSource(32), storetest.NewModel()
	append1(t, s, src, m, 100)
	if err := spool(t, s, 2*pieceSize).Discard(); err != nil {
		t.Fatal(err)
	}
	if n := countFiles(t, rig, prefix); n != 1 {
		t.Errorf("the bucket has %d objects after a payload was discarded, want 1", n)
	}
	unfinished, finished := spool(t, s, pieceSize+1), spool(t, s, 50)
	l, err := finished.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if n := countFiles(t, rig, prefix); n != 3 {
		t.Errorf("a sweep has left %d objects, want 3: those of payloads in use", n)
	}
	age(t, s)
	if err := s.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if n := countFiles(t, rig, prefix); n != 1 {
		t.Errorf("a sweep after a day has left %d objects, want 1", n)
	}
	unfinished.(*payloadWriter).sink.(*pieceSink).recorded = time.Time{} // a day has passed
	if _, err := unfinished.Finish(); !errors.Is(err, errAbandoned) {
		t.Errorf("an abandoned payload was finished with the error %v", err)
	}
	c := src.Next(1)
	c.Entries[0].Large = &l
	if err := s.Commit(ctx, storetest.Unspooled(c)); err == nil {
		t.Error("a commit has named an abandoned payload")
	}
	if err := errors.Join(m.Check(ctx, s), s.CheckLarge(ctx)); err != nil {
		t.Error(err)
	}

	// A server that is started again sweeps what its last process has left.
	spool(t, s, pieceSize)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, location)
	until(t, "the bucket has the objects of entries only", func() bool { return countFiles(t, rig, prefix) == 1 })
	if err := errors.Join(m.Check(ctx, s), s.CheckLarge(ctx)); err != nil {
		t.Error(err)
	}
}

// testObjectDamage changes, shortens, exchanges and deletes objects. No read
// returns other bytes than were written.
func testObjectDamage(t *testing.T, rig *bucketrig.Rig) {
	location, prefix := inBucket(t, rig, rig.Address)
	s := openAt(t, location)
	src, m := storetest.NewSource(33), storetest.NewModel()
	content := append1(t, s, src, m, pieceSize+1000)
	append1(t, s, src, m, pieceSize+1000)
	files, err := rig.Files(prefix) // the pieces of one payload are neighbours
	if err != nil || len(files) != 4 {
		t.Fatalf("%d objects: %v", len(files), err)
	}
	whole := map[string][]byte{}
	for _, f := range files {
		if whole[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(f string) []byte{
		"one bit":             func(f string) []byte { b := bytes.Clone(whole[f]); b[len(b)/2] ^= 1; return b },
		"another payload's":   func(f string) []byte { return whole[files[(indexOf(files, f)+2)%4]] },
		"shorter by one byte": func(f string) []byte { return whole[f][1:] },
		"zeros":               func(f string) []byte { return make([]byte, len(whole[f])) },
		"deleted":             func(string) []byte { return nil },
	} {
		for _, f := range files {
			b := damage(f)
			if err := errors.Join(os.MkdirAll(filepath.Dir(f), 0o700), os.WriteFile(f, b, 0o600)); err != nil {
				t.Fatal(err)
			}
			if b == nil {
				_ = os.Remove(f)
			}
		}
		for index := range uint64(2) {
			r, err := s.OpenPayload(t.Context(), index)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "restore the object") || !bytes.HasPrefix(content, got) {
				t.Errorf("%s: read %d bytes and the error %v", name, len(got), err)
			}
		}
		if err := s.CheckLarge(t.Context()); (name == "deleted" || name == "shorter by one byte") != errors.Is(err, store.ErrDamaged) {
			t.Errorf("%s: CheckLarge returns %v", name, err)
		}
	}
}

func indexOf(all []string, one string) int {
	for i := range all {
		if all[i] == one {
			return i
		}
	}
	return -1
}

// testUnconfirmedObject loses and changes objects that the storage has
// acknowledged, before the payload is finished. It can't be named then.
func testUnconfirmedObject(t *testing.T, rig *bucketrig.Rig) {
	location, prefix := inBucket(t, rig, rig.Address)
	s := openAt(t, location)
	for name, damage := range map[string]func(f string) error{
		"lost": os.Remove,
		"cut":  func(f string) error { return os.Truncate(f, 10) },
	} {
		w := spool(t, s, pieceSize+1)
		files, err := rig.Files(prefix)
		if err == nil {
			err = damage(files[0])
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Finish(); err == nil || !strings.Contains(err.Error(), "send the payload again") {
			t.Errorf("%s: finished with the error %v", name, err)
		}
		if _, err := w.Open(); err == nil {
			t.Errorf("%s: the payload can be opened", name)
		}
		if err := w.Discard(); err != nil {
			t.Error(err)
		}
		if n := countFiles(t, rig, prefix); n != 0 {
			t.Errorf("%s: %d objects are left", name, n)
		}
	}
}

// testUnavailable cuts the link to the storage. Large payloads are refused for
// the time, and everything else works.
func testUnavailable(t *testing.T, rig *bucketrig.Rig) {
	k, err := link.New(rig.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	location, prefix := inBucket(t, rig, k.Address())
	s := openAt(t, location)
	src, m := storetest.NewSource(34), storetest.NewModel()
	append1(t, s, src, m, 100)
	w := spool(t, s, 100)
	k.Cut()
	if _, err := w.Finish(); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("finished without a storage: %v", err)
	}
	if err := w.Discard(); err != nil && !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
	r, err := s.OpenPayload(t.Context(), 0)
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrDamaged) {
		t.Errorf("read without a storage: %v", err)
	}
	c := src.Next(3)
	if err := s.Commit(t.Context(), c); err != nil {
		t.Errorf("a commit without large payloads: %v", err)
	}
	m.Commit(c)
	e := []store.Erasure{m.Erasure(0, true)}
	if err := s.Erase(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	m.Erase(e)
	file := func() int64 {
		n, err := value[int64](t.Context(), s, "file of the payloads", `SELECT pg_relation_filenode('$payloads')::bigint`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := file()
	if err := s.Purge(t.Context()); !errors.Is(err, store.ErrUnavailable) || s.Unpurged() != 1 {
		t.Errorf("purged without a storage: %v; %d are unpurged", err, s.Unpurged())
	}
	if file() == before {
		t.Error("the purge without a storage has not written the tables of the database anew")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, location) // which needs no storage
	k.Join()
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.Purge()
	if n := countFiles(t, rig, prefix); n != 0 {
		t.Errorf("%d objects are left after the purge", n)
	}
	if err := m.Check(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// testMixed gives a log a bucket, takes it away, and reads all payloads with
// the bucket.
func testMixed(t *testing.T, rig *bucketrig.Rig) {
	without := newLocation(t)
	with := withBucket(without, rig.URL("mixed"))
	src, m := storetest.NewSource(35), storetest.NewModel()
	for i, location := range []string{without, with, without, with} {
		s := openAt(t, location)
		append1(t, s, src, m, 1000+i)
		if location == with {
			if err := errors.Join(m.Check(t.Context(), s), s.CheckLarge(t.Context())); err != nil {
				t.Error(err)
			}
		} else if i > 0 {
			if _, err := s.OpenPayload(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "setting objects") {
				t.Errorf("a payload in the bucket, without the bucket: %v", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// testObjectWriters makes servers compete with large payloads, while one
// of them sweeps. Each entry has its payload.
func testObjectWriters(t *testing.T, rig *bucketrig.Rig) {
	location, _ := inBucket(t, rig, rig.Address)
	stores := []*Store{openAt(t, location), openAt(t, strings.Replace(location, "server=test", "server=other", 1))}
	m := storetest.NewModel()
	for round := range 10 {
		commits, outcomes := make([]*store.Commit, 2), make([]error, 2)
		var wg sync.WaitGroup
		for i, s := range stores {
			wg.Go(func() {
				src := storetest.NewSource(uint64(40 + round))
				c := named(src.Next(2), byte(1+i))
				c.From, c.Keys, c.Postings, c.Facts, c.Erase = m.Size(), nil, nil, nil, nil
				outcomes[i] = storetest.Spool(context.Background(), s, c, func(int) bool { return true })
				if outcomes[i] == nil {
					outcomes[i] = s.Commit(context.Background(), storetest.Unspooled(c))
				}
				commits[i] = c
			})
		}
		wg.Go(func() { _ = stores[0].sweep(context.Background()) })
		wg.Wait()
		won := 0
		for i, err := range outcomes {
			switch {
			case err == nil:
				won++
				m.Commit(commits[i])
			case !errors.Is(err, store.ErrLost):
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if won != 1 {
			t.Fatal(fmt.Sprintf("round %d: %d commits have won", round, won), outcomes)
		}
	}
	for _, s := range stores {
		if err := errors.Join(m.Check(t.Context(), s), s.CheckLarge(t.Context())); err != nil {
			t.Error(err)
		}
	}
}
