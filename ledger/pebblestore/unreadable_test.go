package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// A projectionRig is a store with so many projections that blocks of its table
// contain nothing else.
type projectionRig struct {
	model       *storetest.Model
	projections []store.Projection
	heads       []store.StreamHead
	files       files
}

func newProjectionRig(t *testing.T) *projectionRig {
	t.Helper()
	ctx := context.Background()
	r := &projectionRig{model: storetest.NewModel()}
	fs := memFS()
	s := mustOpen(t, fs)
	c := storetest.NewSource(31).Next(20)
	r.model.Commit(c)
	if err := s.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
	rng := rand.NewChaCha8([32]byte{31})
	random := func(b []byte, i int) {
		rng.Read(b)
		binary.BigEndian.PutUint64(b, uint64(i))
	}
	for i := range 2000 {
		h := store.StreamHead{Next: uint64(i + 1)}
		random(h.StreamID[:], i)
		random(h.Last[:], i)
		k, p := store.KeyAt{Index: uint64(i % 20)}, store.PostingAt{Index: uint64(i % 20)}
		random(k.Key[:], i)
		random(p.Term[:], i)
		r.heads = append(r.heads, h)
		r.projections = append(r.projections, store.Projection{Key: &k}, store.Projection{Posting: &p})
	}
	for i := range 20 {
		f := store.FactsAt{Index: uint64(i), Facts: make([]byte, 5000)}
		random(f.Facts, i)
		r.projections = append(r.projections, store.Projection{Facts: &f})
	}
	if err := errors.Join(r.replace(s), s.db.Flush(), compactAll(s)); err != nil {
		t.Fatal(err)
	}
	r.model.ReplaceProjections(r.projections, r.heads)
	mustClose(t, s)
	r.files = readFiles(t, fs)
	return r
}

func compactAll(s *Store) error {
	return s.db.Compact(context.Background(), []byte{0}, []byte{255}, false)
}

func (r *projectionRig) replace(s *Store) error {
	return s.ReplaceProjections(context.Background(), func(yield func(store.Projection, error) bool) {
		for _, p := range r.projections {
			if !yield(p, nil) {
				return
			}
		}
	}, r.heads)
}

// unreadable returns an error if projections, or other rows, can't be read.
func (r *projectionRig) unreadable(s *Store) (projections, others error) {
	ctx := context.Background()
	for _, space := range projectionSpaces {
		projections = errors.Join(projections, s.readSpace(ctx, space))
	}
	for i := range r.model.Size() {
		_, err1 := s.Header(ctx, i)
		_, err2 := s.Payload(ctx, i)
		_, err3 := s.Skeletons(ctx, i, i+1)
		others = errors.Join(others, err1, err2, err3)
	}
	return projections, others
}

// Projections in damaged blocks are replaced like wrong ones, and the damaged
// blocks leave the disk. If such a block also contains other rows, nothing is
// replaced.
func TestReplaceUnreadable(t *testing.T) {
	soak.WithoutRace(t)
	rig := newProjectionRig(t)
	paths := rig.files.find(".sst")
	if len(paths) != 1 {
		t.Fatalf("the tables are %q, want one", paths)
	}
	data := rig.files[paths[0]]
	replaced, mixed := 0, 0
	for at := 100; at < len(data)-100; at += 15_000 {
		now := maps.Clone(rig.files)
		now[paths[0]] = bytes.Clone(data)
		now[paths[0]][at] ^= 1
		fs := now.disk(t)
		s, err := OpenFS(fs, "data", damageOptions)
		if errors.Is(err, store.ErrDamaged) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		projections, others := rig.unreadable(s)
		if projections == nil {
			s.Close()
			continue
		}
		err = rig.replace(s)
		if others != nil {
			mixed++
			if !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("byte %d: replace what cannot be rebuilt (%v): %v", at, others, err)
			}
			s.Close() // a compaction may have failed
			continue
		}
		if err != nil {
			t.Fatalf("byte %d: replace unreadable projections (%v): %v", at, projections, err)
		}
		replaced++
		rig.checkReplaced(t, fs, s, at)
	}
	if replaced < 3 || mixed == 0 {
		t.Errorf("%d damaged blocks contain only projections, and %d others, too few for the test", replaced, mixed)
	}
}

func (r *projectionRig) checkReplaced(t *testing.T, fs *vfs.MemFS, s *Store, at int) {
	t.Helper()
	ctx := context.Background()
	if err := r.model.Check(ctx, s); err != nil {
		t.Errorf("byte %d: after replacing: %v", at, err)
	}
	if err := compactAll(s); err != nil {
		t.Errorf("byte %d: the table cannot be compacted: %v", at, err)
	}
	mustClose(t, s)
	s, err := OpenFS(fs, "data", damageOptions)
	if err != nil {
		t.Fatalf("byte %d: reopen: %v", at, err)
	}
	defer mustClose(t, s)
	if err := r.model.Check(ctx, s); err != nil {
		t.Errorf("byte %d: after reopening: %v", at, err)
	}
	for _, path := range readFiles(t, fs).find(".sst") {
		if err := s.checkFile(ctx, fs.PathBase(path)); err != nil {
			t.Errorf("byte %d: a damaged block remains in %s: %v", at, path, err)
		}
	}
}
