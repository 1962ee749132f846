package pgstore

import (
	"errors"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// The commits of a server that still runs end with the move, and a log that has
// grown meanwhile is not moved.
func TestRetireWhileServed(t *testing.T) {
	ctx, e, location := t.Context(), Engine{}, newLocation(t)
	src := storetest.NewSource(1)
	s, err := e.Open(ctx, location, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	commit := func() error { return s.Commit(ctx, src.Next(3)) }
	if err := errors.Join(commit(), commit()); err != nil {
		t.Fatal(err)
	}
	for _, size := range []uint64{0, 3, 5, 7} {
		if err := e.Retire(ctx, location, size, "elsewhere"); !errors.Is(err, errGrown) {
			t.Errorf("moved at size %d of 6: got the error %v", size, err)
		}
	}
	if err := e.Retire(ctx, location, 6, "elsewhere"); err != nil {
		t.Fatal(err)
	}
	if err := commit(); !errors.Is(err, store.ErrMoved) {
		t.Errorf("a commit to a log that was moved: got the error %v, want %v", err, store.ErrMoved)
	}
	if err := e.Retire(ctx, location, 5, "elsewhere"); !errors.Is(err, errGrown) {
		t.Errorf("moved again at another size: got the error %v", err)
	}
	if _, err := e.Stage(ctx, location); !errors.Is(err, store.ErrExists) || !strings.Contains(err.Error(), "delete the schema first") {
		t.Errorf("a copy where a log was moved away: got the error %v", err)
	}
}

// A copy takes the place of an empty schema, and of no other.
func TestInstallOverSchema(t *testing.T) {
	ctx, e := t.Context(), Engine{}
	for _, empty := range []bool{true, false} {
		location := newLocation(t)
		schema := location[strings.Index(location, "log_"):]
		statement := "CREATE SCHEMA " + schema
		if !empty {
			statement += "; CREATE TABLE " + schema + ".other (a int)"
		}
		if err := server.Exec(ctx, "postgres", statement); err != nil {
			t.Fatal(err)
		}
		stage, err := e.Stage(ctx, location)
		if err != nil {
			t.Fatal(err)
		}
		s, err := e.Open(ctx, stage, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if err := e.Install(ctx, location); (err == nil) != empty {
			t.Errorf("over a schema that is empty, %t: got the error %v", empty, err)
		}
	}
}
