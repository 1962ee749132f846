// Package copying fills the secondary column of a dual write for the rows that
// existed before it. It follows section 4 of [docs/spec/backfill.md].
//
// [docs/spec/backfill.md]: https://muniment.dev/spec/backfill
package copying

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/time/rate"

	"muniment.dev/muniment/conductor/backfill/dualwrite"
	"muniment.dev/muniment/conductor/backfill/rowkey"
	"muniment.dev/muniment/conductor/backfill/state"
)

// A Config describes a copy. Zero values have defaults.
type Config struct {
	Pair  dualwrite.Pair
	Key   rowkey.Key
	Table uint32 // OID

	Target time.Duration // of a chunk; 500ms
	First  int           // rows of the first chunk; 1,000
	Most   int           // rows of any chunk; 50,000
	Rate   float64       // greatest number of rows written per second; unlimited

	// Replica requires that no trigger fires for the copy. Without it, the
	// trigger of the dual write fires, and any other, if the role has no
	// privilege to prevent this. Then the copy takes about twice the time.
	Replica bool

	LockTimeout time.Duration // at most half of deadlock_timeout; 500ms
	Attempts    int           // failures in a row, after which the copy ends; 60

	// Connect opens a connection. The copy uses one at a time, and opens
	// another one when it is lost.
	Connect func(context.Context) (*pgx.Conn, error)

	// Random returns a number from 0 to 1, which varies waiting times.
	Random func() float64
}

func (c Config) withDefaults() Config {
	c.Target = cmp.Or(c.Target, 500*time.Millisecond)
	c.First = cmp.Or(c.First, 1000)
	c.Most = cmp.Or(c.Most, 50_000)
	c.LockTimeout = cmp.Or(c.LockTimeout, 500*time.Millisecond)
	c.Attempts = cmp.Or(c.Attempts, 60)
	if c.Random == nil {
		c.Random = func() float64 { return 0.5 }
	}
	return c
}

// Hooks connect the copy with its surroundings. They are called from the
// goroutine of Run, between transactions.
type Hooks interface {
	// Admit is called before each chunk. It may wait, for example for a
	// capacity window or until a job is no longer paused. Its error ends the
	// copy.
	Admit(context.Context) (Admission, error)

	// Progress is called after each chunk, and its error ends the copy. The
	// chunk is committed.
	Progress(context.Context, Progress) error

	// Retry is called before the copy waits and repeats what has failed.
	Retry(err error, wait time.Duration)

	// Complete is called in the transaction that proves the copy complete, to
	// change the phase of the job. It is called again if the outcome of the
	// commit was unknown, and must then accept the new phase.
	Complete(context.Context, *state.Tx) error
}

// An Admission is the rate at which the copy may go on.
type Admission struct {
	// Factor is the share of the full rate, from 0 to 1. At 0, the copy asks
	// again after a second.
	Factor float64

	// Rate replaces Config.Rate if it is greater than 0.
	Rate float64
}

// Progress is the result of a chunk.
type Progress struct {
	Position state.Position // after it
	Visited  int64          // rows in the chunk
	Written  int64          // rows that were marked
	Took     time.Duration
}

// askAgain is the time between calls of Admit while it does not admit.
const askAgain = time.Second

// Run copies until no row is marked, and a validated constraint proves it. It
// continues at the position in the state. It returns state.ErrFenced if another
// runner has taken over.
func Run(ctx context.Context, config Config, hold *state.Hold, hooks Hooks) error {
	c := &copier{Config: config.withDefaults(), hold: hold, hooks: hooks, now: time.Now}
	c.limiter = rate.NewLimiter(rate.Inf, 1)
	defer c.disconnect()
	for {
		if err := c.pass(ctx); err != nil {
			return fmt.Errorf("copy column %q: %w", c.Pair.Column, err)
		}
		complete, err := c.prove(ctx)
		if err != nil {
			return fmt.Errorf("prove the copy of column %q complete: %w", c.Pair.Column, err)
		}
		if complete {
			return nil
		}
	}
}

// A copier is a running copy.
type copier struct {
	Config
	hold    *state.Hold
	hooks   Hooks
	now     func() time.Time
	limiter *rate.Limiter

	conn        *pgx.Conn // nil if there is none
	lockTimeout time.Duration
	replica     bool     // the role may prevent that triggers fire
	size        int      // rows of the next chunk; 0 before the first one
	last        []string // the position after the last chunk; nil before the first one
	skipLocked  bool     // the last attempt waited too long for a row
}

// pass visits the rows after the position.
func (c *copier) pass(ctx context.Context) error {
	for {
		factor, err := c.admit(ctx)
		if err != nil {
			return err
		}
		var p Progress
		if err := c.retry(ctx, func() (err error) { p, err = c.chunk(ctx); return err }); err != nil {
			return err
		}
		c.adapt(p)
		if p.Visited > 0 || !p.Position.Finished {
			if err := c.hooks.Progress(ctx, p); err != nil {
				return err
			}
		}
		if p.Position.Finished {
			return nil
		}
		if err := c.pace(ctx, p, factor); err != nil {
			return err
		}
	}
}

// admit waits until the copy may go on, and sets the rate limit.
func (c *copier) admit(ctx context.Context) (factor float64, err error) {
	for {
		a, err := c.hooks.Admit(ctx)
		if err != nil {
			return 0, err
		}
		if a.Factor > 0 {
			limit := c.Rate
			if a.Rate > 0 {
				limit = a.Rate
			}
			c.limit(limit * min(a.Factor, 1))
			return min(a.Factor, 1), nil
		}
		if err := sleep(ctx, askAgain); err != nil {
			return 0, err
		}
	}
}

// limit sets the rate limit in rows per second. A chunk has at most the rows of
// the target time at this rate.
func (c *copier) limit(perSecond float64) {
	if perSecond <= 0 {
		c.limiter.SetLimit(rate.Inf)
		return
	}
	burst := min(max(1, int(perSecond*c.Target.Seconds())), c.Most)
	c.limiter.SetLimit(rate.Limit(perSecond))
	c.limiter.SetBurst(burst)
	c.size = min(cmp.Or(c.size, c.First), burst)
}

// adapt sets the size of the next chunk from the duration of the last one.
func (c *copier) adapt(p Progress) {
	if p.Visited < int64(c.size) {
		return // the last chunk
	}
	wanted := float64(c.size) * c.Target.Seconds() / max(p.Took.Seconds(), 1e-6)
	c.size = max(1, int(min(wanted, math.Ceil(float64(c.size)*1.5), float64(c.Most))))
}

// pace waits as the rate limit and the throttle require.
func (c *copier) pace(ctx context.Context, p Progress, factor float64) error {
	rest := time.Duration(float64(p.Took) * (1/factor - 1))
	now := c.now()
	if n := min(int(p.Written), c.limiter.Burst()); c.limiter.Limit() != rate.Inf && n > 0 {
		rest = max(rest, c.limiter.ReserveN(now, n).DelayFrom(now))
	}
	return sleep(ctx, rest)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
