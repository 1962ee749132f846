package route

import (
	"errors"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/triage/classify"
	"muniment.dev/muniment/conductor/triage/execute"
)

// patience is how long after its start a router waits for the numbers in the
// ledger before it counts by itself.
const patience = 10 * time.Second

// number gives an incident its number, and returns the row of the counter. It
// returns an error that wraps execute.ErrWait if the incident must wait.
func (r *Router) number(i *incident, res *classify.Result, now time.Time) (row, error) {
	c := res.Candidate()
	prefix := strings.TrimSuffix(execute.ID(c.Type, c.Key, 0), "0")
	var used uint64
	if _, err := r.store.Get(counter(prefix), &used); err != nil {
		return row{}, err
	}
	if o := r.latest[i.place()]; o != nil && o.Number == used && o.free() {
		used--
	}
	i.Number = used + 1
	if numbers := r.Executor.Numbers; numbers != nil {
		l, err := numbers.Latest(prefix)
		switch {
		case errors.Is(err, execute.ErrWait) && now.Sub(r.started) < patience:
			return row{}, err
		case err != nil || l.Number < used:
		case l.Number > used && (!l.Closed || !l.Time.Before(i.Began)):
			i.Number, i.Taken = l.Number, true // this episode is that of another executor
		default:
			i.Number = l.Number + 1
		}
	}
	i.ID = execute.ID(c.Type, c.Key, i.Number)
	return row{counter(i.ID), i.Number}, nil
}

// counter returns the key of the row with the highest number, from an
// identifier with or without its number.
func counter(id string) string { return rowNumber + id[:strings.LastIndexByte(id, '-')] }

// free reports whether another incident can have the number.
func (i *incident) free() bool { return i.Unused || i.Refused != "" }

// began returns when the latest episode of an anchor began. The clock of its
// sender does not count if it is ahead.
func began(res *classify.Result) (at time.Time) {
	for _, m := range res.Satisfied() {
		if !m.Anchors() {
			continue
		}
		of := m.Started()
		if seen := m.Opened(); of.IsZero() || of.After(seen) {
			of = seen
		}
		if of.After(at) {
			at = of
		}
	}
	return at
}
