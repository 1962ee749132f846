package ingest

import (
	"context"
	"crypto/rand"

	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Erase performs the erasures and records an entry for each, in one commit. It
// does not check whether they are permitted. Package retention does that, on
// the basis that it passes. The error is ledger.ErrOvertaken if that basis is
// no longer in force.
func (in *Ingester) Erase(ctx context.Context, who Submitter, decided Basis, erasures []*ledger.Erasure, reason string) (results []ledger.Result, err error) {
	drafts := make([]ledger.Draft, len(erasures))
	err = in.on(ctx, who, decided, func(b Basis) error {
		for i, e := range erasures {
			index := e.Index
			m := &munimentv1.Erasure{Index: &index, Scope: e.Scope(), Reason: reason, Actor: who.Identity}
			if drafts[i], err = recordDraft(in.Ledger, who, ledger.ErasureKind, rand.Text(), m, b); err != nil {
				return err
			}
			drafts[i].Erase = e
		}
		results, err = in.Ledger.Append(ctx, drafts)
		return err
	})
	return results, err
}
