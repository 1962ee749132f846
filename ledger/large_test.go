package ledger

import (
	"testing"

	"muniment.dev/muniment/internal/soak"
)

// The third level of tiles begins at 65,536 entries, and near that size the
// sequencer discards the first keys. One log serves both tests, because filling
// it takes time.
func TestLargeLog(t *testing.T) {
	if testing.Short() {
		t.Skip("make test runs it; TestEverySmallSize covers small logs")
	}
	soak.WithoutRace(t)
	tl := newTestLog(t, Config{TileCache: 16}) // small, so that tiles are read again from the store
	first := tl.mustAppend(t, acme.draft("evidence"))[0]
	tl.fill(t, "entry", 65531)
	// its commit goes from 65,534 to 65,537, so it completes a tile of each
	// level
	checkUnpublished(t, tl)
	tree := checkLogSample(t, tl, 9973, acme, globex)
	p := tl.Published()
	for _, size := range []uint64{65535, 65536, 65537} {
		for _, i := range []uint64{0, 1, 255, 256, 257, 511, 32767, 32768, 65279, 65280, 65534, size - 1} {
			checkProofs(t, p, tree, i, size)
		}
	}
	checkCopiesBeyondTheRecentKeys(t, tl, first)
	tl.restart(t)
	checkLogSample(t, tl, 9973, acme, globex)
	tl.mustAppend(t, acme.draft("after a restart"))
	checkLogSample(t, tl, 9973, acme, globex)
}

// checkCopiesBeyondTheRecentKeys submits the first evidence again. The
// sequencer remembers two generations of keys. What it has forgotten, it finds
// in the store, also for a submission that was looked up before the first one
// was published.
func checkCopiesBeyondTheRecentKeys(t *testing.T, tl *testLog, first Result) {
	t.Helper()
	tl.fill(t, "other", 2*recentGeneration+4096-int(tl.Published().Size))
	tl.mustAppend(t, acme.draft("one more batch"))
	// The sequencer waits for work, so the test may look at what it owns.
	p := &pending{}
	d := acme.draft("evidence")
	p.prepare(tl.ids, &d)
	if _, ok := tl.tip.recent.find(p.key); ok || tl.tip.recent.from <= first.Index {
		t.Fatalf("the key is remembered; those from %d on are", tl.tip.recent.from)
	}
	if n := len(tl.tip.recent.old) + len(tl.tip.recent.new); n > 3*recentGeneration {
		t.Fatalf("%d keys are remembered", n)
	}
	g := &group{entries: []pending{*p}}
	if err := tl.searchStore(g); err != nil {
		t.Fatal(err)
	}
	p = &g.entries[0]
	if tl.resolve(p, nil); !p.existing || p.index != first.Index {
		t.Fatalf("a submission that waited all the time: existing %t, index %d", p.existing, p.index)
	}
	if r := tl.mustAppend(t, acme.draft("evidence"))[0]; !r.Duplicate || r.Index != first.Index {
		t.Fatalf("a submission now: %+v", r)
	}
	r := tl.mustAppend(t, acme.draft("new"), acme.draft("evidence"), acme.draft("entry0 0"))
	if r[0].Duplicate || !r[1].Duplicate || r[1].Index != first.Index || !r[2].Duplicate {
		t.Fatalf("a submission with a new one: %+v", r)
	}
}
