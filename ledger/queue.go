package ledger

import (
	"container/heap"
	"runtime"
	"slices"
	"sync"
	"time"

	"muniment.dev/muniment/ledger/entry"
)

// A queue holds the groups to be sequenced, fairly between streams. Its bound
// protects the ledger from more work than the disk can take.
//
// The capacity is twice the configured limit, and a stream may queue as much as
// is still free. One stream alone can fill a half, two can fill a third each,
// and so on, which always leaves room for another (dynamic thresholds,
// Choudhury and Hahne 1998).
type queue struct {
	maxEntries, batchEntries int
	maxBytes, batchBytes     int64
	maxRows, batchRows       int

	mu      sync.Mutex // guards the rest
	filled  *sync.Cond // signalled when lanes stops being empty, or closed is set
	lanes   map[entry.Hash]*lane
	entries int
	bytes   int64
	rows    int
	groups  uint64 // groups that were ever put
	pace    pace
	closed  bool
}

// A lane is the queue of one stream, oldest first. It is never empty.
type lane struct {
	stream  entry.Hash
	groups  []*group
	entries int
	bytes   int64
	rows    int
	taken   int64 // cost of its groups in the current batch
	inBatch int   // rows of its groups in the current batch
}

const (
	entryCost = 1024 // cost of an entry in bytes, in addition to its bytes and rows
	// cost of a row of the index in bytes: the key, its place in an ordered
	// table and its compactions
	rowCost = 128
)

// cost returns the cost of the group for the sequencer and the store, in bytes.
func (g *group) cost() int64 {
	return g.bytes + int64(len(g.entries))*entryCost + int64(g.rows)*rowCost
}

func (q *queue) init(c Config) {
	q.maxEntries, q.batchEntries = 2*c.MaxPendingEntries, c.MaxBatchEntries
	q.maxBytes, q.batchBytes = 2*c.MaxPendingBytes, c.MaxBatchBytes
	q.maxRows, q.batchRows = 2*c.MaxPendingRows, c.MaxBatchRows
	q.lanes = map[entry.Hash]*lane{}
	q.filled = sync.NewCond(&q.mu)
	q.pace = pace{now: time.Now, until: map[entry.Hash]time.Time{}}
}

// put adds the group to its stream's lane. An empty queue accepts a group of
// any size. Errors: ErrQueueFull, ErrClosed.
func (q *queue) put(g *group) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	l := q.lanes[g.stream()]
	if l == nil {
		l = &lane{stream: g.stream()}
	}
	if len(q.lanes) > 0 && (l.entries+len(g.entries) > q.maxEntries-q.entries || l.bytes+g.bytes > q.maxBytes-q.bytes || l.rows+g.rows > q.maxRows-q.rows) {
		return ErrQueueFull
	}
	q.groups++
	g.order = q.groups
	q.lanes[l.stream] = l
	l.groups = append(l.groups, g)
	q.count(l, g, 1)
	q.pace.appends.Arrived(l.stream, q.pace.now())
	q.filled.Signal()
	return nil
}

// stream returns the stream of the group's lane. Raw leaves share one lane.
func (g *group) stream() entry.Hash {
	if d := g.entries[0].draft; d != nil {
		return d.Stream.ID
	}
	return entry.Hash{}
}

// count adds the group to the totals, or with sign -1 subtracts it.
func (q *queue) count(l *lane, g *group, sign int) {
	l.entries += sign * len(g.entries)
	l.bytes += int64(sign) * g.bytes
	q.entries += sign * len(g.entries)
	q.bytes += int64(sign) * g.bytes
	l.rows += sign * g.rows
	q.rows += sign * g.rows
}

// remove removes the group and reports whether it was in the queue. A removed
// group is never recorded.
func (q *queue) remove(g *group) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[g.stream()]
	if l == nil {
		return false
	}
	i := slices.Index(l.groups, g)
	if i < 0 {
		return false
	}
	l.groups = slices.Delete(l.groups, i, i+1)
	q.count(l, g, -1)
	if len(l.groups) == 0 {
		delete(q.lanes, l.stream)
	}
	return true
}

// take waits for groups and removes those of the next batch. If not all fit, it
// takes one group at a time from the stream with the least in the batch, and
// the oldest group among equals. It returns nil when the queue is closed and
// empty.
func (q *queue) take() []*group {
	q.mu.Lock()
	defer q.mu.Unlock()
	var next laneHeap
	for len(next) == 0 { // callers may go while others add theirs
		if !q.await() {
			return nil
		}
		// On a busy machine, runnable callers add their groups first, which
		// makes fewer and larger commits. On an idle one this costs nothing.
		q.mu.Unlock()
		runtime.Gosched()
		q.mu.Lock()
		next, _ = q.ready()
	}
	heap.Init(&next)
	var batch []*group
	for entries, bytes, rows := 0, int64(0), 0; len(next) > 0; {
		l := next[0]
		g := l.groups[0]
		if l.inBatch > 0 && l.inBatch+g.rows > pacedRows && !q.closed && q.pace.appends.Until(l.stream).After(q.pace.now()) {
			heap.Pop(&next)
			continue
		}
		entries += len(g.entries)
		bytes += g.bytes
		rows += g.rows
		if len(batch) > 0 && (entries > q.batchEntries || bytes > q.batchBytes || rows > q.batchRows) {
			break
		}
		batch = append(batch, g)
		l.groups[0] = nil
		l.groups = l.groups[1:]
		q.count(l, g, -1)
		l.taken += g.cost()
		l.inBatch += g.rows
		if len(l.groups) == 0 {
			delete(q.lanes, l.stream)
			next[0] = next[len(next)-1]
			next = next[:len(next)-1]
		}
		if len(next) > 0 {
			heap.Fix(&next, 0)
		}
	}
	return batch
}

// await waits until a stream has its turn. It returns false when the queue is
// closed and empty.
func (q *queue) await() bool {
	for {
		next, wait := q.ready()
		switch {
		case len(next) > 0:
			return true
		case len(q.lanes) == 0 && q.closed:
			return false
		case len(q.lanes) == 0:
			q.filled.Wait()
		default: // all that wait are paced
			t := time.AfterFunc(wait, func() {
				q.mu.Lock() // which this goroutine holds until it waits
				defer q.mu.Unlock()
				q.filled.Broadcast()
			})
			q.filled.Wait()
			t.Stop()
		}
	}
}

// ready returns the lanes that have their turn, or the time until the first
// one has.
func (q *queue) ready() (laneHeap, time.Duration) {
	ready, first := make(laneHeap, 0, len(q.lanes)), time.Duration(0)
	for _, l := range q.lanes {
		l.taken, l.inBatch = 0, 0
		switch wait := q.pace.wait(l.stream); {
		case wait == 0 || q.closed:
			ready = append(ready, l)
		case first == 0 || wait < first:
			first = wait
		}
	}
	return ready, first
}

// committed records the duration of a batch's commit.
func (q *queue) committed(batch []*group, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pace.committed(batch, took)
}

// A laneHeap orders lanes by whose turn it is.
type laneHeap []*lane

func (t laneHeap) Len() int { return len(t) }

func (t laneHeap) Less(i, j int) bool {
	if t[i].taken != t[j].taken {
		return t[i].taken < t[j].taken
	}
	return t[i].groups[0].order < t[j].groups[0].order
}

func (t laneHeap) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

func (t *laneHeap) Push(x any) { *t = append(*t, x.(*lane)) }

func (t *laneHeap) Pop() any {
	last := (*t)[len(*t)-1]
	*t = (*t)[:len(*t)-1]
	return last
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

func (q *queue) pendingRows() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rows
}

// setMaxEntries replaces the limit of queued entries of one stream.
func (q *queue) setMaxEntries(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.maxEntries = 2 * n
}
