package run

import (
	"context"
	"time"

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

// An account collects what the copy has done since it was written to the state.
type account struct {
	written time.Time // to the state
	visited int64     // then
	counts  map[string]int64
	latest  throttle.Decision
	since   time.Time // of the latest decision
}

// observe adds the time since the previous decision to that decision's reason.
func (a *account) observe(d throttle.Decision, now time.Time) {
	if a.counts == nil {
		a.counts = map[string]int64{}
	}
	if input := string(a.latest.Reason.Input); a.latest.Rate < 1 && input != "" && !a.since.IsZero() {
		ms := now.Sub(a.since).Milliseconds()
		a.counts[counterSlowed+input] += ms
		if a.latest.Rate == 0 {
			a.counts[counterWaited+input] += ms
		}
	}
	if d.Rate < 1 && d.Reason.Input != a.latest.Reason.Input {
		a.counts[counterTimes+string(d.Reason.Input)]++
	}
	a.latest, a.since = d, now
}

// save writes the account to the state, unless that was done recently.
func (c *copier) save(ctx context.Context) error {
	now := c.Now()
	if c.account.written.IsZero() {
		c.account.written, c.account.visited = now, c.visited
	}
	took := now.Sub(c.account.written)
	if took < accountEvery {
		return nil
	}
	p := c.progress()
	p.Rate = float64(c.visited-c.account.visited) / took.Seconds()
	err := c.within(ctx, func(tx *state.Tx) error {
		for name, n := range c.account.counts {
			if err := tx.Add(ctx, name, n); err != nil {
				return err
			}
		}
		return tx.Record(ctx, eventRate, p)
	})
	if err == nil {
		c.account.written, c.account.visited = now, c.visited
		clear(c.account.counts)
	}
	return err
}

// decodeDraft returns the payload of an entry that was not sent yet.
func decodeDraft(text []byte) ([]byte, error) {
	d, err := record.Decode(text)
	return d.Payload, err
}
