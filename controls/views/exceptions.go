package views

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/posture"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/shape"
)

const maxSteps = 100

// ErrNoException reports that an entry does not request an exception.
var ErrNoException = errors.New("no such exception")

// A hearing is what the state of exceptions depends on.
type hearing struct {
	*Viewer
	set *evaluate.Set // nil: none
	now time.Time
}

func (r *Reader) hearing(ctx context.Context, v *Viewer) (*hearing, error) {
	set, err := r.Decider.Set(ctx, v.Stream)
	return &hearing{v, set, r.Now()}, err
}

// at returns the status of an exception.
func (h *hearing) at(x *exception.Exception) exception.Status {
	return x.At(h.now, posture.LimitsOf(h.set, x.Control))
}

// ListExceptions returns a page of the exceptions that match the request, the
// newest first. Errors: ErrPageToken.
func (r *Reader) ListExceptions(ctx context.Context, v *Viewer, req *munimentv1.ListExceptionsRequest) (*munimentv1.ListExceptionsResponse, error) {
	h, err := r.hearing(ctx, v)
	if err != nil {
		return nil, err
	}
	all, err := r.Exceptions.All(ctx, v.Stream)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(x *exception.Exception) bool {
		s := h.at(x)
		return len(req.States) > 0 && !slices.Contains(req.States, string(s.State)) || req.Control != "" && req.Control != x.Control ||
			req.ExpireBefore != nil && !(s.InForce() && s.Expires.Before(req.ExpireBefore.AsTime()))
	})
	slices.Reverse(all)
	res := &munimentv1.ListExceptionsResponse{Total: uint64(len(all)), Approvers: v.ApproverPeople()}
	p, next, err := pageOf(v.Stream, req, req.PageSize, req.PageToken, len(all))
	if err != nil {
		return nil, err
	}
	res.NextPageToken = next
	for _, x := range all[p.from:p.to] {
		res.Exceptions = append(res.Exceptions, h.exception(x))
	}
	return res, nil
}

// GetException returns the exception that an entry requests, with its reasons.
// Errors: ErrNoException.
func (r *Reader) GetException(ctx context.Context, v *Viewer, index uint64) (*munimentv1.GetExceptionResponse, error) {
	h, err := r.hearing(ctx, v)
	if err != nil {
		return nil, err
	}
	x, err := r.exceptionAt(ctx, v.Stream, index)
	if err != nil {
		return nil, err
	}
	m := h.exception(x)
	request := &munimentv1.ExceptionRequest{}
	ok, err := r.document(ctx, v, index, func(b []byte) error { return decodeRequest(b, request) })
	if err != nil {
		return nil, err
	}
	if ok {
		m.Reason = request.Reason
	}
	for _, step := range m.Steps {
		d := &munimentv1.ExceptionDecision{}
		ok, err := r.document(ctx, v, step.Index, func(b []byte) error { return protojson.Unmarshal(b, d) })
		if err != nil {
			return nil, err
		}
		if ok {
			step.Reason = d.Reason
		}
	}
	return &munimentv1.GetExceptionResponse{Exception: m, Approvers: v.ApproverPeople()}, nil
}

// decodeRequest decodes the payload of a request, which can be signed.
func decodeRequest(b []byte, m *munimentv1.ExceptionRequest) error {
	if shape.Of(b) == shape.Envelope {
		envelope, err := dsse.Parse(b)
		if err != nil {
			return err
		}
		b = envelope.Payload
	}
	return protojson.Unmarshal(b, m)
}

// exceptionAt returns the exception that an entry requests. Errors:
// ErrNoException.
func (r *Reader) exceptionAt(ctx context.Context, s *ledger.Stream, index uint64) (*exception.Exception, error) {
	all, err := r.Exceptions.All(ctx, s)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(x *exception.Exception) bool { return x.Index == index })
	if i < 0 {
		return nil, fmt.Errorf("entry %d: %w", index, ErrNoException)
	}
	return all[i], nil
}

// exception returns the message of an exception without reasons.
func (h *hearing) exception(x *exception.Exception) *munimentv1.ExceptionRecord {
	limits := posture.LimitsOf(h.set, x.Control)
	s := x.At(h.now, limits)
	m := &munimentv1.ExceptionRecord{
		Id: x.ID, Index: x.Index, Time: timestamp(x.Time), Control: x.Control, Findings: x.Findings, SubjectCount: uint32(len(x.Subjects)),
		Globs: first(x.Globs, maxScope), Environments: first(x.Environments, maxScope),
		State: string(s.State), InForce: s.InForce(), Expires: timestamp(s.Expires), RequestedExpires: timestamp(x.Expires), BreakGlass: x.BreakGlass, Unconfirmed: s.Unconfirmed,
		Requester: h.person(x.Requester), UsedBy: h.person(x.UsedBy), Approvers: h.people(s.Approvers), ApproversNeeded: uint32(limits.Approvers),
	}
	if c := posture.Control(h.set, x.Control); c != nil {
		m.ControlTitle = c.Title
	}
	m.Subjects = artifacts(x.Subjects)
	for _, d := range last(x.Decisions, maxSteps) {
		m.Steps = append(m.Steps, &munimentv1.ExceptionStep{Index: d.Index, Time: timestamp(d.Time), Action: string(d.Action), By: h.person(d.By), Expires: timestamp(d.Expires)})
	}
	for _, action := range []exception.Action{exception.Approve, exception.Reject, exception.Renew, exception.Revoke} {
		m.Actions = append(m.Actions, &munimentv1.ExceptionAction{Action: string(action), Refusal: h.refusal(x, s, limits, action)})
	}
	return m
}

// refusal returns why the caller cannot decide about an exception, or "".
func (h *hearing) refusal(x *exception.Exception, s exception.Status, limits exception.Limits, action exception.Action) string {
	adds := action == exception.Approve || action == exception.Renew
	switch {
	case !h.MayDecide:
		return "decisions about exceptions require the role approver or admin"
	case adds && posture.Control(h.set, x.Control) == nil:
		return fmt.Sprintf("the control set in force does not have control %s", x.Control)
	case adds && (limits.MaxDays <= 0 || limits.Approvers < 1):
		return fmt.Sprintf("control %s allows no exceptions", x.Control)
	case action == exception.Approve && s.State == exception.Approved:
		return fmt.Sprintf("exception %s is approved", x.ID)
	case action == exception.Approve && !x.BreakGlass && !x.Expires.After(h.now):
		return fmt.Sprintf("exception %s has expired: request another", x.ID)
	}
	if limits.Approvers < 1 {
		limits = exception.DefaultLimits
	}
	err := x.Refuse(h.now, limits, h.Identity, action)
	if refusal := (*exception.Refusal)(nil); errors.As(err, &refusal) {
		return refusal.Reason
	}
	return ""
}
