package ledger

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"weak"

	"muniment.dev/muniment/ledger/entry"
)

const knownDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// about returns a draft about the artifact with knownDigest.
func (tt *testTenant) about(name string) Draft {
	return tt.draft(name, func(h *entry.Header) {
		h.Subjects = append(h.Subjects, entry.Subject{Name: name, Digest: map[string]string{"sha256": knownDigest[len("sha256:"):]}})
	})
}

// search returns the entries about the artifact.
func search(t *testing.T, l *Ledger, tt *testTenant) []Entry {
	t.Helper()
	page, err := l.List(context.Background(), tt.stream, Query{Filter: Filter{Subject: knownDigest}, Limit: 10, OldestFirst: true})
	if err != nil {
		t.Fatal(err)
	}
	return page.Entries
}

// TestKnownEntries checks that searches for an artifact are answered from
// memory, that an erasure ends this and frees the memory, and that the cache
// can be switched off.
func TestKnownEntries(t *testing.T) {
	tl := newTestLog(t, Config{})
	for i := range 3 {
		tl.mustAppend(t, acme.about(fmt.Sprint("acme ", i)), globex.about(fmt.Sprint("globex ", i)))
	}
	_, cache := tl.Cache()
	first := search(t, tl.Ledger, acme)
	second := search(t, tl.Ledger, acme)
	if len(first) != 3 || len(second) != 3 || first[1].Header != second[1].Header {
		t.Fatalf("%d and %d entries, or they were parsed twice", len(first), len(second))
	}
	if s := cache.Stats(); s.Hits != 3 || s.Misses != 3 {
		t.Errorf("%d hits, %d misses", s.Hits, s.Misses)
	}
	target := first[1].Index
	_, err := tl.recall(context.Background(), tl.Published(), globex.stream, target)
	wantErr(t, "an entry of another tenant in memory", err, ErrNotFound)
	_, err = tl.recall(context.Background(), &Published{Size: target}, acme.stream, target)
	wantErr(t, "an entry in memory beyond the size", err, ErrOutOfRange)

	header, opening := weak.Make(first[1].Header), weak.Make(first[1].Opening)
	first, second = nil, nil
	tl.erase(t, acme, target, true)
	await(t, "the erased header to leave memory", func() bool {
		runtime.GC()
		return header.Value() == nil && opening.Value() == nil
	})
	if left := search(t, tl.Ledger, acme); len(left) != 2 || left[1].Index == target {
		t.Errorf("%d entries after the erasure", len(left))
	}
	if e, err := tl.recall(context.Background(), tl.Published(), acme.stream, target); err != nil || e.Header != nil {
		t.Errorf("the erased entry is %+v, %v", e, err)
	}

	cache.Disable()
	if n := cache.Stats().Entries; n != 0 {
		t.Errorf("%d entries in memory while the cache is off", n)
	}
	hits := cache.Stats().Hits
	if search(t, tl.Ledger, acme); cache.Stats().Hits != hits {
		t.Error("a hit while the cache is off")
	}
	cache.Enable()
	search(t, tl.Ledger, acme)
	if search(t, tl.Ledger, acme); cache.Stats().Hits != hits+2 {
		t.Error("no hits after it was switched on")
	}
}

// TestKnownOfReplica checks that an imported erasure removes the entry from the
// memory of a replica that is being read.
func TestKnownOfReplica(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.about("one"), acme.about("two"))
	l, _ := liveReplica(t, tl)
	all := search(t, l, acme)
	header := weak.Make(all[0].Header)
	from, target := l.Published().Size, all[0].Index
	all = nil
	tl.erase(t, acme, target, true)
	if _, err := importLive(l, export(t, tl, from, acme)); err != nil {
		t.Fatal(err)
	}
	await(t, "the erased header to leave memory", func() bool {
		runtime.GC()
		return header.Value() == nil
	})
	if left := search(t, l, acme); len(left) != 1 {
		t.Errorf("%d entries after the erasure", len(left))
	}
}
