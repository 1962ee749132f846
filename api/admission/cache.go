package admission

import (
	"container/list"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A question is what a decision is about. With the tree size it is what a
// decision depends on, and the key of the cache.
type question struct {
	stage       string
	environment string
	name        string
	digest      string // ALGORITHM:VALUE
}

// A decided is the decision about an image. It does not change.
type decided struct {
	question
	asked    time.Time // before the question was sent
	asOf     time.Time // age of the state that it was decided from; zero: unknown
	treeSize uint64
	decision *munimentv1.SubjectDecision
	subject  answer.Subject
	// recordedUntil is the time until which the log or a spool has this
	// outcome, so that it is not recorded again. Zero: it has not.
	recordedUntil time.Time
}

// overhead is the memory of an entry besides its message: the message as Go
// values and the answer made of it.
const overhead = 4

func (d *decided) size() int64 {
	return 512 + overhead*int64(proto.Size(d.decision)+len(d.stage)+len(d.environment)+len(d.name)+len(d.digest))
}

func (d *decided) passes() bool { return d.decision.Decision.Decision == string(evaluate.Pass) }

// usable reports whether the decision can be used at a time, and recorded
// whether it need not be recorded then.
func (d *decided) usable(now time.Time, refresh time.Duration) bool {
	return now.Sub(d.asked) <= refresh && now.Before(d.decision.Decision.ValidUntil.AsTime())
}

// precedes reports whether the decision is from an earlier state of the log
// than another one, or was asked for earlier in the same state.
func (d *decided) precedes(other *decided) bool {
	if d.treeSize != other.treeSize {
		return d.treeSize < other.treeSize
	}
	return d.asked.Before(other.asked)
}

func (d *decided) recorded(now time.Time) bool { return now.Before(d.recordedUntil) }

// follow makes the decision follow an earlier one: a dry run with the recorded
// outcome repeats it.
func (d *decided) follow(earlier *decided) {
	if earlier != nil && d.recordedUntil.IsZero() && earlier.decision.Decision.Inputs == d.decision.Decision.Inputs && decide.SameOutcome(earlier.decision.Decision, d.decision.Decision) {
		d.recordedUntil = earlier.recordedUntil
	}
}

// A cache keeps the decisions that were used last, up to a number of entries
// and bytes.
type cache struct {
	maxEntries int
	maxBytes   int64

	mu    sync.Mutex // guards what follows
	at    map[question]*list.Element
	order *list.List // of *cached, the last used first
	bytes int64
}

type cached struct {
	*decided
	used time.Time
	size int64
}

func newCache(entries int, bytes int64) *cache {
	return &cache{maxEntries: entries, maxBytes: bytes, at: map[question]*list.Element{}, order: list.New()}
}

// get returns the decision about a question, or nil. It counts as used then.
func (c *cache) get(q question, now time.Time) *decided {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.at[q]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	one := e.Value.(*cached)
	one.used = now
	return one.decided
}

// put adds a decision, or replaces the one about the same question, unless that
// is newer. It returns the newer one. One that is too large for the cache is
// not kept. used is the time of its use; zero: it is not used now.
func (c *cache) put(d *decided, used time.Time) *decided {
	size := d.size()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.at[d.question]; e != nil {
		old := e.Value.(*cached)
		if d.precedes(old.decided) {
			return old.decided
		}
		d.follow(old.decided)
		if used.IsZero() {
			used = old.used
		}
		c.remove(e)
	}
	if size > c.maxBytes/4 {
		return d
	}
	c.at[d.question] = c.order.PushFront(&cached{d, used, size})
	c.bytes += size
	for c.bytes > c.maxBytes || c.order.Len() > c.maxEntries {
		c.remove(c.order.Back())
	}
	return d
}

func (c *cache) remove(e *list.Element) {
	one := c.order.Remove(e).(*cached)
	delete(c.at, one.question)
	c.bytes -= one.size
}

// inUse returns the decisions that were used since a time.
func (c *cache) inUse(since time.Time) (all []*decided) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.order.Front(); e != nil; e = e.Next() {
		if one := e.Value.(*cached); !one.used.Before(since) {
			all = append(all, one.decided)
		}
	}
	return all
}

// count returns the number of entries and bytes.
func (c *cache) count() (entries int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len(), c.bytes
}
