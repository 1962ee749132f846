package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/controls/graph"
	"muniment.dev/muniment/controls/posture"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/facts"
)

// newEvidence returns an entry as evidence.
func newEvidence(e *ledger.Entry) *Evidence {
	h := e.Header
	return &Evidence{Entry: e.Index, Time: timeOf(e), Header: h, Relation: graph.Relation(h.Kind, h.PredicateType, h.MediaType, len(h.Signers) > 0)}
}

// addEvidence adds an entry about an artifact.
func (g *gathering) addEvidence(artifact int, e *ledger.Entry) {
	one := g.evidence[e.Index]
	if one == nil {
		one = newEvidence(e)
		g.evidence[e.Index] = one
	}
	if n := len(one.Artifacts); n == 0 || one.Artifacts[n-1] != artifact {
		one.Artifacts = append(one.Artifacts, artifact)
	}
}

// addExceptions adds the exceptions that cover one of the artifacts, or all if
// no artifacts are selected.
func (g *gathering) addExceptions(ctx context.Context) error {
	var entries []*ledger.Entry
	byIndex := map[uint64]*ledger.Entry{}
	for _, kind := range []string{kindname.KeyEvent, kindname.ExceptionRequest, kindname.ExceptionDecision} {
		all, err := g.oldestFirst(ctx, kind, "entries about exceptions", maxExceptions)
		if err != nil {
			return err
		}
		entries = append(entries, all...)
		for _, e := range all {
			byIndex[e.Index] = e
		}
	}
	all, err := exception.Read(entries)
	if err != nil {
		return fmt.Errorf("read exceptions: %w", err)
	}
	for _, x := range all {
		if !g.covers(x) {
			continue
		}
		reason, err := g.reasonOf(ctx, byIndex[x.Index])
		if err != nil {
			return err
		}
		g.release.Exceptions = append(g.release.Exceptions, Exception{Exception: x, Status: x.At(g.release.Time, posture.LimitsOf(g.set, x.Control)), Reason: reason})
	}
	return nil
}

func (g *gathering) covers(x *exception.Exception) bool {
	all := g.selection.Artifacts
	if len(all) == 0 {
		return true
	}
	for i := range all {
		if x.CoversArtifact(entry.Subject{Name: all[i].Name, Digest: all[i].Digest}) {
			return true
		}
		for _, p := range all[i].Parts {
			if x.CoversArtifact(entry.Subject{Digest: p.Digest}) {
				return true
			}
		}
	}
	return false
}

// reasonOf returns the reason of a request, which can be signed.
func (g *gathering) reasonOf(ctx context.Context, e *ledger.Entry) (string, error) {
	payload, err := g.payload(ctx, e)
	if err != nil || payload == nil {
		return "", err
	}
	if e.Header.Attributes["keyId"] != "" {
		if envelope, err := dsse.Parse(payload); err == nil {
			payload = envelope.Payload
		}
	}
	m := &munimentv1.ExceptionRequest{}
	if protojson.Unmarshal(payload, m) != nil {
		return "", nil
	}
	return m.Reason, nil
}

// addFindings adds the findings about the artifacts and those without
// artifacts, and how their number has changed.
func (g *gathering) addFindings(ctx context.Context) error {
	entries, err := g.oldestFirst(ctx, kindname.Finding, "reports about findings", maxFindings)
	if err != nil {
		return err
	}
	byIndex := map[uint64]*ledger.Entry{}
	reports := make([]finding.Entry, 0, len(entries))
	for _, e := range entries {
		byIndex[e.Index] = e
		reports = append(reports, finding.Entry{Index: e.Index, Time: timeOf(e), Header: e.Header})
	}
	all, err := finding.Read(reports)
	if err != nil {
		return fmt.Errorf("read findings: %w", err)
	}
	all = slices.DeleteFunc(all, func(f *finding.Finding) bool {
		return len(f.Subjects) > 0 && len(g.selection.Artifacts) > 0 && len(g.about(f.Subjects)) == 0
	})
	r, sla := g.release, posture.Days(g.set)
	for _, f := range all {
		one, err := g.finding(ctx, f, sla, byIndex[f.Newest().Index])
		if err != nil {
			return err
		}
		r.Findings = append(r.Findings, *one)
	}
	slices.SortStableFunc(r.Findings, compareFindings)
	r.Burndown = burndown(all, r.Time, sla)
	return nil
}

// finding returns a finding with its state.
func (g *gathering) finding(ctx context.Context, f *finding.Finding, sla func(control, severity string) (int, bool), newest *ledger.Entry) (*Finding, error) {
	n := f.Newest()
	one := &Finding{Finding: f, Status: n.Status, Severity: n.Severity, Due: f.Deadline(sla)}
	if n.Status == finding.Resolved && !n.Accepted {
		one.Status = finding.Open
	}
	one.Overdue = !f.Resolved() && !one.Due.IsZero() && !one.Due.After(g.release.Time)
	for _, id := range n.Controls {
		for i := range g.release.Controls {
			if c := &g.release.Controls[i]; c.Id == id && c.Owner != "" && !slices.Contains(one.Owners, c.Owner) {
				one.Owners = append(one.Owners, c.Owner)
			}
		}
	}
	payload, err := g.payload(ctx, newest)
	if err != nil {
		return nil, err
	}
	m := &munimentv1.Finding{}
	if payload != nil && protojson.Unmarshal(payload, m) == nil {
		one.Description = m.Description
	}
	return one, nil
}

// compareFindings orders findings: those that are not resolved first, then by
// severity, then by deadline.
func compareFindings(a, b Finding) int {
	return cmp.Or(
		compareBools(a.Resolved(), b.Resolved()),
		cmp.Compare(slices.Index(posture.Severities, a.Severity), slices.Index(posture.Severities, b.Severity)),
		compareBools(a.Due.IsZero(), b.Due.IsZero()),
		a.Due.Compare(b.Due),
		strings.Compare(a.ID, b.ID),
	)
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// maxPoints is the largest number of points of a burndown.
const maxPoints = 53

// burndown counts the findings once a day, or less often if that would be too
// many points.
func burndown(all []*finding.Finding, at time.Time, sla func(control, severity string) (int, bool)) (points []finding.Count) {
	if len(all) == 0 {
		return nil
	}
	first := at
	for _, f := range all {
		if t := f.Reports[0].Time; t.Before(first) {
			first = t
		}
	}
	step := 24 * time.Hour
	for at.Sub(first) > step*(maxPoints-2) {
		step += 24 * time.Hour
	}
	for t := at; ; t = t.Add(-step) {
		points = append(points, finding.CountAt(all, t, sla))
		if t.Before(first) || len(points) == maxPoints {
			break
		}
	}
	slices.Reverse(points)
	return points
}

// addEvents adds the entries of typed kinds that are about the artifacts, or
// about none and not too old.
func (g *gathering) addEvents(ctx context.Context) error {
	r := g.release
	return errors.Join(
		events(ctx, g, kindname.TriageAction, "triage actions", func(e *ledger.Entry, m *munimentv1.TriageAction) {
			r.Actions = append(r.Actions, Action{e.Index, timeOf(e), m})
		}),
		events(ctx, g, kindname.MetricSnapshot, "metric snapshots", func(e *ledger.Entry, m *munimentv1.MetricSnapshot) {
			r.Metrics = append(r.Metrics, Metrics{e.Index, timeOf(e), m})
		}),
		events(ctx, g, kindname.VerificationReport, "verification reports", func(e *ledger.Entry, m *munimentv1.VerificationReport) {
			r.Reports = append(r.Reports, VerificationReport{e.Index, timeOf(e), e.Header.Submitter, m})
		}),
		events(ctx, g, kindname.BackfillCheckpoint, "backfill checkpoints", func(e *ledger.Entry, m *munimentv1.BackfillCheckpoint) {
			c := facts.Checkpoint{Entity: m.GetEntity(), Checkpoint: m.GetCheckpoint(), ACAScore: m.GetAcaScore(), Time: m.GetTs(), RollbackReady: m.GetRollbackReady()}
			r.Checkpoints = append(r.Checkpoints, Checkpoint{e.Index, timeOf(e), c})
		}),
	)
}

// events calls add with the entries of a kind, newest first, and their
// messages.
func events[T any, M interface {
	*T
	proto.Message
}](ctx context.Context, g *gathering, kind, plural string, add func(*ledger.Entry, M)) error {
	n, bytes := 0, uint64(0)
	more, err := g.newestFirst(ctx, ledger.Filter{Kind: kind}, maxScanned, func(e *ledger.Entry) error {
		if !g.concerns(e) {
			return nil
		}
		if bytes += e.Header.Payload.Size; n >= maxEvents || bytes > maxEventBytes {
			g.leftOut(plural, maxEvents)
			return nil
		}
		payload, err := g.payload(ctx, e)
		m := M(new(T))
		if err != nil || payload == nil || protojson.Unmarshal(payload, m) != nil {
			return err
		}
		n++
		add(e, m)
		return nil
	})
	if more {
		g.leftOut(plural, maxScanned)
	}
	return err
}

// maxScanned is the number of entries of one kind that are searched for those
// about the artifacts.
const maxScanned = 20_000

// concerns reports whether an entry of a typed kind belongs to the release.
func (g *gathering) concerns(e *ledger.Entry) bool {
	h := e.Header
	if h.NotAdmitted() {
		return false
	}
	if g.selection.Incident != "" {
		return bundle.OfIncident(h, g.selection.Incident)
	}
	if len(h.Subjects) > 0 && len(g.selection.Artifacts) > 0 {
		return len(g.about(h.Subjects)) > 0
	}
	if of, err := strconv.ParseUint(h.Attributes["entry"], 10, 64); err == nil && h.Kind == kindname.VerificationReport && g.evidence[of] != nil {
		return true
	}
	return !timeOf(e).Before(g.selection.Since)
}

// addErased adds what was erased of the entries below the size, by now.
func (g *gathering) addErased(ctx context.Context) error {
	r, n := g.release, 0
	below := cmp.Or(g.Erasures, g.Decider.Log.Published().Size)
	err := g.Decider.NewestFirst(ctx, g.Stream, ledger.Filter{Kind: ledger.ErasureKind}, below, func(e *ledger.Entry) bool {
		a := e.Header.Attributes
		index, err := strconv.ParseUint(a["entry"], 10, 64)
		if err != nil || index >= g.size {
			return true
		}
		if n++; n > maxEvents {
			g.leftOut("erasures", maxEvents)
			return false
		}
		r.Erased = append(r.Erased, Erased{Entry: index, Scope: a["scope"], Reason: a["reason"], Actor: a["actor"], Erasure: e.Index, Time: timeOf(e)})
		return true
	})
	erased := map[uint64]bool{}
	for i := range r.Erased {
		erased[r.Erased[i].Entry] = true
	}
	for i := range r.Evidence {
		r.Evidence[i].Erased = erased[r.Evidence[i].Entry]
	}
	return err
}
