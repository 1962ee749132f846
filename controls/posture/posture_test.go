package posture

import (
	"math"
	"slices"
	"testing"
	"time"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/ledger/entry"
)

// TestExceptionEvents checks which events an exception has at each time.
func TestExceptionEvents(t *testing.T) {
	day := func(d float64) time.Time {
		return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(d * 24 * float64(time.Hour)))
	}
	const kim, ada = "oidc:https://id.example#kim", "oidc:https://id.example#ada"
	ordinary := &exception.Exception{Request: exception.Request{Index: 1, ID: "E-1", Time: day(0), Expires: day(10), Requester: kim}}
	approved := &exception.Exception{Request: ordinary.Request, Decisions: []exception.Decision{{Index: 2, Time: day(1), Exception: "E-1", Request: 1, By: ada, Action: exception.Approve}}}
	glass := &exception.Exception{Request: exception.Request{Index: 3, ID: "E-2", Time: day(0), Expires: day(0.5), Requester: kim, BreakGlass: true}}
	for _, c := range []struct {
		name string
		x    *exception.Exception
		now  float64
		want []string
	}{
		{"requested", ordinary, 9, nil},
		{"in force", approved, 2, nil},
		{"about to end", approved, 7, []string{ExceptionExpiring}},
		{"ended", approved, 10, []string{ExceptionExpired}},
		{"break-glass", glass, 0.1, []string{BreakGlassUsed, ExceptionExpiring}},
		{"break-glass that was never confirmed", glass, 1, []string{BreakGlassUsed, BreakGlassUnconfirmed}},
	} {
		now := day(c.now)
		status := c.x.At(now, exception.Limits{MaxDays: 30, Approvers: 1})
		var got []string
		for _, e := range exceptionEvents(entry.Hash{1}, c.x, status, now, 3*24*time.Hour) {
			got = append(got, e.Type)
			if e.Time.After(now) || e.Time.Before(c.x.Time) {
				t.Errorf("%s: %s at %s, outside of the life of the exception", c.name, e.Type, e.Time)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: events %q, want %q", c.name, got, c.want)
		}
	}
	first := exceptionEvents(entry.Hash{1}, glass, glass.At(day(0.1), exception.Limits{MaxDays: 30, Approvers: 1}), day(0.1), time.Hour)
	later := exceptionEvents(entry.Hash{1}, glass, glass.At(day(0.2), exception.Limits{MaxDays: 30, Approvers: 1}), day(0.2), time.Hour)
	other := exceptionEvents(entry.Hash{2}, glass, glass.At(day(0.2), exception.Limits{MaxDays: 30, Approvers: 1}), day(0.2), time.Hour)
	if first[0].ID != later[0].ID || first[0].ID == other[0].ID {
		t.Errorf("IDs %s, later %s, of another stream %s: the ID must depend on the event alone", first[0].ID, later[0].ID, other[0].ID)
	}
}

// TestSummary checks the sum of two streams, and the figures of none.
func TestSummary(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sum := New()
	if sum.Share() != 1 || !math.IsInf(sum.Left(now), 1) {
		t.Errorf("of nothing: share %v, time left %v", sum.Share(), sum.Left(now))
	}
	a, b := New(), New()
	a.Findings[FindingState{finding.Resolved, "high"}] = 3
	a.Soonest = now.Add(time.Hour)
	b.Findings[FindingState{finding.Open, "high"}] = 1
	b.Overdue, b.Soonest = 1, now.Add(time.Minute)
	sum.Add(a)
	sum.Add(b)
	if sum.Share() != 0.75 || sum.Left(now) != 60 || sum.Overdue != 1 {
		t.Errorf("of two: share %v, %v seconds left, %d overdue", sum.Share(), sum.Left(now), sum.Overdue)
	}
}

// TestEventIDs checks that events differ if their parts do.
func TestEventIDs(t *testing.T) {
	seen := map[string]int64{}
	for _, n := range []int64{0, 'a', 0xd800, 0xd801, 1 << 21, 1<<21 + 1, 1793491200000, 1793491200001} {
		e := NewEvent(FindingOverdue, time.Time{}, nil, "AUD-1", n)
		if other, ok := seen[e.ID]; ok {
			t.Errorf("the events about %d and %d have the ID %s", other, n, e.ID)
		}
		seen[e.ID] = n
	}
	if NewEvent(FindingOverdue, time.Time{}, nil, "a", "b").ID == NewEvent(FindingOverdue, time.Time{}, nil, `a" "b`).ID {
		t.Error("the events of different parts have one ID")
	}
}
