package ledger

import (
	"runtime"
	"sync"
)

// A queue holds the groups that wait to be sequenced. Its bound is the ledger's protection against more work than the disk takes.
type queue struct {
	maxEntries, batchEntries int
	maxBytes, batchBytes     int64

	mu      sync.Mutex // guards the rest
	filled  *sync.Cond // signalled when groups stops being empty, or closed is set
	groups  []*group
	entries int
	bytes   int64
	closed  bool
}

func (q *queue) init(c Config) {
	q.maxEntries, q.batchEntries = c.MaxPendingEntries, c.MaxBatchEntries
	q.maxBytes, q.batchBytes = c.MaxPendingBytes, c.MaxBatchBytes
	q.filled = sync.NewCond(&q.mu)
}

// put adds the group at the end, or returns ErrQueueFull or ErrClosed. A group that is larger than the queue is taken when the queue is empty.
func (q *queue) put(g *group) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if len(q.groups) > 0 && (q.entries+len(g.entries) > q.maxEntries || q.bytes+g.bytes > q.maxBytes) {
		return ErrQueueFull
	}
	q.groups = append(q.groups, g)
	q.entries += len(g.entries)
	q.bytes += g.bytes
	q.filled.Signal()
	return nil
}

// take waits for groups and removes those of one batch: all of them, within the bounds of a batch. It returns nil when the queue is closed and empty.
func (q *queue) take() []*group {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.groups) == 0 {
		if q.closed {
			return nil
		}
		q.filled.Wait()
	}
	// Where the processors are busy, callers that are ready to run may add theirs first: fewer, larger commits. Where they are not, this is nothing.
	q.mu.Unlock()
	runtime.Gosched()
	q.mu.Lock()
	n, entries, bytes := 0, 0, int64(0)
	for ; n < len(q.groups); n++ {
		g := q.groups[n]
		if n > 0 && (entries+len(g.entries) > q.batchEntries || bytes+g.bytes > q.batchBytes) {
			break
		}
		entries += len(g.entries)
		bytes += g.bytes
	}
	batch := q.groups[:n:n]
	q.groups = append([]*group(nil), q.groups[n:]...)
	q.entries -= entries
	q.bytes -= bytes
	return batch
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.entries
}
