package ledger

import (
	"context"
	"testing"
	"time"

	"muniment.dev/muniment/ledger/store"
)

// refusedByClock checks that appends are refused because of the clock, and that
// everything else works.
func refusedByClock(t *testing.T, tl *testLog, says ...string) {
	t.Helper()
	size := tl.Published().Size
	_, err := tl.Append(context.Background(), []Draft{acme.draft("refused")})
	wantErr(t, "an append", err, ErrClock, says...)
	wantErr(t, "Ready", tl.Ready(), ErrClock, says...)
	if r := tl.mustAppend(t, acme.draft("first")); !r[0].Duplicate {
		t.Fatalf("what is recorded: %+v", r[0])
	}
	if tl.Published().Size != size {
		t.Fatal("the log grew")
	}
	checkLog(t, tl, acme)
}

func accepted(t *testing.T, tl *testLog, payload string) uint64 {
	t.Helper()
	if err := tl.Ready(); err != nil {
		t.Fatal(err)
	}
	tl.mustAppend(t, acme.draft(payload))
	checkLog(t, tl, acme)
	return tl.Published().Time
}

func TestTimeIsTheClocks(t *testing.T) {
	tl := newTestLog(t, Config{})
	for _, d := range []time.Duration{0, time.Millisecond, time.Hour, 100 * 24 * time.Hour} {
		tl.clock.pass(d)
		wall, _ := tl.clock.Now()
		if got := accepted(t, tl, "after "+d.String()); got != uint64(wall.UnixMilli()) {
			t.Errorf("after %s the time is %d, the clock says %d", d, got, wall.UnixMilli())
		}
	}
}

func TestClockIsMoved(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 61 * time.Second, "back": -61 * time.Second, "years forward": 50000 * time.Hour, "years back": -50000 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			tl := newTestLog(t, Config{})
			was := accepted(t, tl, "first")
			tl.clock.pass(time.Second)
			tl.clock.jump(jump)
			refusedByClock(t, tl, "moved by", "restart")
			tl.clock.jump(-jump)
			if now := accepted(t, tl, "set right"); now != was+1000 {
				t.Errorf("the time is %d, a second before it was %d", now, was)
			}
		})
	}
}

// A small step of the clock is tolerated, and the times of entries never
// decrease.
func TestClockIsAdjusted(t *testing.T) {
	tl := newTestLog(t, Config{})
	start := accepted(t, tl, "first")
	tl.clock.jump(-30 * time.Second)
	if got := accepted(t, tl, "set back"); got != start {
		t.Errorf("after a small step back the time is %d, not %d as before", got, start)
	}
	tl.clock.pass(10 * time.Second)
	if got := accepted(t, tl, "not there yet"); got != start {
		t.Errorf("the time is %d, not %d as before", got, start)
	}
	tl.clock.pass(20*time.Second + time.Millisecond)
	if got := accepted(t, tl, "there again"); got != start+1 {
		t.Errorf("the time is %d, want %d", got, start+1)
	}
	tl.clock.jump(90 * time.Second) // 60 seconds ahead of the start
	if got := accepted(t, tl, "set forward"); got != start+90_001 {
		t.Errorf("the time is %d, want %d", got, start+90_001)
	}
	tl.clock.jump(time.Millisecond)
	refusedByClock(t, tl)
}

func TestClockAtStart(t *testing.T) {
	const gap = 100 * time.Hour
	for name, c := range map[string]struct {
		jump time.Duration
		says string // in the error; "" is none
	}{
		"behind":             {-61 * time.Second, "before the last entry"},
		"far behind":         {-50000 * time.Hour, "before the last entry"},
		"before the epoch":   {-1_800_000_001 * time.Second, "before the last entry"},
		"a little behind":    {-60 * time.Second, ""},
		"ahead":              {gap, ""},
		"implausibly ahead":  {gap + time.Millisecond, "--accept-clock"},
		"much too far ahead": {1_800_000_000 * time.Second, "--accept-clock"},
	} {
		t.Run(name, func(t *testing.T) {
			tl := newTestLog(t, Config{MaxClockGap: gap})
			was := accepted(t, tl, "first")
			tl.clock.jump(c.jump)
			tl.restart(t)
			if c.says == "" {
				if now := accepted(t, tl, "second"); now != max(was, was+uint64(c.jump.Milliseconds())) && c.jump > 0 || now < was {
					t.Errorf("the time is %d, before it was %d", now, was)
				}
				return
			}
			refusedByClock(t, tl, c.says)
			tl.clock.pass(-c.jump)
			if c.jump < 0 { // time has passed, and the clock is right now
				accepted(t, tl, "second")
				return
			}
			refusedByClock(t, tl, c.says) // for good
			tl.restart(t)
			accepted(t, tl, "second")
		})
	}
}

// An empty log has no last entry to compare the clock with.
func TestClockOfAnEmptyLog(t *testing.T) {
	tl := newTestLog(t, Config{MaxClockGap: time.Hour})
	tl.clock.pass(1000 * time.Hour)
	tl.restart(t)
	accepted(t, tl, "first")
}

func TestSystemClock(t *testing.T) {
	c := SystemClock()
	before := time.Now()
	wall1, mono1 := c.Now()
	wall2, mono2 := c.Now()
	after := time.Now()
	if mono2 < mono1 || mono1 < 0 {
		t.Errorf("monotonic time went from %s to %s", mono1, mono2)
	}
	if wall1.Before(before.Round(0)) || wall2.After(after.Round(0)) {
		t.Errorf("the wall time went from %s to %s, between %s and %s", wall1, wall2, before, after)
	}
}

// A clockedStore is the clock of a store that a test sets, beside that of the
// server.
type clockedStore struct {
	server *testClock
	behind time.Duration // the server's
	takes  time.Duration // until it answers
	err    error
}

func (s *clockedStore) Time(context.Context) (time.Time, error) {
	s.server.pass(s.takes / 2)
	now, _ := s.server.Now()
	s.server.pass(s.takes - s.takes/2)
	return now.Add(-s.behind), s.err
}

// A server whose clock differs from that of the store refuses appends, so that
// it does not date entries such that others refuse theirs.
func TestClockOfStore(t *testing.T) {
	for name, c := range map[string]struct {
		behind, takes time.Duration
		refused       string
	}{
		"equal":                 {0, 0, ""},
		"ahead":                 {maxApart, 0, ""},
		"behind":                {-maxApart, 0, ""},
		"too far ahead":         {maxApart + time.Millisecond, 0, "29s ahead of"},
		"too far behind":        {-2 * time.Hour, 0, "2h0m0s behind"},
		"after a long time":     {0, 50 * time.Second, ""},
		"ahead, or it was long": {34 * time.Second, 10 * time.Second, ""},
		"ahead, and it was":     {36 * time.Second, 10 * time.Second, "36s ahead of"},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newTestClock()
			g := newClockGuard(clock, false, 0, 0)
			if err := g.compare(t.Context(), &clockedStore{server: clock, behind: c.behind, takes: c.takes}); err != nil {
				t.Fatal(err)
			}
			_, err := g.next(0)
			if c.refused == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantErr(t, "an append", err, ErrClock, c.refused, "the clock of the database", "set the one that is wrong")
			// The verdict stays without an answer, and after a late one.
			if err := g.compare(t.Context(), &clockedStore{server: clock, takes: time.Hour}); err != nil {
				t.Fatal(err)
			}
			if err := g.compare(t.Context(), &clockedStore{server: clock, err: store.ErrNoAnswer}); err == nil {
				t.Error("the clock was compared without an answer")
			}
			if _, err := g.next(0); err == nil {
				t.Error("without an answer, an append is accepted again")
			}
			if err := g.compare(t.Context(), &clockedStore{server: clock}); err != nil {
				t.Fatal(err)
			}
			if _, err := g.next(0); err != nil {
				t.Errorf("after the clock was set: %v", err)
			}
		})
	}
}
