package bundle

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/controls/oscal"
	"muniment.dev/muniment/controls/report"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

// pages are the reports of a bundle.
type pages struct {
	index     []byte
	documents []document // sorted by name
}

// A document is a report for machines.
type document struct {
	name    string
	about   string // in a phrase
	content []byte
}

// report makes the reports.
func (c *creation) report(ctx context.Context) error {
	m := &c.manifest
	sel := &report.Selection{Name: c.request.Release, What: c.what(), Artifacts: c.artifacts}
	if m.Since != nil {
		sel.Since = time.UnixMilli(int64(*m.Since)).UTC()
	}
	if c.request.Previous != "" {
		sel.Previous = &report.Previous{Name: c.request.Previous, Artifacts: c.previous}
	}
	src := &report.Source{Decider: c.Decider, Stream: c.Stream, Tenant: c.Tenant, Origin: m.Origin, Inventories: c.inventories()}
	r, err := report.Gather(ctx, src, m.Size, time.UnixMilli(int64(m.Time)).UTC(), sel)
	if err != nil {
		return fmt.Errorf("report on %s: %w", sel.What, err)
	}
	r.Log.Root = "sha256:" + m.Root.String()
	r.Log.Keys = c.Policy.Keys()
	r.Log.Trust = c.trust()
	r.Files = c.show(r.Entries())
	if c.pages.documents, err = documents(r); err != nil {
		return err
	}
	for _, d := range c.pages.documents {
		r.Members = append(r.Members, report.Member{Name: d.name, About: d.about})
	}
	r.Members = append(r.Members,
		report.Member{Name: bundlefile.CheckpointName, About: "the checkpoint that the log has signed"},
		report.Member{Name: bundlefile.PolicyName, About: "the trust policy of the creator"},
		report.Member{Name: bundlefile.ManifestName, About: "all files with their digests"})
	r.Commands = []report.Command{
		{Line: "muniment bundle verify FILE --policy POLICY --stream-key KEY", About: "verifies every file of the bundle, and that nothing was left out"},
		{Line: "muniment gate ARTIFACT --stage STAGE --bundle FILE --policy POLICY --stream-key KEY --dry-run", About: "decides again"},
	}
	var page bytes.Buffer
	if err := report.HTML(&page, r); err != nil {
		return err
	}
	c.pages.index = page.Bytes()
	return nil
}

// what describes the selection in a phrase.
func (c *creation) what() string {
	switch r := c.request; {
	case r.Release != "":
		return "release " + r.Release
	case len(r.Artifacts) == 1:
		return strings.Join(c.manifest.Selection.Subjects, ", ")
	case len(r.Artifacts) > 1:
		return fmt.Sprintf("%d artifacts", len(r.Artifacts))
	default:
		return "everything since " + r.Since.UTC().Format(time.RFC3339)
	}
}

// trust describes the trust policy.
func (c *creation) trust() []string {
	all := []string{fmt.Sprintf("The checkpoint is signed by the log %s.", c.Policy.Origin())}
	if !c.Policy.RequiresWitness() {
		return append(all, "The policy requires no witness.")
	}
	return append(all, fmt.Sprintf("The policy requires cosignatures of witnesses; %d keys of log and witnesses count.", len(c.Policy.Keys())))
}

// show includes the entries that the reports refer to, and returns their
// members.
func (c *creation) show(entries []uint64) map[uint64]report.File {
	shown := map[uint64]bool{}
	for _, index := range entries {
		shown[index] = true
	}
	all := map[uint64]report.File{}
	for i := range c.entries {
		one := &c.entries[i]
		if one.state == bundlefile.Erased || !shown[one.index] {
			continue
		}
		one.state = bundlefile.Included
		all[one.index] = report.File{Receipt: bundlefile.ReceiptName(one.index), Payload: one.payloadName()}
	}
	return all
}

// writeReports writes the documents for machines.
func (c *creation) writeReports(context.Context) error {
	for _, d := range c.pages.documents {
		if err := c.archive.add(d.name, bundlefile.RoleReport, d.content); err != nil {
			return err
		}
	}
	return nil
}

// writePage writes the page for people.
func (c *creation) writePage(context.Context) error {
	return c.archive.add(bundlefile.IndexName, bundlefile.RoleReport, c.pages.index)
}

// documents renders a release for machines.
func documents(r *report.Release) ([]document, error) {
	var results, poam bytes.Buffer
	if err := oscal.WriteAssessmentResults(&results, r); err != nil {
		return nil, err
	}
	if err := oscal.WritePOAM(&poam, r); err != nil {
		return nil, err
	}
	all := []document{
		{bundlefile.AssessmentName("assessment-results.json"), "OSCAL assessment results", results.Bytes()},
		{bundlefile.AssessmentName("poam.json"), "OSCAL plan of action and milestones", poam.Bytes()},
	}
	if r.Differences != nil {
		var changes bytes.Buffer
		if err := r.Differences.WriteText(&changes); err != nil {
			return nil, err
		}
		all = slices.Insert(all, 1, document{bundlefile.AssessmentName("changes.txt"), "the changes since the previous release, as text", changes.Bytes()})
	}
	return all, nil
}
