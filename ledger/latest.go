package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger/store"
)

// lockAgain is the time after which a lock is tried again.
const lockAgain = 5 * time.Millisecond

// latestTimeout limits how long a shared store is asked for its state, and how
// long that state is waited for.
const latestTimeout = 5 * time.Second

// Latest returns when the published state contains everything that any server
// of the log had published before the call, within five seconds. The witnessed
// checkpoint is then the latest one as well. A log that no other server commits
// to is always up to date.
func (l *Ledger) Latest(ctx context.Context) error {
	if !l.Shared() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, latestTimeout)
	defer cancel()
	now, err := l.asking.join(ctx, l.askState)
	if err != nil {
		return fmt.Errorf("ask the store for the state of the log: %w", err)
	}
	if err := l.awaitSize(ctx, now.size); err != nil {
		return err
	}
	return l.adoptCosigned(ctx, now.cosigned)
}

// Shared reports whether other servers commit to the log as well.
func (l *Ledger) Shared() bool { return l.cfg.FollowEvery > 0 }

// awaitSize waits until the log has that many published entries. The store has
// them.
func (l *Ledger) awaitSize(ctx context.Context, size uint64) error {
	for {
		p := l.published.Load()
		if p.Size >= size {
			return nil
		}
		signal(l.follow) // an idle sequencer asks at once
		select {
		case <-p.Superseded:
		case <-l.done:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("wait for entry %d, which another server has recorded: %w", size-1, ctx.Err())
		}
	}
}

// adoptCosigned serves a cosigned checkpoint that another server has kept. It
// returns without an error if this server has the same one, or a newer one.
func (l *Ledger) adoptCosigned(ctx context.Context, c *store.Checkpoint) error {
	if c == nil {
		return nil
	}
	has := func() bool {
		w := l.witnessed.Load()
		return w != nil && (c.Size < w.Size || bytes.Equal(c.Signed, w.Checkpoint))
	}
	for !l.cosigning.TryLock() { // the store may take long to keep another one
		if has() {
			return nil
		}
		select {
		case <-time.After(lockAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer l.cosigning.Unlock()
	if has() {
		return nil
	}
	p := l.published.Load()
	if c.Size > p.Size { // its entries are not followed yet
		return nil
	}
	checked, err := l.checkCosigned(ctx, p, c.Signed)
	if errors.Is(err, ErrNotWitnessed) { // by a server with another policy
		return nil
	}
	if err != nil {
		return fmt.Errorf("cosigned checkpoint of another server: %w", err)
	}
	l.serveWitnessed(checked, c.Signed)
	return nil
}

// A storeState is what all servers of a log had made durable at some time.
type storeState struct {
	size     uint64
	cosigned *store.Checkpoint // the last one; nil: none
}

// askState asks the store for its state.
func (l *Ledger) askState() (now storeState, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), latestTimeout)
	defer cancel()
	// The cosigned checkpoint comes first, so the log contains it.
	if now.cosigned, err = ifThere(l.store.LastCosigned(ctx)); err != nil {
		return now, err
	}
	st, err := l.store.Follow(ctx, 0)
	if err != nil {
		return now, err
	}
	now.size = st.Size
	return now, nil
}

// questions joins callers that ask the same at the same time. Each gets an
// answer to a question that was asked after its call.
type questions struct {
	mu    sync.Mutex
	next  *question // to be asked when the present one is answered
	asked bool      // one is being asked
}

type question struct {
	done chan struct{} // closed when it is answered
	now  storeState
	err  error
}

func (q *questions) join(ctx context.Context, ask func() (storeState, error)) (storeState, error) {
	q.mu.Lock()
	if q.next == nil {
		q.next = &question{done: make(chan struct{})}
	}
	mine := q.next
	if !q.asked {
		q.asked = true
		go func() {
			defer crash.Report()
			q.run(ask)
		}()
	}
	q.mu.Unlock()
	select {
	case <-mine.done:
		return mine.now, mine.err
	case <-ctx.Done():
		return storeState{}, ctx.Err()
	}
}

// run asks until there are no more questions.
func (q *questions) run(ask func() (storeState, error)) {
	for {
		q.mu.Lock()
		present := q.next
		q.next = nil
		q.asked = present != nil
		q.mu.Unlock()
		if present == nil {
			return
		}
		present.now, present.err = ask()
		close(present.done)
	}
}

// ifThere returns a checkpoint of the store, or nil if it has none.
func ifThere(c *store.Checkpoint, err error) (*store.Checkpoint, error) {
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return c, err
}

// followWitnessed adopts cosigned checkpoints of other servers, for callers
// that wait for one.
func (l *Ledger) followWitnessed() {
	ctx, cancel := context.WithTimeout(context.Background(), latestTimeout)
	defer cancel()
	last, err := ifThere(l.store.LastCosigned(ctx))
	if err == nil {
		err = l.adoptCosigned(ctx, last)
	}
	if err != nil {
		l.log.Warn("the store could not return the cosigned checkpoint of other servers; asking again", "err", err)
	}
}
