package ledger

import (
	"container/heap"
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

	filled chan struct{} // receives after put and close; capacity 1
	plenty chan struct{} // receives when placedAhead entries are queued; capacity 1

	mu     sync.Mutex // guards the rest
	lanes  map[entry.Hash]*lane
	total  load   // of queued groups and the open batch
	batch  load   // of the open batch
	groups uint64 // groups that were ever put
	pace   pace
	closed bool
}

// A load measures groups.
type load struct {
	entries int
	bytes   int64
	rows    int
}

// add adds the group, or with sign -1 subtracts it.
func (l *load) add(g *group, sign int) {
	l.entries += sign * len(g.entries)
	l.bytes += int64(sign) * g.bytes
	l.rows += sign * g.rows
}

// cost returns the cost for the sequencer and the store, in bytes.
func (l *load) cost() int64 {
	return l.bytes + int64(l.entries)*entryCost + int64(l.rows)*rowCost
}

// A lane is the queue of one stream. It has groups here or in the open batch.
type lane struct {
	stream entry.Hash
	groups []*group // oldest first
	total  load     // of groups and batch
	batch  load     // of its groups in the open batch
}

const (
	entryCost = 1024 // cost of an entry in bytes, in addition to its bytes and rows
	// cost of a row of the index in bytes: the key, its place in an ordered
	// table and its compactions
	rowCost = 128
)

func (q *queue) init(c Config) {
	q.maxEntries, q.batchEntries = 2*c.MaxPendingEntries, c.MaxBatchEntries
	q.maxBytes, q.batchBytes = 2*c.MaxPendingBytes, c.MaxBatchBytes
	q.maxRows, q.batchRows = 2*c.MaxPendingRows, c.MaxBatchRows
	q.lanes = map[entry.Hash]*lane{}
	q.filled, q.plenty = make(chan struct{}, 1), make(chan struct{}, 1)
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
	l := q.lane(g)
	if q.full(l, g) {
		return ErrQueueFull
	}
	q.groups++
	g.order = q.groups
	l.groups = append(l.groups, g)
	q.count(l, g, 1)
	q.pace.appends.Arrived(l.stream, q.pace.now())
	signal(q.filled)
	q.signalPlenty()
	return nil
}

// full reports whether the group would take the lane above what is free.
func (q *queue) full(l *lane, g *group) bool {
	if len(q.lanes) == 0 {
		return false
	}
	mine := l.total
	mine.add(g, 1)
	return mine.entries > q.maxEntries-q.total.entries || mine.bytes > q.maxBytes-q.total.bytes || mine.rows > q.maxRows-q.total.rows
}

// signalPlenty signals plenty if enough entries are queued.
func (q *queue) signalPlenty() {
	if q.total.entries-q.batch.entries >= placedAhead {
		signal(q.plenty)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // a signal is pending
	}
}

// stream returns the stream of the group's lane. Raw leaves share one lane.
func (g *group) stream() entry.Hash {
	if d := g.entries[0].draft; d != nil {
		return d.Stream.ID
	}
	return entry.Hash{}
}

// lane returns the lane of the group's stream, or a new one.
func (q *queue) lane(g *group) *lane {
	if l := q.lanes[g.stream()]; l != nil {
		return l
	}
	return &lane{stream: g.stream()}
}

// count adds the group to the totals, or with sign -1 subtracts it. The queue
// has the lane as long as that has groups.
func (q *queue) count(l *lane, g *group, sign int) {
	l.total.add(g, sign)
	q.total.add(g, sign)
	if l.total.entries == 0 {
		delete(q.lanes, l.stream)
	} else {
		q.lanes[l.stream] = l
	}
}

// remove removes the group and reports whether it could. A removed group is
// never recorded. One that is in the open batch is only marked, and seal finds
// the mark.
func (q *queue) remove(g *group) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if g.state == groupOpen {
		g.state = groupLeft
		return true
	}
	if g.state != groupQueued {
		return false
	}
	l := q.lanes[g.stream()]
	i := slices.Index(l.groups, g)
	l.groups = slices.Delete(l.groups, i, i+1)
	q.count(l, g, -1)
	return true
}

// take moves groups with at least the given number of entries from the queue to
// the open batch, or all that there are, and returns them. It takes one group
// at a time from the stream with the least in the batch, and the oldest group
// among equals. In any case it takes one of each stream that has nothing in the
// batch yet, also into a full batch, up to twice its limits, so that a stream
// which floods never delays the others' groups to another batch. If nothing can
// be taken until a stream's wait ends, take returns the time until then.
func (q *queue) take(entries int) (groups []*group, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	next, wait := q.ready()
	heap.Init(&next)
	for taken := 0; len(next) > 0; {
		l := next[0]
		if taken >= entries && l.batch.entries > 0 {
			break
		}
		g := l.groups[0]
		if q.heavy(l, g) {
			heap.Pop(&next)
			continue
		}
		if !q.fits(l, g) {
			break
		}
		taken += len(g.entries)
		g.state = groupOpen
		groups = append(groups, g)
		l.groups[0] = nil
		l.groups = l.groups[1:]
		l.batch.add(g, 1)
		q.batch.add(g, 1)
		if len(l.groups) == 0 {
			heap.Pop(&next)
		} else {
			heap.Fix(&next, 0)
		}
	}
	if len(groups) > 0 {
		wait = 0
		q.signalPlenty() // there may be more
	}
	return groups, wait
}

// heavy reports whether the group would take the lane above the rows that a
// stream can have in a batch while others append.
func (q *queue) heavy(l *lane, g *group) bool {
	return l.batch.rows > 0 && l.batch.rows+g.rows > pacedRows && !q.closed && q.pace.inCompany(l.stream, q.pace.now())
}

// fits reports whether the open batch has room for the lane's group.
func (q *queue) fits(l *lane, g *group) bool {
	times := 1
	if l.batch.entries == 0 {
		times = 2
	}
	sum := q.batch
	sum.add(g, 1)
	return q.batch.entries == 0 || sum.entries <= times*q.batchEntries && sum.bytes <= int64(times)*q.batchBytes && sum.rows <= times*q.batchRows
}

// ready returns the lanes that have their turn, or the time until the first
// one has.
func (q *queue) ready() (laneHeap, time.Duration) {
	ready, first := make(laneHeap, 0, len(q.lanes)), time.Duration(0)
	for _, l := range q.lanes {
		if len(l.groups) == 0 {
			continue
		}
		switch wait := q.pace.wait(l.stream); {
		case wait == 0 || q.closed:
			ready = append(ready, l)
		case first == 0 || wait < first:
			first = wait
		}
	}
	return ready, first
}

// seal closes the open batch, whose groups can't be removed from now on. It
// returns false if some were removed before.
func (q *queue) seal(batch []*group) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	sealed := make([]*group, 0, len(batch))
	for _, g := range batch {
		if g.state != groupLeft {
			q.settle(g)
			sealed = append(sealed, g)
		}
	}
	q.pace.sealed(sealed)
	return len(sealed) == len(batch)
}

// reopen puts the groups of a batch that was sealed back into the open batch,
// so that they count against its limits and those of the queue, and can be
// removed again.
func (q *queue) reopen(batch []*group) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pace.reopened(batch)
	for _, g := range batch {
		l := q.lane(g)
		g.state = groupOpen
		l.batch.add(g, 1)
		q.batch.add(g, 1)
		q.count(l, g, 1)
	}
}

// settle takes the group out of the open batch and the totals.
func (q *queue) settle(g *group) {
	if g.state == groupSettled {
		return
	}
	g.state = groupSettled
	l := q.lanes[g.stream()]
	l.batch.add(g, -1)
	q.batch.add(g, -1)
	q.count(l, g, -1)
}

// refuse takes groups out of the open batch.
func (q *queue) refuse(groups []*group) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, g := range groups {
		q.settle(g)
	}
}

// stay takes the groups that were removed by their callers out of the open
// batch, and returns the others.
func (q *queue) stay(groups []*group) []*group {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.DeleteFunc(groups, func(g *group) bool {
		left := g.state == groupLeft
		if left {
			q.settle(g)
		}
		return left
	})
}

// ended reports whether the queue is closed and has no more groups.
func (q *queue) ended() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && q.total.entries == q.batch.entries
}

// committed records the duration of the commit of a batch that was sealed. It
// is 0 if there was nothing to commit.
func (q *queue) committed(batch []*group, took time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pace.committed(batch, took)
}

// A laneHeap orders lanes by whose turn it is.
type laneHeap []*lane

func (t laneHeap) Len() int { return len(t) }

func (t laneHeap) Less(i, j int) bool {
	if a, b := t[i].batch.cost(), t[j].batch.cost(); a != b {
		return a < b
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
	signal(q.filled)
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total.entries
}

func (q *queue) pendingRows() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.total.rows
}

// setMaxEntries replaces the limit of queued entries of one stream.
func (q *queue) setMaxEntries(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.maxEntries = 2 * n
}
