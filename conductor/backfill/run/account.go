package run

import (
	"context"
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/conductor/backfill/metrics"
	"muniment.dev/muniment/conductor/backfill/record"
	"muniment.dev/muniment/conductor/backfill/state"
	"muniment.dev/muniment/conductor/backfill/throttle"
)

// The names of counters in the state. Those of a throttle input end with it.
const (
	counterChunks = "chunks"
	counterSlowed = "slowed_ms/"
	counterWaited = "waited_ms/"
	counterTimes  = "slowdowns/"
	counterShare  = "greatest_share/" // of the limit, in thousandths
)

// eventRate is the event with the rate of the copy.
const eventRate = "rate"

// accountEvery is the time between two entries of the rate in the timeline.
const accountEvery = 5 * time.Second

// An account follows how long the copy and comparisons of rows are slowed down,
// and why. It is the only observer of the throttle: events, counters of the
// state and metrics follow from it. The goroutine that copies or compares owns
// it.
type account struct {
	runner   *Runner
	began    time.Time        // of what is not in the state yet
	visited  int64            // then
	counts   map[string]int64 // to add to the counters
	greatest map[string]int64 // to raise counters to
	slowdown slowdown
	since    time.Time // of the slowdown
}

// A slowdown is a reason for which the copy is held, or goes on at a lower
// rate. The zero value is the full rate.
type slowdown struct {
	reason metrics.Reason
	held   bool
	input  bool // the reason is an input of the throttle
}

func newAccount(r *Runner) *account {
	return &account{runner: r, counts: map[string]int64{}, greatest: map[string]int64{}}
}

// decided notes a decision of the throttle.
func (a *account) decided(d throttle.Decision) {
	a.runner.Metrics.Decided(d)
	before := a.slowdown
	if d.Rate >= 1 {
		a.enter(slowdown{})
		return
	}
	a.enter(slowdown{metrics.Reason(d.Reason.Input), d.Rate == 0, true})
	input := string(d.Reason.Input)
	if before.reason != a.slowdown.reason {
		a.counts[counterTimes+input]++
	}
	if before != a.slowdown {
		a.runner.Watch.Event("slowed", d)
	}
	const most = 1e6 // times the limit
	if d.Reason.Limit > 0 {
		a.greatest[counterShare+input] = max(a.greatest[counterShare+input], int64(1000*min(d.Reason.Value/d.Reason.Limit, most)))
	}
}

// hold notes that the copy is held for another reason than the throttle.
func (a *account) hold(reason metrics.Reason) { a.enter(slowdown{reason: reason, held: true}) }

// enter adds the time since the latest call to the slowdown that it began.
func (a *account) enter(next slowdown) {
	now := a.runner.Now()
	if s := a.slowdown; s.reason != "" {
		took := max(0, now.Sub(a.since))
		a.runner.Metrics.Spent(s.reason, s.held, took)
		if s.input {
			a.counts[counterSlowed+string(s.reason)] += took.Milliseconds()
			if s.held {
				a.counts[counterWaited+string(s.reason)] += took.Milliseconds()
			}
		}
	}
	a.slowdown, a.since = next, now
}

// write writes the counters to the state. After the commit, written must be
// called.
func (a *account) write(ctx context.Context, tx *state.Tx) error {
	for _, name := range slices.Sorted(maps.Keys(a.counts)) {
		if err := tx.Add(ctx, name, a.counts[name]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.greatest)) {
		if err := tx.Raise(ctx, name, a.greatest[name]); err != nil {
			return err
		}
	}
	return nil
}

func (a *account) written() {
	clear(a.counts)
	clear(a.greatest)
}

// save writes the account and the rate to the state, unless that was done
// recently.
func (c *copier) save(ctx context.Context) error {
	a := c.account
	if a.began.IsZero() {
		a.began, a.visited = c.Now(), c.visited
	}
	if c.Now().Sub(a.began) < accountEvery {
		return nil
	}
	return c.saveNow(ctx)
}

func (c *copier) saveNow(ctx context.Context) error {
	a, now := c.account, c.Now()
	p := c.progress()
	if took := now.Sub(a.began); took > 0 && !a.began.IsZero() {
		p.Rate = float64(c.visited-a.visited) / took.Seconds()
	}
	c.traceBatch(ctx, a.began, now, p, a.counts[counterChunks])
	err := c.within(ctx, func(tx *state.Tx) error {
		if err := a.write(ctx, tx); err != nil {
			return err
		}
		return tx.Record(ctx, eventRate, p)
	})
	if err == nil {
		a.began, a.visited = now, c.visited
		a.written()
	}
	return err
}

// decodeDraft returns the payload of an entry that was not sent yet.
func decodeDraft(text []byte) ([]byte, error) {
	d, err := record.Decode(text)
	return d.Payload, err
}
