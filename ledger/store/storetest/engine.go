package storetest

import (
	"context"
	"errors"
	"testing"

	"muniment.dev/muniment/ledger/store"
)

// RunEngine checks that an engine keeps the promises of store.Engine about
// opening. It calls newLocation for each test; no store may be there.
func RunEngine(t *testing.T, e store.Engine, newLocation func(t *testing.T) string) {
	RunSharedEngine(t, e, newLocation)
	t.Run("InUse", func(t *testing.T) { testInUse(t, &opener{e, newLocation(t)}) })
}

// RunSharedEngine is RunEngine for an engine whose stores can be open in
// several processes.
func RunSharedEngine(t *testing.T, e store.Engine, newLocation func(t *testing.T) string) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *opener)
	}{
		{"Reopen", testReopen},
		{"Prove", testProve},
		{"ReadOnly", testReadOnly},
		{"Kind", testKind},
		{"Scratch", testScratch},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, &opener{e, newLocation(t)}) })
	}
}

// An opener opens the store of one location.
type opener struct {
	engine   store.Engine
	location string
}

func (o *opener) open(t *testing.T, opts store.Options) store.Store {
	t.Helper()
	s, err := o.engine.Open(t.Context(), o.location, opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func (o *opener) refused(t *testing.T, what string, opts store.Options, want error) {
	t.Helper()
	s, err := o.engine.Open(t.Context(), o.location, opts)
	if err == nil {
		s.Close()
	}
	if err == nil || want != nil && !errors.Is(err, want) {
		t.Errorf("%s: got the error %v, want %v", what, err, want)
	}
	if s != nil {
		t.Errorf("%s: a store was returned beside the error", what)
	}
}

// publish commits n entries and publishes a checkpoint.
func publish(t *testing.T, s store.Store, src *Source, m *Model, n int) []byte {
	t.Helper()
	c := src.Next(n)
	commit(t, s, c)
	m.Commit(c)
	signed := []byte("an opaque checkpoint\n")
	if err := s.Mark(&store.Checkpoint{Size: m.Size(), Signed: signed}); err != nil {
		t.Fatalf("mark: %v", err)
	}
	return signed
}

func testReopen(t *testing.T, o *opener) {
	src, m := NewSource(21), NewModel()
	for range 3 {
		s := o.open(t, store.Options{})
		checkState(t, m, s)
		publish(t, s, src, m, 5)
		check(t, m, s)
		closeStore(t, s)
	}
}

func testInUse(t *testing.T, o *opener) {
	s := o.open(t, store.Options{})
	o.refused(t, "a second Open", store.Options{}, store.ErrInUse)
	if _, err := o.engine.OpenReadOnly(t.Context(), o.location, store.Options{}); !errors.Is(err, store.ErrInUse) {
		t.Errorf("OpenReadOnly of an open store: got the error %v, want %v", err, store.ErrInUse)
	}
	closeStore(t, s)
	closeStore(t, o.open(t, store.Options{}))
}

// Prove sees the store before anything is changed, and its refusal is final.
func testProve(t *testing.T, o *opener) {
	src, m := NewSource(22), NewModel()
	refusal := errors.New("not proven")
	calls := 0
	refuse := func(store.Store, *store.Mark) error { calls++; return refusal }
	o.refused(t, "a new store that is not proven", store.Options{Prove: refuse}, refusal)
	s := o.open(t, store.Options{Prove: func(s store.Store, mark *store.Mark) error {
		if calls++; s != nil || mark != nil {
			t.Errorf("a new store: Prove gets the store %v and the mark %v", s, mark)
		}
		return nil
	}})
	signed := publish(t, s, src, m, 4)
	closeStore(t, s)
	o.refused(t, "a store that is not proven", store.Options{Prove: refuse}, refusal)
	s = o.open(t, store.Options{Prove: func(s store.Store, mark *store.Mark) error {
		if calls++; s == nil || mark == nil || string(mark.Checkpoint) != string(signed) {
			t.Fatalf("Prove gets the store %v and the mark %v", s, mark)
		}
		checkState(t, m, s)
		if err := s.Commit(context.Background(), src.Next(1)); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("a commit to the store to be proven: %v", err)
		}
		return nil
	}})
	checkState(t, m, s)
	check(t, m, s)
	closeStore(t, s)
	if calls != 4 {
		t.Errorf("Prove was called %d times, want 4", calls)
	}
}

func testReadOnly(t *testing.T, o *opener) {
	ctx := context.Background()
	if _, err := o.engine.OpenReadOnly(ctx, o.location, store.Options{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no store: got the error %v, want %v", err, store.ErrNotFound)
	}
	src, m := NewSource(23), NewModel()
	s := o.open(t, store.Options{})
	publish(t, s, src, m, 4)
	closeStore(t, s)
	refusal := errors.New("not proven")
	if _, err := o.engine.OpenReadOnly(ctx, o.location, store.Options{Prove: func(store.Store, *store.Mark) error { return refusal }}); !errors.Is(err, refusal) {
		t.Errorf("not proven: got the error %v", err)
	}
	s, err := o.engine.OpenReadOnly(ctx, o.location, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, m, s)
	check(t, m, s)
	for what, err := range map[string]error{
		"Commit": s.Commit(ctx, src.Next(1)), "Mark": s.Mark(&store.Checkpoint{}), "Purge": s.Purge(ctx),
		"KeepCosigned": s.KeepCosigned(ctx, &store.Checkpoint{Size: 1}, 1), "Erase": s.Erase(ctx, nil),
		"ReplaceProjections": s.ReplaceProjections(ctx, func(func(store.Projection, error) bool) {}, nil), "ReplaceTiles": s.ReplaceTiles(ctx, nil),
	} {
		if !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%s: got the error %v, want %v", what, err, store.ErrReadOnly)
		}
	}
	if _, err := s.CreatePayload(ctx); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("CreatePayload: got the error %v, want %v", err, store.ErrReadOnly)
	}
	closeStore(t, s)
	s = o.open(t, store.Options{})
	checkState(t, m, s)
	closeStore(t, s)
}

func testKind(t *testing.T, o *opener) {
	closeStore(t, o.open(t, store.Options{Raw: true}))
	o.refused(t, "a raw log, opened as one of streams", store.Options{}, nil)
	closeStore(t, o.open(t, store.Options{Raw: true}))
}

func testScratch(t *testing.T, o *opener) {
	src, m := NewSource(24), NewModel()
	s := o.open(t, store.Options{Scratch: true})
	publish(t, s, src, m, 3)
	check(t, m, s)
	closeStore(t, s)
	o.refused(t, "scratch space that is not empty", store.Options{Scratch: true}, nil)
}
