package main

import (
	"reflect"
	"testing"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
)

// TestHeldConfig checks that each resource has its key, and that each key sets
// the limits of its resource.
func TestHeldConfig(t *testing.T) {
	var h datadir.HeldConfig
	v := reflect.ValueOf(&h).Elem()
	if v.NumField() != len(limit.All()) {
		t.Fatalf("%d keys for %d resources", v.NumField(), len(limit.All()))
	}
	for i, r := range limit.All() {
		if key := v.Type().Field(i).Tag.Get("yaml"); key != r.Label() {
			t.Errorf("the key of %s is %q, want %q", r, key, r.Label())
		}
		v.Field(i).Set(reflect.ValueOf(datadir.HeldLimit{Total: int64(2*i + 2), Each: int64(i + 1)}))
	}
	for r, l := range h.Limits() {
		if want := (limit.HeldLimit{Total: int64(2*r + 2), Owner: int64(r + 1)}); l != want {
			t.Errorf("%s: %v, want %v", limit.Resource(r), l, want)
		}
	}
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}
