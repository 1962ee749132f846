package throttle

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDecide(t *testing.T) {
	limits := Limits{ReplicationLag: 10, BlockedSessions: 4, Vacuum: 0}
	fine := []Reading{{Input: ReplicationLag}, {Input: BlockedSessions}, {Input: Vacuum}}
	with := func(changes ...Reading) []Reading { return append(slices.Clone(fine), changes...) }
	for _, test := range []struct {
		name     string
		readings []Reading
		rate     float64
		reason   string
	}{
		{"idle", fine, 1, ""},
		{"half of the limit", with(Reading{Input: ReplicationLag, Value: 5}), 1, ""},
		{"three quarters", with(Reading{Input: ReplicationLag, Value: 7.5}), 0.55, "replication_lag 7.5s of 10s"},
		{"at the limit", with(Reading{Input: BlockedSessions, Value: 4}), 0.1, "blocked_sessions 4 of 4"},
		{"above", with(Reading{Input: BlockedSessions, Value: 5}), 0, "blocked_sessions 5 of 4"},
		{"the largest share", with(Reading{Input: BlockedSessions, Value: 3}, Reading{Input: ReplicationLag, Value: 8}), 0.46, "replication_lag 8s of 10s"},
		{"limit 0", with(Reading{Input: Vacuum, Value: 1}), 0, "an anti-wraparound vacuum of the table is running"},
		{"failed", with(Reading{Input: BlockedSessions, Err: errors.New("no answer")}), 0, "blocked_sessions cannot be measured: no answer"},
		{"missing", fine[1:], 0, "replication_lag cannot be measured: not measured"},
		{"not a number", with(Reading{Input: BlockedSessions, Value: math.NaN()}), 0, "blocked_sessions cannot be measured: the value is not a number"},
		{"negative", with(Reading{Input: BlockedSessions, Value: -3}), 1, ""},
		{"infinite", with(Reading{Input: ReplicationLag, Value: math.Inf(1)}), 0, "replication_lag"},
		{"without a limit", with(Reading{Input: Probe, Value: 1e9}), 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := Decide(limits, test.readings)
			if math.Abs(d.Rate-test.rate) > 1e-9 || !strings.HasPrefix(d.Reason.String(), test.reason) || (test.reason == "") != (d.Reason.String() == "") {
				t.Errorf("rate %v because of %q", d.Rate, d.Reason)
			}
			if _, err := json.Marshal(d); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDecideMonotone checks that a greater value never raises the rate.
func TestDecideMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Float64Range(0, 100).Draw(t, "limit")
		a, b := rapid.Float64Range(0, 200).Draw(t, "a"), rapid.Float64Range(0, 200).Draw(t, "b")
		rate := func(v float64) float64 {
			return Decide(Limits{Query: limit}, []Reading{{Input: Query, Value: v}}).Rate
		}
		if low, high := rate(min(a, b)), rate(max(a, b)); low < high {
			t.Errorf("limit %v: rate %v at %v, and %v at %v", limit, low, min(a, b), high, max(a, b))
		}
	})
}

func TestPause(t *testing.T) {
	for rate, want := range map[float64]time.Duration{1: 0, 0.5: time.Second, 0.1: 9 * time.Second, 0: 9 * time.Second} {
		if have := (Decision{Rate: rate}).Pause(time.Second); have.Round(time.Millisecond) != want {
			t.Errorf("rate %v: %s", rate, have)
		}
	}
}

func TestLimits(t *testing.T) {
	l := DefaultLimits()
	for name, text := range map[string]string{"replication_lag": "2m", "wal_rate": "16MiB", "dead_tuples": "none", "query": "7.5", "vacuum": "any"} {
		if err := l.Set(name, text); err != nil {
			t.Error(err)
		}
	}
	want := Limits{ReplicationLag: 120, WALRate: 16 << 20, Vacuum: 0, BlockedSessions: 5, LockQueue: 1, OldestTransaction: 900, Query: 7.5}
	if len(l) != len(want) {
		t.Errorf("limits: %v", l)
	}
	for input, limit := range want {
		if l[input] != limit {
			t.Errorf("%s: %v", input, l[input])
		}
	}
	for _, wrong := range [][2]string{{"lag", "1"}, {"query", "-1"}, {"query", "NaN"}, {"probe", "5"}, {"wal_rate", "5"}, {"wal_rate", "5XB"}, {"wal_rate", "5MB"}, {"vacuum", "3"}, {"blocked_sessions", "Inf"}} {
		if err := l.Set(wrong[0], wrong[1]); err == nil || !strings.Contains(err.Error(), wrong[0]) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	for text, value := range map[string]float64{"1.5MiB/s": 1.5 * (1 << 20), "512.0B/s": 512, "3.0GiB/s": 3 << 30} {
		if have := Format(WALRate, value); have != text {
			t.Errorf("%v is written as %s", value, have)
		}
	}
}

// A script returns one value after the other, and then the last one again.
type script struct {
	values   []float64
	measured int
}

func (s *script) Measure(context.Context, Limits) []Reading {
	v := s.values[min(s.measured, len(s.values)-1)]
	s.measured++
	return []Reading{{Input: Query, Value: v}}
}

func TestThrottle(t *testing.T) {
	now := at(t, "2026-11-29T21:59:00Z")
	gauge := &script{values: []float64{20, 20, 8}}
	var observed []Decision
	throttle := New(Config{
		Gauge: gauge, Windows: Windows{window(t, "UTC", "22:00", "23:00")}, Limits: Limits{Query: 10},
		Now:     func() time.Time { return now },
		Sleep:   func(_ context.Context, d time.Duration) error { now = now.Add(d); return nil },
		Observe: func(d Decision) { observed = append(observed, d) },
	})
	var reasons []Input
	d, err := throttle.Wait(t.Context(), func(d Decision) { reasons = append(reasons, d.Reason.Input) })
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(d.Rate-0.46) > 1e-9 || gauge.measured != 3 {
		t.Errorf("rate %v after %d measurements", d.Rate, gauge.measured)
	}
	if len(reasons) != 62 || reasons[0] != WindowInput || reasons[59] != WindowInput || reasons[60] != Query || len(observed) != 63 {
		t.Errorf("%d waits: %v; %d observed", len(reasons), reasons, len(observed))
	}
	if opens := observed[0].Opens; !opens.Equal(at(t, "2026-11-29T22:00:00Z")) {
		t.Errorf("the next window opens at %s", opens)
	}

	throttle.Check(t.Context())
	if gauge.measured != 3 {
		t.Error("it measured twice in a second")
	}
	throttle.SetLimits(Limits{Query: 16})
	if d := throttle.Check(t.Context()); d.Rate != 1 || gauge.measured != 3 {
		t.Errorf("with a higher limit: rate %v after %d measurements", d.Rate, gauge.measured)
	}
	throttle.SetLimits(Limits{Query: 16, Probe: 1})
	if d := throttle.Check(t.Context()); d.Rate != 0 || gauge.measured != 4 {
		t.Errorf("with a new input: rate %v after %d measurements", d.Rate, gauge.measured)
	}
	now = now.Add(-time.Hour)
	if d := throttle.Check(t.Context()); d.Reason.Input != WindowInput {
		t.Errorf("with a clock that was set back: %v", d)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := throttle.Wait(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestHistory(t *testing.T) {
	var h history
	start := at(t, "2026-11-29T12:00:00Z")
	if h.rate() != 0 || h.age(5) != 0 {
		t.Error("an empty history must have no rate and no age")
	}
	for i := range 3000 {
		h.add(mark{int64(i) * 4 << 20, start.Add(time.Duration(i) * time.Second)})
		if len(h.marks) > maxMarks {
			t.Fatalf("%d marks", len(h.marks))
		}
	}
	const last = 2999 * 4 << 20
	for _, test := range []struct {
		position  int64
		low, high float64
	}{
		{last, 0, 0},
		{last + 5, 0, 0},
		{last - 1, 0, 0},
		{last - 400<<20, 96, 100}, // some marks were dropped
		{0, 2980, 2999},
		{-4 << 30, 4022, 4025}, // before the first mark: 4096 MiB more at 4 MiB/s
	} {
		if age := h.age(test.position); age < test.low || age > test.high {
			t.Errorf("%d bytes behind: %v seconds", last-test.position, age)
		}
	}
	if r := h.average(); math.Abs(r-4<<20) > 1 || math.Abs(h.rate()-4<<20) > 1 {
		t.Errorf("rates: %v, %v", r, h.rate())
	}
	h.add(mark{5, start.Add(time.Hour)})
	if len(h.marks) != 1 {
		t.Error("marks survived a position that went back")
	}
	h.add(mark{6, start})
	if len(h.marks) != 1 || h.rate() != 0 {
		t.Error("marks survived a clock that was set back")
	}
}
