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
	l, err := OpenReplica(context.Background(), Config{Store: s}, tl.policy)
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
	all := export(t, tl, 0, acme)
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
		"imported before": {all, ErrReplay}, "gap": {gap, ErrGap}, "damaged": {damaged, nil}, "cut": {next[:len(next)-10], nil},
		"without the stream": {export(t, tl, old.Size, globex), ErrDelta}, "of another log": {fork, nil},
	} {
		if _, err := importLive(l, c.file); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if l.Published() != old {
			t.Errorf("%s: it changed the published state", name)
		}
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

// TestAsOf checks what a replica knows about its log.
func TestAsOf(t *testing.T) {
	tl := newTestLog(t, Config{})
	l, s := liveReplica(t, tl)
	size := l.Published().Size
	newest := listIndexes(t, l, acme.stream, Query{Limit: 1})[0]
	e, err := l.Entry(context.Background(), acme.stream, newest)
	if err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(int64(e.Skeleton.Time)).UTC()
	if got := l.AsOf(); !got.Equal(at) {
		t.Errorf("after an import: %s, want the time of the newest entry, %s", got, at)
	}
	later := at.Add(time.Hour)
	l.Confirm(size-1, later)
	if got := l.AsOf(); !got.Equal(at) {
		t.Errorf("confirmed for another size: %s, want %s", got, at)
	}
	l.Confirm(size, later)
	l.Confirm(size, at) // by a slower call
	if got := l.AsOf(); !got.Equal(later) {
		t.Errorf("confirmed: %s, want %s", got, later)
	}
	again, err := OpenReplica(context.Background(), Config{Store: s}, tl.policy)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := again.AsOf(); !got.Equal(at) {
		t.Errorf("opened again: %s, want %s: nothing has confirmed it since", got, at)
	}
	if now, _ := tl.clock.Now(); !tl.AsOf().Equal(now) {
		t.Errorf("a log is as of %s, want the time of its clock %s", tl.AsOf(), now)
	}
}
