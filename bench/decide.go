package main

import (
	"context"
	"encoding/json"
	"fmt"
	mrand "math/rand/v2"
	"runtime"
	"slices"
	"time"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

const (
	decideControls = 20
	decideSubjects = 1000
	decideFindings = 10_000
	decideReplayed = 10_000
)

// decides fills a log with evidence, and decides about artifacts in it.
func (b *bench) decides() {
	l := b.open("decide")
	l.fillSearchable()
	l.putControls()
	settle(l.dir)
	d := &decide.Decider{Log: l.ledger, Facts: decide.StoredFacts{Log: l.ledger}, Exceptions: &exception.Projection{Log: l.ledger, Now: time.Now}, Now: time.Now}
	artifact := func(n int) decide.Artifact {
		return decide.Artifact{Subject: evaluate.Subject{Type: "image", Name: "app", Digest: map[string]string{"sha256": digestNumber('s', n)}}}
	}
	ask := func(all ...decide.Artifact) (results int) {
		check(d.Decide(context.Background(), l.who.Tenant, l.who.Stream, &decide.Question{Stage: "deploy"}, all, func(_ int, one *evaluate.Decision) error {
			results += len(one.Results)
			return nil
		}))
		return results
	}
	rng := mrand.New(newRNG())
	ask(artifact(0))
	runtime.LockOSThread() // so that its processor time is this goroutine's
	defer runtime.UnlockOSThread()
	s, work := timesWork(500, func(i int) {
		if n := ask(artifact(rng.IntN(searchArtifacts))); n != decideControls {
			check(fmt.Errorf("%d results", n))
		}
	})
	row(fmt.Sprintf("a decision, %d controls, %d entries", decideControls, l.ledger.Published().Size), s.String(), ratio("goal p99 10ms", 10*time.Millisecond, s.quantile(0.99))+", of its processor time "+ratio("", 10*time.Millisecond, work.quantile(0.99)))
	many := make([]decide.Artifact, decideSubjects)
	for i := range many {
		many[i] = artifact(i)
	}
	s, work = timesWork(5, func(int) { ask(many...) })
	row(fmt.Sprintf("decisions about %d artifacts in one call", decideSubjects), s.quantile(0.5).String(), ratio("goal 1s", time.Second, s.quantile(0.5))+", of its processor time "+ratio("", time.Second, work.quantile(0.5)))
	l.decideReplay(d, artifact)
	l.decideScan(artifact(searchArtifacts+1), ask)
	l.askCached(&decide.Decider{Log: d.Log, Facts: l.cacheFacts(), Exceptions: d.Exceptions, Now: d.Now}, artifact(searchArtifacts+1))
	l.close()
}

// fillSearchable appends evidence up to the size of the large log.
func (l *log) fillSearchable() {
	for l.ledger.Published().Size < *million {
		rng := mrand.New(newRNG())
		drafts := make([]ledger.Draft, 0, 4000)
		for len(drafts) < cap(drafts) {
			if d := l.searchable(rng); d.Header.Kind != kindname.ExceptionRequest {
				drafts = append(drafts, d)
			}
		}
		_, err := l.ledger.Append(context.Background(), drafts)
		check(err)
	}
}

// timesWork is times, together with the processor time of this goroutine, which
// must be locked to its thread.
func timesWork(n int, run func(i int)) (s, work sample) {
	work = make(sample, n)
	s = times(n, func(i int) {
		before := threadTime()
		defer func() { work[i] = threadTime() - before }()
		run(i)
	})
	return s, work
}

func ratio(goal string, want, got time.Duration) string {
	if goal != "" {
		goal += ": "
	}
	return fmt.Sprintf("%s%.1f×", goal, want.Seconds()/got.Seconds())
}

// decideReplay records decisions, and replays them with the control set in
// force.
func (l *log) decideReplay(d *decide.Decider, artifact func(int) decide.Artifact) {
	ctx, q := context.Background(), &decide.Question{Stage: "deploy"}
	all := make([]decide.Artifact, decideReplayed)
	for i := range all {
		all[i] = artifact(i)
	}
	var recordings []ingest.Recording
	check(d.Decide(ctx, l.who.Tenant, l.who.Stream, q, all, func(i int, one *evaluate.Decision) error {
		recordings = append(recordings, ingest.Recording{Key: fmt.Sprint("replay ", i), Message: decide.Message(one, q, &all[i])})
		return nil
	}))
	first := l.ledger.Published().Size // the log has others, which cannot be read
	for group := range slices.Chunk(recordings, 500) {
		_, err := l.ingest.RecordAll(ctx, l.who, kindname.GateDecision, group)
		check(err)
	}
	in, err := d.InForce(ctx, l.who.Stream)
	check(err)
	candidate, err := decide.Candidate(in.Payload, in.Controls)
	check(err)
	n, start := 0, time.Now()
	_, err = d.Replay(ctx, l.who.Tenant, l.who.Stream, &decide.Replay{Candidate: candidate, From: first, Limit: decideReplayed}, func(r *decide.Replayed, _ decide.Span) error {
		if r.Decision != nil {
			n++
		}
		return nil
	})
	check(err)
	took := time.Since(start)
	row(fmt.Sprintf("replay of %d decisions", n), took.String(), ratio("goal 30s", 30*time.Second, took))
}

// decideScan decides about an artifact with a large scan and as many VEX
// statements. The goroutine must be locked to its thread.
func (l *log) decideScan(a decide.Artifact, ask func(...decide.Artifact) int) {
	type object = map[string]any
	var matches, statements []object
	for i := range decideFindings {
		id := fmt.Sprintf("CVE-2026-%d", i)
		matches = append(matches, object{"vulnerability": object{"id": id, "severity": "High"}, "artifact": object{"name": "lib", "version": "1.0", "purl": fmt.Sprintf("pkg:golang/example.com/lib%d@1.0", i%100)}})
		statements = append(statements, object{"vulnerability": object{"name": id}, "status": "not_affected", "justification": "vulnerable_code_not_present"})
	}
	for predicateType, predicate := range map[string]object{
		"https://cosign.sigstore.dev/attestation/vuln/v1": {"scanner": object{"uri": "grype", "result": object{"matches": matches}}},
		"https://openvex.dev/ns/v0.2.0":                   {"author": "acme", "statements": statements},
	} {
		l.submit(kindname.Attestation, "", object{"_type": "https://in-toto.io/Statement/v1", "subject": []object{{"name": "app", "digest": a.Digest}}, "predicateType": predicateType, "predicate": predicate})
	}
	s, work := timesWork(50, func(int) { ask(a) })
	row(fmt.Sprintf("a decision from %d findings with VEX statements", decideFindings), s.String(), ratio("goal p99 20ms", 20*time.Millisecond, s.quantile(0.99))+", of its processor time "+ratio("", 20*time.Millisecond, work.quantile(0.99)))
}

// putControls puts a control set in force, in which one control reads
// vulnerabilities.
func (l *log) putControls() {
	type object = map[string]any
	var listed []object
	for i := range decideControls {
		c := object{"id": fmt.Sprintf("C-%d", i), "title": "A control", "state": "active", "severity": "high", "modes": []object{{"stage": "deploy", "mode": "enforce"}}}
		require := []object{{"name": "scan", "predicateTypes": []string{searchPredicates[i%len(searchPredicates)]}, "unsigned": true}}
		check := object{"require": require}
		if i == 0 {
			check["require"] = []object{{"name": "any", "unsigned": true}}
			check["condition"] = "!vulnerabilities.exists(v, v.severity == 'critical')"
		}
		c["check"] = check
		payload := l.submit(kindname.Control, fmt.Sprint(i), c)
		listed = append(listed, object{"id": c["id"], "digest": entry.SHA256(payload)})
	}
	l.submit(kindname.ControlSet, "set", object{"version": "1", "stages": []string{"deploy"}, "controls": listed})
}

// submit appends a document, and returns its payload.
func (l *log) submit(kind, key string, document any) []byte {
	payload, err := json.Marshal(document)
	check(err)
	results, err := l.ingest.Append(context.Background(), l.who, []ingest.Submission{{Kind: kind, IdempotencyKey: key, Payload: payload}})
	check(err)
	check(results[0].Err)
	return slices.Clone(payload)
}
