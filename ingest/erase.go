package ingest

import (
	"context"
	"crypto/rand"

	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Erase performs the erasures and records an entry for each, in one commit. It
// does not check whether they are permitted. Package retention does.
func (in *Ingester) Erase(ctx context.Context, who Submitter, erasures []*ledger.Erasure, reason string) ([]ledger.Result, error) {
	drafts := make([]ledger.Draft, len(erasures))
	var results []ledger.Result
	draft := func(policyDigest string) (err error) {
		for i, e := range erasures {
			index := e.Index
			m := &munimentv1.Erasure{Index: &index, Scope: e.Scope(), Reason: reason, Actor: who.Identity}
			if drafts[i], err = recordDraft(in.Ledger, who, ledger.ErasureKind, rand.Text(), m, policyDigest); err != nil {
				return err
			}
			drafts[i].Erase = e
		}
		return nil
	}
	appendAll := func() (err error) {
		results, err = in.Ledger.Append(ctx, drafts)
		return err
	}
	if in.Admission != nil {
		err := in.Admission.append(ctx, who, func(r *rules) error { return draft(r.policy.Digest()) }, appendAll)
		return results, err
	}
	if err := draft(""); err != nil {
		return nil, err
	}
	err := appendAll()
	return results, err
}
