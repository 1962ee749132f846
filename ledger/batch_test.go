package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// blocked returns a log whose sequencer is stopped in the commit of one entry
// of globex.
func blocked(t *testing.T, cfg Config) (tl *testLog, blocker <-chan answer, release func()) {
	t.Helper()
	tl = newTestLog(t, cfg)
	visible, release := tl.hooks.block(t)
	blocker = tl.appendLater(globex.draft("blocker"))
	<-visible
	return tl, blocker, release
}

// What waits while one commit runs is all in the next one.
func TestGroupCommit(t *testing.T) {
	tl, blocker, release := blocked(t, Config{})
	const n = 200
	var answers []<-chan answer
	for i := range n {
		answers = append(answers, tl.appendLater(acme.draft(fmt.Sprint("evidence ", i))))
	}
	tl.awaitPending(t, n)
	release()
	<-blocker
	roots := map[string]int{}
	for i, c := range answers {
		a := <-c
		if a.err != nil {
			t.Fatal(a.err)
		}
		d := acme.draft(fmt.Sprint("evidence ", i))
		s := tl.checkReceipt(t, a.results[0], &d)
		roots[fmt.Sprint(s.Size, s.Root)]++
	}
	if got, want := tl.hooks.takeCommits(), fmt.Sprint([]int{1, n}); got != want {
		t.Errorf("commits of %s entries, want %s", got, want)
	}
	if len(roots) != 1 {
		t.Errorf("the receipts of one batch are at %d checkpoints: %v", len(roots), roots)
	}
	checkLogSample(t, tl, 10, acme, globex)
}

// Drafts of one call stay together and in their order.
func TestCallsStayTogether(t *testing.T) {
	tl, blocker, release := blocked(t, Config{})
	var answers []<-chan answer
	for i := range 20 {
		answers = append(answers, tl.appendLater(acme.drafts(fmt.Sprint("call ", i), 5)...))
	}
	tl.awaitPending(t, 100)
	release()
	<-blocker
	for i, c := range answers {
		a := <-c
		if a.err != nil {
			t.Fatal(a.err)
		}
		for j, r := range a.results {
			if r.Index != a.results[0].Index+uint64(j) {
				t.Errorf("call %d: draft %d is entry %d, the first is entry %d", i, j, r.Index, a.results[0].Index)
			}
		}
	}
	checkLogSample(t, tl, 10, acme, globex)
}

// Results have the order of the drafts, and a refused draft is not recorded.
func TestRefusedDraftsKeepTheirPlaces(t *testing.T) {
	tl := newTestLog(t, Config{})
	refused := errors.New("refused")
	drafts := acme.drafts("call", 3)
	results, err := tl.Append(context.Background(), []Draft{{Refused: refused}, drafts[0], drafts[1], {Refused: refused}, drafts[2]})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []*Draft{nil, &drafts[0], &drafts[1], nil, &drafts[2]} {
		if want == nil {
			wantErr(t, fmt.Sprint("result ", i), results[i].Err, refused)
			continue
		}
		tl.checkReceipt(t, results[i], want)
	}
	if size := tl.Published().Size; size != 3 {
		t.Errorf("the log has %d entries, want 3", size)
	}
	results, err = tl.Append(context.Background(), []Draft{{Refused: refused}})
	if err != nil || len(results) != 1 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	wantErr(t, "the only draft", results[0].Err, refused)
}

func TestBatchBounds(t *testing.T) {
	body := strings.Repeat("x", 1000)
	one := acme.draft(body + "00")
	size := int64(one.contents())
	for _, c := range []struct {
		name    string
		cfg     Config
		calls   []int // drafts of each call that waits
		commits string
	}{
		{"entries", Config{MaxBatchEntries: 10}, []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, "[1 10 3]"},
		{"entries, calls are not split", Config{MaxBatchEntries: 10}, []int{4, 4, 4, 3, 3}, "[1 8 10]"},
		{"entries, a call that is larger", Config{MaxBatchEntries: 3}, []int{2, 7, 1, 2}, "[1 2 7 3]"},
		{"bytes", Config{MaxBatchBytes: 3 * size}, []int{1, 1, 1, 1, 1}, "[1 3 2]"},
		{"bytes, one less", Config{MaxBatchBytes: 3*size - 1}, []int{1, 1, 1, 1, 1}, "[1 2 2 1]"},
		{"bytes, an entry that is larger", Config{MaxBatchBytes: 10}, []int{1, 2}, "[1 1 2]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tl, blocker, release := blocked(t, c.cfg)
			var answers []<-chan answer
			n := 0
			for _, k := range c.calls {
				var drafts []Draft
				for range k {
					drafts = append(drafts, acme.draft(fmt.Sprintf("%s%02d", body, n)))
					n++
				}
				answers = append(answers, tl.appendLater(drafts...))
				tl.awaitPending(t, n) // so that the calls wait in their order
			}
			release()
			<-blocker
			for _, c := range answers {
				if a := <-c; a.err != nil {
					t.Fatal(a.err)
				}
			}
			if got := tl.hooks.takeCommits(); got != c.commits {
				t.Errorf("commits of %s entries, want %s", got, c.commits)
			}
			checkLog(t, tl, acme, globex)
		})
	}
}

func TestQueueBounds(t *testing.T) {
	one := acme.draft("evidence 0")
	size := int64(one.contents())
	for name, cfg := range map[string]Config{"entries": {MaxPendingEntries: 4}, "bytes": {MaxPendingBytes: 4 * size}} {
		t.Run(name, func(t *testing.T) {
			tl, blocker, release := blocked(t, cfg)
			var answers []<-chan answer
			for i := range 4 {
				answers = append(answers, tl.appendLater(acme.draft(fmt.Sprint("evidence ", i))))
				tl.awaitPending(t, i+1)
			}
			full := func(drafts ...Draft) {
				t.Helper()
				_, err := tl.Append(context.Background(), drafts)
				wantErr(t, "an append to the full queue", err, ErrQueueFull)
			}
			full(acme.draft("one more"))
			full(acme.drafts("more", 3)...)
			if tl.Pending() != 4 {
				t.Errorf("%d entries are waiting", tl.Pending())
			}
			if n := len(tl.refusals()); n != 4 {
				t.Errorf("the observer was told of %d refused entries, not of 4", n)
			}
			release()
			<-blocker
			for _, c := range answers {
				if a := <-c; a.err != nil {
					t.Fatal(a.err)
				}
			}
			// A call that is larger than the queue is accepted when the queue
			// is empty.
			if r := tl.mustAppend(t, acme.drafts("large", 9)...); r[8].Index != 13 {
				t.Errorf("the last entry is %d", r[8].Index)
			}
			checkLog(t, tl, acme, globex)
		})
	}
}

func TestClose(t *testing.T) {
	tl, blocker, release := blocked(t, Config{MaxBatchEntries: 2})
	var answers []<-chan answer
	for i := range 5 {
		answers = append(answers, tl.appendLater(acme.draft(fmt.Sprint("evidence ", i))))
	}
	tl.awaitPending(t, 5)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		tl.Close()
	}()
	await(t, "the queue is closed", tl.queue.isClosed)
	_, err := tl.Append(context.Background(), []Draft{acme.draft("too late")})
	wantErr(t, "an append while closing", err, ErrClosed)
	wantErr(t, "Ready while closing", tl.Ready(), ErrClosed)
	select {
	case <-closed:
		t.Fatal("Close did not wait for what is waiting")
	default:
	}
	release()
	<-blocker
	for i, c := range answers {
		a := <-c
		if a.err != nil {
			t.Fatal(a.err)
		}
		d := acme.draft(fmt.Sprint("evidence ", i))
		tl.checkReceipt(t, a.results[0], &d)
	}
	<-closed
	_, err = tl.Append(context.Background(), []Draft{acme.draft("too late")})
	wantErr(t, "an append when closed", err, ErrClosed)
	if r := tl.mustAppend(t, acme.draft("evidence 3")); !r[0].Duplicate {
		t.Errorf("what is recorded: %+v", r[0])
	}
	tl.Close() // again
	checkLog(t, tl, acme, globex)
	tl.restart(t)
	tl.mustAppend(t, acme.draft("after a restart"))
	checkLog(t, tl, acme, globex)
}
