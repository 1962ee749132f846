package policy

import (
	"context"
	"runtime"
	"slices"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/evidence"
)

// Evidence is a parsed submission for a policy to decide about.
type Evidence struct {
	Tenant        string
	Submitter     string
	Kind          string
	MediaType     string
	PredicateType string
	Size          int
	Subjects      []entry.Subject
	Materials     []entry.Subject
	Controls      []string
	Attributes    map[string]string

	Predicate []byte // JSON of the statement's predicate; nil if there is no statement
	Document  []byte // the payload, if it is JSON; nil otherwise
	// Unread is set if the payload is too large to be parsed. Predicate and
	// Document are nil then.
	Unread     bool
	Deviations []string // from the definition of the payload's type
	// Conforms is set if the payload was checked against the definition of its
	// type and has no deviations.
	Conforms bool
	// Opaque is the reason that a signed payload, declared to be a statement,
	// cannot be read. Nil: it is readable or not a statement.
	Opaque error
	// Incomplete is set if the predicate type or some of the subjects cannot be
	// read. It is always set if Opaque is.
	Incomplete bool
	// MaterialsIncomplete is set if Materials is incomplete, because there are
	// too many or because the predicate cannot be read.
	MaterialsIncomplete bool

	Signed evidence.Signed // nil: no signatures
}

// smallJSON is the size in bytes up to which JSON is parsed without taking a
// slot for large documents.
const smallJSON = 64 << 10

// Slots limit concurrent decisions. A tenant gets at most half of them,
// whatever the number of its policies, so other tenants always find a free one.
var (
	deciding = newSlots(max(4, runtime.GOMAXPROCS(0))) // all decisions
	parsing  = newSlots(4)                             // decisions that hold large parsed documents
)

// hold waits for the slots that a decision needs and returns the function that
// releases them.
func (p *AdmissionPolicy) hold(ctx context.Context, ev *Evidence) (release func(), err error) {
	large := len(ev.Predicate)+len(ev.Document) > smallJSON && slices.ContainsFunc(p.Rules, func(r *Rule) bool { return r.Condition != nil })
	if large {
		if err := parsing.acquire(ctx, ev.Tenant); err != nil {
			return nil, err
		}
	}
	if err := deciding.acquire(ctx, ev.Tenant); err != nil {
		if large {
			parsing.release(ev.Tenant)
		}
		return nil, err
	}
	return func() {
		deciding.release(ev.Tenant)
		if large {
			parsing.release(ev.Tenant)
		}
	}, nil
}
