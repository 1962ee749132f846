package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"muniment.dev/muniment/ledger/entry"
)

// takeBatch waits for groups and takes all that fit in one batch. It returns
// nil when the queue is closed and empty.
func takeBatch(q *queue) (batch []*group) {
	for {
		groups, wait := q.take(3)
		if len(groups) > 0 {
			batch = append(batch, groups...)
			continue
		}
		if len(batch) > 0 {
			if batch = q.stay(batch); q.seal(batch) && len(batch) > 0 {
				return batch
			}
			continue
		}
		if q.ended() {
			return nil
		}
		var turn <-chan time.Time
		if wait > 0 {
			turn = time.After(wait)
		}
		select {
		case <-q.filled:
		case <-turn:
		}
	}
}

// After a slow commit, a batch takes only half of what is queued, so that the
// other half is prepared during its commit. Entries of other streams do not
// have to wait for that half.
func TestBatchAfterSlowCommit(t *testing.T) {
	tl, blocker, release := blocked(t, Config{})
	const n = placedAhead + 100
	var all []<-chan answer
	for i := range n {
		all = append(all, tl.appendLater(acme.draft(fmt.Sprint("entry ", i))))
		tl.awaitPending(t, i+1)
	}
	quiet := tl.appendLater(globex.draft("quiet"))
	tl.awaitPending(t, n+1)
	time.Sleep(2 * slowCommit) // of the blocker
	tl.hooks.takeCommits()
	release()
	for _, c := range append(all, blocker, quiet) {
		if a := <-c; a.err != nil {
			t.Fatal(a.err)
		}
	}
	if got, want := tl.hooks.takeCommits(), fmt.Sprint([]int{placedAhead + 1, 100}); !strings.HasSuffix(got, want[1:]) {
		t.Errorf("the commits have %s entries, want %s", got, want)
	}
	checkLog(t, tl, acme, globex)
}

// Callers whose appends are refused are all answered, also if a batch takes
// only half of them.
func TestRefusedAfterSlowCommit(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.mustAppend(t, acme.draft("before"))
	tl.commitTook.Store(int64(time.Second))
	tl.clock.jump(time.Hour)
	tl.clock.mu.Lock() // the sequencer waits for it
	const n = 2000
	var all []<-chan answer
	for i := range n {
		all = append(all, tl.appendLater(acme.draft(fmt.Sprint("entry ", i))))
	}
	tl.awaitPending(t, n)
	tl.clock.mu.Unlock()
	for _, c := range all {
		select {
		case a := <-c:
			wantErr(t, "an append", a.err, ErrClock)
		case <-time.After(time.Minute):
			t.Fatalf("a caller has no answer, %d entries are queued", tl.Pending())
		}
	}
	tl.Close()
}

// An entry of a quiet stream is in the next batch, and has room in the queue,
// however many entries another stream has waiting.
func TestQuietStreamGoesNext(t *testing.T) {
	tl, blocker, release := blocked(t, Config{MaxBatchEntries: 10, MaxPendingEntries: 100})
	var noisy []<-chan answer
	for i := range 100 {
		noisy = append(noisy, tl.appendLater(acme.draft(fmt.Sprint("flood ", i))))
		tl.awaitPending(t, i+1)
	}
	_, err := tl.Append(context.Background(), acme.drafts("more", 1))
	wantErr(t, "one more of the noisy stream", err, ErrQueueFull)
	quiet := tl.appendLater(globex.draft("quiet"))
	tl.awaitPending(t, 101)
	release()
	<-blocker
	a := <-quiet
	if a.err != nil || a.results[0].Index > 11 {
		t.Errorf("the quiet stream's entry is %+v, %v, behind more than one batch", a.results, a.err)
	}
	for _, c := range noisy {
		if a := <-c; a.err != nil {
			t.Error(a.err)
		}
	}
	checkLog(t, tl, acme, globex)
}

// Whatever is put, nothing is lost or comes twice, a stream's groups stay in
// order, bounds hold, and as long as all wait no stream gets more than another
// by more than one group.
func TestQueueModel(t *testing.T) {
	streams := []*Stream{NewStream([32]byte{1}), NewStream([32]byte{2}), NewStream([32]byte{3})}
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		q.init(Config{MaxPendingEntries: rapid.IntRange(1, 40).Draw(t, "max"), MaxBatchEntries: rapid.IntRange(1, 20).Draw(t, "batch"), MaxPendingBytes: 1 << 30, MaxBatchBytes: 1 << 30})
		waiting := map[*Stream][]*group{}
		total := 0
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				s := rapid.SampledFrom(streams).Draw(t, "stream")
				n := rapid.IntRange(1, 12).Draw(t, "entries")
				g := newGroup(n)
				for i := range g.entries {
					g.entries[i].draft = &Draft{Stream: s}
				}
				own := 0
				for _, w := range waiting[s] {
					own += len(w.entries)
				}
				fits := total == 0 || own+n <= q.maxEntries-total
				if err := q.put(g); (err == nil) != fits || err != nil && !errors.Is(err, ErrQueueFull) {
					t.Fatalf("put %d entries, with %d of the stream and %d in all: %v", n, own, total, err)
				} else if err == nil {
					waiting[s] = append(waiting[s], g)
					total += n
				}
			},
			"take": func(t *rapid.T) {
				if total == 0 {
					return
				}
				batch := takeBatch(&q)
				got, largest, entries := map[*Stream]int{}, 0, 0
				for _, g := range batch {
					s := g.entries[0].draft.Stream
					if len(waiting[s]) == 0 || waiting[s][0] != g {
						t.Fatal("not the stream's oldest")
					}
					waiting[s] = waiting[s][1:]
					got[s] += len(g.entries)
					largest = max(largest, len(g.entries))
					entries += len(g.entries)
				}
				total -= entries
				if entries > 2*q.batchEntries && len(batch) > 1 {
					t.Fatalf("%d entries in a batch", entries)
				}
				for s, n := range got {
					if others := entries - n; others > 0 && n > q.batchEntries && n > largest {
						t.Fatalf("%d of the %d entries in a batch are of stream %v", n, entries, s.ID)
					}
				}
				for _, s := range streams {
					for _, other := range streams {
						if len(waiting[s]) > 0 && got[other] > got[s]+largest && len(batch) > 1 {
							t.Fatalf("a stream that still has groups got %d entries, another %d", got[s], got[other])
						}
					}
				}
			},
			"": func(t *rapid.T) {
				if q.len() != total {
					t.Fatalf("%d entries wait, not %d", q.len(), total)
				}
			},
		})
		for total > 0 {
			for _, g := range takeBatch(&q) {
				s := g.entries[0].draft.Stream
				i := slices.Index(waiting[s], g)
				if i != 0 {
					t.Fatal("lost, or out of order")
				}
				waiting[s] = waiting[s][1:]
				total -= len(g.entries)
			}
		}
	})
}

// Rows of the index count like bytes: a stream whose entries have many takes
// its turns by them, a batch is bounded in them, and a quiet stream's entry is
// in the next batch.
func TestRowsAreCounted(t *testing.T) {
	var q queue
	q.init(Config{MaxPendingEntries: 1 << 20, MaxPendingBytes: 1 << 40, MaxPendingRows: 100_000, MaxBatchEntries: 1 << 20, MaxBatchBytes: 1 << 40, MaxBatchRows: 10_000})
	heavy, light := NewStream([32]byte{1}), NewStream([32]byte{2})
	put := func(s *Stream, rows int) error {
		g := newGroup(1)
		g.entries[0].draft, g.rows = &Draft{Stream: s}, rows
		return q.put(g)
	}
	n := 0
	for ; put(heavy, 5000) == nil; n++ {
	}
	if n != 20 || q.total.rows != 100_000 {
		t.Fatalf("%d entries with %d rows wait", n, q.total.rows)
	}
	for range 8 {
		if err := put(light, 10); err != nil {
			t.Fatal(err)
		}
	}
	rows, lights := 0, 0
	batch := takeBatch(&q)
	for _, g := range batch {
		rows += g.rows
		if g.stream() == light.ID {
			lights++
		}
	}
	if rows > 10_000 || lights != 8 {
		t.Errorf("a batch of %d groups has %d rows and %d of the 8 light entries", len(batch), rows, lights)
	}
	for len(q.lanes) > 0 {
		takeBatch(&q)
	}
	if q.total != (load{}) || q.batch != (load{}) {
		t.Errorf("%+v is left over", q.total)
	}
}

// An entry's row count is the number of rows that its commit writes.
func TestRowsOfAnEntry(t *testing.T) {
	tl := newTestLog(t, Config{MaxPendingRows: 50, MaxBatchRows: 50})
	subjects := func(name string) Draft {
		d := acme.draft(name)
		h := *d.Header
		for i := range 60 {
			h.Subjects = append(h.Subjects, entry.Subject{Digest: map[string]string{"sha256": fmt.Sprintf("%064x", i)}})
		}
		d.Header = &h
		return d
	}
	visible, release := tl.hooks.block(t)
	blocker := tl.appendLater(globex.draft("blocker"))
	<-visible
	first := tl.appendLater(subjects("one")) // an empty queue takes it, though it is larger
	tl.awaitPending(t, 1)
	_, err := tl.Append(context.Background(), []Draft{subjects("two")})
	wantErr(t, "an entry with too many rows", err, ErrQueueFull)
	release()
	<-blocker
	if a := <-first; a.err != nil {
		t.Error(a.err)
	}
}
