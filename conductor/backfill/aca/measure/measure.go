// Package measure takes the samples of the windows of a canary analysis, as
// docs/spec/aca.md specifies: from Prometheus, from the counters of
// PostgreSQL, and from latencies that the caller records.
package measure

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"muniment.dev/muniment/conductor/backfill/aca"
)

// A Source measures some checks in a window.
type Source interface {
	// Begin starts to measure. The caller calls the returned function once, at
	// the end of the window, also after an interruption.
	Begin(ctx context.Context) (End, error)
}

// End returns the samples of the window by the name of the check. What cannot
// be measured is absent, and the error states why.
type End func(ctx context.Context, start, end time.Time) (map[string]aca.Sample, error)

// ErrClock is the error of a window in which the wall clock was set. Queries
// for its times would cover another time.
var ErrClock = errors.New("the clock was set")

// clockTolerance is how far a clock may be corrected within a window.
const clockTolerance = 100 * time.Millisecond

// Window measures a window while the caller waits in during. It returns the
// window with its times and samples.
//
// The times are those of the wall clock. If it was set during the window, the
// error is ErrClock.
//
// The error of a source makes its samples missing, which the analysis treats as
// the specification states; warnings has these errors. An error of during, or
// the end of ctx, interrupts the window: it must be left out of the analysis.
func Window(ctx context.Context, planned aca.Window, now func() time.Time, sources []Source, during func(context.Context) error) (w aca.Window, warnings []error, err error) {
	w = aca.Window{Pair: planned.Pair, Copy: planned.Copy, Samples: map[string]aca.Sample{}}
	var ends []End
	for _, s := range sources {
		end, err := s.Begin(ctx)
		if err != nil {
			warnings = append(warnings, err)
			continue
		}
		ends = append(ends, end)
	}
	w.Start = now().Round(0) // without the reading of the monotonic clock
	began := time.Now()
	err = during(ctx)
	w.End = now().Round(0)
	if took, wall := time.Since(began), w.End.Sub(w.Start); err == nil && (wall-took).Abs() > max(clockTolerance, took/10) {
		err = ErrClock
	}
	for _, end := range ends {
		samples, failed := end(ctx, w.Start, w.End)
		for name, s := range samples {
			w.Samples[name] = s
		}
		if failed != nil {
			warnings = append(warnings, failed)
		}
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return aca.Window{}, warnings, fmt.Errorf("window of pair %d interrupted: %w", planned.Pair, err)
	}
	return w, warnings, nil
}

// isNumber reports whether a measured number is finite.
func isNumber(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
