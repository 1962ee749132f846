// Package retention decides what may be erased of a tenant's entries, and when:
// it knows retention rules, legal holds and what is relied upon.
//
// Rules and holds are documents in entries of kind config, so that the log is
// the only place where they are. How an erasure is made is package ledger's
// affair.
package retention

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

var (
	// ErrHeld says that a legal hold keeps an entry from being erased.
	ErrHeld = errors.New("under a legal hold")
	// ErrKept says that an entry is never erased, because the log itself goes
	// by it.
	ErrKept = errors.New("never erased")
	// ErrNoHold says that there is no such hold.
	ErrNoHold = errors.New("no such legal hold")
	// ErrHoldExists says that a hold of the name is in force.
	ErrHoldExists = errors.New("a legal hold of this name is in force")
)

// Reliance says what an entry is needed for, beside retention rules.
type Reliance interface {
	// ReliedUpon returns why an entry of the stream must stay, such as an
	// exception in force, or "".
	ReliedUpon(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (reason string, err error)
}

// A Keeper keeps and erases the entries of one log.
type Keeper struct {
	Ingester *ingest.Ingester
	Reliance Reliance // nil: nothing is relied upon
	Now      func() time.Time

	locks sync.Map // entry.Hash of the stream → *sync.Mutex
}

// lock keeps who looks at the holds of a stream and then erases apart from who
// places one: once a hold is recorded, nothing that it covers is erased.
func (k *Keeper) lock(s *ledger.Stream) (unlock func()) {
	v, _ := k.locks.LoadOrStore(s.ID, &sync.Mutex{})
	mu := v.(*sync.Mutex)
	mu.Lock()
	return mu.Unlock
}

// A Rule says how long entries of a kind are kept.
type Rule struct {
	Kind  string `json:"kind"`
	Days  uint32 `json:"days"`  // from the entry's time
	Scope string `json:"scope"` // ledger.ScopePayload or ledger.ScopeHeaderAndPayload
}

// rulesName is the name of the config entries that hold the rules.
const rulesName = "retention"

type rulesDocument struct {
	Rules []Rule `json:"rules"`
}

// SetRules puts the rules in force, in the place of all before. The error is an
// *ingest.FieldError if one is wrong.
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
	return k.Ingester.RecordConfig(ctx, who, rulesName, document, reason)
}

// Rules returns the rules in force, and the entry that put them in force, or
// nil if there never were any.
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

// Erase erases an entry of the stream of who, and returns what was erased in
// fact. Errors: as ledger.PlanErasure; ErrHeld; ErrKept; an *ingest.FieldError
// if the reason repeats what is to be erased.
func (k *Keeper) Erase(ctx context.Context, who ingest.Submitter, index uint64, header bool, reason string) (scope string, _ ledger.Result, _ error) {
	defer k.lock(who.Stream)()
	e, err := k.Ingester.Ledger.Entry(ctx, who.Stream, index)
	if err != nil {
		return "", ledger.Result{}, err
	}
	holds, err := k.Holds(ctx, who.Stream)
	if err != nil {
		return "", ledger.Result{}, err
	}
	if err := mayErase(e, holds); err != nil {
		return "", ledger.Result{}, err
	}
	plan, err := k.Ingester.Ledger.PlanErasure(ctx, who.Stream, index, header)
	if err != nil {
		return "", ledger.Result{}, err
	}
	if plan.Betrays(reason) {
		return "", ledger.Result{}, &ingest.FieldError{Field: "reason", Reason: "must not contain a digest of the payload to be erased: the reason is recorded permanently"}
	}
	results, err := k.Ingester.Erase(ctx, who, []*ledger.Erasure{plan}, reason)
	if err != nil {
		return "", ledger.Result{}, err
	}
	return plan.Scope(), results[0], results[0].Err
}

// mayErase returns nil if nothing but a retention rule decides about the entry.
func mayErase(e *ledger.Entry, holds []Hold) error {
	if e.Header != nil {
		h, err := entry.ParseHeader(e.Header.Content)
		if err != nil {
			return err
		}
		if ingest.WrittenByLog(h.Kind) {
			return ledger.WrongField(ledger.FieldIndex, "entry %d is of kind %s, which is the log's own record and %w", e.Index, h.Kind, ErrKept)
		}
	}
	for i := range holds {
		covers, err := holds[i].Filter.Matches(e)
		if err != nil {
			return err
		}
		if covers {
			return ledger.WrongField(ledger.FieldIndex, "entry %d is %w, %q (entry %d)", e.Index, ErrHeld, holds[i].ID, holds[i].Index)
		}
	}
	return nil
}
