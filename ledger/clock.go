package ledger

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"muniment.dev/muniment/ledger/store"
)

// clockTolerance is how far the wall clock may drift from monotonic time or lag
// behind the last entry.
const clockTolerance = time.Minute

// How often the clock is compared with that of a store that several servers
// share, and how far they may be apart. Two servers that pass differ by no more
// than clockTolerance, so neither makes the other refuse appends.
const (
	compareEvery = 2 * time.Second
	maxApart     = (clockTolerance - compareEvery) / 2
)

// A Clock returns the wall time, and a monotonic time that is independent of
// adjustments to the wall clock.
type Clock interface {
	Now() (wall time.Time, monotonic time.Duration)
}

// SystemClock returns the clock of this machine.
func SystemClock() Clock { return systemClock{time.Now()} }

type systemClock struct{ start time.Time }

func (c systemClock) Now() (time.Time, time.Duration) {
	now := time.Now()
	return now.Round(0), now.Sub(c.start) // Round strips the monotonic reading, Sub uses it
}

// A clockGuard decides whether the clock may date an entry. One jump into the
// future would otherwise date every later entry wrongly, and let every
// exception expire.
type clockGuard struct {
	clock     Clock
	wall      time.Time // at start
	monotonic time.Duration
	refused   error // permanently, by the check at start
	// apart is the reason to refuse appends if the clock differs from that of
	// the store; nil: it does not.
	apart atomic.Pointer[error]
}

func newClockGuard(c Clock, hasEntries bool, last uint64, maxGap time.Duration) *clockGuard {
	g := &clockGuard{clock: c}
	g.wall, g.monotonic = c.Now()
	if gap := g.wall.Sub(millis(last)); hasEntries && gap > maxGap {
		g.refused = fmt.Errorf("%w: it shows %s, %d days after the last entry (%s): set the clock, or start with --accept-clock if it is right",
			ErrClock, g.wall.UTC().Format(time.RFC3339), int(gap.Hours()/24), millis(last).Format(time.RFC3339))
	}
	return g
}

func millis(ms uint64) time.Time { return time.UnixMilli(int64(ms)).UTC() }

// next returns the time for an entry after one of time last, both in Unix
// milliseconds. It never returns less than last.
func (g *clockGuard) next(last uint64) (uint64, error) {
	if g.refused != nil {
		return 0, g.refused
	}
	if apart := g.apart.Load(); apart != nil {
		return 0, *apart
	}
	wall, monotonic := g.clock.Now()
	if drift := wall.Sub(g.wall) - (monotonic - g.monotonic); drift.Abs() > clockTolerance {
		return 0, fmt.Errorf("%w: it was moved by %s while the server was running, or the machine was suspended: check the clock, then restart the server", ErrClock, drift.Round(time.Second))
	}
	now := uint64(max(wall.UnixMilli(), 0))
	if now >= last {
		return now, nil
	}
	if behind := time.Duration(last-now) * time.Millisecond; behind > clockTolerance {
		return 0, fmt.Errorf("%w: it shows %s, %s before the last entry: set the clock", ErrClock, wall.UTC().Format(time.RFC3339), behind.Round(time.Second))
	}
	return last, nil
}

// compare compares the clock with that of the store. The last verdict remains
// in force if the store does not answer, or so late that its answer decides
// nothing.
func (g *clockGuard) compare(ctx context.Context, reference store.Timekeeper) error {
	_, asked := g.clock.Now()
	now, err := reference.Time(ctx)
	if err != nil {
		return err
	}
	wall, answered := g.clock.Now()
	took := answered - asked
	// The store has read its clock at some time between.
	ahead := wall.Add(-took / 2).Sub(now)
	switch uncertain := took / 2; {
	case ahead.Abs()+uncertain <= maxApart:
		g.apart.Store(nil)
		return nil
	case ahead.Abs()-uncertain <= maxApart:
		return nil // the last verdict remains in force
	}
	direction := "ahead of"
	if ahead < 0 {
		direction = "behind"
	}
	apart := fmt.Errorf("%w: it shows %s, %s %s the clock of the database: set the one that is wrong, on this machine or on that of the database",
		ErrClock, wall.UTC().Format(time.RFC3339), ahead.Abs().Round(time.Second), direction)
	g.apart.Store(&apart)
	return nil
}

// compareClocks compares the clocks until the context ends.
func (l *Ledger) compareClocks(ctx context.Context, reference store.Timekeeper) {
	t := time.NewTicker(compareEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		was := l.clock.apart.Load()
		limited, cancel := context.WithTimeout(ctx, compareEvery)
		err := l.clock.compare(limited, reference)
		cancel()
		switch is := l.clock.apart.Load(); {
		case err != nil: // reads and writes of the store report it
		case was == nil && is != nil:
			l.log.Warn("appends are refused", "err", *is)
		case was != nil && is == nil:
			l.log.Info("the clock is right again: appends are accepted")
		}
	}
}
