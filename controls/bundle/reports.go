package bundle

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/controls/oscal"
	"muniment.dev/muniment/controls/report"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

// A reporting makes the reports of a bundle, when it is created and when it is
// verified. The reports are a function of the manifest, of the payloads in the
// bundle, of the trust policy in it, and of the account.
type reporting struct {
	manifest    *bundlefile.Manifest
	log         contentLog
	stream      *ledger.Stream
	policy      *receipt.TrustPolicy // of the bundle's creator
	exceptions  *exception.Projection
	inventories *inventory.Projection
	artifacts   []decide.Artifact // selected
	previous    []decide.Artifact // of the previous release
	account     account           // as it is computed

	// coverage returns the reader that computes coverage, once the rest is
	// gathered.
	coverage func(context.Context, *report.Release) (*inventory.Reader, error)
	// files returns the members of the entries that the reports refer to.
	files func(entries []uint64) map[uint64]report.File
}

// A document is a report.
type document struct {
	name    string
	about   string // in a phrase
	content []byte
}

// decider returns a decider that reads a log.
func (p *reporting) decider(log contentLog) *decide.Decider {
	now := func() time.Time { return millis(p.manifest.Time) }
	return &decide.Decider{Log: log, Facts: decide.StoredFacts{Log: log}, Exceptions: p.exceptions, Now: now}
}

func millis(ms uint64) time.Time { return time.UnixMilli(int64(ms)).UTC() }

// make makes the reports: the documents for machines, sorted by name, and the
// page for people.
func (p *reporting) make(ctx context.Context) (documents []document, page []byte, err error) {
	m := p.manifest
	sel := &report.Selection{Name: m.Selection.Release, What: what(m), Artifacts: p.artifacts, Incident: m.Selection.Incident}
	if m.Since != nil {
		sel.Since = millis(*m.Since)
	}
	if m.Selection.Previous != "" {
		sel.Previous = &report.Previous{Name: m.Selection.Previous, Artifacts: p.previous}
	}
	src := &report.Source{Decider: p.decider(p.log), Stream: p.stream, Tenant: m.Tenant, Origin: m.Origin, Inventories: p.inventories, Coverage: p.coverage, Erasures: m.Size}
	r, err := report.Gather(ctx, src, m.Size, millis(m.Time), sel)
	if err != nil {
		return nil, nil, fmt.Errorf("report on %s: %w", sel.What, err)
	}
	r.Log.Root = "sha256:" + m.Root.String()
	r.Log.Keys = p.policy.Keys()
	r.Log.Trust = trust(p.policy)
	r.Files = p.files(r.Entries())
	r.Stated = p.account.sentences()
	if documents, err = p.documents(r); err != nil {
		return nil, nil, err
	}
	page, err = index(r, documents)
	return documents, page, err
}

// what describes the selection in a phrase.
func what(m *bundlefile.Manifest) string {
	switch s := m.Selection; {
	case s.Release != "":
		return "release " + s.Release
	case s.Incident != "":
		return "incident " + s.Incident
	case len(m.Artifacts) == 1:
		return strings.Join(s.Subjects, ", ")
	case len(m.Artifacts) > 1:
		return fmt.Sprintf("%d artifacts", len(m.Artifacts))
	case m.Since != nil:
		return "everything since " + millis(*m.Since).Format(time.RFC3339)
	}
	return "everything"
}

// trust describes a trust policy.
func trust(p *receipt.TrustPolicy) []string {
	all := []string{fmt.Sprintf("The checkpoint is signed by the log %s.", p.Origin())}
	if !p.RequiresWitness() {
		return append(all, "The policy requires no witness.")
	}
	return append(all, fmt.Sprintf("The policy requires cosignatures of witnesses; %d keys of log and witnesses count.", len(p.Keys())))
}

// documents renders a release for machines.
func (p *reporting) documents(r *report.Release) ([]document, error) {
	p.account.version = ReportsVersion
	text, err := p.account.appendJSON(nil)
	if err != nil {
		return nil, fmt.Errorf("the account of the bundle: %w", err)
	}
	var results, poam, changes bytes.Buffer
	if err := oscal.WriteAssessmentResults(&results, r); err != nil {
		return nil, err
	}
	if err := oscal.WritePOAM(&poam, r); err != nil {
		return nil, err
	}
	all := []document{
		{accountName, "what the reports rest on besides the evidence in the bundle", text},
		{bundlefile.AssessmentName("assessment-results.json"), "OSCAL assessment results", results.Bytes()},
	}
	if r.Differences != nil {
		if err := r.Differences.WriteText(&changes); err != nil {
			return nil, err
		}
		all = append(all, document{bundlefile.AssessmentName("changes.txt"), "the changes since the previous release, as text", changes.Bytes()})
	}
	return append(all, document{bundlefile.AssessmentName("poam.json"), "OSCAL plan of action and milestones", poam.Bytes()}), nil
}

// index renders the page for people.
func index(r *report.Release, documents []document) ([]byte, error) {
	for _, d := range documents {
		r.Members = append(r.Members, report.Member{Name: d.name, About: d.about})
	}
	r.Members = append(r.Members,
		report.Member{Name: bundlefile.CheckpointName, About: "the checkpoint that the log has signed"},
		report.Member{Name: bundlefile.PolicyName, About: "the trust policy of the creator"},
		report.Member{Name: bundlefile.ManifestName, About: "all files with their digests"})
	r.Commands = []report.Command{
		{Line: "muniment bundle verify FILE --policy POLICY --stream-key KEY", About: "verifies every file of the bundle, computes the reports again, and proves that nothing was left out"},
		{Line: "muniment gate ARTIFACT --stage STAGE --bundle FILE --policy POLICY --stream-key KEY --dry-run", About: "decides again"},
	}
	var page bytes.Buffer
	err := report.HTML(&page, r)
	return page.Bytes(), err
}
