package rpc

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// watchPause is the time between two rounds of waking watchers.
const watchPause = 10 * time.Millisecond

// A follower wakes the watchers of streams that have grown. Publishing wakes
// only the follower, whatever the number of watchers. Entries wake no watchers
// of other streams.
type follower struct {
	ledger *ledger.Ledger
	stop   <-chan struct{}
	start  sync.Once
	// reading limits the number of watchers that look for entries at once to
	// half of the processors.
	reading *semaphore.Weighted

	mu      sync.Mutex // guards the rest
	waiting map[entry.Hash]*alarm
	woken   uint64 // total number of wakes
}

// An alarm is shared by the watchers of one stream that wait for entries.
type alarm struct {
	seen     uint64 // size of the log when the stream last grew
	rings    chan struct{}
	watchers uint64
}

func newFollower(l *ledger.Ledger, stop <-chan struct{}) *follower {
	return &follower{ledger: l, stop: stop, reading: semaphore.NewWeighted(int64(max(1, runtime.GOMAXPROCS(0)/2))), waiting: map[entry.Hash]*alarm{}}
}

var rung = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// await returns a channel that is closed when the stream has entries at or
// beyond the size.
func (f *follower) await(stream entry.Hash, size uint64) <-chan struct{} {
	f.start.Do(func() {
		go func() {
			defer crash.Report()
			f.run()
		}()
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.ledger.Grown(stream)
	if seen > size {
		return rung
	}
	a := f.waiting[stream]
	if a == nil {
		a = &alarm{seen: seen, rings: make(chan struct{})}
		f.waiting[stream] = a
	}
	a.watchers++
	return a.rings
}

// run returns when stop is closed.
func (f *follower) run() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		p := f.ledger.Published()
		f.ring()
		select {
		case <-p.Superseded:
		case <-f.stop:
			return
		}
		select {
		case <-pause.C:
		case <-f.stop:
			return
		}
		pause.Reset(watchPause)
	}
}

// ring wakes the watchers of streams that have grown.
func (f *follower) ring() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for stream, a := range f.waiting {
		if f.ledger.Grown(stream) > a.seen {
			close(a.rings)
			delete(f.waiting, stream)
			f.woken += a.watchers
		}
	}
}

// wakes returns the total number of wakes.
func (f *follower) wakes() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.woken
}

// next calls the ledger's Next for a watcher. Only one watcher of a tenant runs
// at a time.
func (f *follower) next(ctx context.Context, q *limit.Usage, p *ledger.Published, stream *ledger.Stream, filter ledger.Filter, from uint64) (*ledger.Entry, uint64, error) {
	for _, turn := range []*semaphore.Weighted{q.Watching(), f.reading} {
		if err := turn.Acquire(ctx, 1); err != nil {
			return nil, from, err
		}
		defer turn.Release(1)
	}
	return f.ledger.Next(ctx, p, stream, filter, from)
}
