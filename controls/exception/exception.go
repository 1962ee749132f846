// Package exception keeps the exceptions of each stream and the decisions of
// people about them, as a projection of the stream's entries. See
// docs/spec/controls.md.
package exception

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/internal/glob"
	"muniment.dev/muniment/internal/identity"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// An Exception exempts the artifacts in its scope from controls until it
// expires.
type Exception struct {
	Index    uint64 // of its request
	ID       string
	Controls []string
	Expires  time.Time
	Subjects []entry.Subject // in scope
	Globs    []string        // names in scope
}

// Covers reports whether one of the subjects is in the exception's scope.
func (x *Exception) Covers(subjects []entry.Subject) bool {
	return slices.ContainsFunc(subjects, func(s entry.Subject) bool {
		named := s.Name != "" && slices.ContainsFunc(x.Globs, func(g string) bool { return glob.Match(g, s.Name) })
		return named || slices.ContainsFunc(x.Subjects, func(in entry.Subject) bool { return sharesDigest(in, s) })
	})
}

func sharesDigest(a, b entry.Subject) bool {
	for alg, v := range a.Digest {
		if b.Digest[alg] == v {
			return true
		}
	}
	return false
}

// Expiry returns the time at which an exception with these header attributes
// expires.
func Expiry(attributes map[string]string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, attributes["expires"])
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid expiry %q: must be a time in RFC 3339", attributes["expires"])
	}
	return t, nil
}

// IsPerson reports whether a submitter is a person: the subject of an OIDC
// issuer. Tokens and certificates can be shared.
func IsPerson(submitter string) bool {
	rest, ok := strings.CutPrefix(submitter, "oidc:")
	issuer, subject, hasSubject := strings.Cut(rest, "#")
	return ok && hasSubject && issuer != "" && identity.Fold(subject) != ""
}

// A request is an exception as its entry describes it, with the decisions about
// it in the order of their entries.
type request struct {
	Exception
	requester string
	key       string // idempotency key
	decisions []decision
	state     state // after the decisions
	// repeated reports that an older request has the ID, so that this one has
	// no effect.
	repeated bool
}

// A decision is one person's decision about a request.
type decision struct {
	index   uint64 // of its entry
	by      string
	key     string // idempotency key
	verdict string
	expires time.Time // of renew
}

// The values of the member decision of an exception-decision.
const (
	approve = "approve"
	reject  = "reject"
	revoke  = "revoke"
	renew   = "renew"
)

// A state is what the decisions about a request amount to.
type state struct {
	approvers []string
	ended     string // reject or revoke; "": neither
	expires   time.Time
}

// inForce reports whether an exception in this state is in force at a time.
func (s *state) inForce(now time.Time) bool {
	return len(s.approvers) > 0 && s.ended == "" && s.expires.After(now)
}

// decide applies the decisions. Those without effect are skipped.
func (r *request) decide() {
	s := state{expires: r.Expires}
	for _, d := range r.decisions {
		if s.ended != "" {
			break
		}
		if s.refuse(r, d.by, d.verdict) == nil {
			s.apply(d)
		}
	}
	r.state = s
}

func (s *state) apply(d decision) {
	switch d.verdict {
	case approve:
		s.approvers = append(s.approvers, d.by)
	case reject, revoke:
		s.ended = d.verdict
	case renew:
		s.expires = d.expires
	default: // a verdict of a later version
	}
}

// refuse returns why a decision about the request has no effect in this state,
// or nil.
func (s *state) refuse(r *request, by, verdict string) error {
	approved := slices.ContainsFunc(s.approvers, func(a string) bool { return identity.Same(a, by) })
	requester := identity.Same(r.requester, by)
	switch {
	case !IsPerson(by) || !IsPerson(r.requester):
		return refusalf("exception", "only people can request exceptions and decide about them: use an identity token (oidc:ISSUER#SUBJECT), not %s", kindOf(by))
	case s.ended != "":
		return refusalf("decision", "exception %s was %s: request another", r.ID, past[s.ended])
	case requester && verdict != revoke:
		return refusalf("decision", "%s requested exception %s: another person must %s it", by, r.ID, verdict)
	case verdict == approve && approved:
		return refusalf("decision", "%s has approved exception %s before: another person must approve it", by, r.ID)
	case verdict == renew && len(s.approvers) == 0:
		return refusalf("decision", "exception %s is not approved: approve it first", r.ID)
	case verdict == reject && len(s.approvers) > 0:
		return refusalf("decision", "exception %s is approved: revoke it", r.ID)
	}
	return nil
}

// past is the participle of each verdict that ends an exception.
var past = map[string]string{reject: "rejected", revoke: "revoked"}

// kindOf returns the sort of credentials of a submitter, such as "token".
func kindOf(submitter string) string {
	kind, _, _ := strings.Cut(submitter, ":")
	return kind
}

// A Refusal reports that an entry about an exception cannot be appended.
type Refusal struct {
	Path   string // the member of the document
	Reason string
}

func (r *Refusal) Error() string { return r.Path + ": " + r.Reason }

func refusalf(path, format string, args ...any) error {
	return &Refusal{path, fmt.Sprintf(format, args...)}
}

// readRequest returns the exception that the header of its request describes.
func readRequest(e *ledger.Entry) (*request, error) {
	h := e.Header
	expires, err := Expiry(h.Attributes)
	if err != nil {
		return nil, err
	}
	x := Exception{Index: e.Index, ID: h.Attributes["exception"], Controls: h.Controls, Expires: expires, Subjects: h.Subjects}
	for name, v := range h.Attributes {
		if strings.HasPrefix(name, "glob.") {
			x.Globs = append(x.Globs, v)
		}
	}
	slices.Sort(x.Globs)
	return &request{Exception: x, requester: h.Submitter, key: h.IdempotencyKey}, nil
}

// readDecision returns a decision, and the index and ID of the request that it
// is about.
func readDecision(e *ledger.Entry) (d decision, request uint64, id string, err error) {
	h := e.Header
	d = decision{index: e.Index, by: h.Submitter, key: h.IdempotencyKey, verdict: h.Attributes["decision"]}
	if request, err = strconv.ParseUint(h.Attributes["request"], 10, 64); err != nil {
		return decision{}, 0, "", fmt.Errorf("invalid request %q", h.Attributes["request"])
	}
	if d.verdict == renew {
		d.expires, err = Expiry(h.Attributes)
	}
	return d, request, h.Attributes["exception"], err
}
