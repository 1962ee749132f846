package retention

import (
	"context"
	"errors"
	"fmt"
	"time"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
)

// An Outcome is what became of one entry whose time has come.
type Outcome struct {
	Entry *ledger.Entry
	Kind  string
	Scope string // what was, or would be, erased
	Kept  string // why it stayed after all; "" if it was (would be) erased
}

// batchEntries is how many entries one commit erases.
const batchEntries = 100

// Apply erases what the rules in force say, oldest entries first, or with
// dryRun only tells. It tells of each entry whose time has come after it was
// erased, and stops when tell returns an error.
func (k *Keeper) Apply(ctx context.Context, who ingest.Submitter, dryRun bool, tell func(*Outcome) error) error {
	rules, config, err := k.Rules(ctx, who.Stream)
	if err != nil {
		return err
	}
	for _, r := range rules {
		reason := fmt.Sprintf("retention: %s after %d days (entry %d)", r.Kind, r.Days, config.Index)
		if err := k.applyRule(ctx, who, r, reason, dryRun, tell); err != nil {
			return fmt.Errorf("retention of %s: %w", r.Kind, err)
		}
	}
	return nil
}

func (k *Keeper) applyRule(ctx context.Context, who ingest.Submitter, r Rule, reason string, dryRun bool, tell func(*Outcome) error) error {
	before := k.Now().Add(-time.Duration(r.Days) * 24 * time.Hour)
	for q := (ledger.Query{Filter: ledger.Filter{Kind: r.Kind, To: before}, OldestFirst: true, Limit: batchEntries}); ; {
		page, err := k.Ingester.Ledger.List(ctx, who.Stream, q)
		if err != nil {
			return err
		}
		outcomes, err := k.applyBatch(ctx, who, r, page.Entries, reason, dryRun)
		if err != nil {
			return err
		}
		for i := range outcomes {
			if err := tell(&outcomes[i]); err != nil {
				return err
			}
		}
		if q.Token = page.Next; q.Token == "" {
			return nil
		}
	}
}

// applyBatch erases what may be erased of the entries, in one commit.
func (k *Keeper) applyBatch(ctx context.Context, who ingest.Submitter, r Rule, entries []ledger.Entry, reason string, dryRun bool) ([]Outcome, error) {
	defer k.lock(who.Stream)()
	holds, err := k.Holds(ctx, who.Stream)
	if err != nil {
		return nil, err
	}
	var outcomes []Outcome
	var plans []*ledger.Erasure
	for i := range entries {
		e := &entries[i]
		o := Outcome{Entry: e, Kind: r.Kind, Scope: r.Scope}
		erased, err := k.Ingester.Ledger.PayloadErased(ctx, who.Stream, e.Index)
		if err != nil {
			return nil, err
		}
		if erased && (r.Scope == ledger.ScopePayload || e.Header == nil) {
			continue // before
		}
		if o.Kept, err = k.keptBecause(ctx, who.Stream, e, holds); err != nil {
			return nil, err
		}
		if o.Kept == "" {
			plan, err := k.Ingester.Ledger.PlanErasure(ctx, who.Stream, e.Index, r.Scope == ledger.ScopeHeaderAndPayload)
			if err != nil {
				return nil, err
			}
			o.Scope = plan.Scope()
			plans = append(plans, plan)
		}
		outcomes = append(outcomes, o)
	}
	if dryRun || len(plans) == 0 {
		return outcomes, nil
	}
	_, err = k.Ingester.Erase(ctx, who, plans, reason)
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
