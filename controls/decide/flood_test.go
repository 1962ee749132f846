package decide

import (
	"fmt"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
)

// TestUnlistedFactsAreNotRead checks that scans by signers that no requirement
// lists cannot use up the bound on facts, which would hide when a vulnerability
// was first seen.
func TestUnlistedFactsAreNotRead(t *testing.T) {
	w := &world{}
	overdue := with(ctl("V", need("scan", scan, "scanner", obj{"maxAgeSeconds": "3600"})), obj{"slaDays": obj{"high": 7}, "condition": "vulnerabilities.all(v, !v.overdue)"})
	w.put(nil, overdue)
	w.attest(scan, scanOf("CVE-1/High/lib"), app.Digest, byScanner)
	w.now = 24 * 10
	many := make([]string, 3000)
	for i := range many {
		many[i] = fmt.Sprintf("CVE-9%d/Low/lib", i)
	}
	w.attest(scan, scanOf(many...), app.Digest, byWorkflow) // not listed
	w.attest(scan, scanOf("CVE-1/High/lib"), app.Digest, byScanner)
	d := w.decider()
	d.elements = 2000
	if got, want := summary(w.ask(t, d, Question{Stage: "deploy"}, app)), "blocked; V not-satisfied condition-false; 1h"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestFloodHidesNothing checks that entries which share a digest with the
// artifact, but contradict another, cannot push evidence out of what is read.
func TestFloodHidesNothing(t *testing.T) {
	two := app
	two.Digest = map[string]string{"sha256": app.Digest["sha256"], "sha512": strings.Repeat("a", 128)}
	contradicts := map[string]string{"sha256": app.Digest["sha256"], "sha512": strings.Repeat("b", 128)}
	w := &world{}
	w.put(nil, with(needsProvenance, obj{"condition": "size(evidence) == 1"}))
	w.attest(provenance, buildOf("b"), two.Digest, byWorkflow)
	for range 4097 {
		w.add(entry.Header{Kind: kindname.Attestation, PredicateType: "https://example.com/x", Subjects: []entry.Subject{{Digest: contradicts}}}, "{}")
	}
	w.attest(provenance, buildOf("b"), two.Digest, byWorkflow)
	if got, want := summary(w.ask(t, w.decider(), Question{Stage: "deploy"}, two)), "undecided; A undecided too-much-evidence; 24h"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestManySubjects checks that the comparison of subjects is paid for.
func TestManySubjects(t *testing.T) {
	w := &world{}
	built(w)
	subjects := []entry.Subject{{Digest: app.Digest}}
	for i := range 16_000 {
		subjects = append(subjects, entry.Subject{Digest: map[string]string{"sha256": fmt.Sprintf("%064x", i)}})
	}
	for range 2100 {
		w.add(entry.Header{Kind: kindname.Attestation, PredicateType: "https://example.com/x", Subjects: subjects}, "{}")
	}
	if got, want := summary(w.ask(t, w.decider(), Question{Stage: "deploy"}, app)), "undecided; A undecided too-much-evidence; 24h"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestSlowExceptions checks that the patterns of exceptions are paid for, and
// that those which are only requested cost nothing.
func TestSlowExceptions(t *testing.T) {
	named := app
	named.Name = strings.Repeat("a", 1000) + "b"
	for _, c := range []struct {
		name    string
		approve bool
		want    string
	}{
		{"requested", false, "pass; A excepted [provenance] LAST; 10h"},
		{"approved", true, needsA},
	} {
		w := &world{}
		w.put(nil, needsProvenance)
		for i := range 150 {
			id := fmt.Sprintf("E-%d", i)
			r := w.request(id, "A", 10, func(h *entry.Header) {
				h.Subjects = nil
				for i := 1; i <= 64; i++ {
					h.Attributes[fmt.Sprintf("glob.%d", i)] = strings.Repeat("a*", 31) + "*b"
				}
			})
			if c.approve {
				w.decision(id, r, "approve", kim)
			}
		}
		last := w.request("LAST", "A", 10, func(h *entry.Header) { h.Subjects = []entry.Subject{{Digest: app.Digest}} })
		w.decision("LAST", last, "approve", kim)
		if got := summary(w.ask(t, w.decider(), Question{Stage: "deploy"}, named)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}
