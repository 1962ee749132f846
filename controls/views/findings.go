package views

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/controls/posture"
	"muniment.dev/muniment/internal/turns"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	maxReports  = 100
	maxFindings = 20 // with the same ID
)

// A followed is a finding with what follows from the control set and the time.
type followed struct {
	*finding.Finding
	state   finding.Status
	due     time.Time // zero: never
	overdue bool
}

// A follower follows findings by a control set.
type follower struct {
	sla func(control, severity string) (days int, ok bool)
	now time.Time
}

func (r *Reader) follower(ctx context.Context, s *ledger.Stream) (*follower, error) {
	set, err := r.Decider.Set(ctx, s)
	if err != nil {
		return nil, err
	}
	return &follower{posture.Days(set), r.Now()}, nil
}

func (w *follower) follow(f *finding.Finding) followed {
	out := followed{Finding: f, state: posture.StatusOf(f), due: f.Deadline(w.sla)}
	out.overdue = !f.Resolved() && !out.due.IsZero() && !out.due.After(w.now)
	return out
}

// ListFindings returns a page of the findings that match the request. Artifact
// is the digest in it, if it has one. Errors: ErrPageToken.
func (r *Reader) ListFindings(ctx context.Context, v *Viewer, req *munimentv1.ListFindingsRequest, artifact entry.Digest) (*munimentv1.ListFindingsResponse, error) {
	w, err := r.follower(ctx, v.Stream)
	if err != nil {
		return nil, err
	}
	res := &munimentv1.ListFindingsResponse{}
	var wrong error
	err = r.Findings.Use(ctx, v.Stream, func(all []*finding.Finding, _ uint64) {
		var match []followed
		for _, f := range all {
			if one := w.follow(f); one.matches(req, artifact) {
				match = append(match, one)
				if one.overdue {
					res.Overdue++
				}
			}
		}
		sortFindings(match, req.Order)
		var p page
		res.Total = uint64(len(match))
		if p, res.NextPageToken, wrong = pageOf(v.Stream, req, req.PageSize, req.PageToken, len(match)); wrong != nil {
			return
		}
		for i := range match[p.from:p.to] {
			res.Findings = append(res.Findings, v.finding(&match[p.from+i]))
		}
	})
	if err == nil {
		err = wrong
	}
	return res, err
}

func (f *followed) matches(req *munimentv1.ListFindingsRequest, artifact entry.Digest) bool {
	n := f.Newest()
	switch {
	case len(req.States) > 0 && !slices.Contains(req.States, string(f.state)),
		len(req.Severities) > 0 && !slices.Contains(req.Severities, n.Severity),
		req.Control != "" && !slices.Contains(n.Controls, req.Control),
		req.Overdue && !f.overdue:
		return false
	}
	return artifact.IsZero() || slices.ContainsFunc(f.Subjects, func(s entry.Subject) bool { return s.Has(artifact) })
}

func sortFindings(all []followed, order munimentv1.FindingOrder) {
	newest := func(a, b followed) int { return cmp.Compare(b.Reports[0].Index, a.Reports[0].Index) }
	if order == munimentv1.FindingOrder_FINDING_ORDER_NEWEST_FIRST {
		slices.SortFunc(all, newest)
		return
	}
	rank := func(f *followed) int {
		switch {
		case f.Resolved():
			return 2
		case f.due.IsZero():
			return 1
		}
		return 0
	}
	severity := func(f *followed) int { return slices.Index(posture.Severities, f.Newest().Severity) }
	slices.SortFunc(all, func(a, b followed) int {
		if c := cmp.Compare(rank(&a), rank(&b)); c != 0 {
			return c
		}
		due := 0
		if rank(&a) == 0 {
			due = a.due.Compare(b.due)
		}
		return cmp.Or(due, cmp.Compare(severity(&a), severity(&b)), newest(a, b))
	})
}

// finding returns the message of a finding with its newest report.
func (v *Viewer) finding(f *followed) *munimentv1.FindingRecord {
	n := f.Newest()
	m := &munimentv1.FindingRecord{
		Id: f.ID, First: f.Reports[0].Index, Title: f.Title, Source: f.Source, Aliases: f.Aliases, SubjectCount: uint32(len(f.Subjects)), Controls: n.Controls,
		Severity: n.Severity, State: string(f.state), Detected: timestamp(f.Detected), Due: timestamp(f.due), Overdue: f.overdue, Newest: v.report(n), ReportCount: uint32(len(f.Reports)),
	}
	m.Subjects = artifacts(f.Subjects)
	return m
}

// artifacts returns the first of the subjects.
func artifacts(subjects []entry.Subject) (all []*munimentv1.Artifact) {
	for _, s := range first(subjects, maxSubjects) {
		all = append(all, &munimentv1.Artifact{Name: s.Name, Digest: s.Digest})
	}
	return all
}

func (v *Viewer) report(r *finding.Report) *munimentv1.FindingReport {
	return &munimentv1.FindingReport{
		Index: r.Index, Time: timestamp(r.Time), Status: string(r.Status), Accepted: r.Accepted, Severity: r.Severity, By: v.person(r.By),
		Evidence: r.Evidence, AcceptedBy: r.AcceptedBy,
	}
}

// GetFinding returns the findings with an ID or alias. It has none if there are
// none.
func (r *Reader) GetFinding(ctx context.Context, v *Viewer, req *munimentv1.GetFindingRequest) (*munimentv1.GetFindingResponse, error) {
	w, err := r.follower(ctx, v.Stream)
	if err != nil {
		return nil, err
	}
	res := &munimentv1.GetFindingResponse{}
	is := func(id string) bool { return strings.EqualFold(id, req.Id) }
	err = r.Findings.Use(ctx, v.Stream, func(all []*finding.Finding, _ uint64) {
		var match []followed
		for _, f := range all {
			if (is(f.ID) || slices.ContainsFunc(f.Aliases, is)) && (req.First == nil || *req.First == f.Reports[0].Index) {
				match = append(match, w.follow(f))
			}
		}
		sortFindings(match, munimentv1.FindingOrder_FINDING_ORDER_URGENT)
		res.Total = uint64(len(match))
		match = first(match, maxFindings)
		for i := range match {
			m := v.finding(&match[i])
			for _, report := range last(match[i].Reports, maxReports) {
				m.Reports = append(m.Reports, v.report(&report))
			}
			res.Findings = append(res.Findings, m)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, m := range res.Findings {
		if err := r.describe(ctx, v, m); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// describe adds what only the payload of the newest report contains.
func (r *Reader) describe(ctx context.Context, v *Viewer, m *munimentv1.FindingRecord) error {
	doc := &munimentv1.Finding{}
	if ok, err := r.document(ctx, v, m.Newest.Index, func(b []byte) error { return protojson.Unmarshal(b, doc) }); !ok {
		return err
	}
	m.Description, m.Location, m.Score = doc.Description, doc.Location, doc.Score
	return nil
}

// maxDocument limits a document that a view reads, in bytes. Larger ones are
// shown without what only they contain.
const maxDocument = 1 << 20

// document reads the payload of an entry, in a turn of the viewer's tenant. It
// returns false if it was erased, is too large, or cannot be decoded.
func (r *Reader) document(ctx context.Context, v *Viewer, index uint64, decode func([]byte) error) (ok bool, err error) {
	e, err := r.entry(ctx, v.Stream, index)
	if err != nil || e.Header == nil || e.Header.Payload.Size > maxDocument {
		return false, err
	}
	p, err := r.Log.Payload(ctx, e)
	if err != nil || p == nil {
		return false, err
	}
	turn, err := turns.CPU.For(ctx, v.Tenant, int64(len(p.Content)))
	if err != nil {
		return false, err
	}
	defer turn.End()
	return decode(p.Content) == nil, nil
}
