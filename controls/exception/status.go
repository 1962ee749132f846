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
	Requester    string // submitter of the entry
	Key          string // idempotency key of the entry
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
)

// A Status is the state of an exception at one time, under the limits of its
// control.
type Status struct {
	State     State
	Expires   time.Time // as the limits allow; zero if they allow none
	Approvers []string  // persons who have approved it, in order
}

// InForce reports whether the exception counts.
func (s *Status) InForce() bool { return s.State == Approved || s.State == BreakGlass }

// person returns the text by which persons are compared, or "" if the submitter
// is not a person.
func person(submitter string) string {
	issuer, subject, ok := strings.Cut(strings.TrimPrefix(submitter, personPrefix), "#")
	if !strings.HasPrefix(submitter, personPrefix) || !ok || identity.Fold(issuer) == "" || identity.Fold(subject) == "" {
		return ""
	}
	return identity.Fold(submitter)
}

const personPrefix = "oidc:"

// IsPerson reports whether a submitter is a person.
func IsPerson(submitter string) bool { return person(submitter) != "" }

// SamePerson reports whether two submitters are the same person.
func SamePerson(a, b string) bool { return identity.Same(a, b) }

// At returns the status at a time, as docs/spec/controls.md, section 3, defines
// it.
func (x *Exception) At(now time.Time, l Limits) Status {
	h := &hearing{x: x, limits: l, requester: person(x.Requester), Status: Status{State: Requested}}
	if h.requester == "" || l.MaxDays <= 0 || l.Approvers < 1 {
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
	if h.InForce() && !h.Expires.After(now) {
		h.State = Expired
	}
	return h.Status
}

// Below returns the exception as it is in the stream below a size.
func (x *Exception) Below(size uint64) *Exception {
	n := 0
	for n < len(x.Decisions) && x.Decisions[n].Index < size {
		n++
	}
	return &Exception{Request: x.Request, Decisions: x.Decisions[:n]}
}

// A hearing applies the decisions about an exception in their order.
type hearing struct {
	x         *Exception
	limits    Limits
	requester string   // as person returns it
	approved  []string // as person returns them
	renewals  []renewal
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
	by := person(d.By)
	if by == "" || d.Exception != h.x.ID || d.Request != h.x.Index || d.Index <= h.x.Index || h.State == Rejected || h.State == Revoked {
		return
	}
	other := by != h.requester
	switch {
	case d.Action == Revoke:
		h.State = Revoked
	case d.Action == Reject && other && h.State != Approved:
		h.State = Rejected
	case d.Action == Approve && other && h.State != Approved && !slices.Contains(h.approved, by):
		h.approved = append(h.approved, by)
		h.Approvers = append(h.Approvers, d.By)
		if len(h.approved) >= h.limits.Approvers {
			h.State = Approved
		}
	case d.Action == Renew && other && h.State == Approved:
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
func (x *Exception) Wildcard() bool {
	return slices.ContainsFunc(x.Globs, func(g string) bool {
		return !strings.ContainsFunc(identity.Fold(g), func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	})
}

// Covers reports whether an artifact in an environment is in the exception's
// scope. The environment can be empty.
func (x *Exception) Covers(s entry.Subject, environment string) bool {
	if len(x.Environments) > 0 && (environment == "" || !slices.ContainsFunc(x.Environments, func(g string) bool { return glob.Match(g, environment) })) {
		return false
	}
	return x.CoversArtifact(s)
}

// CoversArtifact reports whether an artifact is in the exception's scope in
// some environment.
func (x *Exception) CoversArtifact(s entry.Subject) bool {
	named := s.Name != "" && slices.ContainsFunc(x.Globs, func(g string) bool { return glob.Match(g, s.Name) })
	return named || slices.ContainsFunc(x.Subjects, func(in entry.Subject) bool { return artifact.Same(in.Digest, s.Digest) })
}

// Exempts reports whether the exception names one of the identifiers of a
// vulnerability or finding. Without findings it names none.
func (x *Exception) Exempts(ids ...string) bool {
	return slices.ContainsFunc(x.Findings, func(f string) bool {
		return slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(f, id) })
	})
}
