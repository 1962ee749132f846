package decide

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// TestErasureTakesEffect checks that a decider which has read something forgets
// it with the erasure.
func TestErasureTakesEffect(t *testing.T) {
	q := Question{Stage: "deploy"}
	for _, c := range []struct {
		name          string
		build         func(w *world) (erased uint64)
		header        bool
		before, after string
	}{
		{"the set", func(w *world) uint64 {
			built(w)
			return 1
		}, false, "pass; A satisfied; 24h", "undecided unreadable-control-set; 24h"},
		{"a control", func(w *world) uint64 {
			built(w)
			return 0
		}, false, "pass; A satisfied; 24h", "undecided unreadable-control-set; 24h"},
		{"the header of the set", func(w *world) uint64 {
			built(w)
			return 1
		}, true, "pass; A satisfied; 24h", "undecided no-control-set; 24h"},
		{"a key event", func(w *world) uint64 {
			built(w)
			return w.keyEvent("compromised", byWorkflow, 0)
		}, true, needsA, "pass; A satisfied; 24h"},
		{"the payload of a key event", func(w *world) uint64 {
			built(w)
			return w.keyEvent("compromised", byWorkflow, 0)
		}, false, needsA, needsA},
		{"a finding", func(w *world) uint64 {
			w.put(nil, with(ctl("F"), obj{"condition": "size(findings) == 0"}))
			return w.finding("AUD-1", "high", "open", nil, "F")
		}, true, "blocked; F not-satisfied condition-false; 24h", "pass; F satisfied; 24h"},
		{"an approval", func(w *world) uint64 {
			w.put(nil, needsProvenance)
			return w.decision("E-1", w.request("E-1", "A", 10), "approve", kim)
		}, true, "pass; A excepted [provenance] E-1; 10h", needsA},
		{"the payload of an approval", func(w *world) uint64 {
			w.put(nil, needsProvenance)
			return w.decision("E-1", w.request("E-1", "A", 10), "approve", kim)
		}, false, "pass; A excepted [provenance] E-1; 10h", "pass; A excepted [provenance] E-1; 10h"},
		{"facts", func(w *world) uint64 {
			w.put(nil, noneCritical)
			return w.attest(scan, scanOf(), app.Digest, byScanner)
		}, false, "pass; V satisfied; 24h", "undecided; V undecided facts-unavailable; 24h"},
	} {
		w := &world{}
		erased := c.build(w)
		d := w.decider()
		if got := summary(w.ask(t, d, q, app)); got != c.before {
			t.Errorf("%s: before: %s, want %s", c.name, got, c.before)
		}
		w.erase(erased, c.header)
		for name, d := range map[string]*Decider{"the same decider": d, "another": w.decider()} {
			if got := summary(w.ask(t, d, q, app)); got != c.after {
				t.Errorf("%s: %s: %s, want %s", c.name, name, got, c.after)
			}
		}
	}
}

// TestNewEntriesTakeEffect checks that a decider sees what was appended since
// the last decision.
func TestNewEntriesTakeEffect(t *testing.T) {
	w, q := &world{}, Question{Stage: "deploy"}
	d := w.decider()
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"nothing", func() {}, "undecided no-control-set; 24h"},
		{"a control set", func() { w.put(nil, needsProvenance) }, needsA},
		{"a request", func() { w.request("E-1", "A", 10) }, needsA},
		{"its approval", func() { w.decision("E-1", 2, "approve", kim) }, "pass; A excepted [provenance] E-1; 10h"},
		{"evidence", func() { w.attest(provenance, buildOf("b"), app.Digest, byWorkflow) }, "pass; A satisfied; 24h"},
		{"a compromise", func() { w.keyEvent("compromised", byWorkflow, 0) }, "pass; A excepted [provenance] E-1; 10h"},
		{"the revocation", func() { w.decision("E-1", 2, "revoke", kim) }, needsA},
		{"another set", func() { w.put(obj{"version": "2"}, with(needsProvenance, obj{"modes": modes("deploy warn")})) }, "pass; A (warn) not-satisfied missing-evidence [provenance]; 24h"},
	} {
		step.do()
		if got := summary(w.ask(t, d, q, app)); got != step.want {
			t.Errorf("after %s: %s, want %s", step.name, got, step.want)
		}
	}
}

// TestMoments decides the past again, and refuses the future.
func TestMoments(t *testing.T) {
	w := &world{}
	built(w) // entries 0 to 2
	w.now = 5
	w.keyEvent("compromised", byWorkflow, 0)
	w.now = 9
	d := w.decider()
	for _, c := range []struct {
		name string
		at   Moment
		want string // the size, and the time in hours
	}{
		{"now", Moment{}, "blocked 4 9"},
		{"the whole log", Moment{Size: 4}, "blocked 4 5"},
		{"before the event", Moment{Size: 3}, "pass 3 0"},
		{"a time before the event", Moment{Time: day0.Add(hours(4))}, "pass 3 4"},
		{"the time of the event", Moment{Time: day0.Add(hours(5))}, "blocked 4 5"},
		{"a time before everything", Moment{Time: day0.Add(-hours(1))}, "undecided 0 -1"},
	} {
		got := w.ask(t, d, Question{Stage: "deploy", At: c.at}, app)
		if s := fmt.Sprintf("%s %d %g", got.Decision, got.Size, got.Decided.Sub(day0).Hours()); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
	for _, at := range []Moment{{Size: 5}, {Time: day0.Add(hours(9.5))}} {
		err := d.Decide(context.Background(), "acme", stream, &Question{Stage: "deploy", At: at}, []Artifact{app}, nil)
		if !errors.Is(err, ErrNotYet) {
			t.Errorf("%+v: %v", at, err)
		}
	}
}

// TestClockThatJumps checks that the time is never before the log's last entry,
// so that an exception which has expired stays so.
func TestClockThatJumps(t *testing.T) {
	w := &world{}
	w.put(nil, needsProvenance)
	w.decision("E-1", w.request("E-1", "A", 10), "approve", kim)
	w.now = 11
	w.finding("X", "low", "open", sha("b"))
	w.now = 2
	got := w.ask(t, w.decider(), Question{Stage: "deploy"}, app)
	if got.Decision != evaluate.Blocked || !got.Decided.Equal(day0.Add(hours(11))) {
		t.Errorf("%s at %s", got.Decision, got.Decided)
	}
}

// TestSharedReads checks that decisions about many artifacts read what they
// have in common once.
func TestSharedReads(t *testing.T) {
	reads := func(n int) int {
		w := &world{}
		built(w)
		for i := range 50 {
			w.request(fmt.Sprintf("E-%d", i), "A", 10)
		}
		d := w.decider()
		artifacts := make([]Artifact, n)
		for i := range artifacts {
			artifacts[i] = Artifact{Subject: evaluate.Subject{Type: "image", Digest: map[string]string{"sha256": fmt.Sprintf("%064d", i)}}}
		}
		answers := 0
		err := d.Decide(context.Background(), "acme", stream, &Question{Stage: "deploy"}, artifacts, func(int, *evaluate.Decision) error {
			answers++
			return nil
		})
		if err != nil || answers != n {
			t.Fatalf("%d answers: %v", answers, err)
		}
		return w.reads
	}
	one, ten := reads(1), reads(10)
	each := (reads(110) - ten) / 100
	if one < 5*each {
		t.Errorf("the first artifact takes %d reads, and each further one %d", one, each)
	}
}

// TestInterrupted checks that a call which ends makes no decision.
func TestInterrupted(t *testing.T) {
	w := &world{}
	built(w)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := w.decider().Decide(ctx, "acme", stream, &Question{Stage: "deploy"}, []Artifact{app}, func(int, *evaluate.Decision) error {
		t.Error("a decision was made")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestReliance checks which entries must be kept.
func TestReliance(t *testing.T) {
	w := &world{}
	built(w)
	event := w.keyEvent("retired", byWorkflow, 0)
	r := w.request("E-1", "A", 10)
	a := w.decision("E-1", r, "approve", kim)
	ended := w.request("E-2", "A", 10)
	revoked := w.decision("E-2", ended, "revoke", dana)
	other := w.finding("X", "low", "open", sha("b"))
	d := w.decider()
	for index, want := range map[uint64]string{
		0: "the control set in force (entry 1) contains it", 1: "the control set (entry 1) is in force", 2: "covers the same artifact",
		event: "every event of a key", r: "in force until", a: "in force until", revoked: "was ended by it", ended: "covers the same artifact", other: "",
	} {
		e, err := w.Entry(context.Background(), stream, index)
		if err != nil {
			t.Fatal(err)
		}
		why, err := d.ReliedUpon(context.Background(), stream, e)
		if err != nil || !strings.Contains(why, want) || (want == "") != (why == "") {
			t.Errorf("entry %d (%s): %q, %v; want %q", index, e.Header.Kind, why, err, want)
		}
	}
	w.put(obj{"version": "2"}, with(needsProvenance, obj{"severity": "low"}))
	e, err := w.Entry(context.Background(), stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	if why, err := d.ReliedUpon(context.Background(), stream, e); err != nil || why != "" {
		t.Errorf("a set that was replaced: %q, %v", why, err)
	}
}

// TestBoundedStreams checks that the states of streams are bounded.
func TestBoundedStreams(t *testing.T) {
	w := &world{}
	d := w.decider()
	for i := range maxStreams + 10 {
		s := ledger.NewStream(entry.StreamKey{byte(i), byte(i >> 8)})
		if err := d.Decide(context.Background(), "acme", s, &Question{Stage: "deploy"}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(d.states.all); n > maxStreams {
		t.Errorf("%d streams are kept", n)
	}
}

// TestFactsBomb checks that the facts of many entries are bounded together.
func TestFactsBomb(t *testing.T) {
	w := &world{}
	w.put(nil, noneCritical)
	report := make([]string, 450)
	for i := range report {
		report[i] = fmt.Sprintf("CVE-%d/Low/lib", i)
	}
	for range 6 {
		w.now++
		w.attest(scan, scanOf(report...), app.Digest, byScanner)
	}
	d := w.decider()
	d.elements = 2000
	if got := summary(w.ask(t, d, Question{Stage: "deploy"}, app)); got != "undecided; V undecided facts-unavailable; 24h" {
		t.Errorf("%s", got)
	}
	if k := w.last().Kind; k != kindname.Attestation {
		t.Errorf("the last entry is of kind %s", k)
	}
}
