package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// importLive imports a delta into an open replica.
func importLive(l *Ledger, file []byte) (*ImportReport, error) {
	return l.Import(context.Background(), bytes.NewReader(file), int64(len(file)), ImportOptions{Streams: []*Stream{acme.stream}, Derive: testDerive})
}

// liveReplica returns an open replica of a log with some entries.
func liveReplica(t *testing.T, tl *testLog) (*Ledger, store.Store) {
	t.Helper()
	s := memstore.NewRaw()
	mix(t, tl, "first", 20)
	if _, err := importDelta(tl, s, export(t, tl, 0, acme), acme); err != nil {
		t.Fatal(err)
	}
	l, err := OpenReplica(context.Background(), Config{Store: s, EntryCache: 1 << 20}, tl.policy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, s
}

// TestImportWhileServing imports deltas into an open replica while others read
// it. Each reader sees one whole state, and one that waits is woken up.
func TestImportWhileServing(t *testing.T) {
	tl := newTestLog(t, Config{})
	l, s := liveReplica(t, tl)
	ctx, stop := context.WithCancel(context.Background())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				p := l.Published()
				head, err := l.StreamHead(ctx, p, acme.stream)
				if ctx.Err() == nil && (err != nil || head.Entries != p.Size/2) {
					t.Errorf("at size %d: %+v, %v", p.Size, head, err)
					return
				}
			}
		})
	}
	for i := range 10 {
		before := l.Published()
		mix(t, tl, fmt.Sprint("more ", i), 5+100*(i%3))
		report, err := importLive(l, export(t, tl, before.Size, acme))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-before.Superseded:
		default:
			t.Fatal("readers of the old state were not woken up")
		}
		p := l.Published()
		if p.Size != report.To || p.Size != tl.Published().Size || p.Root != tl.Published().Root || l.Grown(acme.stream.ID) != p.Size {
			t.Fatalf("published %d %s, grown to %d, want %d %s", p.Size, p.Root, l.Grown(acme.stream.ID), tl.Published().Size, tl.Published().Root)
		}
		if before.Size == p.Size {
			t.Fatal("not larger")
		}
		if _, err := before.InclusionProof(ctx, 3, before.Size); err != nil {
			t.Errorf("a proof from the old state: %v", err)
		}
	}
	stop()
	readers.Wait()
	l.Close()
	checkReplica(t, tl, s).Close()
}

// TestRefusedLiveImports checks that the state served stays as it is.
func TestRefusedLiveImports(t *testing.T) {
	tl := newTestLog(t, Config{})
	l, _ := liveReplica(t, tl)
	old := l.Published()
	all, before := export(t, tl, 0, acme), export(t, tl, 0, acme, globex)
	mix(t, tl, "second", 8)
	next := export(t, tl, old.Size, acme)
	mix(t, tl, "third", 8)
	gap := export(t, tl, old.Size+16, acme)
	damaged := bytes.Clone(next)
	damaged[len(damaged)/2] ^= 1
	other := newTestLog(t, Config{})
	mix(t, other, "another history", 28)
	fork := export(t, other, old.Size, acme)
	for name, c := range map[string]struct {
		file []byte
		want error
	}{
		"imported in part": {export(t, tl, old.Size-2, acme), ErrReplay}, "imported before, of another stream": {before, ErrDelta}, "gap": {gap, ErrGap}, "damaged": {damaged, nil}, "cut": {next[:len(next)-10], nil},
		"without the stream": {export(t, tl, old.Size, globex), ErrDelta}, "of another log": {fork, nil},
	} {
		if _, err := importLive(l, c.file); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if l.Published() != old {
			t.Errorf("%s: it changed the published state", name)
		}
	}
	if r, err := importLive(l, all); err != nil || !r.Already || l.Published().Size != old.Size {
		t.Errorf("imported before: %+v, %v", r, err)
	}
	if _, err := importLive(l, next); err != nil {
		t.Fatal(err)
	}
	if _, err := importLive(tl.Ledger, next); err == nil {
		t.Error("a log imported a delta")
	}
}

// TestLiveErasure checks that an erasure arrives with its delta, and that the
// bytes leave the store.
func TestLiveErasure(t *testing.T) {
	tl := newTestLog(t, Config{})
	l, s := liveReplica(t, tl)
	target := listIndexes(t, l, acme.stream, Query{OldestFirst: true, Limit: 4})[2]
	from := l.Published().Size
	tl.erase(t, acme, target, true)
	if _, err := importLive(l, export(t, tl, from, acme)); err != nil {
		t.Fatal(err)
	}
	data, err := l.Receipt(context.Background(), acme.stream, target, ReceiptOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := receipt.Parse(data); err != nil || r.Form != receipt.HeaderErased {
		t.Errorf("entry %d has the form %s (%v)", target, r.Form, err)
	}
	await(t, "the purge", func() bool { return s.Unpurged() == 0 })
}

// TestAsOf checks up to when a replica knows its log, also if a clock is
// corrected.
func TestAsOf(t *testing.T) {
	tl := newTestLog(t, Config{})
	s := memstore.NewRaw()
	mix(t, tl, "first", 20)
	if _, err := importDelta(tl, s, export(t, tl, 0, acme), acme); err != nil {
		t.Fatal(err)
	}
	clock := &steppedClock{wall: time.UnixMilli(int64(tl.Published().Time)).UTC().Add(time.Hour)}
	open := func() *Ledger {
		l, err := OpenReplica(context.Background(), Config{Store: s, Clock: clock}, tl.policy)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		return l
	}
	l := open()
	size := l.Published().Size
	newest := listIndexes(t, l, acme.stream, Query{Limit: 1})[0]
	e, err := l.Entry(context.Background(), acme.stream, newest)
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(int64(e.Skeleton.Time)).UTC()
	want := func(step string, time time.Time) {
		t.Helper()
		if got := l.AsOf(); !got.Equal(time) || l.Age() != clock.wall.Sub(time) {
			t.Errorf("%s: as of %s, age %s; want %s", step, got, l.Age(), time)
		}
	}
	want("after an import: the time of the newest entry", at)
	slow := l.Moment()
	clock.pass(time.Minute)
	asked := l.Moment()
	l.Confirm(size+1, asked)
	want("confirmed for a larger log", at)
	l.Confirm(size, asked)
	want("confirmed", clock.wall)
	confirmed := clock.wall
	clock.pass(time.Minute)
	l.Confirm(size, slow)
	want("confirmed by a slower call", confirmed)
	l.Confirm(size-1, l.Moment().Earlier(30*time.Second))
	confirmed = clock.wall.Add(-30 * time.Second)
	want("confirmed by a server that is behind", confirmed)

	clock.wall = clock.wall.Add(-20 * time.Minute)
	want("the clock was ahead", clock.wall.Add(-30*time.Second))
	clock.wall = clock.wall.Add(40 * time.Minute)
	want("the clock was behind, or the machine suspended", confirmed)
	clock.wall = at.Add(-time.Hour)
	want("the clock is behind the log's", clock.wall)

	clock.wall = at.Add(2 * time.Hour)
	l = open()
	want("opened again: nothing has confirmed it since", at)
}

// A steppedClock is moved by its test.
type steppedClock struct {
	wall      time.Time
	monotonic time.Duration
}

func (c *steppedClock) Now() (time.Time, time.Duration) { return c.wall, c.monotonic }

func (c *steppedClock) pass(d time.Duration) { c.wall, c.monotonic = c.wall.Add(d), c.monotonic+d }

// TestAsOfOfALog checks that a log is as of now, except while nothing confirms
// that it is in its latest state.
func TestAsOfOfALog(t *testing.T) {
	tl := newTestLog(t, Config{})
	mix(t, tl, "first", 2)
	if now, _ := tl.clock.Now(); !tl.AsOf().Equal(now) || tl.Age() != 0 {
		t.Errorf("as of %s, age %s; want the time of its clock %s", tl.AsOf(), tl.Age(), now)
	}
	tl.Hold(ErrUnconfirmed)
	if got, want := tl.AsOf(), time.UnixMilli(int64(tl.Published().Time)); !got.Equal(want) {
		t.Errorf("unconfirmed: as of %s, want the time of its newest entry %s", got, want)
	}
	tl.Release()
	if now, _ := tl.clock.Now(); !tl.AsOf().Equal(now) {
		t.Errorf("confirmed: as of %s, want %s", tl.AsOf(), now)
	}
}
