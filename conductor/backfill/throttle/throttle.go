// Package throttle decides how fast the copy of a backfill may proceed: in
// which hours, and under which load of the database.
//
// Decide and Windows are pure. A Meter measures the database by the queries of
// section 4 of docs/spec/backfill.md, and a Throttle connects both.
package throttle

import (
	"context"
	"maps"
	"sync"
	"time"
)

// between is the shortest time between two measurements.
const between = time.Second

// A Gauge measures the inputs that have a limit. A reading of each is returned,
// in the order of Inputs. Meter is the gauge of a database.
type Gauge interface {
	Measure(ctx context.Context, limits Limits) []Reading
}

// Config contains what a Throttle needs.
type Config struct {
	Gauge   Gauge
	Windows Windows
	Limits  Limits // DefaultLimits, with the changes of the job

	Now   func() time.Time                                 // the clock
	Sleep func(ctx context.Context, d time.Duration) error // nil for Sleep

	// Observe gets every decision, for metrics and records. It must return
	// soon. It may be nil.
	Observe func(Decision)
}

// A Throttle admits chunks. It can be used by several goroutines.
type Throttle struct {
	config Config

	measuring sync.Mutex // held while the gauge measures; guards last and at
	last      []Reading
	at        time.Time // of last; zero for none

	mu     sync.Mutex // guards limits
	limits Limits
}

// New returns a throttle.
func New(config Config) *Throttle {
	if config.Sleep == nil {
		config.Sleep = Sleep
	}
	return &Throttle{config: config, limits: maps.Clone(config.Limits)}
}

// Sleep waits for a time, or until ctx is done, and returns its error.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// SetLimits replaces the limits. The next decision uses them.
func (t *Throttle) SetLimits(limits Limits) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limits = maps.Clone(limits)
}

// Limits returns the limits in force.
func (t *Throttle) Limits() Limits {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.limits)
}

// Check returns the decision for now. It measures if the last measurement is
// older than a second. Outside of the windows it does not measure.
func (t *Throttle) Check(ctx context.Context) Decision {
	now := t.config.Now()
	decision := Decision{Reason: Reason{Input: WindowInput}}
	if t.config.Windows.Open(now) {
		limits := t.Limits()
		decision = Decide(limits, t.measure(ctx, now, limits))
	} else if opens, ok := t.config.Windows.Next(now); ok {
		decision.Opens = opens
	}
	if t.config.Observe != nil {
		t.config.Observe(decision)
	}
	return decision
}

// measure returns the readings of the last second, or new ones. A clock that
// was set back does not prolong their validity.
func (t *Throttle) measure(ctx context.Context, now time.Time, limits Limits) []Reading {
	t.measuring.Lock()
	defer t.measuring.Unlock()
	age := now.Sub(t.at)
	if t.at.IsZero() || age < 0 || age >= between || !covers(t.last, limits) {
		t.last, t.at = t.config.Gauge.Measure(ctx, limits), now
	}
	return t.last
}

// covers reports whether there is a reading of each input with a limit.
func covers(readings []Reading, limits Limits) bool {
	have := map[Input]bool{}
	for _, r := range readings {
		have[r.Input] = true
	}
	for input := range limits {
		if !have[input] {
			return false
		}
	}
	return true
}

// Wait returns once a chunk is admitted, with the decision that admits it. It
// checks again every second, and calls waiting, if it is not nil, with each
// decision that does not admit one. The error is that of ctx.
func (t *Throttle) Wait(ctx context.Context, waiting func(Decision)) (Decision, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Decision{}, err
		}
		decision := t.Check(ctx)
		if decision.Rate > 0 {
			return decision, nil
		}
		if waiting != nil {
			waiting(decision)
		}
		if err := t.config.Sleep(ctx, between); err != nil {
			return decision, err
		}
	}
}
