package views

import (
	"context"
	"fmt"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/posture"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Bounds of a preview.
const (
	maxPreviewRead    = 5000 // recorded decisions
	maxPreviewDecided = 200
	maxPreviewed      = 100 // in the answer
)

// draftRequester requests a previewed draft whose caller is not a person.
const draftRequester = "oidc:https://preview.invalid#requester"

// PreviewException makes decisions again as if an exception were approved, or
// were not in force. Errors: ErrNoException.
func (r *Reader) PreviewException(ctx context.Context, v *Viewer, req *munimentv1.PreviewExceptionRequest) (*munimentv1.PreviewExceptionResponse, error) {
	h, err := r.hearing(ctx, v)
	if err != nil {
		return nil, err
	}
	x, err := r.previewed(ctx, h, req)
	if err != nil {
		return nil, err
	}
	res := &munimentv1.PreviewExceptionResponse{}
	limits, status := posture.LimitsOf(h.set, x.Control), h.at(x)
	if res.Approval = !status.InForce() || status.Unconfirmed; res.Approval {
		res.Problem = h.problem(x, limits)
		then := decide.Approved(x, limits.Approvers, x.Index+uint64(len(x.Decisions)), h.now).At(h.now, limits)
		if then.InForce() {
			status = then
		} else if res.Problem == "" {
			res.Problem = fmt.Sprintf("exception %s is %s: request another", x.ID, then.State)
		}
	}
	res.Expires = timestamp(status.Expires)
	p := &decide.Preview{Exception: x, Approval: res.Approval, Approvers: limits.Approvers, Read: maxPreviewRead, Limit: maxPreviewDecided}
	var others []*munimentv1.PreviewedDecision // whose outcome stays the same
	complete, err := r.Decider.Preview(ctx, v.Tenant, v.Stream, p, func(one *decide.Previewed) error {
		switch changed := one.Before.Decision != one.After.Decision; {
		case changed:
			res.Changed++
			res.Changes = append(res.Changes, previewMessage(one))
		case differs(one, x.Control):
			res.Changed++
			others = append(others, previewMessage(one))
		default:
			res.Unchanged++
		}
		return nil
	})
	res.Truncated = !complete
	res.Changes = first(append(res.Changes, others...), maxPreviewed)
	return res, err
}

// differs reports whether a control's result changes although the decision does
// not.
func differs(one *decide.Previewed, control string) bool {
	return resultOf(one.Before, control) != resultOf(one.After, control)
}

func resultOf(d *evaluate.Decision, control string) string {
	for i := range d.Results {
		if d.Results[i].Control == control {
			return string(d.Results[i].Result)
		}
	}
	return ""
}

func previewMessage(one *decide.Previewed) *munimentv1.PreviewedDecision {
	d := one.Recorded.Decision
	return &munimentv1.PreviewedDecision{
		Type: d.Type, Subjects: first(d.Subjects, maxSubjects), Stage: d.Stage, Environment: d.Environment, Recorded: one.Index,
		Before: string(one.Before.Decision), After: string(one.After.Decision), Results: decide.Failing(one.After),
	}
}

// previewed returns the exception that a request is about.
func (r *Reader) previewed(ctx context.Context, h *hearing, req *munimentv1.PreviewExceptionRequest) (*exception.Exception, error) {
	draft := req.GetDraft()
	if draft == nil {
		return r.exceptionAt(ctx, h.Stream, req.GetRequest())
	}
	x := &exception.Exception{Request: exception.Request{
		Index: r.Log.Published().Size, Time: h.now, ID: draft.Id, Control: draft.Control, Findings: draft.Findings, Globs: draft.GetScope().GetGlobs(),
		Environments: draft.GetScope().GetEnvironments(), Expires: draft.Expires.AsTime(), BreakGlass: draft.BreakGlass, Requester: h.Identity, Submitter: h.Identity,
	}}
	for _, a := range draft.GetScope().GetSubjects() {
		x.Subjects = append(x.Subjects, entry.Subject{Name: a.Name, Digest: a.Digest})
	}
	if !exception.IsPerson(x.Requester) {
		x.Requester = draftRequester
	}
	return x, nil
}

// problem returns why the approval of an exception would have no effect, or "".
func (h *hearing) problem(x *exception.Exception, limits exception.Limits) string {
	switch {
	case posture.Control(h.set, x.Control) == nil:
		return fmt.Sprintf("the control set in force does not have control %s", x.Control)
	case limits.MaxDays <= 0 || limits.Approvers < 1:
		return fmt.Sprintf("control %s allows no exceptions", x.Control)
	case x.Wildcard() && !limits.Wildcard:
		return fmt.Sprintf("control %s allows no exception for every artifact: name the artifacts", x.Control)
	case !x.Expires.After(h.now):
		return "it expires in the past"
	case x.Requester == draftRequester:
		return "only people can request exceptions: sign in"
	}
	return ""
}
