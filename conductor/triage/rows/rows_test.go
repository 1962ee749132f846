package rows

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

var errState = errors.New("state of the test")

func TestStore(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open("state", fs, errState, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(maps.All(map[string]any{"a/1": 1, "a/2": "two", "b/1": true})); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(maps.All(map[string]any{"a/1": nil})); err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := s.Each("a/", func(row string, _ []byte) error { names = append(names, row); return nil }); err != nil || !slices.Equal(names, []string{"a/2"}) {
		t.Errorf("%q, %v", names, err)
	}
	var n int
	if found, err := s.Get("a/1", &n); found || err != nil {
		t.Errorf("a deleted row: %t, %v", found, err)
	}
	if _, err := s.Get("a/2", &n); !errors.Is(err, errState) {
		t.Errorf("a text as a number: %v", err)
	}
	if err := s.db.Set([]byte("b/1"), []byte("{"), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("b/1", &n); !errors.Is(err, errState) {
		t.Errorf("a row that is no JSON: %v", err)
	}
	stop := errors.New("stop")
	if err := s.Each("b/", func(string, []byte) error { return stop }); !errors.Is(err, stop) || !errors.Is(err, errState) {
		t.Errorf("an error of the caller: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
