package measure

import (
	"context"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"muniment.dev/muniment/conductor/backfill/aca"
)

// Latencies takes quantiles of latencies that the caller records, such as those
// of a probe query. Its memory does not depend on their number. Values are
// accurate to one part in a thousand, and at most an hour.
type Latencies struct {
	quantiles map[string]float64 // by the name of the check

	mu        sync.Mutex // guards histogram
	histogram *hdrhistogram.Histogram
}

// NewLatencies returns a source for the checks of the kind tail.
func NewLatencies(checks ...aca.Check) *Latencies {
	l := &Latencies{quantiles: map[string]float64{}, histogram: hdrhistogram.New(1, int64(time.Hour/time.Microsecond), 3)}
	for _, c := range checks {
		if c.Kind == aca.Tail {
			l.quantiles[c.Name] = c.Quantile
		}
	}
	return l
}

// Record adds a latency. It is safe for concurrent use.
func (l *Latencies) Record(d time.Duration) {
	d = min(max(d, time.Microsecond), time.Hour)
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.histogram.RecordValue(d.Microseconds()) // in range
}

// Begin forgets the latencies from before the window.
func (l *Latencies) Begin(context.Context) (End, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.histogram.Reset()
	return l.end, nil
}

func (l *Latencies) end(context.Context, time.Time, time.Time) (map[string]aca.Sample, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	samples := map[string]aca.Sample{}
	n := l.histogram.TotalCount()
	if n == 0 {
		return samples, nil
	}
	for name, q := range l.quantiles {
		at := time.Duration(l.histogram.ValueAtQuantile(100*q)) * time.Microsecond
		samples[name] = aca.Sample{Value: at.Seconds(), Per: float64(n)}
	}
	return samples, nil
}
