package ledger

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// Callers that leave the open batch one after the other do not delay those that
// stay.
func TestLeaversDelayOnce(t *testing.T) {
	const leavers = 5
	var leave func() // of the last one that came
	placed, left := 0, 0
	come := func(*testLog) {}
	var tl *testLog
	tl = newTestLog(t, Config{Governs: func(h *entry.Header) bool {
		switch h.IdempotencyKey {
		case "stays":
			placed++
		case "leaves":
			if left++; left < leavers {
				leave()
				come(tl)
			}
		}
		return false
	}})
	come = func(tl *testLog) {
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan struct{})
		waiting := tl.Pending()
		go func() {
			defer close(gone)
			tl.Append(ctx, []Draft{acme.event("leaves", "evidence")})
		}()
		tl.awaitPending(t, waiting+1)
		leave = func() { cancel(); <-gone }
		t.Cleanup(cancel)
	}
	visible, release := tl.hooks.block(t)
	first := tl.appendLater(globex.draft("first"))
	<-visible
	stays := tl.appendLater(globex.event("stays", "evidence"))
	tl.awaitPending(t, 1)
	come(tl)
	release()
	<-first
	if a := <-stays; a.err != nil {
		t.Fatal(a.err)
	}
	if placed != 2 {
		t.Errorf("what stays was placed %d times", placed)
	}
	await(t, "the others have left", func() bool { return tl.Published().Size == 3 })
	checkLog(t, tl, acme, globex)
}

// Groups that lost their place count against the limits of the queue and of a
// commit, however often that happens.
func TestLostBatchesStayBounded(t *testing.T) {
	tl := newTestLog(t, Config{MaxBatchEntries: 10, MaxPendingEntries: 20})
	sizes := make(chan int)
	tl.store.BeforeCommit = func(c *store.Commit) error {
		n, ok := <-sizes
		if !ok {
			return nil
		}
		sizes <- n + c.Len()
		return store.ErrLost
	}
	var answers []<-chan answer
	ahead := func() bool {
		tl.queue.mu.Lock()
		defer tl.queue.mu.Unlock()
		return tl.queue.total.entries >= 20
	}
	for i := range 10 {
		for n := 0; !ahead(); n++ {
			answers = append(answers, tl.appendLater(acme.draft(fmt.Sprint(i, n))))
			runtime.Gosched()
		}
		sizes <- 0
		if n := <-sizes; n > 10 {
			t.Errorf("loss %d is of a commit of %d entries", i, n)
		}
	}
	close(sizes)
	recorded := 0
	for _, c := range answers {
		if a := <-c; a.err == nil {
			recorded++
		} else if !errors.Is(a.err, ErrQueueFull) {
			t.Error(a.err)
		}
	}
	if size := tl.Published().Size; size != uint64(recorded) {
		t.Errorf("%d entries were acknowledged, the log has %d", recorded, size)
	}
	checkLog(t, tl, acme)
}
