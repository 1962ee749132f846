package ledger

import (
	"context"
	"testing"

	"muniment.dev/muniment/ledger/store/memstore"
)

// The limits of the queue and of the disk change while the ledger is open.
func TestSetLimits(t *testing.T) {
	tl, blocker, release := blocked(t, Config{MaxPendingEntries: 1})
	wait := []<-chan answer{tl.appendLater(acme.draft("one"))}
	tl.awaitPending(t, 1)
	_, err := tl.Append(context.Background(), acme.drafts("two", 1))
	wantErr(t, "an entry more than may wait", err, ErrQueueFull)
	tl.SetLimits(10, 0)
	wait = append(wait, tl.appendLater(acme.draft("two")))
	tl.awaitPending(t, 2)
	release()
	<-blocker
	for _, c := range wait {
		if a := <-c; a.err != nil {
			t.Error(a.err)
		}
	}
	checkLog(t, tl, acme, globex)
}

// The disk reserve changes while the ledger is open.
func TestSetReserve(t *testing.T) {
	s := memstore.New()
	s.Free = func() (uint64, error) { return 100 << 20, nil }
	tl := newTestLogOn(t, Config{ReserveBytes: 64 << 20}, s)
	tl.mustAppend(t, acme.draft("one"))
	tl.SetLimits(10, 200<<20)
	_, err := tl.Append(context.Background(), acme.drafts("two", 1))
	wantErr(t, "an entry into the reserve", err, ErrDiskFull)
	tl.SetLimits(10, 64<<20)
	tl.mustAppend(t, acme.draft("two"))
	checkLog(t, tl, acme)
}
