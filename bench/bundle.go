package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/controls/bundle"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/facts"
	"muniment.dev/muniment/verifiers/intoto"
)

const (
	bundleArtifacts  = 1000
	bundleComponents = 100 // of the bill of materials of an artifact
	inventoryPods    = 5000
	inventoryPart    = 1000 // items of an entry
)

// bundles measures evidence bundles of a release, and decisions about what
// runs.
func (b *bench) bundles() {
	l := b.open("bundle")
	defer l.close()
	l.putControls()
	for i := range bundleArtifacts {
		l.release(i)
	}
	l.record("exists", "release shop", bundleArtifacts)
	d := l.decider()
	l.decideInventory(d, "exists", bundleArtifacts) // decisions are evidence, too
	settle(l.dir)

	src := &bundle.Source{Ledger: l.ledger, Stream: l.who.Stream, Tenant: l.who.Tenant, Decider: d, Policy: l.policy}
	path := filepath.Join(b.dir, "release.bundle.tar")
	var s *bundle.Summary
	took, work := timeWork(func() { s = create(path, src) })
	goalRow(fmt.Sprintf("bundle of %d artifacts, %d entries, %d MB", bundleArtifacts, s.Manifest.Stream.Entries, s.Bytes/1e6), 10*time.Second, took, work)
	took, work = timeWork(func() { b.verifyBundle(path, l, false) })
	goalRow("  verified", 5*time.Second, took, work)
	took, work = timeWork(func() { b.verifyBundle(path, l, true) })
	goalRow("  verified, and its reports computed again", 5*time.Second, took, work)
	check(os.Remove(path))
	b.pods()
}

// pods measures decisions about what runs.
func (b *bench) pods() {
	l := b.open("pods")
	defer l.close()
	l.putControls()
	for i := range inventoryPods {
		l.release(i)
	}
	l.record("runs", "cluster", inventoryPods)
	settle(l.dir)
	took, work := timeWork(func() { l.decideInventory(l.decider(), "runs", inventoryPods) })
	goalRow(fmt.Sprintf("inventory of %d Pods decided, recorded", inventoryPods), 10*time.Second, took, work)
}

// timeWork returns how long a function took, and the processor time of the
// program meanwhile, which other programs hardly change.
func timeWork(f func()) (took, work time.Duration) {
	start, before := time.Now(), processorTime()
	f()
	return time.Since(start), processorTime() - before
}

// goalRow prints a time beside its goal.
func goalRow(what string, goal, took, work time.Duration) {
	row(what, took.Round(time.Millisecond).String(), fmt.Sprintf("%s; processor time %s, %.1f×", ratio("goal "+goal.String(), goal, took), work.Round(time.Millisecond), goal.Seconds()/work.Seconds()))
}

func (l *log) decider() *decide.Decider {
	return &decide.Decider{Log: l.ledger, Facts: decide.StoredFacts{Log: l.ledger}, Exceptions: &exception.Projection{Log: l.ledger, Now: time.Now}, Now: time.Now}
}

// release appends the evidence about an artifact: its build, its bill of
// materials, a scan and a document about vulnerabilities.
func (l *log) release(i int) {
	type object = map[string]any
	var packages, matches []object
	for p := range bundleComponents {
		packages = append(packages, object{"name": fmt.Sprintf("lib%d", p), "versionInfo": fmt.Sprintf("1.%d.%d", p, i%10), "licenseConcluded": "MIT", "SPDXID": fmt.Sprintf("SPDXRef-%d", p),
			"externalRefs": []object{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": fmt.Sprintf("pkg:npm/lib%d@1.%d.%d", p, p, i%10)}}})
	}
	for v := range 10 {
		matches = append(matches, object{"vulnerability": object{"id": fmt.Sprintf("CVE-2026-%d", v), "severity": "Low"}, "artifact": object{"name": "lib1", "version": "1.0", "purl": "pkg:npm/lib1@1.0"}})
	}
	predicates := []any{
		object{"buildDefinition": object{"buildType": "https://example.com/build", "externalParameters": object{"ref": "main"}}, "runDetails": object{"builder": object{"id": "https://example.com/ci"}}},
		object{"spdxVersion": "SPDX-2.3", "name": "app", "SPDXID": "SPDXRef-DOCUMENT", "packages": packages},
		object{"scanner": object{"uri": "grype", "result": object{"matches": matches}}},
		object{"author": "acme", "statements": []object{}},
	}
	var all []ingest.Submission
	for k, predicate := range predicates {
		text, err := json.Marshal(object{"_type": intoto.TypeV1, "subject": []object{{"name": podName(i), "digest": object{"sha256": digestNumber('p', i)}}}, "predicateType": searchPredicates[k], "predicate": predicate})
		check(err)
		all = append(all, ingest.Submission{Kind: kindname.Attestation, Payload: text})
	}
	results, err := l.ingest.Append(context.Background(), l.who, all)
	check(err)
	for i := range results {
		check(results[i].Err)
	}
}

func podName(i int) string { return fmt.Sprintf("registry.example.com/app-%d", i) }

// record records an inventory, in parts.
func (l *log) record(scope, source string, n int) {
	parts := (n + inventoryPart - 1) / inventoryPart
	for part := range parts {
		var items []string
		for i := part * inventoryPart; i < min(n, (part+1)*inventoryPart); i++ {
			items = append(items, fmt.Sprintf(`{"type":"image","artifact":{"name":%q,"digest":{"sha256":%q}},"workload":"shop/deployment/app-%d"}`, podName(i), digestNumber('p', i), i))
		}
		release := ""
		if scope == inventory.Exists {
			release = `"release":"shop","version":"1.7.0",`
		}
		observation := ""
		if parts > 1 {
			observation = fmt.Sprintf(`"observation":"one","part":%d,"parts":%d,`, part+1, parts)
		}
		text := fmt.Sprintf(`{"scope":%q,"environment":"production","source":%q,%s%s"observed":%q,"items":[%s]}`, scope, source, release, observation, time.Now().UTC().Format(time.RFC3339), strings.Join(items, ","))
		results, err := l.ingest.Append(context.Background(), l.who, []ingest.Submission{{Kind: kindname.Inventory, IdempotencyKey: fmt.Sprint(scope, part), Payload: []byte(text)}})
		check(err)
		check(results[0].Err)
	}
}

// decideInventory decides about everything that an inventory lists, and records
// the decisions, in batches as muniment inventory decide does. Of each artifact
// it looks for the last decision before.
func (l *log) decideInventory(d *decide.Decider, scope string, n int) {
	ctx := context.Background()
	reader := &inventory.Reader{Decider: d, Projection: &inventory.Projection{Log: l.ledger}}
	in, err := reader.Read(ctx, l.who.Stream, &inventory.Query{Environment: "production", Scope: scope})
	check(err)
	if len(in.Artifacts) != n {
		check(fmt.Errorf("%d artifacts, want %d", len(in.Artifacts), n))
	}
	var all []decide.Artifact
	for _, a := range in.Artifacts {
		all = append(all, decide.Artifact{Subject: evaluate.Subject{Type: a.Type, Name: a.Name(), Digest: a.Digest}, Parts: a.Parts()})
	}
	q := &decide.Question{Stage: "deploy", Environment: "production"}
	for batch := range slices.Chunk(all, 1000) {
		var recordings []ingest.Recording
		check(d.Decide(ctx, l.who.Tenant, l.who.Stream, q, batch, func(i int, one *evaluate.Decision) error {
			recordings = append(recordings, ingest.Recording{Key: scope + batch[i].Name, Message: decide.Message(one, q, &batch[i])})
			return nil
		}))
		_, err := l.ingest.RecordAll(ctx, l.who, kindname.GateDecision, recordings)
		check(err)
		for i := range batch {
			page, err := l.ledger.List(ctx, l.who.Stream, ledger.Query{Filter: ledger.Filter{Kind: kindname.GateDecision, Subject: entry.CanonicalDigest("sha256", batch[i].Digest["sha256"]).String()}, Limit: 1})
			check(err)
			if len(page.Entries) != 1 {
				check(errors.New("a decision was not recorded"))
			}
		}
	}
}

// create creates a bundle of the release in a file.
func create(path string, src *bundle.Source) *bundle.Summary {
	f, err := os.Create(path)
	check(err)
	w := bufio.NewWriterSize(f, 1<<20)
	s, err := bundle.Create(context.Background(), w, src, &bundle.Request{Release: "1.7.0"})
	check(err)
	check(w.Flush())
	check(f.Close())
	return s
}

// verifyBundle verifies a bundle from its file. It computes the reports again
// if asked to, from a replica on disk, as muniment bundle verify does.
func (b *bench) verifyBundle(path string, l *log, reports bool) {
	f, err := os.Open(path)
	check(err)
	defer f.Close()
	info, err := f.Stat()
	check(err)
	o := bundlefile.Options{StreamKey: &l.who.Stream.Key}
	if reports {
		o.Reports = b.recompute
	}
	_, r, err := bundlefile.Verify(context.Background(), f, info.Size(), []*receipt.TrustPolicy{l.policy}, o)
	check(err)
	if !r.Complete || reports && r.Reports.Problem != "" {
		check(fmt.Errorf("%+v", r))
	}
}

func (b *bench) recompute(ctx context.Context, file *bundlefile.Bundle, policy *receipt.TrustPolicy) (*bundlefile.Reports, error) {
	dir := filepath.Join(b.dir, "content")
	s, err := engine.Open(ctx, engine.InFolder(dir), store.Options{Raw: true, Scratch: true})
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	defer s.Close()
	open := func() (ledger.Growth, error) { return bundle.OpenGrowth(ctx, file) }
	if _, err := ledger.ImportGrowth(ctx, s, open, ledger.ImportOptions{Policy: policy, Derive: facts.Derive}); err != nil {
		return nil, err
	}
	replica, err := ledger.OpenReplica(ctx, ledger.Config{Store: s, Logger: slog.New(slog.DiscardHandler)}, policy)
	if err != nil {
		return nil, err
	}
	defer replica.Close()
	log, err := bundle.NewLog(ctx, replica, file)
	if err != nil {
		return nil, err
	}
	return bundle.Recompute(ctx, file, log)
}
