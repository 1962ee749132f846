package ledger

import (
	"testing"
	"time"

	"muniment.dev/muniment/internal/company"
)

// rowsOf puts a group with as many rows of the index.
func rowsOf(t *testing.T, q *queue, s *Stream, rows int) *group {
	t.Helper()
	g := newGroup(1)
	g.entries[0].draft, g.rows = &Draft{Stream: s}, rows
	if err := q.put(g); err != nil {
		t.Fatal(err)
	}
	return g
}

// A stream whose entries make commits long has one of them in a commit. While
// others append, it then waits sixty times as long as its excess rows took.
// Alone, it does not wait.
func TestHeavyStreamIsPaced(t *testing.T) {
	var q queue
	q.init(Config{MaxPendingEntries: 1 << 20, MaxPendingBytes: 1 << 40, MaxPendingRows: 1 << 30, MaxBatchEntries: 1 << 20, MaxBatchBytes: 1 << 40, MaxBatchRows: 1 << 20})
	now := time.Unix(1_800_000_000, 0)
	q.pace.now = func() time.Time { return now }
	heavy, light := NewStream([32]byte{1}), NewStream([32]byte{2})
	in := func(batch []*group) (heavies, lights int) {
		for _, g := range batch {
			if g.stream() == heavy.ID {
				heavies++
			} else {
				lights++
			}
		}
		return heavies, lights
	}
	check := func(what string, wantHeavy, wantLight int) []*group {
		t.Helper()
		batch := takeBatch(&q)
		if h, l := in(batch); h != wantHeavy || l != wantLight {
			t.Fatalf("%s: %d heavy and %d light entries in the commit, want %d and %d", what, h, l, wantHeavy, wantLight)
		}
		return batch
	}

	for range 2 {
		rowsOf(t, &q, heavy, 16_384)
	}
	q.committed(check("alone", 2, 0), 100*time.Millisecond)
	rowsOf(t, &q, heavy, 16_384)
	check("alone, again", 1, 0)

	for range 6 {
		rowsOf(t, &q, heavy, 16_384)
	}
	rowsOf(t, &q, light, 10)
	q.committed(check("in company", 1, 1), 20*time.Millisecond)
	for range 11 { // 60 × 20 ms × 15,360 of 16,394 rows: 1.12 s
		now = now.Add(100 * time.Millisecond)
		rowsOf(t, &q, light, 10)
		q.committed(check("while it waits", 0, 1), time.Millisecond)
	}
	now = now.Add(100 * time.Millisecond)
	rowsOf(t, &q, light, 10)
	q.committed(check("after its wait", 1, 1), 50*time.Millisecond)

	now = now.Add(company.ActiveFor)
	check("when the other stream has stopped", 4, 0)

	// A closed queue releases its entries without delay.
	rowsOf(t, &q, heavy, 16_384)
	rowsOf(t, &q, light, 10)
	q.committed(check("in company again", 1, 1), 50*time.Millisecond)
	rowsOf(t, &q, heavy, 16_384)
	q.close()
	check("closed", 1, 0)
	if takeBatch(&q) != nil || q.total.rows != 0 || len(q.pace.until) > 1 {
		t.Errorf("%d rows and %d waits are left over", q.total.rows, len(q.pace.until))
	}
}

// The wait of a heavy stream begins with its commit, not after it: the batch
// that is filled meanwhile has none of its groups. A commit that is lost ends
// the wait, and so does one that has nothing to write.
func TestPaceBeginsWithTheCommit(t *testing.T) {
	var q queue
	q.init(Config{MaxPendingEntries: 1 << 20, MaxPendingBytes: 1 << 40, MaxPendingRows: 1 << 30, MaxBatchEntries: 1 << 20, MaxBatchBytes: 1 << 40, MaxBatchRows: 1 << 20})
	now := time.Unix(1_800_000_000, 0)
	q.pace.now = func() time.Time { return now }
	heavy, light := NewStream([32]byte{1}), NewStream([32]byte{2})
	queued := func(what string, want int) []*group {
		t.Helper()
		rowsOf(t, &q, light, 10)
		batch, _ := q.take(1 << 20)
		heavies := 0
		for _, g := range batch {
			if g.stream() == heavy.ID {
				heavies++
			}
		}
		if heavies != want {
			t.Fatalf("%s: %d heavy groups in the batch, want %d", what, heavies, want)
		}
		return batch
	}
	for range 8 {
		rowsOf(t, &q, heavy, 16_384)
	}
	first := queued("first", 1)
	q.seal(first)
	ahead := queued("during the commit", 0)
	q.reopen(first)
	again := queued("after the commit was lost", 0) // its group is in the batch already
	q.seal(append(append(first, ahead...), again...))
	q.committed(first, 0)
	batch := queued("after a batch of duplicates", 1)
	q.seal(batch)
	q.committed(batch, 20*time.Millisecond)
	queued("after a commit of 20 ms", 0)
	if _, wait := q.take(1); wait != 0 && wait > 60*20*time.Millisecond {
		t.Errorf("the wait is %s", wait)
	}

	// A group that its caller has removed leaves no wait.
	now = now.Add(2 * time.Second)
	batch = queued("after the wait", 1)
	for _, g := range batch {
		q.remove(g)
	}
	q.seal(batch)
	q.stay(batch)
	queued("after the caller has left", 1)
}

// The wait grows with the rows above those that every stream can have.
func TestPaceIsGradual(t *testing.T) {
	const took = 10 * time.Millisecond
	for _, c := range []struct {
		rows int
		want time.Duration
	}{
		{pacedRows, 0},
		{pacedRows * 5 / 4, pacedRest * took / 5}, // a batch of 256 entries with 5 rows each
		{pacedRows * 2, pacedRest * took / 2},
		{pacedRows * 16, pacedRest * took * 15 / 16},
	} {
		var q queue
		q.init(Config{MaxPendingEntries: 1 << 20, MaxPendingBytes: 1 << 40, MaxPendingRows: 1 << 30, MaxBatchEntries: 1 << 20, MaxBatchBytes: 1 << 40, MaxBatchRows: 1 << 20})
		now := time.Unix(1_800_000_000, 0)
		q.pace.now = func() time.Time { return now }
		heavy, light := NewStream([32]byte{1}), NewStream([32]byte{2})
		g := rowsOf(t, &q, heavy, c.rows)
		rowsOf(t, &q, light, 1)
		q.committed([]*group{g}, took)
		if got := q.pace.wait(heavy.ID); got != c.want {
			t.Errorf("after %d rows in %s: the stream waits %s, want %s", c.rows, took, got, c.want)
		}
	}
}

// A waiting stream gets its turn when its wait ends, even if nothing more is
// queued.
func TestPacedStreamWakes(t *testing.T) {
	var q queue
	q.init(Config{MaxPendingEntries: 1 << 20, MaxPendingBytes: 1 << 40, MaxPendingRows: 1 << 30, MaxBatchEntries: 1 << 20, MaxBatchBytes: 1 << 40, MaxBatchRows: 1 << 20})
	heavy, light := NewStream([32]byte{1}), NewStream([32]byte{2})
	rowsOf(t, &q, light, 1)
	rowsOf(t, &q, heavy, 5000)
	q.committed(takeBatch(&q), time.Millisecond)
	g := rowsOf(t, &q, heavy, 5000)
	if batch := takeBatch(&q); len(batch) != 1 || batch[0] != g {
		t.Errorf("%d groups were taken", len(batch))
	}
}

// A caller that leaves while the sequencer takes a batch does not end the
// batch.
func TestCallersThatLeave(t *testing.T) {
	var q queue
	q.init(Config{MaxPendingEntries: 1 << 20, MaxPendingBytes: 1 << 40, MaxPendingRows: 1 << 30, MaxBatchEntries: 1 << 20, MaxBatchBytes: 1 << 40, MaxBatchRows: 1 << 20})
	s := NewStream([32]byte{1})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for takeBatch(&q) != nil {
		}
	}()
	for range 20_000 {
		q.remove(rowsOf(t, &q, s, 1))
		select {
		case <-ended:
			t.Fatal("the sequencer has ended")
		default:
		}
	}
	q.close()
	<-ended
}
