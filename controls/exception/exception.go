package exception

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// Expiry returns the time at which an exception with these header attributes
// expires.
func Expiry(attributes map[string]string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, attributes["expires"])
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid expiry %q: must be a time in RFC 3339", attributes["expires"])
	}
	return t.UTC(), nil
}

// readRequest returns the exception that the header of its request describes.
func readRequest(e *ledger.Entry) (*request, error) {
	h := e.Header
	expires, err := Expiry(h.Attributes)
	if err != nil {
		return nil, err
	}
	r := &request{}
	r.Request = Request{Index: e.Index, Time: timeOf(e), ID: h.Attributes["exception"], Expires: expires, Requester: h.Submitter, Submitter: h.Submitter, Key: h.IdempotencyKey, KeyID: h.Attributes["keyId"], UsedBy: h.Attributes["usedBy"], Subjects: h.Subjects,
		Findings: h.AttributeValues("finding"), Globs: h.AttributeValues("glob"), Environments: h.AttributeValues("environment"), BreakGlass: h.Attributes["breakGlass"] == "true"}
	if len(h.Controls) > 0 {
		r.Control = h.Controls[0]
	}
	if r.KeyID != "" {
		if r.Used, err = time.Parse(time.RFC3339Nano, h.Attributes["used"]); err != nil {
			return nil, fmt.Errorf("invalid time %q of the use of break-glass", h.Attributes["used"])
		}
	}
	return r, nil
}

// readDecision returns the decision that a header describes.
func readDecision(e *ledger.Entry) (d Decision, err error) {
	h := e.Header
	d = Decision{Index: e.Index, Time: timeOf(e), Exception: h.Attributes["exception"], Action: Action(h.Attributes["decision"]), By: h.Submitter, Key: h.IdempotencyKey}
	if d.Request, err = strconv.ParseUint(h.Attributes["request"], 10, 64); err != nil {
		return d, fmt.Errorf("invalid request %q", h.Attributes["request"])
	}
	if d.Action == Renew {
		d.Expires, err = Expiry(h.Attributes)
	}
	return d, err
}

func timeOf(e *ledger.Entry) time.Time { return time.UnixMilli(int64(e.Skeleton.Time)).UTC() }

// hasEffect reports whether an entry can have an effect. One that the admission
// policy did not admit can only end an exception.
func hasEffect(h *entry.Header) bool {
	action := Action(h.Attributes["decision"])
	return !h.NotAdmitted() || action == Reject || action == Revoke
}

func errNotPerson(submitter string) error {
	return refusalf("", "only people can request exceptions and decide about them, and %s can be shared: use an identity token", submitter)
}

// A Refusal reports that an entry about an exception would have no effect.
type Refusal struct {
	Path   string // the member of the document; "": the submitter is the reason
	Reason string
}

func (r *Refusal) Error() string {
	if r.Path == "" {
		return r.Reason
	}
	return r.Path + ": " + r.Reason
}

func refusalf(path, format string, args ...any) error {
	return &Refusal{path, fmt.Sprintf(format, args...)}
}

// past is the participle of the actions that end an exception.
var past = map[State]string{Rejected: "rejected", Revoked: "revoked"}

// Refuse returns a *Refusal if a decision by a submitter would have no effect
// at a time, and otherwise nil.
func (x *Exception) Refuse(now time.Time, l Limits, by string, action Action) error {
	s := x.At(now, l)
	requester := SamePerson(x.Requester, by)
	switch {
	case !IsPerson(by) || !IsPerson(x.Requester):
		return errNotPerson(by)
	case past[s.State] != "":
		return refusalf("decision", "exception %s was %s: request another", x.ID, past[s.State])
	case s.State == Void:
		return refusalf("decision", "exception %s is void: the key %s that signed it was retired or compromised then", x.ID, x.KeyID)
	case !requester && x.Registrar != "" && SamePerson(x.Registrar, by) && action != Revoke:
		return refusalf("decision", "%s registered the key that signed exception %s: another person must %s it", by, x.ID, action)
	case requester && action != Revoke:
		return refusalf("decision", "%s requested exception %s: another person must %s it", by, x.ID, action)
	case SamePerson(x.UsedBy, by) && action != Revoke:
		return refusalf("decision", "%s has used break-glass by exception %s: another person must %s it", by, x.ID, action)
	case x.unattributed() && (action == Approve || action == Renew):
		return refusalf("decision", "%s, who has used break-glass by exception %s, is not a person, and anybody could be its user: reject or revoke it", x.UsedBy, x.ID)
	case action == Approve && slices.ContainsFunc(s.Approvers, func(a string) bool { return SamePerson(a, by) }):
		return refusalf("decision", "%s has approved exception %s before: another person must approve it", by, x.ID)
	case action == Renew && len(s.Approvers) < l.Approvers:
		return refusalf("decision", "exception %s is not approved: approve it first", x.ID)
	case action == Reject && len(s.Approvers) >= l.Approvers:
		return refusalf("decision", "exception %s is approved: revoke it", x.ID)
	}
	return nil
}
