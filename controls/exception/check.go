package exception

import (
	"context"
	"slices"
	"strconv"
	"time"

	"muniment.dev/muniment/controls/keyevent"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
)

// A Submission is an entry that is about to be recorded.
type Submission struct {
	Origin string // of the log
	Tenant string // of the submitter
	Header *entry.Header
	// Envelope contains a signed request, whose message is Request. Nil: the
	// submission is not signed.
	Envelope *dsse.Envelope
	Request  *munimentv1.ExceptionRequest
}

// Check returns a *Refusal if an entry would have no effect on the exceptions
// published in the stream. Entries of other kinds always pass, except for the
// registrations of keys that would have no effect. So does a repeated
// submission, which package ledger recognizes.
func (p *Projection) Check(ctx context.Context, s *ledger.Stream, sub *Submission) error {
	h := sub.Header
	registration := h.Kind == kindname.KeyEvent && h.Attributes["event"] == keyevent.Registered
	switch {
	case h.Kind != kindname.ExceptionRequest && h.Kind != kindname.ExceptionDecision && !registration:
		return nil
	case registration && !IsPerson(h.Submitter):
		return refusalf("", "only people can register keys, and %s can be shared: use an identity token", h.Submitter)
	case sub.Envelope == nil && !IsPerson(h.Submitter):
		return errNotPerson(h.Submitter)
	}
	st, err := p.current(ctx, s)
	if err != nil {
		return err
	}
	defer st.mu.Unlock()
	switch {
	case registration:
		return st.checkRegistration(h, p.Now())
	case h.Kind == kindname.ExceptionDecision:
		return st.checkDecision(h, p.Now())
	}
	if err := st.checkRequest(h); err != nil || sub.Envelope == nil {
		return err
	}
	return p.checkSigned(ctx, s, st, sub)
}

func (st *stream) checkRequest(h *entry.Header) error {
	id := h.Attributes["exception"]
	r := st.byID[foldID(id)]
	if r == nil || r.Submitter == h.Submitter && r.Key == h.IdempotencyKey {
		return nil
	}
	return refusalf("id", "entry %d requests exception %s: choose another ID", r.Index, r.ID)
}

// maxApprovers is the largest number of approvers that a control can require.
const maxApprovers = 8

// checkDecision does not depend on the control, whose limits can change until
// the exception is used. An exception that anybody has approved is revoked, not
// rejected, however many approvals it needs.
func (st *stream) checkDecision(h *entry.Header, now time.Time) error {
	id, action := h.Attributes["exception"], Action(h.Attributes["decision"])
	index, err := strconv.ParseUint(h.Attributes["request"], 10, 64)
	if err != nil {
		return refusalf("request", "not an index: %q", h.Attributes["request"])
	}
	r := st.request(index)
	switch {
	case r == nil:
		return refusalf("request", "entry %d of this tenant does not request an exception: find it with 'muniment list --kind exception-request'", index)
	case r.ID != id:
		return refusalf("exception", "entry %d requests exception %s, not %s", index, r.ID, id)
	case r.repeated:
		return refusalf("request", "entry %d requests exception %s: entry %d only repeats its ID", st.byID[foldID(id)].Index, st.byID[foldID(id)].ID, index)
	case slices.ContainsFunc(r.Decisions, func(d Decision) bool { return d.By == h.Submitter && d.Key == h.IdempotencyKey }):
		return nil // a retry
	case action == Approve && !r.BreakGlass && !r.Expires.After(now):
		return refusalf("decision", "exception %s expired at %s: request another", id, r.Expires.Format(time.RFC3339))
	}
	limits := most
	if action == Approve {
		limits.Approvers = maxApprovers
	}
	return st.exception(r).Refuse(now, limits, h.Submitter, action)
}
