package decide

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

// record appends the decision about a question as the log does.
func (w *world) record(t *testing.T, q Question, a Artifact) uint64 {
	t.Helper()
	d := w.ask(t, w.decider(), q, a)
	m := Message(d, &q, &a)
	h := entry.Header{Kind: kindname.GateDecision, Submitter: kim, Attributes: map[string]string{"stage": q.Stage, "decision": m.Decision, "environment": q.Environment,
		"decided": m.Decided.AsTime().Format(time.RFC3339Nano), "type": m.Type}}
	for _, s := range m.Subjects {
		h.Subjects = append(h.Subjects, entry.Subject{Name: s.Name, Digest: s.Digest})
	}
	payload, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return w.add(h, string(payload))
}

var deploy = Question{Stage: "deploy"}

// affected returns a line for each affected pass.
func (w *world) affected(t *testing.T, q PassQuery) []string {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 1000
	}
	var all []string
	next, err := w.decider().Affected(context.Background(), "acme", stream, &q, func(a *Affected, _ Span) error {
		if a != nil {
			line := fmt.Sprintf("@%d %s", a.Index, a.Now.Decision)
			for _, c := range a.Causes {
				line += fmt.Sprintf("; %s %s %v", c.Control, c.Change, c.Entries)
			}
			all = append(all, line)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if next > 0 {
		all = append(all, fmt.Sprintf("below %d", next))
	}
	return all
}

// TestAffected checks which passes a later entry or time undoes, and that the
// cause is the entry that does.
func TestAffected(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(w *world)
		after  func(w *world) // hours 1 to 2
		want   string
	}{
		{"nothing", built, func(w *world) {}, ""},
		{"the key is compromised", built, func(w *world) { w.keyEvent("compromised", byWorkflow, 0) }, "@3 blocked; A key-event [4]"},
		{"another key is compromised", built, func(w *world) { w.keyEvent("compromised", byScanner, 0) }, ""},
		{"the key is retired before", built, func(w *world) { w.keyEvent("retired", byWorkflow, -1) }, "@3 blocked; A key-event [4]"},
		{"the key is retired after", built, func(w *world) { w.keyEvent("retired", byWorkflow, 1) }, ""},
		{"a new scan", func(w *world) {
			w.put(nil, noneCritical)
			w.attest(scan, scanOf(), app.Digest, byScanner)
		}, func(w *world) { w.attest(scan, scanOf("CVE-1/Critical/a"), app.Digest, byScanner) }, "@3 blocked; V evidence [4]"},
		{"a new VEX statement", func(w *world) {
			w.put(nil, noneCritical)
			w.attest(scan, scanOf("CVE-1/Critical/a"), app.Digest, byScanner)
			w.attest(vex, vexOf("CVE-1/not_affected"), app.Digest, byWorkflow)
		}, func(w *world) { w.attest(vex, vexOf("CVE-1/affected"), app.Digest, byWorkflow) }, "@4 blocked; V evidence [5]"},
		{"a finding", func(w *world) { w.put(nil, with(ctl("F"), obj{"condition": "size(findings) == 0"})) },
			func(w *world) { w.finding("AUD-1", "high", "open", nil, "F") }, "@2 blocked; F evidence [3]"},
		{"the exception is revoked", excepted(needsProvenance, nil, approved(kim)), func(w *world) { w.decision("E-1", 2, "revoke", lee) }, "@4 blocked; A exception [2 5]"},
		{"the exception expires", excepted(needsProvenance, nil, approved(kim)), func(w *world) { w.now = 11 }, "@4 blocked; A exception [2]"},
		{"the evidence is too old", func(w *world) {
			w.put(nil, ctl("A", need("provenance", provenance, "workflow", obj{"maxAgeSeconds": "7200"})))
			w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
		}, func(w *world) { w.now = 10 }, "@3 blocked; A time []"},
		{"a stricter control set", built, func(w *world) {
			w.put(obj{"version": "2"}, needsProvenance, ctl("B", need("x", "https://example.com/x", "workflow")))
		}, "@3 blocked; B control-set [6]"},
		{"a set without the stage", built, func(w *world) {
			w.put(obj{"version": "2", "stages": []string{"build"}}, with(needsProvenance, obj{"modes": modes("build enforce")}))
		}, "@3 undecided;  control-set [5]"},
		{"the set is erased", built, func(w *world) { w.erase(1, false) }, "@3 undecided;  erasure []"},
		{"the evidence is erased", built, func(w *world) { w.erase(2, true) }, "@3 blocked; A erasure []"},
		{"the recorded decision is erased", built, func(w *world) {
			w.erase(3, false)
			w.keyEvent("compromised", byWorkflow, 0)
		}, "@3 blocked; A key-event [5]"},
		{"two changes", func(w *world) {
			w.put(nil, with(ctl("A", need("provenance", provenance, "workflow", obj{"minSigners": 1})), obj{}))
			w.attest(provenance, buildOf("b"), app.Digest, byWorkflow)
			w.attest(provenance, buildOf("b"), app.Digest, entry.Signer{Identity: strings.Replace(workflow, "app/", "lib/", 1), Issuer: issuer})
		}, func(w *world) {
			w.keyEvent("compromised", byWorkflow, 0)
			w.keyEvent("compromised", entry.Signer{Identity: strings.Replace(workflow, "app/", "lib/", 1), Issuer: issuer}, 0)
		}, "@4 blocked; A key-event [5 6]"},
		{"several kinds of changes", excepted(needsProvenance, nil, approved(kim)), func(w *world) {
			w.put(obj{"version": "2"}, with(needsProvenance, obj{"exceptions": obj{"maxDays": 0}}))
			w.decision("E-1", 2, "revoke", lee)
		}, "@4 blocked; A several []"},
	} {
		w := &world{}
		c.before(w)
		w.record(t, deploy, app)
		w.now++
		c.after(w)
		if got := strings.Join(w.affected(t, PassQuery{}), "\n"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestAffectedReads checks which passes are read.
func TestAffectedReads(t *testing.T) {
	w := &world{}
	built(w)
	other := app
	other.Digest = sha("b")
	w.attest(provenance, buildOf("b"), other.Digest, byWorkflow)
	w.record(t, deploy, app) // 4
	w.now = 1
	w.record(t, deploy, app)                                               // 5
	w.record(t, Question{Stage: "deploy", Environment: "production"}, app) // 6
	w.record(t, deploy, other)                                             // 7
	w.keyEvent("compromised", byWorkflow, 0)
	w.now = 2
	w.record(t, deploy, app) // 9: blocked, which does not undo the pass
	for _, c := range []struct {
		name string
		q    PassQuery
		want string
	}{
		{"all", PassQuery{}, "@7 @6 @5"},
		{"an environment", PassQuery{Environment: "production"}, "@6"},
		{"a stage", PassQuery{Stage: "build"}, ""},
		{"since", PassQuery{Since: day0.Add(time.Hour)}, "@7 @6 @5"},
		{"since later", PassQuery{Since: day0.Add(2 * time.Hour)}, ""},
		{"a page", PassQuery{Limit: 2}, "@7 @6 below 6"},
		{"the next page", PassQuery{Limit: 2, Below: 6}, "@5"},
	} {
		var got []string
		for _, line := range w.affected(t, c.q) {
			index, _, _ := strings.Cut(line, " blocked")
			got = append(got, index)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestReplay checks what a candidate would have decided, as of the time and
// size of each decision.
func TestReplay(t *testing.T) {
	w := &world{}
	built(w)
	w.record(t, deploy, app) // 3: pass
	other := app
	other.Digest = sha("b")
	w.now = 1
	w.record(t, deploy, other)                                        // 4: blocked
	w.attest(scan, scanOf("CVE-1/Critical/a"), app.Digest, byScanner) // 5
	w.record(t, deploy, app)                                          // 6: pass, with the scan
	w.record(t, Question{Stage: "build"}, app)                        // 7: undecided
	w.erase(w.record(t, deploy, app), false)                          // 8
	w.now = 48
	candidate := func(controls ...obj) *evaluate.Set {
		c := &world{}
		c.put(nil, controls...)
		var payloads [][]byte
		for _, e := range slices.Backward(c.entries) {
			payloads = append(payloads, e.payload)
		}
		set, err := Candidate(payloads[0], payloads[1:])
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	replay := func(r Replay) string {
		if r.Limit == 0 {
			r.Limit = 100
		}
		var all []string
		next, err := w.decider().Replay(context.Background(), "acme", stream, &r, func(d *Replayed, s Span) error {
			what := d.Skipped
			if d.Decision != nil {
				what = string(d.Decision.Decision)
			}
			if d.Changed() {
				what = d.Recorded.Decision.Decision + " → " + what
			}
			all = append(all, fmt.Sprintf("@%d %s", d.Index, what))
			if s.Done == 0 || s.Done > s.Total {
				t.Errorf("progress %v", s)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if next > 0 {
			all = append(all, fmt.Sprintf("next %d", next))
		}
		return strings.Join(all, ", ")
	}
	const gone = "@8 its payload was erased or is damaged"
	for _, c := range []struct {
		name string
		r    Replay
		want string
	}{
		{"the same", Replay{Candidate: candidate(needsProvenance)}, "@3 pass, @4 blocked, @6 pass, @7 undecided, " + gone},
		{"stricter", Replay{Candidate: candidate(needsProvenance, noneCritical)}, "@3 pass → blocked, @4 blocked, @6 pass → blocked, @7 undecided, " + gone},
		{"none critical", Replay{Candidate: candidate(with(ctl("N", need("scan", scan, "scanner", obj{"optional": true})), obj{"condition": "evidence.size() == 0"}))},
			"@3 pass, @4 blocked → pass, @6 pass → blocked, @7 undecided, " + gone},
		{"laxer", Replay{Candidate: candidate(with(needsProvenance, obj{"modes": modes("deploy warn", "build warn")}))}, "@3 pass, @4 blocked → pass, @6 pass, @7 undecided → pass, " + gone},
		{"since", Replay{Candidate: candidate(needsProvenance), Since: day0.Add(time.Hour)}, "@4 blocked, @6 pass, @7 undecided, " + gone},
		{"since later", Replay{Candidate: candidate(needsProvenance), Since: day0.Add(40 * time.Hour)}, ""},
		{"a page", Replay{Candidate: candidate(needsProvenance), Limit: 2}, "@3 pass, @4 blocked, next 6"},
		{"the next page", Replay{Candidate: candidate(needsProvenance), From: 6}, "@6 pass, @7 undecided, " + gone},
	} {
		if got := replay(c.r); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}

	r := &Replay{Candidate: candidate(needsProvenance), Limit: 100, Since: day0.Add(1000 * time.Hour)}
	if _, err := w.decider().Replay(context.Background(), "acme", stream, r, nil); !errors.Is(err, ErrNotYet) {
		t.Errorf("since the future: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.Since = day0
	n := 0
	_, err := w.decider().Replay(ctx, "acme", stream, r, func(*Replayed, Span) error {
		n++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("interrupted: %d decisions, %v", n, err)
	}
}

// TestCandidate checks that a candidate is read like a set in force.
func TestCandidate(t *testing.T) {
	cyclic := &world{}
	cyclic.put(nil, with(needsProvenance, obj{"includes": []string{"B"}}), obj{"id": "B", "includes": []string{"A"}})
	payload := func(i int) []byte { return cyclic.entries[i].payload }
	for name, c := range map[string]struct {
		set      []byte
		controls [][]byte
		want     string
	}{
		"cycle":             {payload(2), [][]byte{payload(0), payload(1)}, "cycle: A includes B includes A"},
		"a missing control": {payload(2), [][]byte{payload(0)}, "control B: no payload has the digest"},
		"not JSON":          {[]byte("version: 1"), nil, "control set: "},
		"empty":             {[]byte("{}"), nil, "stages: must not be empty"},
	} {
		if _, err := Candidate(c.set, c.controls); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
