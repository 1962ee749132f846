package ledger

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"muniment.dev/muniment/ledger/store/memstore"
)

var errTestDisk = errors.New("the disk is broken")

// After a failed commit the ledger accepts no appends, reports the reason, and
// still serves the state published before.
func TestFailedCommit(t *testing.T) {
	// Each makes the next commit fail.
	breaks := map[string]func(*testing.T, *testLog) error{
		"before it shows": func(_ *testing.T, tl *testLog) error { tl.hooks.fail(errTestDisk, nil); return errTestDisk },
		"after it shows":  func(_ *testing.T, tl *testLog) error { tl.hooks.fail(nil, errTestDisk); return errTestDisk },
	}
	for name, breakIt := range breaks {
		t.Run(name, func(t *testing.T) {
			tl := newTestLog(t, Config{})
			tl.fill(t, "entry", 254)
			tl.mustAppend(t, globex.draft("globex's", provenance))
			before := observe(tl, 255, testSubject, acme, globex)
			visible, release := tl.hooks.block(t)
			good := tl.appendLater(acme.draft("good"))
			<-visible
			var waiting []<-chan answer
			for range 5 {
				waiting = append(waiting, tl.appendLater(acme.draft("waits"), globex.draft("waits")))
			}
			tl.awaitPending(t, 10)
			sameLines(t, "while a commit waits", observe(tl, 255, testSubject, acme, globex), before)
			release()
			if a := <-good; a.err != nil {
				t.Fatal(a.err)
			}
			for _, c := range waiting {
				if a := <-c; a.err != nil {
					t.Fatal(a.err)
				}
			}

			size := tl.Published().Size
			before = observe(tl, size, testSubject, acme, globex)
			old := tl.Published()
			cause := breakIt(t, tl)
			_, err := tl.Append(context.Background(), []Draft{acme.draft("new", provenance), globex.draft("new", provenance)})
			wantErr(t, "the append whose commit failed", err, ErrFailed)
			tl.hooks.fail(nil, nil)
			for _, d := range []Draft{acme.draft("later"), acme.draft("good"), acme.draft("new")} {
				_, err := tl.Append(context.Background(), []Draft{d})
				wantErr(t, "an append after it", err, ErrFailed)
			}
			wantErr(t, "Ready", tl.Ready(), ErrFailed, cause.Error())
			fatals := tl.fatals()
			if len(fatals) != 1 {
				t.Fatalf("Fatal was called %d times: %v", len(fatals), fatals)
			}
			wantErr(t, "what Fatal was told", fatals[0], ErrFailed)
			wantErr(t, "what Fatal was told", fatals[0], cause)
			sameLines(t, "after the failure", observe(tl, size, testSubject, acme, globex), before)
			select {
			case <-old.Superseded:
				t.Fatal("watchers were woken")
			default:
			}

			tl.restart(t)
			tl.mustAppend(t, acme.draft("good"), acme.draft("new", provenance), acme.draft("after the restart"))
			checkLogSample(t, tl, 16, acme, globex)
		})
	}
}

// A failed commit fails all queued appends.
func TestFailedCommitFailsTheQueue(t *testing.T) {
	tl := newTestLog(t, Config{})
	visible, release := tl.hooks.block(t)
	first := tl.appendLater(acme.draft("first"))
	<-visible
	var waiting []<-chan answer
	for range 5 {
		waiting = append(waiting, tl.appendLater(acme.draft("waits")))
	}
	tl.awaitPending(t, 5)
	tl.hooks.fail(nil, errTestDisk)
	release()
	wantErr(t, "the first", (<-first).err, ErrFailed)
	for _, c := range waiting {
		wantErr(t, "one that waited", (<-c).err, ErrFailed)
	}
	if got := tl.hooks.takeCommits(); got != "[1]" {
		t.Errorf("commits of %s entries were tried, after the first had failed", got)
	}
	if n := len(tl.fatals()); n != 1 {
		t.Errorf("Fatal was called %d times", n)
	}
	if n := len(tl.refusals()); n != 6 {
		t.Errorf("the observer was told of %d refused entries, not of 6", n)
	}
	checkLog(t, tl)
}

// A nearly full disk refuses appends before the commit. Duplicates of recorded
// entries still succeed, and appends resume when there is space.
func TestDiskReserve(t *testing.T) {
	s := memstore.New()
	var free atomic.Uint64
	var broken atomic.Bool
	s.Free = func() (uint64, error) {
		if broken.Load() {
			return 0, errTestDisk
		}
		return free.Load(), nil
	}
	free.Store(100 << 20)
	tl := newTestLogOn(t, Config{ReserveBytes: 64 << 20}, s)
	tl.mustAppend(t, acme.draft("recorded"))
	tl.hooks.takeCommits()

	refuse := func(want error) {
		t.Helper()
		if _, err := tl.Append(context.Background(), []Draft{acme.draft("new"), acme.draft("newer")}); !errors.Is(err, ErrDiskFull) || !errors.Is(err, want) {
			t.Fatalf("got error %v", err)
		}
		wantErr(t, "Ready", tl.Ready(), ErrDiskFull)
		if r := tl.mustAppend(t, acme.draft("recorded")); !r[0].Duplicate {
			t.Fatalf("recorded before: %+v", r[0])
		}
		checkLog(t, tl, acme)
	}
	free.Store(64<<20 - 1)
	refuse(ErrDiskFull)
	wantErr(t, "Ready", tl.Ready(), ErrDiskFull, "63 MiB are free", "64 MiB")
	broken.Store(true)
	refuse(errTestDisk)
	broken.Store(false)
	if got := tl.hooks.takeCommits(); got != "[]" {
		t.Errorf("commits of %s entries were tried", got)
	}
	if n := len(tl.refusals()); n != 4 {
		t.Errorf("the observer was told of %d refused entries, not of 4", n)
	}

	free.Store(64 << 20)
	if err := tl.Ready(); err != nil {
		t.Fatal(err)
	}
	if r := tl.mustAppend(t, acme.draft("new")); r[0].Duplicate || r[0].Index != 1 {
		t.Fatalf("with room again: %+v", r[0])
	}
	if n := len(tl.fatals()); n != 0 {
		t.Errorf("Fatal was called: %v", tl.fatals())
	}
	checkLog(t, tl, acme)
}
