// Package retention decides which of a tenant's entries can be erased, and
// when, based on retention rules, legal holds and exceptions that rely on the
// entries.
//
// Rules and holds are stored only in the log, as entries of kind config.
// Package ledger performs the erasures.
package retention

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
)

var (
	// ErrHeld reports that an entry is under a legal hold.
	ErrHeld = errors.New("under a legal hold")
	// ErrKept reports that an entry is a record of the log itself, which cannot
	// be erased.
	ErrKept = errors.New("never erased")
	// ErrRelied reports that the ledger's answers would change without trace if
	// an entry's header were erased.
	ErrRelied = errors.New("relied upon")
	// ErrNoHold reports that no hold with this name is in force.
	ErrNoHold = errors.New("no such legal hold")
	// ErrHoldExists reports that a hold with this name is already in force.
	ErrHoldExists = errors.New("a legal hold of this name is in force")
	// ErrRulesChanged reports that other retention rules were put in force
	// while some were applied.
	ErrRulesChanged = errors.New("the retention rules changed while they were applied")
)

// Reliance determines whether an entry is still needed after its retention
// period.
type Reliance interface {
	// ReliedUpon returns why an entry of the stream must be kept, such as an
	// exception in force, or "".
	ReliedUpon(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (reason string, err error)
}

// Any is relied upon if any of its elements is.
type Any []Reliance

// ReliedUpon implements Reliance. It returns the first reason.
func (all Any) ReliedUpon(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (string, error) {
	for _, r := range all {
		if reason, err := r.ReliedUpon(ctx, s, e); reason != "" || err != nil {
			return reason, err
		}
	}
	return "", nil
}

// A Keeper applies retention rules and legal holds to the entries of one log.
type Keeper struct {
	Ingester *ingest.Ingester
	Reliance Reliance // nil: entries are never relied upon
	// Headers determines whose headers must be kept even by Erase, because
	// nothing else shows that the entries exist. Nil: none.
	Headers Reliance
	Now     func() time.Time
}

// A Rule is the retention period of entries of a kind.
type Rule struct {
	Kind  string `json:"kind"`
	Days  uint32 `json:"days"`  // from the entry's time
	Scope string `json:"scope"` // ledger.ScopePayload or ledger.ScopeHeaderAndPayload
}

// rulesName is the name of the config entries that contain the rules.
const rulesName = "retention"

type rulesDocument struct {
	Rules []Rule `json:"rules"`
}

// SetRules replaces the rules in force. The error is an *ingest.FieldError if a
// rule is invalid.
func (k *Keeper) SetRules(ctx context.Context, who ingest.Submitter, rules []Rule, reason string) (ledger.Result, error) {
	for i, r := range rules {
		field := ingest.Field(fmt.Sprintf("rules[%d].kind", i))
		switch {
		case ingest.WrittenByLog(r.Kind):
			return ledger.Result{}, &ingest.FieldError{Field: field, Reason: fmt.Sprintf("entries of kind %s are the log's own record and cannot be erased", r.Kind)}
		case !slices.Contains(ingest.Kinds(), r.Kind):
			return ledger.Result{}, &ingest.FieldError{Field: field, Reason: fmt.Sprintf("%q is not a kind", r.Kind)}
		case slices.ContainsFunc(rules[:i], func(other Rule) bool { return other.Kind == r.Kind }):
			return ledger.Result{}, &ingest.FieldError{Field: field, Reason: fmt.Sprintf("duplicate rule for kind %s", r.Kind)}
		}
	}
	document, err := json.Marshal(rulesDocument{append([]Rule{}, rules...)}) // [] if there are none
	if err != nil {
		return ledger.Result{}, err
	}
	return k.Ingester.RecordConfig(ctx, who, ingest.Basis{}, rulesName, document, reason)
}

// Rules returns the rules in force and the config entry that contains them. The
// entry is nil if rules were never set.
func (k *Keeper) Rules(ctx context.Context, s *ledger.Stream) ([]Rule, *ingest.Config, error) {
	c, err := ingest.NewestConfig(ctx, k.Ingester.Ledger, s, rulesName)
	if err != nil || c == nil {
		return nil, nil, err
	}
	var d rulesDocument
	if err := json.Unmarshal(c.Document, &d); err != nil {
		return nil, nil, fmt.Errorf("retention rules of entry %d: %w", c.Index, err)
	}
	return d.Rules, c, nil
}

// Erase erases an entry of the submitter's stream and returns the scope that
// was erased. Errors: those of ledger.PlanErasure, ErrHeld, ErrKept, ErrRelied,
// and an *ingest.FieldError if the reason contains a digest of the erased
// content.
func (k *Keeper) Erase(ctx context.Context, who ingest.Submitter, index uint64, header bool, reason string) (scope string, r ledger.Result, err error) {
	err = k.Ingester.Decide(ctx, who, func(b ingest.Basis) error {
		plan, err := k.plan(ctx, who, index, header)
		if err != nil {
			return err
		}
		if plan.Betrays(reason) {
			return &ingest.FieldError{Field: "reason", Reason: "must not contain a digest of the payload to be erased: the reason is recorded permanently"}
		}
		results, err := k.Ingester.Erase(ctx, who, b, []*ledger.Erasure{plan}, reason)
		if err != nil {
			return err
		}
		scope, r = plan.Scope(), results[0]
		return r.Err
	})
	return scope, r, err
}

// plan returns the erasure of an entry that is permitted to be erased.
func (k *Keeper) plan(ctx context.Context, who ingest.Submitter, index uint64, header bool) (*ledger.Erasure, error) {
	e, err := k.Ingester.Ledger.Entry(ctx, who.Stream, index)
	if err != nil {
		return nil, err
	}
	holds, err := k.Holds(ctx, who.Stream)
	if err != nil {
		return nil, err
	}
	if err := mayErase(e, holds); err != nil {
		return nil, err
	}
	plan, err := k.Ingester.Ledger.PlanErasure(ctx, who.Stream, index, header)
	if err != nil || !plan.Header || k.Headers == nil {
		return plan, err
	}
	reason, err := k.Headers.ReliedUpon(ctx, who.Stream, e)
	if err == nil && reason != "" {
		remedy := "replace it first"
		if header {
			remedy = "erase its payload only, or " + remedy
		}
		err = ledger.WrongField(ledger.FieldIndex, "entry %d is %w: %s, and without its header nothing would show that it is missing: %s", index, ErrRelied, reason, remedy)
	}
	return plan, err
}

// mayErase returns an error if the entry cannot be erased: ErrKept or ErrHeld.
func mayErase(e *ledger.Entry, holds []Hold) error {
	if e.Header != nil && ingest.WrittenByLog(e.Header.Kind) {
		return ledger.WrongField(ledger.FieldIndex, "entry %d is of kind %s, which is the log's own record and %w", e.Index, e.Header.Kind, ErrKept)
	}
	for i := range holds {
		if holds[i].Filter.Matches(e) {
			return ledger.WrongField(ledger.FieldIndex, "entry %d is %w, %q (entry %d)", e.Index, ErrHeld, holds[i].ID, holds[i].Index)
		}
	}
	return nil
}
