package ingest

import (
	"context"
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger"
)

// ErrContended reports that a stream's rules changed each time that something
// was decided under them. Nothing was recorded.
var ErrContended = errors.New("the tenant's rules keep changing: retry later, and give all servers of the log the same default policy and trusted roots")

const (
	// maxOvertaken is how often something is decided before ErrContended.
	maxOvertaken = 32
	// maxRecorded is how often a call records the same missing rule. If another
	// server is configured differently, it replaces each record.
	maxRecorded = 4
)

// A Basis is what something is decided on: the admission policy in force in a
// stream, and the version of all of the stream's rules. The zero value is no
// basis.
type Basis struct {
	version ledger.Rules
	policy  string // digest; "" if there is no policy
}

func (r *rules) basis() Basis {
	b := Basis{version: r.version}
	if r.policy != nil {
		b.policy = r.policy.Digest()
	}
	return b
}

// Decide calls f with the basis in force, on which f decides and records. If
// the rules change before what f records, nothing is recorded and f is called
// again. Errors: those of f; ErrContended.
func (in *Ingester) Decide(ctx context.Context, who Submitter, f func(Basis) error) error {
	return in.decideUnder(ctx, who, func(r *rules) error { return f(r.basis()) })
}

// on calls record with the basis that something was decided on, or with the
// basis in force if it is zero.
func (in *Ingester) on(ctx context.Context, who Submitter, decided Basis, record func(Basis) error) error {
	if decided == (Basis{}) {
		return in.Decide(ctx, who, record)
	}
	return record(decided)
}

// decideUnder is Decide with the rules themselves. Without an Admission, they
// are a version only.
func (in *Ingester) decideUnder(ctx context.Context, who Submitter, f func(*rules) error) error {
	if in.Admission != nil {
		return in.Admission.decideUnder(ctx, who, f)
	}
	return untilInForce(func() error {
		if err := who.enter(ctx); err != nil {
			return err
		}
		return f(&rules{version: in.Ledger.Rules(who.Stream)})
	})
}

// decideUnder calls f with the rules in force, after recording missing ones. If
// they change before what f records, f is called again.
func (a *Admission) decideUnder(ctx context.Context, who Submitter, f func(*rules) error) error {
	recorded := map[string]int{}
	return untilInForce(func() error {
		r, err := a.current(ctx, who, recorded)
		if err == nil {
			err = who.enter(ctx)
		}
		if err != nil {
			return err
		}
		return f(r)
	})
}

// errRecorded reports that a missing rule was recorded, and is to be read.
var errRecorded = errors.New("a missing rule was recorded")

// untilInForce calls decide until the rules that it decides under are in force
// at the place of what it records.
func untilInForce(decide func() error) error {
	for overtaken := 0; overtaken < maxOvertaken; {
		switch err := decide(); {
		case errors.Is(err, errRecorded): // at most maxRecorded times for each rule
		case errors.Is(err, ledger.ErrOvertaken):
			overtaken++
		default:
			return err
		}
	}
	return fmt.Errorf("decided %d times: %w", maxOvertaken, ErrContended)
}
