package admission

import (
	"errors"
	"fmt"
	"sync"
	"time"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// MaxAhead is how far ahead of this clock the state of an answer can be. It is
// the difference between two clocks, which makes a state seem newer than it is.
const MaxAhead = 10 * time.Second

// A logState is the state of the log that an answer is from.
type logState struct {
	log  string    // origin
	size uint64    // the answer is from a tree of this size, or a later one
	last uint64    // at least size: the largest tree that it is from
	asOf time.Time // zero: unknown
}

// stateOf returns what a server reports. m can be nil.
func stateOf(m *munimentv1.LogState) logState {
	s := logState{log: m.GetLog(), size: m.GetTreeSize(), last: m.GetTreeSize()}
	if m.GetAsOf() != nil {
		s.asOf = m.AsOf.AsTime()
	}
	return s
}

// stateOfDecisions returns the state that all of the decisions are from.
func stateOfDecisions(m *munimentv1.DecideResponse) logState {
	s := stateOf(&munimentv1.LogState{Log: m.Log, TreeSize: m.TreeSize, AsOf: m.AsOf})
	for _, d := range m.Decisions {
		size := d.GetDecision().GetTreeSize()
		s.size, s.last = min(s.size, size), max(s.last, size)
	}
	return s
}

// A frontier is how far the answers have come in the log. It only advances: an
// answer from an earlier state could undo a revocation.
type frontier struct {
	mu   sync.Mutex // guards what follows
	log  string     // "": no answer yet
	size uint64
}

// reached returns the tree size that an answer must have, if it is asked for
// now.
func (f *frontier) reached() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// advance returns an error unless an answer may be used, which was asked for
// when the frontier had reached a size. It notes the state of one that may.
func (f *frontier) advance(s logState, reached uint64, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case s.log == "":
		return errors.New("it does not report the state of its log: upgrade it")
	case f.log != "" && s.log != f.log:
		return fmt.Errorf("it has the log %s, and earlier answers were from %s: give only servers of one log, and restart muniment admission", s.log, f.log)
	case s.size < reached:
		return fmt.Errorf("it lags behind: it has %d entries of the log, and earlier answers were from %d", s.size, reached)
	case s.asOf.Sub(now) > MaxAhead:
		return fmt.Errorf("its clock is %s ahead of this one, and the limit is %s: correct the clocks", s.asOf.Sub(now).Round(time.Second), MaxAhead)
	}
	f.log, f.size = s.log, max(f.size, s.last)
	return nil
}
