package ledger

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// observe writes down what every read path answers about a log of up to a few
// more than n entries. It is the same for the same published state.
func observe(tl *testLog, n uint64, subject string, tenants ...*testTenant) string {
	ctx := context.Background()
	var b strings.Builder
	say := func(what string, v any, err error) { fmt.Fprintf(&b, "%s: %v %v\n", what, v, err) }
	p := tl.Published()
	say("published", fmt.Sprintf("%d %s %d\n%s", p.Size, p.Root, p.Time, p.Checkpoint), nil)
	for _, size := range []uint64{n - 1, n, n + 1, n + 3, n + 4} {
		path, err := p.InclusionProof(ctx, n-2, size)
		say(fmt.Sprint("inclusion in ", size), path, err)
		path, err = p.InclusionProof(ctx, size-1, size)
		say(fmt.Sprint("inclusion of the last of ", size), path, err)
		path, err = p.ConsistencyProof(ctx, n-1, size)
		say(fmt.Sprint("consistency with ", size), path, err)
		leaf, err := tl.LeafHash(ctx, p, size-1)
		say(fmt.Sprint("leaf ", size-1), leaf, err)
		for level := range uint8(3) {
			span := uint64(1) << (8 * level)
			tile := (size - 1) / span / store.TileWidth
			for _, width := range []int{1, int(size/span%store.TileWidth) + 1, store.TileWidth} {
				hashes, err := p.Tile(ctx, level, tile, width)
				say(fmt.Sprintf("tile %d of level %d, width %d", tile, level, width), hashes, err)
			}
		}
		for _, width := range []int{1, int((size-1)%store.TileWidth) + 1, store.TileWidth} {
			bundle, err := tl.EntryBundle(ctx, (size-1)/store.TileWidth, width)
			say(fmt.Sprintf("bundle of %d, width %d", size-1, width), bundle, err)
		}
	}
	for _, tt := range tenants {
		head, err := tl.StreamHead(ctx, p, tt.stream)
		say("head of "+tt.name, head, err)
		for i := n - 2; i < n+4; i++ {
			e, err := tl.Entry(ctx, tt.stream, i)
			say(fmt.Sprint("entry ", i), describe(e), err)
			payload, err := readPayload(ctx, tl.Ledger, tt.stream, i)
			say(fmt.Sprint("payload ", i), payload, err)
			for _, size := range []uint64{0, n, n + 1, n + 3} {
				for _, o := range []ReceiptOptions{{Size: size}, {Size: size, Shared: true}, {Size: size, EmbedPayload: true}} {
					r, err := tl.Receipt(ctx, tt.stream, i, o)
					say(fmt.Sprintf("receipt %d, %+v", i, o), string(r), err)
				}
			}
			e, next, err := tl.Next(ctx, p, tt.stream, Filter{}, i)
			say(fmt.Sprint("next from ", i), fmt.Sprint(describe(e), next), err)
		}
		for _, f := range []Filter{{}, {Kind: "attestation"}, {Subject: subject}, {PredicateType: "https://slsa.dev/provenance/v1"}, {Signer: "ci@example"},
			{From: millis(p.Time)}, {From: millis(p.Time + 1)}, {To: millis(p.Time + 100_000)}} {
			for _, oldest := range []bool{false, true} {
				page, err := tl.List(ctx, tt.stream, Query{Filter: f, OldestFirst: oldest, Limit: 1000})
				say(fmt.Sprintf("list %+v %t", f, oldest), "", err)
				for i := range page.Entries {
					fmt.Fprintln(&b, describe(&page.Entries[i]))
				}
				fmt.Fprintln(&b, page.Next, page.Size)
			}
			e, next, err := tl.Next(ctx, p, tt.stream, f, n-2)
			say("next by filter", fmt.Sprint(describe(e), next), err)
		}
	}
	return b.String()
}

func describe(e *Entry) string {
	if e == nil {
		return "none"
	}
	return fmt.Sprintf("%d %+v %s", e.Index, e.Skeleton, e.Opening.Content)
}

// sameLines fails the test with the first line in which two observations
// differ.
func sameLines(t *testing.T, when, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s, a reader sees what was not published:\n%.500s\nand not\n%.500s", when, g[i], strings.Join(w[i:min(i+1, len(w))], ""))
		}
	}
	if len(g) != len(w) {
		t.Fatalf("%s, a reader sees less than before", when)
	}
}

const testSubject = "sha256:b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c"

// provenance gives a draft every fact that a filter can match.
func provenance(h *entry.Header) {
	alg, digest, _ := strings.Cut(testSubject, ":")
	h.Subjects = []entry.Subject{{Name: "app", Digest: map[string]string{alg: digest}}}
	h.PredicateType = "https://slsa.dev/provenance/v1"
	h.Signers = []entry.Signer{{Identity: "ci@example", Issuer: "https://issuer.example"}}
}

// A commit is visible in the store before it is durable. No read path may
// expose it.
func TestNothingUnpublishedIsVisible(t *testing.T) {
	for _, n := range []int{2, 254, 510} { // the commit may complete a tile
		t.Run(fmt.Sprint("size ", n), func(t *testing.T) {
			tl := newTestLog(t, Config{})
			tl.fill(t, "entry", n-2)
			checkUnpublished(t, tl)
		})
	}
}

// checkUnpublished appends two entries, stops the commit of three more, and
// looks for them.
func checkUnpublished(t *testing.T, tl *testLog) {
	t.Helper()
	tl.mustAppend(t, globex.draft("globex's first", provenance))
	tl.mustAppend(t, acme.draft("acme's", provenance))
	old := tl.Published()
	size := old.Size
	before := observe(tl, size, testSubject, acme, globex)

	visible, release := tl.hooks.block(t)
	tl.clock.pass(1000)
	fresh := []Draft{acme.draft("new evidence", provenance), globex.draft("new evidence", provenance), acme.draft("more evidence")}
	first := tl.appendLater(fresh...)
	<-visible
	if _, err := tl.store.Header(context.Background(), size+2); err != nil {
		t.Fatalf("the test's store does not show the commit: %v", err)
	}
	sameLines(t, "before the commit is durable", observe(tl, size, testSubject, acme, globex), before)

	// The lookup before the queue must leave the decision to the sequencer,
	// too.
	p, d := &pending{}, acme.draft("new evidence")
	p.prepare(tl.ids, &d)
	if err := tl.lookup(context.Background(), p); err != nil || p.existing || p.checked != size {
		t.Fatalf("the look-up found an entry that was not published: existing %t, checked up to %d, %v", p.existing, p.checked, err)
	}
	again := tl.appendLater(acme.draft("new evidence"))
	tl.awaitPending(t, 1)
	known := tl.mustAppend(t, acme.draft("acme's"))
	if !known[0].Duplicate || known[0].Index != size-1 {
		t.Fatalf("published evidence, submitted again: %+v", known[0])
	}
	sameLines(t, "while others wait", observe(tl, size, testSubject, acme, globex), before)
	unanswered(t, "the first submission", first)
	unanswered(t, "the same submission again", again)
	select {
	case <-old.Superseded:
		t.Fatal("watchers were woken before the commit was durable")
	default:
	}

	release()
	a, b := <-first, <-again
	if a.err != nil || b.err != nil {
		t.Fatal(a.err, b.err)
	}
	<-old.Superseded
	for i, r := range a.results {
		if tl.checkReceipt(t, r, &fresh[i]); r.Duplicate || r.Index != size+uint64(i) {
			t.Fatalf("result %d: %+v", i, r)
		}
	}
	if r := b.results[0]; !r.Duplicate || r.Index != size {
		t.Fatalf("the same submission again: %+v", r)
	}
	tl.checkReceipt(t, b.results[0], &fresh[0])
	if p := tl.Published(); p.Size != size+3 {
		t.Fatalf("published are %d entries, not %d", p.Size, size+3)
	}
	checkLogSample(t, tl, max(1, size/40), acme, globex)
	listed := listIndexes(t, tl.Ledger, acme.stream, Query{Filter: Filter{Subject: testSubject}, Limit: 10})
	if fmt.Sprint(listed) != fmt.Sprint([]uint64{size, size - 1}) {
		t.Fatalf("entries with the subject: %v", listed)
	}
}

// A state whose commit was undone by a crash must never have been visible, and
// the log continues from the state before it.
func TestCrashBeforeDurable(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", 255)
	old := tl.Published()
	visible, release := tl.hooks.block(t)
	lost := tl.appendLater(acme.draft("lost"))
	<-visible
	after := tl.store.Restart()
	tl.hooks.fail(nil, errTestDisk)
	release()
	wantErr(t, "the append that was lost", (<-lost).err, ErrFailed)
	tl.Close()
	tl.hooks.fail(nil, nil)
	tl.open(t, after)
	if p := tl.Published(); p.Size != old.Size || p.Root != old.Root || string(p.Checkpoint) != string(old.Checkpoint) {
		t.Fatalf("after the crash: %+v, before: %+v", p, old)
	}
	if r := tl.mustAppend(t, acme.draft("another"), acme.draft("lost")); r[0].Index != 255 || r[1].Duplicate {
		t.Fatalf("after the crash: %+v", r)
	}
	checkLog(t, tl, acme)
}
