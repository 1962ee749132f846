package ledger

import (
	"fmt"

	"muniment.dev/muniment/ledger/entry"
)

// SetLimits replaces MaxPendingEntries and ReserveBytes while the ledger is
// open. Queued entries stay in the queue.
func (l *Ledger) SetLimits(pendingEntries int, reserveBytes uint64) {
	l.queue.setMaxEntries(pendingEntries)
	l.reserve.Store(reserveBytes)
}

func (l *Ledger) checkSpace() error { return l.checkSpaceFor(0) }

// checkSpaceFor returns an error if writing the bytes would use up the reserve.
func (l *Ledger) checkSpaceFor(bytes uint64) error {
	free, err := l.store.FreeBytes()
	if err != nil {
		return fmt.Errorf("%w: its free space can't be read: %w", ErrDiskFull, err)
	}
	reserve := l.reserve.Load()
	if free < reserve || free-reserve < bytes {
		return fmt.Errorf("%w: %d MiB are free, %d MiB are reserved, and %d MiB are needed: make room, and appends resume",
			ErrDiskFull, free>>20, reserve>>20, bytes>>20)
	}
	return nil
}

// Ready returns an error if the log does not accept appends. A replica is ready
// if it can be read.
func (l *Ledger) Ready() error {
	if f := l.failure.Load(); f != nil {
		return *f
	}
	if l.replica {
		return nil
	}
	if l.queue.isClosed() {
		return ErrClosed
	}
	if err := l.held(); err != nil {
		return err
	}
	if err := l.checkSpace(); err != nil {
		return err
	}
	_, err := l.clock.next(l.published.Load().Time)
	return err
}

// Grown returns the size of the log at the stream's newest entry since the log
// was opened, or 0 if there is none.
func (l *Ledger) Grown(stream entry.Hash) uint64 {
	size, _ := l.grown.Load(stream)
	n, _ := size.(uint64)
	return n
}

// Configured returns the size of the log after the stream's newest entry of
// kind config since the log was opened, or 0 if there is none. It is not set in
// a replica.
func (l *Ledger) Configured(stream entry.Hash) uint64 {
	size, _ := l.configured.Load(stream)
	n, _ := size.(uint64)
	return n
}

// Pending returns the number of queued entries.
func (l *Ledger) Pending() int { return l.queue.len() }

// PendingRows returns the number of index rows of the queued entries.
func (l *Ledger) PendingRows() int { return l.queue.pendingRows() }
