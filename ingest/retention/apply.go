package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
)

// An Outcome is the result for one entry whose retention period has ended.
type Outcome struct {
	Entry *ledger.Entry
	Kind  string
	Scope string // the erased scope, or with dryRun the one to erase
	Kept  string // reason to keep the entry; "" if it is erased
}

// batchEntries is the number of entries that one commit erases.
const batchEntries = 100

// Apply erases the entries whose retention period has ended, oldest first. With
// dryRun it only reports them. It calls report after each erasure and stops at
// its first error. The error is ErrRulesChanged if other rules are put in force
// in the meantime. Entries reported before an error are erased.
func (k *Keeper) Apply(ctx context.Context, who ingest.Submitter, dryRun bool, report func(*Outcome) error) error {
	rules, config, err := k.Rules(ctx, who.Stream)
	if err != nil {
		return err
	}
	for _, r := range rules {
		in := &application{Rule: r, who: who, config: config.Index, dryRun: dryRun}
		if err := k.applyRule(ctx, in, report); err != nil {
			return fmt.Errorf("retention of %s: %w", r.Kind, err)
		}
	}
	return nil
}

// An application applies a rule.
type application struct {
	Rule
	who    ingest.Submitter
	config uint64 // index of the entry that contains the rule
	dryRun bool
}

func (k *Keeper) applyRule(ctx context.Context, r *application, report func(*Outcome) error) error {
	before := k.Now().Add(-time.Duration(r.Days) * 24 * time.Hour)
	for q := (ledger.Query{Filter: ledger.Filter{Kind: r.Kind, To: before}, OldestFirst: true, Limit: batchEntries}); ; {
		page, err := k.Ingester.Ledger.List(ctx, r.who.Stream, q)
		if err != nil {
			return err
		}
		outcomes, err := k.applyBatch(ctx, r, page.Entries)
		if err != nil {
			return err
		}
		for i := range outcomes {
			if err := report(&outcomes[i]); err != nil {
				return err
			}
		}
		if q.Token = page.Next; q.Token == "" {
			return nil
		}
	}
}

// applyBatch erases the erasable entries in one commit.
func (k *Keeper) applyBatch(ctx context.Context, r *application, entries []ledger.Entry) (outcomes []Outcome, err error) {
	err = k.Ingester.Decide(ctx, r.who, func(b ingest.Basis) error {
		outcomes, err = k.tryBatch(ctx, r, b, entries)
		return err
	})
	return outcomes, err
}

// tryBatch is applyBatch on a basis.
func (k *Keeper) tryBatch(ctx context.Context, r *application, b ingest.Basis, entries []ledger.Entry) ([]Outcome, error) {
	stream := r.who.Stream
	if _, now, err := k.Rules(ctx, stream); err != nil {
		return nil, err
	} else if now == nil || now.Index != r.config {
		return nil, fmt.Errorf("%w: apply them again", ErrRulesChanged)
	}
	holds, err := k.Holds(ctx, stream)
	if err != nil {
		return nil, err
	}
	var outcomes []Outcome
	var plans []*ledger.Erasure
	for i := range entries {
		e := &entries[i]
		o := Outcome{Entry: e, Kind: r.Kind, Scope: r.Scope}
		erased, err := k.Ingester.Ledger.PayloadErased(ctx, e)
		if err != nil {
			return nil, err
		}
		if erased && (r.Scope == ledger.ScopePayload || e.Header == nil) {
			continue // erased earlier
		}
		if o.Kept, err = k.keptBecause(ctx, stream, e, holds); err != nil {
			return nil, err
		}
		if o.Kept == "" {
			plan, err := k.Ingester.Ledger.PlanErasure(ctx, stream, e.Index, r.Scope == ledger.ScopeHeaderAndPayload)
			if err != nil {
				return nil, err
			}
			o.Scope = plan.Scope()
			plans = append(plans, plan)
		}
		outcomes = append(outcomes, o)
	}
	if r.dryRun || len(plans) == 0 {
		return outcomes, nil
	}
	reason := fmt.Sprintf("retention: %s after %d days (entry %d)", r.Kind, r.Days, r.config)
	_, err = k.Ingester.Erase(ctx, r.who, b, plans, reason)
	return outcomes, err
}

func (k *Keeper) keptBecause(ctx context.Context, s *ledger.Stream, e *ledger.Entry, holds []Hold) (string, error) {
	err := mayErase(e, holds)
	switch {
	case errors.Is(err, ErrHeld) || errors.Is(err, ErrKept):
		return err.Error(), nil
	case err != nil:
		return "", err
	case k.Reliance == nil:
		return "", nil
	}
	return k.Reliance.ReliedUpon(ctx, s, e)
}
