package classify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"muniment.dev/muniment/conductor/triage/catalogue"
	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/signal"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }

const types = `
version: 1
types:
  surge:
    severity: P1
    correlate: [service]
    signals:
      - {name: errors, when: name == "Errors", for: 15s}
      - {name: slow, when: 'name == "Slow" && labels.quantile == "0.99"', count: 2}
    abstain:
      - {when: name == "Deploying", reason: a deployment explains it}
      - {when: 'name == "Maintenance" && labels.kind == "full"', reason: it is planned}
    window: 10m
`

func parse(t testing.TB, text string) *catalogue.Catalogue {
	t.Helper()
	c, err := catalogue.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// alert returns a signal: its name, its time and its labels, such as
// "Errors@0 service=a". An exclamation mark after the name resolves it.
func alert(t testing.TB, text string) *signal.Signal {
	t.Helper()
	words := strings.Fields(text)
	name, when, _ := strings.Cut(words[0], "@")
	var seconds int
	if _, err := fmt.Sscan(when, &seconds); err != nil {
		t.Fatal(err)
	}
	s := &signal.Signal{Source: "s", Name: strings.TrimSuffix(name, "!"), State: signal.Firing, Starts: at(seconds), Received: at(seconds), Labels: map[string]string{}}
	if strings.HasSuffix(name, "!") {
		s.State, s.Ends = signal.Resolved, at(seconds)
	}
	for _, pair := range words[1:] {
		label, value, _ := strings.Cut(pair, "=")
		s.Labels[label] = value
	}
	return s
}

func results(t testing.TB, c *catalogue.Catalogue, now time.Time, alerts ...string) []*Result {
	t.Helper()
	table := correlate.New(c)
	for _, text := range alerts {
		if _, _, err := table.Observe(alert(t, text)); err != nil {
			t.Fatal(err)
		}
	}
	return All(c, table, now)
}

var surge = []string{"Errors@0 service=a", "Slow@1 service=a quantile=0.99 pod=1", "Slow@2 service=a quantile=0.99 pod=2"}

func TestVerdicts(t *testing.T) {
	c := parse(t, types)
	for _, k := range []struct {
		name   string
		now    int
		alerts []string
		want   Verdict
		reason string // part of the first
	}{
		{"complete", 15, surge, Classified, ""},
		{"nothing", 15, nil, Incomplete, "no alert that counts matches errors"},
		{"too early", 14, surge, Incomplete, "errors: 0 alerts of 1"},
		{"too few", 15, surge[:2], Incomplete, "slow: 1 alert of 2"},
		{"the same alert again", 15, append(surge[:2:2], "Slow@3 service=a quantile=0.99 pod=1"), Incomplete, "slow: 1 alert of 2"},
		{"a twin", 15, append(surge[:2:2], "Slow@3 service=a quantile=0.99 pod=1 replica=b"), Incomplete, "slow: 1 alert of 2"},
		{"another service", 15, append(surge[:2:2], "Slow@3 service=b quantile=0.99 pod=1"), Incomplete, "slow: 1 alert of 2"},
		{"anchor without key", 15, []string{"Errors@0"}, Incomplete, "no alert that counts matches errors"},
		{"resolved", 15, append(surge[:3:3], "Errors!@14 service=a"), Incomplete, "no alert that counts matches errors"},
		{"chronic", 700, surge, Incomplete, "no alert that counts matches errors"},
		{"deployment", 15, append(surge[:3:3], "Deploying@0 service=a"), Abstained, "a deployment explains it (Deploying)"},
		{"chronic deployment", 600, []string{"Deploying@-7200 service=a", "Errors@580 service=a", surge[1], surge[2]}, Abstained, "a deployment explains it"},
		{"deployment that ended", 15, append(surge[:3:3], "Deploying@0 service=a", "Deploying!@9 service=a"), Classified, ""},
		{"deployment elsewhere", 15, append(surge[:3:3], "Deploying@0 service=b"), Classified, ""},
		{"unclear reason to abstain", 15, append(surge[:3:3], "Maintenance@0 service=a"), Abstained, "a reason to abstain cannot be evaluated for Maintenance: "},
		{"unclear signal", 15, append(surge[:3:3], "Slow@0 service=a"), Abstained, "a required signal cannot be evaluated for Slow: "},
		{"unclear signal that ended", 15, append(surge[:3:3], "Slow@0 service=a", "Slow!@9 service=a"), Classified, ""},
	} {
		all := results(t, c, at(k.now), k.alerts...)
		r := all[0]
		if len(all) != 1 || r.Verdict != k.want || k.reason == "" != (len(r.Reasons) == 0) || k.reason != "" && !strings.Contains(r.Reasons[0], k.reason) {
			t.Errorf("%s: %s %q, want %s %q", k.name, r.Verdict, r.Reasons, k.want, k.reason)
		}
	}
}

// TestRivals checks that two types that explain the same alerts both abstain,
// unless one of them has the higher priority.
func TestRivals(t *testing.T) {
	text := func(priority int) string {
		return fmt.Sprintf(`{version: 1, types: {one: {severity: P1, correlate: [s], signals: [{name: a, when: name == "A"}]},
			two: {severity: P2, correlate: [s], priority: %d, signals: [{name: b, when: name == "B"}, {name: a, when: name == "A"}]}}}`, priority)
	}
	for _, c := range []struct {
		priority int
		want     [2]Verdict
	}{{0, [2]Verdict{Abstained, Abstained}}, {1, [2]Verdict{Abstained, Classified}}} {
		all := results(t, parse(t, text(c.priority)), at(1), "A@0 s=x", "B@0 s=x")
		if len(all) != 2 || all[0].Verdict != c.want[0] || all[1].Verdict != c.want[1] || all[0].Reasons[0] != "the same alerts match two" {
			t.Errorf("priority %d: %s, %s %q", c.priority, all[0].Verdict, all[1].Verdict, all[0].Reasons)
		}
	}
	if all := results(t, parse(t, text(0)), at(1), "A@0 s=x", "B@0 s=y"); all[0].Verdict != Classified || all[1].Verdict != Incomplete {
		t.Errorf("the other type is incomplete: %s, %s", all[0].Verdict, all[1].Verdict)
	}
}

// TestOrder checks that the order and the repetition of alerts change no
// result.
func TestOrder(t *testing.T) {
	c := parse(t, types)
	pool := append(slices.Clone(surge), "Deploying@0 service=a", "Errors@3 service=b", "Slow!@9 service=a quantile=0.99 pod=2", "Slow@3 service=b", "Slow@1 service=a quantile=0.5")
	rapid.Check(t, func(rt *rapid.T) {
		some := rapid.SliceOfN(rapid.SampledFrom(pool), 1, 12).Draw(rt, "alerts")
		other := rapid.Permutation(append(slices.Clone(some), some...)).Draw(rt, "order")
		describe := func(alerts []string) string {
			var b strings.Builder
			for _, r := range results(t, c, at(30), alerts...) {
				fmt.Fprintln(&b, r.Key, r.Verdict, r.Reasons, r.Signals)
			}
			return b.String()
		}
		if one, two := describe(some), describe(other); one != two {
			rt.Fatalf("%s\nin another order\n%s", one, two)
		}
	})
}

// TestListed checks that a storm of alerts makes no long result.
func TestListed(t *testing.T) {
	alerts := []string{"Errors@0 service=a"}
	for i := range 100 {
		alerts = append(alerts, fmt.Sprintf("Slow@0 service=a quantile=0.99 pod=%d", i))
	}
	r := results(t, parse(t, types), at(20), alerts...)[0]
	if s := r.Signals[1]; r.Verdict != Classified || s.Counted != 100 || len(s.Alerts) != maxListed || s.Unlisted != 100-maxListed {
		t.Errorf("%s: %d counted, %d listed, %d not", r.Verdict, s.Counted, len(s.Alerts), s.Unlisted)
	}
}
