package storetest

import (
	"context"
	"errors"
	"testing"

	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A commit of a copy has entries whose openings were erased before, and the
// checkpoints of many sizes.
func testCopied(t *testing.T, disk Disk) {
	src, m, s := NewSource(51), NewModel(), open(t, disk)
	for range 3 {
		c := src.Next(40)
		var facts []store.FactsAt
		for i := range c.Entries {
			e := &c.Entries[i]
			if e.NoPayload = i%3 == 0; e.NoPayload {
				e.Payload = receipt.PayloadOpening{}
			}
			if e.NoHeader = i%6 == 0; e.NoHeader {
				e.Header = receipt.HeaderOpening{}
			}
			c.Older = append(c.Older, store.Checkpoint{Size: c.From + uint64(i) + 1, Signed: src.bytes(30 + i)})
		}
		for _, f := range c.Facts {
			if !c.Entries[f.Index-c.From].NoPayload {
				facts = append(facts, f)
			}
		}
		c.Facts, c.Checkpoint = facts, nil
		kept := Clone(c)
		commit(t, s, c)
		scribble(c)
		m.Commit(kept)
		check(t, m, s)
	}
	e := m.Erasure(1, true) // of a run with erased headers
	if err := s.Erase(t.Context(), []store.Erasure{e}); err != nil {
		t.Fatal(err)
	}
	m.Erase([]store.Erasure{e})
	check(t, m, s)
	s = reopen(t, disk, s)
	checkState(t, m, s)
	check(t, m, s)
	closeStore(t, s)
}

// RunMover checks that an engine keeps the promises of store.Mover. It calls
// newLocation for each test; no store may be there.
func RunMover(t *testing.T, e store.Mover, newLocation func(t *testing.T) string) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, store.Mover, string)
	}{
		{"Install", testInstall},
		{"Retire", testRetire},
		{"Secret", testSecret},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, e, newLocation(t)) })
	}
}

// A copy is nowhere until it is put in place, and can be begun again.
func testInstall(t *testing.T, e store.Mover, location string) {
	ctx := t.Context()
	src, m := NewSource(52), NewModel()
	var stage string
	for _, last := range []bool{false, true} {
		var err error
		if stage, err = e.Stage(ctx, location); err != nil || stage == location {
			t.Fatal(stage, err)
		}
		s := (&opener{e, stage}).open(t, store.Options{})
		checkState(t, NewModel(), s)
		if !last {
			publish(t, s, NewSource(53), NewModel(), 3)
			closeStore(t, s)
			if err := e.Discard(ctx, location); err != nil {
				t.Fatal(err)
			}
			continue
		}
		publish(t, s, src, m, 5)
		closeStore(t, s)
	}
	if _, err := e.OpenReadOnly(ctx, location, store.Options{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("before the copy is in place: got the error %v, want %v", err, store.ErrNotFound)
	}
	if err := e.Install(ctx, location); err != nil {
		t.Fatal(err)
	}
	s := (&opener{e, location}).open(t, store.Options{})
	checkState(t, m, s)
	check(t, m, s)
	closeStore(t, s)
	if _, err := e.Stage(ctx, location); !errors.Is(err, store.ErrExists) {
		t.Errorf("a copy where a store is: got the error %v, want %v", err, store.ErrExists)
	}
	if err := e.Install(ctx, location); err == nil {
		t.Error("a copy was put in place of a store")
	}
	if err := e.Discard(ctx, location); err != nil {
		t.Errorf("discard no copy: %v", err)
	}
	s = (&opener{e, location}).open(t, store.Options{})
	check(t, m, s)
	closeStore(t, s)
}

// A log that was moved can be read, and goes on only after that was undone.
func testRetire(t *testing.T, e store.Mover, location string) {
	ctx := t.Context()
	src, m, o := NewSource(54), NewModel(), &opener{e, location}
	s := o.open(t, store.Options{})
	publish(t, s, src, m, 5)
	closeStore(t, s)
	r, err := e.OpenReadOnly(ctx, location, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // as after an interruption
		if err := e.Retire(ctx, location, m.Size(), "elsewhere"); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Retire(ctx, location, m.Size(), "another place"); !errors.Is(err, store.ErrMoved) {
		t.Errorf("the log was moved to a second place: %v", err)
	}
	check(t, m, r)
	closeStore(t, r)
	o.refused(t, "a store whose log was moved", store.Options{}, store.ErrMoved)
	if r, err = e.OpenReadOnly(ctx, location, store.Options{}); err != nil {
		t.Fatal(err)
	}
	check(t, m, r)
	closeStore(t, r)
	for range 2 {
		if err := e.Revive(ctx, location); err != nil {
			t.Fatal(err)
		}
	}
	s = o.open(t, store.Options{})
	publish(t, s, src, m, 5)
	check(t, m, s)
	closeStore(t, s)
}

func testSecret(t *testing.T, e store.Mover, location string) {
	secret := [32]byte{1, 2, 3}
	for _, given := range []*[32]byte{&secret, nil} { // the second opens it
		s := (&opener{e, location}).open(t, store.Options{Secret: given})
		if st, err := s.Follow(context.Background(), 0); err != nil || st.Secret != secret {
			t.Errorf("got the secret %x and the error %v", st.Secret, err)
		}
		closeStore(t, s)
	}
}
