package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// Several servers append to one log over a network that loses and delays, and
// crash. Whatever was acknowledged is in the one history that all of them
// showed, is recorded once, under the rules in force at its place, and stays
// erased if it was erased. The metamorphic relation: the log that results
// passes every check of a log with one writer.
func TestWriters(t *testing.T) {
	for _, c := range []struct {
		servers int
		faults  float64
	}{{2, 0}, {2, 0.3}, {3, 0}, {3, 0.3}, {3, 0.6}} {
		t.Run(fmt.Sprintf("%d servers, faults %.1f", c.servers, c.faults), func(t *testing.T) {
			seed := uint64(c.servers)*10 + uint64(10*c.faults)
			w := newWriters(t, memoryCluster{memstore.NewCluster(seed, c.faults)}, c.servers, time.Millisecond)
			w.run(t)
			w.check(t)
		})
	}
}

// A cluster is a store that servers share.
type cluster interface {
	// join returns the store as another server sees it.
	join(t *testing.T) member
	// final returns the store as it is after the end of all servers.
	final(t *testing.T) store.Store
	// lost returns how many commits were lost.
	lost() int
}

// A member is a store that can crash.
type member interface {
	store.Store
	Crash()
}

type memoryCluster struct{ *memstore.Cluster }

func (c memoryCluster) join(*testing.T) member { return c.Join() }

func (c memoryCluster) final(*testing.T) store.Store { return c.Restart().Join().Store }

func (c memoryCluster) lost() int { return c.Counts.Lost }

// writers are servers that share a store, with the results that their callers
// received.
type writers struct {
	cluster cluster
	base    *testLog // has the configuration that all servers share
	tenants []*testTenant

	mu      sync.Mutex // guards what follows
	members []member
	logs    []*Ledger
	acked   []witnessed
	bound   map[uint64]Rules // of acknowledged drafts that were decided under rules
	erased  map[uint64]bool
	shown   []*Published
	fatal   []error
}

func newWriters(t *testing.T, c cluster, n int, follow time.Duration) *writers {
	w := &writers{
		cluster: c, tenants: []*testTenant{acme, globex},
		members: make([]member, n), logs: make([]*Ledger, n), bound: map[uint64]Rules{}, erased: map[uint64]bool{},
	}
	w.base = newTestLog(t, Config{FollowEvery: follow, MaxBatchEntries: 8, MaxUndecided: time.Minute})
	for i := range n {
		w.start(t, i)
	}
	return w
}

// start opens server i.
func (w *writers) start(t *testing.T, i int) {
	m := w.cluster.join(t)
	cfg := w.base.cfg
	cfg.Store = m
	cfg.Clock = skewedClock{cfg.Clock, time.Duration(i) * 25 * time.Second}
	cfg.Fatal = func(err error) {
		if !strings.Contains(err.Error(), "crashed") {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.fatal = append(w.fatal, err)
		}
	}
	l, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members[i], w.logs[i] = m, l
}

// A skewedClock is ahead of another clock.
type skewedClock struct {
	Clock
	ahead time.Duration
}

// Now implements Clock.
func (c skewedClock) Now() (time.Time, time.Duration) {
	wall, monotonic := c.Clock.Now()
	return wall.Add(c.ahead), monotonic
}

// crash ends server i at once and starts it again.
func (w *writers) crash(t *testing.T, i int) {
	w.mu.Lock()
	m, l := w.members[i], w.logs[i]
	w.mu.Unlock()
	m.Crash()
	l.Close()
	w.start(t, i)
}

func (w *writers) run(t *testing.T) {
	var callers sync.WaitGroup
	for c := range 6 {
		callers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(c), 1))
			for n := range 40 {
				w.step(t, rng, n)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		callers.Wait()
		close(done)
	}()
	rng := rand.New(rand.NewPCG(7, 7))
	for crashes := 0; ; {
		select {
		case <-done:
			return
		default:
		}
		w.mu.Lock()
		due := len(w.acked) > 25*(crashes+1)
		w.mu.Unlock()
		if due && crashes < 6 {
			w.crash(t, rng.IntN(len(w.logs)))
			crashes++
		}
		time.Sleep(time.Millisecond)
	}
}

// step appends something through one of the servers.
func (w *writers) step(t *testing.T, rng *rand.Rand, n int) {
	w.mu.Lock()
	l := w.logs[rng.IntN(len(w.logs))]
	w.mu.Unlock()
	tt := w.tenants[rng.IntN(len(w.tenants))]
	rules := l.Rules(tt.stream)
	d := tt.draft(fmt.Sprint("evidence ", rng.IntN(60))) // many callers send the same
	switch k := rng.IntN(10); {
	case k < 2:
		d = tt.draft(fmt.Sprint("rules ", n, rng.Uint64()), func(h *entry.Header) {
			h.Kind, h.IdempotencyKey = kindname.Config, fmt.Sprint(rng.Uint64())
			h.Attributes = map[string]string{"name": "admission-policy"}
		})
		d.Rules = rules
	case k < 3:
		w.erase(t, rng, l, tt)
		return
	case k < 7:
		d.Rules = rules
	}
	w.append(t, l, d)
}

// append appends a draft, and notes the caller's result.
func (w *writers) append(t *testing.T, l *Ledger, d Draft) bool {
	results, err := l.Append(context.Background(), []Draft{d})
	if err == nil {
		err = results[0].Err
	}
	switch {
	case errors.Is(err, ErrOvertaken), errors.Is(err, ErrFailed), errors.Is(err, ErrClosed), errors.Is(err, ErrErased):
		return false
	case err != nil:
		t.Error(err)
		return false
	}
	o := receipt.Options{Payload: d.Payload.Content, StreamKey: &d.Stream.Key}
	if results[0].Duplicate { // of an entry that may just have been erased
		o.Payload, o.HeaderOnly = nil, true
	}
	s, err := receipt.Verify(results[0].Receipt, []*receipt.TrustPolicy{w.base.policy}, o)
	if err != nil {
		t.Error(err)
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked = append(w.acked, witnessed{d, s})
	w.shown = append(w.shown, l.Published())
	if d.Rules.known && !results[0].Duplicate {
		w.bound[s.Index] = d.Rules
	}
	return true
}

// erase erases an acknowledged entry of the tenant.
func (w *writers) erase(t *testing.T, rng *rand.Rand, l *Ledger, tt *testTenant) {
	w.mu.Lock()
	var index uint64
	found := false
	for range 10 {
		if len(w.acked) == 0 {
			break
		}
		a := w.acked[rng.IntN(len(w.acked))]
		if found = a.draft.Stream == tt.stream && a.draft.Header.Kind == "attestation"; found {
			index = a.Index
			break
		}
	}
	w.mu.Unlock()
	if !found {
		return
	}
	e, err := l.PlanErasure(context.Background(), tt.stream, index, false)
	if err != nil { // another caller was first, or the server has not followed yet
		if !errors.Is(err, ErrErased) && !errors.Is(err, ErrOutOfRange) {
			t.Error(err)
		}
		return
	}
	d := tt.erasure(index, e.Scope())
	d.Erase = e
	if w.append(t, l, d) {
		w.mu.Lock()
		w.erased[index] = true
		w.mu.Unlock()
	}
}

func (w *writers) check(t *testing.T) {
	t.Helper()
	for _, l := range w.logs {
		l.Close()
	}
	if len(w.fatal) > 0 {
		t.Fatalf("a server has failed: %v", w.fatal)
	}
	t.Logf("%d acknowledged, %d erased, %d commits lost", len(w.acked), len(w.erased), w.cluster.lost())
	if w.cluster.lost() == 0 {
		t.Error("no commit was lost, so nothing was tested")
	}
	w.base.Close()
	w.base.open(t, w.cluster.final(t))
	tl := w.base
	p := tl.Published()
	tree := checkTree(t, tl, p)
	checkTiles(t, p, tree)
	checkStreams(t, tl, p, tree, w.tenants)
	checkProofs(t, p, tree, p.Size/2, p.Size)
	for _, s := range w.shown {
		if root := tree.root(s.Size); root != s.Root {
			t.Fatalf("a server showed a tree of size %d that is not the log's", s.Size)
		}
	}
	for _, a := range w.acked {
		if leaf, err := tl.LeafHash(context.Background(), p, a.Index); err != nil || leaf != a.LeafHash {
			t.Fatalf("entry %d was acknowledged, and its leaf is %s, %v, not %s", a.Index, leaf, err, a.LeafHash)
		}
	}
	w.checkEntries(t, tl, p, tree)
	tl.wantSameIndex(t, "in the end")
}

// checkEntries looks for entries that were recorded twice, recorded under rules
// that were not in force, or restored after their erasure.
func (w *writers) checkEntries(t *testing.T, tl *testLog, p *Published, tree *naiveTree) {
	ctx, s := context.Background(), tl.cfg.Store
	sk, err := s.Skeletons(ctx, 0, p.Size)
	if err != nil {
		t.Fatal(err)
	}
	rules, first := map[entry.Hash]uint64{}, map[string]uint64{}
	for i := range sk {
		index, stream := uint64(i), sk[i].StreamID
		if r, ok := w.bound[index]; ok && r.next != 0 && r.next != rules[stream] {
			t.Errorf("entry %d was decided under the rules of entry %d; those of entry %d are in force", index, int(r.next)-1, int(rules[stream])-1)
		}
		opening, err := s.Header(ctx, index)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(opening.Content, []byte(`"kind":"config"`)) {
			rules[stream] = index + 1
		}
		payload, err := s.Payload(ctx, index)
		if err != nil {
			t.Fatal(err)
		}
		if w.erased[index] {
			if payload != nil {
				t.Errorf("entry %d was erased, and its payload is there", index)
			}
			continue
		}
		if payload == nil { // by a caller whose server crashed before it answered
			continue
		}
		if i%7 == 0 {
			checkEntry(t, tl, index, tree, w.tenants)
		}
		if !bytes.HasPrefix(payload.Content, []byte("evidence")) {
			continue
		}
		key := string(stream[:]) + string(payload.Content)
		if before, twice := first[key]; twice {
			t.Errorf("entries %d and %d are the same evidence", before, index)
		}
		first[key] = index
	}
}

// A commit that stays undecided ends the ledger after the deadline, and nothing
// is signed.
func TestUndecided(t *testing.T) {
	tl := newTestLog(t, Config{MaxUndecided: 20 * time.Millisecond})
	tl.mustAppend(t, acme.draft("first"))
	before := tl.Published()
	tl.hooks.fail(store.ErrUndecided, nil)
	_, err := tl.Append(context.Background(), []Draft{acme.draft("second")})
	wantErr(t, "an append whose commit stays undecided", err, ErrFailed)
	wantErr(t, "Ready", tl.Ready(), store.ErrUndecided)
	if tl.Published() != before {
		t.Error("a state was published")
	}
	if n := len(tl.fatals()); n != 1 {
		t.Errorf("Fatal was called %d times", n)
	}
}

// A caller that leaves while its entry is placed in the open batch gets its
// answer at once, and the entry is not recorded.
func TestLeaveTheOpenBatch(t *testing.T) {
	tl := newTestLog(t, Config{})
	visible, release := tl.hooks.block(t)
	first := tl.appendLater(acme.draft("first"))
	<-visible
	ctx, cancel := context.WithCancel(context.Background())
	left := make(chan error)
	go func() {
		_, err := tl.Append(ctx, acme.drafts("leaves", placedAhead))
		left <- err
	}()
	await(t, "the group is in the open batch", func() bool {
		tl.queue.mu.Lock()
		defer tl.queue.mu.Unlock()
		return tl.queue.batch.entries == placedAhead
	})
	stays := tl.appendLater(globex.draft("stays"), acme.draft("leaves 3"))
	tl.awaitPending(t, placedAhead+2)
	cancel()
	wantErr(t, "the caller that left", <-left, context.Canceled, "nothing was recorded")
	release()
	if a := <-first; a.err != nil {
		t.Fatal(a.err)
	}
	if a := <-stays; a.err != nil || a.results[0].Index != 1 || a.results[1].Index != 2 || a.results[1].Duplicate {
		t.Fatalf("the caller that stayed: %+v", a)
	}
	if size := tl.Published().Size; size != 3 {
		t.Errorf("the log has %d entries", size)
	}
	checkLog(t, tl, acme, globex)
}

// A draft is recorded under the rules under which it was decided, or not at
// all.
func TestOvertaken(t *testing.T) {
	tl := newTestLog(t, Config{})
	ctx := context.Background()
	config := func(name string) Draft {
		return acme.draft(name, func(h *entry.Header) { h.Kind, h.IdempotencyKey = kindname.Config, name })
	}
	rules := func() Rules { return tl.Rules(acme.stream) }
	none := rules()
	tl.mustAppend(t, config("one"))
	one := rules()
	if none == one || (one == Rules{}) {
		t.Fatalf("the rules are %+v, and were %+v", one, none)
	}
	under := func(r Rules, d Draft) Draft { d.Rules = r; return d }

	// The change is in the commit under way; the decision was made before.
	visible, release := tl.hooks.block(t)
	change := tl.appendLater(under(one, config("two")))
	<-visible
	late := tl.appendLater(under(one, acme.draft("late")))
	other := tl.appendLater(globex.draft("another stream"), acme.draft("decided under no rules"))
	tl.awaitPending(t, 3)
	if rules() != one {
		t.Error("rules are in force that are not published")
	}
	release()
	if a := <-change; a.err != nil {
		t.Fatal(a.err)
	}
	wantErr(t, "a draft that was overtaken", (<-late).err, ErrOvertaken)
	if a := <-other; a.err != nil || a.results[0].Index != 2 {
		t.Fatalf("drafts beside it: %+v", a)
	}
	two := rules()
	if r := tl.mustAppend(t, under(two, acme.draft("late"))); r[0].Index != 4 {
		t.Errorf("decided again, it is entry %d", r[0].Index)
	}
	_, err := tl.Append(ctx, []Draft{under(one, config("three"))})
	wantErr(t, "a change that was overtaken", err, ErrOvertaken)

	tl.restart(t)
	if rules() != none {
		t.Errorf("after a restart, which no draft survives, the rules are %+v", rules())
	}
	tl.mustAppend(t, under(rules(), acme.draft("after the restart")))
	checkLog(t, tl, acme, globex)
}
