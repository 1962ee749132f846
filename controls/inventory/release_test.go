package inventory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// release appends an inventory of a version of a release.
func (w *world) release(environment, source, name, version string) uint64 {
	w.t.Helper()
	a := map[string]string{"scope": Exists, "environment": environment, "source": source, "observed": w.now.Format(time.RFC3339), "release": name, "version": version}
	return w.add(&entry.Header{Kind: kindname.Inventory, Attributes: a}, `{"items":[]}`, nil)
}

// found returns the entries of the inventories that a name stands for, or the
// error.
func (w *world) found(size uint64, name string) string {
	w.t.Helper()
	all, err := w.reader.Projection.Release(context.Background(), w.stream, size, name)
	switch {
	case errors.Is(err, ErrNoRelease):
		return "none"
	case errors.Is(err, ErrAmbiguous):
		return "ambiguous"
	case err != nil:
		w.t.Fatal(err)
	}
	var entries []string
	for _, o := range all {
		entries = append(entries, fmt.Sprint(o.Entries[0]))
	}
	return strings.Join(entries, " ")
}

// TestRelease finds releases by all of their names, now, in the past, and by a
// projection that has read the log in other steps.
func TestRelease(t *testing.T) {
	w := newWorld(t)
	w.release("production", "release shop", "shop", "1.6.0") // 0
	w.inventory(Exists, "staging", "1.5.0")                  // 1, named by hand
	w.release("production", "release shop", "shop", "1.7.0") // 2
	w.release("staging", "release shop", "shop", "1.7.0")    // 3
	w.release("production", "release pay", "pay", "2.0.0")   // 4
	w.found(5, "shop")
	w.release("production", "release pay", "pay", "1.7.0")   // 5
	w.inventory(Runs, "shop", "shop", "image:a:aa")          // 6 is no release
	w.release("production", "release shop", "shop", "1.6.0") // 7, recorded again
	w.inventory(Exists, "production", "release old")         // 8, without a version
	retired := map[string]string{"scope": Exists, "environment": "production", "source": "release pay", "observed": w.now.Format(time.RFC3339), "retired": "true"}
	w.add(&entry.Header{Kind: kindname.Inventory, Attributes: retired}, `{"items":[]}`, nil) // 9
	cases := []struct {
		size       uint64
		name, want string
	}{
		{5, "1.7.0", "2 3"},
		{5, "1.6.0", "0"},
		{5, "shop 1.6.0", "0"},
		{5, "shop", "2 3"},
		{5, "release shop", "2 3"},
		{5, "1.5.0", "1"},
		{5, "pay 1.7.0", "none"},
		{5, "production", "4 2"},
		{2, "1.7.0", "none"},
		{2, "shop", "0"},
		{10, "1.7.0", "ambiguous"},
		{10, "shop 1.7.0", "2 3"},
		{10, "pay 1.7.0", "5"},
		{10, "pay", "none"}, // it has ended
		{10, "2.0.0", "4"},
		{10, "shop", "7 3"},
		{10, "1.6.0", "7"},
		{10, "old", "8"},
		{10, "shop 1.8.0", "none"},
		{10, "", "none"},
	}
	for _, c := range cases {
		if got := w.found(c.size, c.name); got != c.want {
			t.Errorf("release %q at size %d: entries %s, want %s", c.name, c.size, got, c.want)
		}
	}
	plan, err := w.ledger.PlanErasure(context.Background(), w.stream, 7, true)
	if err != nil {
		t.Fatal(err)
	}
	w.add(&entry.Header{Kind: ledger.ErasureKind, Attributes: map[string]string{"entry": "7", "scope": ledger.ScopeHeaderAndPayload}}, "{}", plan)
	if got := w.found(11, "1.6.0"); got != "0" {
		t.Errorf("after an erasure: entries %s, want 0", got)
	}
}

// TestManyVersions checks that the oldest versions are forgotten, and no other.
func TestManyVersions(t *testing.T) {
	r := newRegister()
	add := func(n int, version string) {
		r.addVersion(&Observation{Key: Key{Exists, "production", "release shop"}, Release: "shop", Version: version, Entries: []uint64{uint64(n)}})
	}
	for n := range 3 * maxVersions {
		add(n, fmt.Sprint(n%(maxVersions+10)))
	}
	if n := len(r.versions); n != maxVersions {
		t.Errorf("%d versions are known, want %d", n, maxVersions)
	}
	if n := len(r.recent); n > 2*maxVersions {
		t.Errorf("%d observations are kept", n)
	}
	oldest := uint64(3 * maxVersions)
	for _, o := range r.versions {
		oldest = min(oldest, o.Entries[0])
	}
	if oldest != 2*maxVersions {
		t.Errorf("the oldest known version is that of entry %d, want %d", oldest, 2*maxVersions)
	}
}
