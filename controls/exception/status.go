// Package exception decides which exceptions from controls count, from the
// requests for them and the decisions of people about them. It keeps both for
// each stream, as a projection of the stream's entries.
//
// docs/spec/controls.md, section 3, specifies it.
package exception

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/keyevent"
	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/identity"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/proto/kinds"
)

// Limits are what a control allows of its exceptions.
type Limits struct {
	MaxDays   int // longest exception; 0: none
	Approvers int // persons who must approve
	Wildcard  bool
}

// DefaultLimits are those of a control that specifies none.
var DefaultLimits = Limits{MaxDays: 30, Approvers: 1}

// A Request is an entry of kind exception-request.
type Request struct {
	Index        uint64
	Time         time.Time // of the entry
	ID           string
	Control      string
	Findings     []string // empty: everything about the control
	Subjects     []entry.Subject
	Globs        []string // patterns of names
	Environments []string // patterns; empty: all
	Expires      time.Time
	BreakGlass   bool
	// Requester is the submitter of the entry. If the request is signed, it is
	// the person to whom the key was registered, or "".
	Requester string
	Submitter string    // of the entry
	Key       string    // idempotency key of the entry
	KeyID     string    // of the key that signed the request; "": it is not signed
	Registrar string    // who registered that key
	Used      time.Time // when a signed request was made, by the signer's clock
	UsedBy    string    // who has used break-glass; "": the requester
}

// An Action is what a decision does.
type Action string

// The actions.
const (
	Approve Action = "approve"
	Reject  Action = "reject"
	Revoke  Action = "revoke"
	Renew   Action = "renew"
)

// A Decision is an entry of kind exception-decision.
type Decision struct {
	Index     uint64
	Time      time.Time // of the entry
	Exception string    // ID
	Request   uint64    // index of the request
	Action    Action
	Expires   time.Time // of Renew
	By        string    // submitter of the entry
	Key       string    // idempotency key of the entry
}

// An Exception is a request with the decisions about it, in the order of their
// entries. Its state depends on the control set and the time.
type Exception struct {
	Request
	Decisions []Decision
	KeyEvents []keyevent.Event // of the key that signed the request, in order
}

// A State is that of an exception.
type State string

// The states. Approved and BreakGlass count.
const (
	Requested  State = "requested"
	BreakGlass State = "break-glass" // requested, and in force at once
	Approved   State = "approved"
	Rejected   State = "rejected"
	Revoked    State = "revoked"
	Expired    State = "expired"
	Void       State = "void" // a key event excludes the key that signed it
)

// States lists the states.
var States = []State{Requested, BreakGlass, Approved, Rejected, Revoked, Expired, Void}

// A Status is the state of an exception at one time, under the limits of its
// control.
type Status struct {
	State     State
	Expires   time.Time // as the limits allow; zero if they allow none
	Approvers []string  // persons who have approved it, in order
	// Unconfirmed reports break-glass that lacks approvals and was not
	// rejected, whether it still counts or not.
	Unconfirmed bool
}

// ended reports whether the exception can never count again.
func (s *Status) ended() bool { return s.State == Rejected || s.State == Revoked || s.State == Void }

// InForce reports whether the exception counts.
func (s *Status) InForce() bool { return s.State == Approved || s.State == BreakGlass }

// IsPerson reports whether a submitter is a person.
func IsPerson(submitter string) bool { return identity.Person(submitter) != "" }

// SamePerson reports whether two submitters are the same person.
func SamePerson(a, b string) bool { return identity.Same(a, b) }

// At returns the status at a time, as docs/spec/controls.md, section 3, defines
// it.
func (x *Exception) At(now time.Time, l Limits) Status {
	h := &hearing{x: x, limits: l, own: x.own(), Status: Status{State: Requested}}
	if !IsPerson(x.Requester) || l.MaxDays <= 0 || l.Approvers < 1 {
		return h.Status
	}
	h.Expires = h.limit(x.Time, x.Expires)
	if x.BreakGlass {
		h.State = BreakGlass
		if most := x.Time.Add(kinds.MaxBreakGlass); h.Expires.After(most) {
			h.Expires = most
		}
	}
	for i := range x.Decisions {
		h.hear(&x.Decisions[i])
	}
	if x.excluded() && !h.ended() {
		h.State = Void
	}
	h.Unconfirmed = x.BreakGlass && !h.ended() && len(h.approved) < l.Approvers
	if h.InForce() && !h.Expires.After(now) {
		h.State = Expired
	}
	return h.Status
}

// own returns the persons whose exception it is, as identity.Person returns
// them: they can revoke it, and do nothing else about it.
func (x *Exception) own() []string {
	return []string{identity.Person(x.Requester), identity.Person(x.Registrar), identity.Person(x.UsedBy)}
}

// unattributed reports whether the user of break-glass is not a person. Anybody
// could then be the user, so no one can confirm it.
func (x *Exception) unattributed() bool { return x.UsedBy != "" && !IsPerson(x.UsedBy) }

// excluded reports whether a key event excludes the key that signed the
// request.
func (x *Exception) excluded() bool {
	signer := &entry.Signer{KeyID: x.KeyID}
	return slices.ContainsFunc(x.KeyEvents, func(k keyevent.Event) bool { return k.Excludes(signer, x.Time) })
}

// Below returns the exception as it is in the stream below a size.
func (x *Exception) Below(size uint64) *Exception {
	n := 0
	for n < len(x.Decisions) && x.Decisions[n].Index < size {
		n++
	}
	k := 0
	for k < len(x.KeyEvents) && x.KeyEvents[k].Index < size {
		k++
	}
	return &Exception{x.Request, x.Decisions[:n], x.KeyEvents[:k]}
}

// A hearing applies the decisions about an exception in their order.
type hearing struct {
	x        *Exception
	limits   Limits
	own      []string // persons, as identity.Person returns them
	approved []string // in the same form
	renewals []renewal
	Status
}

// A renewal is an expiry with the persons who have renewed the exception to it.
type renewal struct {
	expires time.Time
	by      []string
}

// limit returns the expiry that an entry of the time can set.
func (h *hearing) limit(set, expires time.Time) time.Time {
	if most := set.Add(time.Duration(h.limits.MaxDays) * 24 * time.Hour); expires.After(most) {
		return most
	}
	return expires
}

func (h *hearing) hear(d *Decision) {
	by := identity.Person(d.By)
	if by == "" || d.Exception != h.x.ID || d.Request != h.x.Index || d.Index <= h.x.Index || h.ended() {
		return
	}
	other := !slices.Contains(h.own, by)
	approver := other && !h.x.unattributed()
	switch {
	case d.Action == Revoke:
		h.State = Revoked
	case d.Action == Reject && other && h.State != Approved:
		h.State = Rejected
	case d.Action == Approve && approver && h.State != Approved && !slices.Contains(h.approved, by):
		h.approved = append(h.approved, by)
		h.Approvers = append(h.Approvers, d.By)
		if len(h.approved) >= h.limits.Approvers {
			h.State = Approved
		}
	case d.Action == Renew && approver && h.State == Approved:
		h.renew(d, by)
	}
}

func (h *hearing) renew(d *Decision, by string) {
	i := slices.IndexFunc(h.renewals, func(r renewal) bool { return r.expires.Equal(d.Expires) })
	if i < 0 {
		h.renewals = append(h.renewals, renewal{expires: d.Expires})
		i = len(h.renewals) - 1
	}
	r := &h.renewals[i]
	if slices.Contains(r.by, by) {
		return
	}
	if r.by = append(r.by, by); len(r.by) >= h.limits.Approvers {
		h.Expires = h.limit(d.Time, d.Expires)
		h.renewals = slices.Delete(h.renewals, i, i+1)
	}
}

// Wildcard reports whether a pattern of the scope is a wildcard: one without a
// letter or digit.
func (x *Request) Wildcard() bool {
	return slices.ContainsFunc(x.Globs, func(g string) bool {
		return !strings.ContainsFunc(identity.Fold(g), func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	})
}

// Covers reports whether an artifact in an environment is in the exception's
// scope. The environment can be empty.
func (x *Request) Covers(s entry.Subject, environment string) bool {
	if len(x.Environments) > 0 && (environment == "" || !slices.ContainsFunc(x.Environments, func(g string) bool { return glob.Match(g, environment) })) {
		return false
	}
	return x.CoversArtifact(s)
}

// CoversArtifact reports whether an artifact is in the exception's scope in
// some environment.
func (x *Request) CoversArtifact(s entry.Subject) bool {
	named := s.Name != "" && slices.ContainsFunc(x.Globs, func(g string) bool { return glob.Match(g, s.Name) })
	return named || slices.ContainsFunc(x.Subjects, func(in entry.Subject) bool { return artifact.Same(in.Digest, s.Digest) })
}

// Exempts reports whether the exception names one of the identifiers of a
// vulnerability or finding. Without findings it names none.
func (x *Request) Exempts(ids ...string) bool {
	return slices.ContainsFunc(x.Findings, func(f string) bool {
		return slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(f, id) })
	})
}
