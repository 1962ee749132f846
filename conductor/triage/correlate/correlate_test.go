package correlate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/signal"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// at returns a time some seconds after noon.
func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

const types = `
version: 1
topology: {label: service, depends_on: {gateway: [auth, subs], subs: [db]}}
types:
  near: {severity: P1, correlate: [cluster, service], topology: true, signals: [{name: a, when: name == "A"}, {name: b, when: name == "B"}]}
  traced: {severity: P2, correlate: [cluster], traces: true, signals: [{name: a, when: name == "A"}, {name: b, when: name == "B"}]}
`

func table(t testing.TB) (*Table, *catalogue.Catalogue) {
	t.Helper()
	c, err := catalogue.Parse([]byte(types))
	if err != nil {
		t.Fatal(err)
	}
	return New(c), c
}

func firing(starts, received int) signal.Signal {
	return signal.Signal{Source: "s", Name: "A", State: signal.Firing, Starts: at(starts), Received: at(received), Labels: map[string]string{"cluster": "eu", "service": "gateway"}}
}

func resolved(ends, received int) signal.Signal {
	s := firing(ends, received)
	s.State, s.Ends = signal.Resolved, at(ends)
	return s
}

// TestEffects checks the table of effects of the specification.
func TestEffects(t *testing.T) {
	for _, c := range []struct {
		name    string
		signals []signal.Signal
		want    []Effect
		fires   bool
	}{
		{"one episode", []signal.Signal{firing(0, 1), firing(0, 2), resolved(5, 6)}, []Effect{Opened, Continued, Ended}, false},
		{"again", []signal.Signal{firing(0, 1), resolved(5, 6), firing(7, 8)}, []Effect{Opened, Ended, Opened}, true},
		{"resolved before firing", []signal.Signal{resolved(5, 6), firing(0, 7)}, []Effect{Recorded, Stale}, false},
		{"repeated after the resolution", []signal.Signal{firing(0, 1), resolved(5, 6), firing(0, 7), resolved(5, 8)}, []Effect{Opened, Ended, Stale, Recorded}, false},
		{"starts when it ended", []signal.Signal{resolved(5, 6), firing(5, 7)}, []Effect{Recorded, Stale}, false},
		{"old resolution, late", []signal.Signal{firing(7, 8), resolved(5, 9)}, []Effect{Opened, Recorded}, true},
		{"twins with other starts", []signal.Signal{firing(0, 1), firing(2, 3), resolved(5, 6)}, []Effect{Opened, Continued, Ended}, false},
		{"silenced when it ended", []signal.Signal{firing(0, 1), firing(0, 600), firing(721, 730), firing(0, 731)}, []Effect{Opened, Continued, Opened, Stale}, true},
		{"a twin that starts later", []signal.Signal{firing(0, 1), firing(0, 600), firing(720, 730), resolved(740, 750)}, []Effect{Opened, Continued, Continued, Ended}, false},
		{"its resolution is late", []signal.Signal{firing(0, 1), firing(500, 510), resolved(400, 520), resolved(530, 540)}, []Effect{Opened, Opened, Recorded, Ended}, false},
		{"a twin has started anew", []signal.Signal{firing(7, 8), firing(0, 9), resolved(5, 10)}, []Effect{Opened, Continued, Recorded}, true},
	} {
		tab, _ := table(t)
		var got []Effect
		var a *Alert
		for i := range c.signals {
			var e Effect
			a, e, _ = tab.Observe(&c.signals[i])
			got = append(got, e)
		}
		if !slices.Equal(got, c.want) || a.Fires() != c.fires || len(tab.alerts) != 1 {
			t.Errorf("%s: %v, fires: %v, want %v, %v", c.name, got, a.Fires(), c.want, c.fires)
		}
	}
}

// TestOrder checks that the state of an alert does not depend on the order of
// its signals, and that repetitions change nothing.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []signal.Signal
		for i := range rapid.IntRange(1, 8).Draw(t, "signals") {
			when := rapid.IntRange(0, 12).Draw(t, "when")
			if rapid.Bool().Draw(t, "resolved") {
				all = append(all, resolved(when, 20+i))
			} else {
				all = append(all, firing(when, 20+i))
			}
		}
		c, err := catalogue.Parse([]byte(types))
		if err != nil {
			t.Fatal(err)
		}
		state := func(signals []signal.Signal) string {
			tab := New(c)
			var a *Alert
			for i := range signals {
				a, _, _ = tab.Observe(&signals[i])
			}
			return fmt.Sprint(a.end, a.starts, a.Opened())
		}
		shuffled := rapid.Permutation(append(slices.Clone(all), all...)).Draw(t, "order")
		if one, other := state(all), state(shuffled); one != other {
			t.Fatalf("%s\nin another order %s", one, other)
		}
	})
}

// TestTwins checks that replicas are one alert, and other labels are not.
func TestTwins(t *testing.T) {
	tab, _ := table(t)
	for _, replica := range []string{"a", "b", ""} {
		s := firing(0, 1)
		s.Labels["replica"] = replica
		if _, _, err := tab.Observe(&s); err != nil {
			t.Fatal(err)
		}
		if s.Labels["replica"] != replica {
			t.Error("the labels of the signal were changed")
		}
	}
	if len(tab.alerts) != 1 {
		t.Errorf("%d alerts of twins", len(tab.alerts))
	}
	s := firing(0, 1)
	s.Labels["service"] = "auth"
	if _, _, err := tab.Observe(&s); err != nil || len(tab.alerts) != 2 {
		t.Errorf("%d alerts, %v", len(tab.alerts), err)
	}
}

// TestIdentity checks that labels cannot imitate other labels.
func TestIdentity(t *testing.T) {
	one := identity("s", "n", map[string]string{"a": "b", "c": "d"})
	for _, labels := range []map[string]string{{"a": "b1:c1:d"}, {"a": "b", "c": "d", "e": ""}, {"a": "b\x00c"}, {"a1:b": "1:c1:d"}} {
		if identity("s", "n", labels) == one {
			t.Errorf("%q has the same identity", labels)
		}
	}
	k := catalogue.MakeKey([]string{"a:b", "", "3:x"})
	if got := k.Values(); !slices.Equal(got, []string{"a:b", "", "3:x"}) {
		t.Errorf("values of %q: %q", k, got)
	}
}

func TestStanding(t *testing.T) {
	tab, c := table(t)
	of := c.Type("near") // window 30m, flapping 4 in 10m
	check := func(name string, now time.Time, want Standing, signals ...signal.Signal) {
		t.Helper()
		tab.alerts = map[string]*Alert{}
		var a *Alert
		for i := range signals {
			a, _, _ = tab.Observe(&signals[i])
		}
		if got := tab.Standing(a, of, now); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	check("new", at(1), Counts, firing(0, 1))
	check("at the end of the window", at(1800), Counts, firing(0, 1))
	check("after the window", at(1801), Chronic, firing(0, 1))
	check("an old message, replayed", at(7200), Chronic, firing(0, 7199))
	check("clock that is ahead", at(1802), Chronic, firing(30, 1))
	check("resolved", at(9), Resolved, firing(0, 1), resolved(5, 6))
	flaps := []signal.Signal{firing(0, 1), resolved(5, 6), firing(7, 8), resolved(9, 10), firing(11, 12)}
	check("three changes", at(13), Counts, flaps[:3]...)
	check("five changes", at(13), Flapping, flaps...)
	check("silenced when it ended", at(1990), Counts, firing(0, 1), firing(0, 60), firing(1980, 1990))
	check("silenced twice", at(400), Flapping, firing(0, 1), firing(200, 201), firing(399, 400))
	check("five changes, long ago", at(620), Counts, flaps...)
}

// TestCandidates checks the three rules of membership, none of which is
// transitive.
func TestCandidates(t *testing.T) {
	trace := strings.Repeat("a", 32)
	tab, c := table(t)
	for _, a := range []struct{ name, cluster, service, trace string }{
		{"A", "eu", "gateway", trace},
		{"B", "eu", "gateway", ""},
		{"B", "eu", "subs", ""},
		{"B", "eu", "db", ""},       // two steps away
		{"B", "us", "subs", trace},  // another cluster, with the trace
		{"B", "us", "other", ""},    // nothing in common
		{"B", "", "gateway", ""},    // no key for near, no key for traced
		{"C", "eu", "gateway", ""},  // matches nothing
		{"A", "ap", "standby", "x"}, // another candidate
	} {
		s := signal.Signal{Source: "s", Name: a.name, State: signal.Firing, Starts: at(0), Received: at(0), Labels: map[string]string{}}
		for label, value := range map[string]string{"cluster": a.cluster, "service": a.service} {
			if value != "" {
				s.Labels[label] = value
			}
		}
		if a.trace != "" {
			s.Traces = []string{a.trace}
		}
		if _, _, err := tab.Observe(&s); err != nil {
			t.Fatal(err)
		}
	}
	describe := func(of string) string {
		candidates, others, full := tab.Candidates(c.Type(of), at(1))
		var b strings.Builder
		for _, x := range candidates {
			fmt.Fprintf(&b, "%s:", strings.Join(x.Key.Values(), "/"))
			for _, m := range x.Members {
				fmt.Fprintf(&b, " %s-%s-%s", m.Name, m.Labels["cluster"], m.Labels["service"])
			}
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%d others, %v", len(others), full)
		return b.String()
	}
	if got, want := describe("near"), "ap/standby: A-ap-standby; eu/gateway: A-eu-gateway B-eu-subs B-eu-gateway; 4 others, false"; got != want {
		t.Errorf("near:\n%s\nwant\n%s", got, want)
	}
	if got, want := describe("traced"), "ap: A-ap-standby; eu: A-eu-gateway B-eu-db B-eu-subs B-eu-gateway B-us-subs; 2 others, false"; got != want {
		t.Errorf("traced:\n%s\nwant\n%s", got, want)
	}
	index := tab.Index()
	for _, of := range c.Types {
		candidates, _, _ := tab.Candidates(of, at(1))
		for _, x := range candidates {
			var anchors, want, got []string
			for _, m := range x.Members {
				want = append(want, m.Identity())
				if m.Anchors() && m.Match.Key == x.Key {
					anchors = append(anchors, m.Identity())
				}
			}
			for _, m := range index.Belonging(of, x.Key, anchors) {
				got = append(got, m.Identity())
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s %q: the index has %q, want %q", of.Name, x.Key.Values(), got, want)
			}
		}
	}
}

// TestFull checks that a table loses no alert that fires.
func TestFull(t *testing.T) {
	tab, c := table(t)
	tab.max = 32
	observe := func(i int, s signal.Signal) error {
		s.Labels = map[string]string{"cluster": fmt.Sprint(i)}
		_, _, err := tab.Observe(&s)
		return err
	}
	for i := range 32 {
		s := firing(0, 1)
		if i < 4 {
			s = resolved(i, 5)
		}
		if err := observe(i, s); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		if err := observe(100+i, firing(5, 6)); err != nil {
			t.Errorf("alert %d, for which one that ended can be dropped: %v", i, err)
		}
	}
	if err := observe(200, firing(0, 1)); !errors.Is(err, ErrFull) {
		t.Errorf("a table full of alerts that fire: %v", err)
	}
	if err := observe(31, resolved(9, 10)); err != nil {
		t.Errorf("a known alert: %v", err)
	}
	tab, _ = table(t)
	for i := range MaxCandidates + 1 {
		if err := observe(i, firing(0, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if candidates, others, full := tab.Candidates(c.Type("traced"), at(1)); candidates != nil || full {
		t.Errorf("the types of another catalogue: %d candidates, %d others, %v", len(candidates), len(others), full)
	}
	if _, others, full := tab.Candidates(tab.catalogue.Type("traced"), at(1)); !full || len(others) != MaxCandidates+1 {
		t.Errorf("%d others, full: %v", len(others), full)
	}
}

// TestUnheard checks that an alert that fires again, after its resolution was
// not sent, begins another episode: no incident claims it, also after a
// restart. Repetitions are stored once a minute.
func TestUnheard(t *testing.T) {
	tab, _ := table(t)
	observe := func(starts, received int) *Alert {
		t.Helper()
		s := firing(starts, received)
		a, _, err := tab.Observe(&s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := observe(0, 1)
	tab.Claim(a, "near/1-1")
	tab.Changes()
	stored := 0
	for n := 2; n < 600; n++ {
		observe(0, n)
		changed, _ := tab.Changes()
		stored += len(changed)
	}
	if stored != 9 {
		t.Errorf("stored %d times in ten minutes, want 9", stored)
	}
	record := a.Record()
	tab, _ = table(t)
	tab.Restore(record)
	if a = observe(700, 701); len(a.Claims()) != 1 || len(a.starts) != 2 {
		t.Errorf("claims %q, starts %v", a.Claims(), a.starts)
	}
	if a = observe(900, 901); len(a.Claims()) != 0 || !a.Opened().Equal(at(901)) || !a.Started().Equal(at(900)) {
		t.Errorf("claims %q, opened %v, started %v", a.Claims(), a.Opened(), a.Started())
	}
	record.Heard = 0 // of an earlier version
	tab, _ = table(t)
	tab.Restore(record)
	if a = observe(122, 123); len(a.Claims()) != 0 {
		t.Errorf("claims %q", a.Claims())
	}
}

// TestShare checks that a sender with many alerts that fire leaves room for the
// others, also after a restart, and that resolutions apply which come after a
// new alert that is refused.
func TestShare(t *testing.T) {
	tab, _ := table(t)
	tab.max = 32
	send := func(sender string, n int, s signal.Signal) signal.Signal {
		s.Sender, s.Labels = sender, map[string]string{"cluster": sender, "service": fmt.Sprint(n)}
		return s
	}
	flood := func(sender string, want int) {
		t.Helper()
		var all []signal.Signal
		for n := range 40 {
			all = append(all, send(sender, n, firing(0, 1)))
		}
		effects := map[Effect]int{}
		err := tab.ObserveAll(all, effects)
		if got := effects[Opened] + effects[Continued]; got != want || !errors.Is(err, ErrFull) {
			t.Errorf("%d alerts of %s fire, want %d; %v", got, sender, want, err)
		}
	}
	flood("a", 16)
	flood("b", 8)
	flood("c", 4)
	flood("a", 16) // repeated

	restored, _ := table(t)
	restored.max = 32
	for _, a := range tab.alerts {
		restored.Restore(a.Record())
	}
	tab = restored
	flood("a", 16)
	flood("d", 2)

	effects := map[Effect]int{}
	mixed := []signal.Signal{send("a", 50, firing(0, 1)), send("a", 0, resolved(2, 3)), send("a", 1, resolved(2, 3)), send("a", 51, resolved(2, 3))}
	if err := tab.ObserveAll(mixed, effects); !errors.Is(err, ErrFull) || effects[Ended] != 2 || effects[Recorded] != 1 {
		t.Errorf("effects %v, %v", effects, err)
	}
	if s := send("a", 0, firing(4, 5)); tab.ObserveAll([]signal.Signal{s}, effects) == nil {
		t.Error("an alert that is known fires again beyond the share")
	}
	if s := send("e", 9, firing(4, 5)); tab.ObserveAll([]signal.Signal{s}, effects) != nil {
		t.Error("another sender has no room")
	}
	tab, _ = table(t)
	tab.max = 32
	flood("", 32) // the only sender
	if tab.fires != 32 || len(tab.firing) != 1 {
		t.Errorf("%d fire: %v", tab.fires, tab.firing)
	}
}
