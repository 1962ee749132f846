package ledger

import (
	"fmt"
	"time"
)

// clockTolerance is how far the wall clock may drift from monotonic time or lag
// behind the last entry.
const clockTolerance = time.Minute

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
