package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"muniment.dev/muniment/api/rpc"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/graph"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	cachedReads    = 400 // of each kind, with and without the cache
	cachedTurn     = 20  // reads between two switches
	testStatements = 5   // about the artifact
)

// cacheReads measures reads about one artifact with the server's cache of
// entries and without it, in turns: by processor time and by allocations,
// which other processes disturb little.
func (b *bench) cacheReads() {
	l := b.open("cache-reads")
	defer l.close()
	l.fillSearchable()
	l.putControls()
	digest := l.usualEvidence()
	d := &decide.Decider{Log: l.ledger, Facts: decide.StoredFacts{Log: l.ledger}, Exceptions: &exception.Projection{Log: l.ledger, Now: time.Now}, Now: time.Now}
	ctx, stream := context.Background(), l.who.Stream
	q := &decide.Question{Stage: "deploy"}
	a := decide.Artifact{Subject: evaluate.Subject{Type: "image", Name: "app", Digest: digest}}
	decided := func(each func(*evaluate.Decision)) {
		check(d.Decide(ctx, l.who.Tenant, stream, q, []decide.Artifact{a}, func(_ int, one *evaluate.Decision) error {
			each(one)
			return nil
		}))
	}
	reads := []struct {
		what string
		read func()
	}{
		{"trace of an artifact", func() {
			_, err := graph.Trace(ctx, &streamSource{l, rpc.EntryMessage(l.ledger)}, entry.CanonicalDigest("sha256", digest["sha256"]), 2)
			check(err)
		}},
		{"why", func() {
			decided(func(one *evaluate.Decision) {
				out := []*munimentv1.SubjectDecision{{Decision: decide.Message(one, q, &a)}}
				check(d.Explain(ctx, stream, out, [][]evaluate.Result{one.Results}))
			})
		}},
		{"admission of an image", func() { decided(func(*evaluate.Decision) {}) }},
	}
	runtime.LockOSThread() // so that its processor time is this goroutine's
	defer runtime.UnlockOSThread()
	for _, r := range reads {
		off, on, empty := l.switched(r.read)
		row("cache: "+r.what+", without it", off.String(), "")
		row("cache: "+r.what+", with it", on.String(), fmt.Sprintf("%.2f× the processor time, %.2f× the allocations, %.2f× the bytes", on.work.Seconds()/off.work.Seconds(), on.allocations/off.allocations, on.bytes/off.bytes))
		row("cache: "+r.what+", with an empty one", empty.String(), fmt.Sprintf("%.2f× the processor time, %.2f× the allocations", empty.work.Seconds()/off.work.Seconds(), empty.allocations/off.allocations))
	}
}

// A cost is that of one read, on average.
type cost struct {
	work               time.Duration // of the processor
	allocations, bytes float64
}

func (c cost) String() string { return fmt.Sprintf("%s, %.0f", round(c.work), c.allocations) }

// switched returns what a read costs while the cache is off, while it is on,
// and while it is on and has nothing of the artifact.
func (l *log) switched(read func()) (off, on, empty cost) {
	_, cache := l.ledger.Cache()
	turn := func(c *cost, before func()) {
		read() // fills what there is to fill
		for range cachedTurn {
			before()
			var first, last runtime.MemStats
			runtime.ReadMemStats(&first)
			began := threadTime()
			read()
			c.work += (threadTime() - began) / cachedReads
			runtime.ReadMemStats(&last)
			c.allocations += float64(last.Mallocs-first.Mallocs) / cachedReads
			c.bytes += float64(last.TotalAlloc-first.TotalAlloc) / cachedReads
		}
	}
	for range cachedReads / cachedTurn {
		cache.Disable()
		turn(&off, func() {})
		cache.Enable()
		turn(&on, func() {})
		turn(&empty, cache.RemoveAll)
	}
	return off, on, empty
}

// usualEvidence appends what a release has: provenance, a bill of materials, a
// scan, a VEX document and test results. It returns the artifact's digest.
func (l *log) usualEvidence() map[string]string {
	type object = map[string]any
	digest := map[string]string{"sha256": digestNumber('u', 1)}
	var matches, statements, packages []object
	for i := range 150 {
		purl := fmt.Sprintf("pkg:golang/example.com/lib%d@1.0", i)
		matches = append(matches, object{"vulnerability": object{"id": fmt.Sprintf("CVE-2026-%d", i), "severity": "High"}, "artifact": object{"name": "lib", "version": "1.0", "purl": purl}})
		packages = append(packages, object{"SPDXID": fmt.Sprintf("SPDXRef-%d", i), "name": "lib", "versionInfo": "1.0", "licenseDeclared": "MIT", "externalRefs": []object{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}}})
	}
	for i := range 20 {
		statements = append(statements, object{"vulnerability": object{"name": fmt.Sprintf("CVE-2026-%d", i)}, "status": "not_affected", "justification": "vulnerable_code_not_present"})
	}
	all := []object{
		{"predicateType": "https://slsa.dev/provenance/v1", "predicate": object{"buildDefinition": object{"buildType": "https://example.com/build", "externalParameters": object{}}, "runDetails": object{"builder": object{"id": "https://example.com/builder"}}}},
		{"predicateType": "https://spdx.dev/Document", "predicate": object{"spdxVersion": "SPDX-2.3", "name": "app", "packages": packages}},
		{"predicateType": "https://cosign.sigstore.dev/attestation/vuln/v1", "predicate": object{"scanner": object{"uri": "grype", "result": object{"matches": matches}}}},
		{"predicateType": "https://openvex.dev/ns/v0.2.0", "predicate": object{"author": "acme", "statements": statements}},
	}
	for i := range testStatements {
		all = append(all, object{"predicateType": "https://example.com/test/v1", "predicate": object{"run": i}})
	}
	for _, one := range all {
		one["_type"], one["subject"] = "https://in-toto.io/Statement/v1", []object{{"name": "app", "digest": digest}}
		l.submit(kindname.Attestation, "", one)
	}
	return digest
}

// A streamSource has the entries of the log's only stream.
type streamSource struct {
	log     *log
	message func(*ledger.Entry) *munimentv1.Entry
}

// Entries implements graph.Source.
func (s *streamSource) Entries(ctx context.Context, f *munimentv1.Filter, limit int) (all []*munimentv1.Entry, more bool, err error) {
	page, err := s.log.ledger.List(ctx, s.log.who.Stream, ledger.Query{Filter: ledger.Filter{Subject: f.Subject, Material: f.Material}, OldestFirst: true, Limit: limit})
	if err != nil {
		return nil, false, err
	}
	for i := range page.Entries {
		all = append(all, s.message(&page.Entries[i]))
	}
	return all, page.Next != "", nil
}
