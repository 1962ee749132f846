package export

import (
	"context"
	"math/big"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/bundle"
)

// The attributes of the header that a log copies from a manifest.
const (
	AttributeBudget   = "budget"
	AttributeFlavor   = "flavor"
	AttributeUnit     = "privacyUnit"
	AttributeRelation = "neighboringRelation"
	AttributeEpsilon  = "epsilon"
	AttributeDelta    = "delta"
	AttributeRho      = "rho"
)

// Attributes returns the attributes of the header about the privacy loss.
func (p *Privacy) Attributes() map[string]string {
	a := map[string]string{AttributeBudget: p.Budget, AttributeFlavor: p.Flavor, AttributeUnit: p.Unit, AttributeRelation: p.Relation, AttributeEpsilon: p.Parameters.Epsilon.String()}
	if p.Parameters.Delta != nil {
		a[AttributeDelta] = p.Parameters.Delta.String()
	}
	if p.Parameters.Rho != nil {
		a[AttributeRho] = p.Parameters.Rho.String()
	}
	return a
}

// AmountAttribute returns the attribute of the amount of a spend.
func AmountAttribute(flavor string) string {
	if flavor == ZCDP {
		return AttributeRho
	}
	return AttributeEpsilon
}

// StreamFacts is what a complete stream shows.
type StreamFacts struct {
	Size    uint64 `json:"size"`    // of the tree
	Entries uint64 `json:"entries"` // of the stream
	Spends  int    `json:"spends"`  // of the budget, up to this export
	Later   int    `json:"later"`   // spends of the budget after this export
}

// A streamScan collects what step 10 needs of the records.
type streamScan struct {
	v     *verification
	b     *bundle.Bundle
	facts StreamFacts

	own        *entry.Header // of the manifest's entry; nil: it is not there
	evidence   map[EvidenceEntry]bool
	unreadable error // step 10.5
	spend      error // step 10.6
	sum        *big.Int
}

// verifyStream performs step 10.
func (v *verification) verifyStream(ctx context.Context) error {
	if v.o.Stream == nil {
		return nil
	}
	b, r, err := bundle.Verify(ctx, v.o.Stream, v.o.StreamSize, v.o.Policies, bundle.Options{StreamKey: v.o.StreamKey, Tenant: &v.manifest.Tenant})
	if err != nil {
		return err
	}
	s := &streamScan{v: v, b: b, evidence: map[EvidenceEntry]bool{}, sum: new(big.Int), facts: StreamFacts{Size: r.Size, Entries: r.Entries}}
	for _, c := range v.manifest.Claims {
		for _, e := range c.Evidence {
			s.evidence[e] = false
		}
	}
	if err := b.EachRecord(ctx, s.record); err != nil {
		return err
	}
	if err := s.judge(); err != nil {
		return err
	}
	v.stream = &s.facts
	return nil
}

func (s *streamScan) record(r *bundle.Record) error {
	at := EvidenceEntry{r.Index, s.b.LeafHash(r)}
	if _, ok := s.evidence[at]; ok {
		s.evidence[at] = true
	}
	if r.Index == s.v.receipt.Index && at.LeafHash == s.v.receipt.LeafHash {
		s.own = r.Header
	}
	p := s.v.manifest.Privacy
	if p == nil {
		return nil
	}
	upTo := r.Index <= s.v.receipt.Index
	if isHidden(r) {
		if upTo && s.unreadable == nil {
			s.unreadable = s.hidden(r)
		}
		return nil
	}
	if !isSpend(r.Header, p.Budget) {
		return nil
	}
	if !upTo {
		s.facts.Later++
		return nil
	}
	s.facts.Spends++
	if s.spend == nil {
		s.spend = s.add(p, r)
	}
	return nil
}

// isHidden reports whether a record can be a spend that its header does not
// show.
func isHidden(r *bundle.Record) bool {
	return r.Header == nil || r.Header.PredicateType == PredicateType && r.Header.Kind != kindname.ExportManifest
}

func (s *streamScan) hidden(r *bundle.Record) error {
	return fail(SpendUnreadable, "entry %d: it could be a spend of the budget, but its header does not show it", r.Index)
}

// isSpend reports whether a header is that of a spend of a budget.
func isSpend(h *entry.Header, budget string) bool {
	return h.Kind == kindname.ExportManifest && h.PredicateType == PredicateType && h.Attributes[AttributeBudget] == budget
}

// add performs step 10.6 for a spend.
func (s *streamScan) add(p *Privacy, r *bundle.Record) error {
	a := r.Header.Attributes
	if a[AttributeFlavor] != p.Flavor || a[AttributeUnit] != p.Unit || a[AttributeRelation] != p.Relation {
		return fail(SpendDiffers, "entry %d: its flavor, privacy unit or neighboring relation is not that of the manifest, so the losses cannot be added", r.Index)
	}
	amount, err := ParseDecimal(a[AmountAttribute(p.Flavor)])
	if err != nil {
		return fail(SpendUnreadable, "entry %d: %s: %w", r.Index, AmountAttribute(p.Flavor), err)
	}
	s.sum.Add(s.sum, amount.units)
	return nil
}

// judge performs steps 10.2 to 10.7.
func (s *streamScan) judge() error {
	m := s.v.manifest
	if s.own == nil {
		return fail(EntryMissing, "the stream of size %d has no entry %d with the leaf hash of the receipt", s.facts.Size, s.v.receipt.Index)
	}
	if m.Privacy != nil && !sameSpend(s.own, m.Privacy) {
		return fail(EntryDiffers, "entry %d: the header of the manifest's entry has another spend than the manifest", s.v.receipt.Index)
	}
	for _, c := range m.Claims {
		for _, e := range c.Evidence {
			if !s.evidence[e] {
				return fail(EvidenceMissing, "the stream has no entry %d with the leaf hash %s", e.Index, e.LeafHash)
			}
		}
	}
	switch {
	case m.Privacy == nil:
		return nil
	case s.unreadable != nil:
		return s.unreadable
	case s.spend != nil:
		return s.spend
	}
	if spent := m.Privacy.Spent(); s.sum.Cmp(spent.units) > 0 {
		return fail(SpentUnderstated, "%s is spent of budget %s by the recorded exports, but the manifest states %s", decimalOf(s.sum), m.Privacy.Budget, spent)
	}
	return nil
}

// sameSpend reports whether the header has the spend of the manifest.
func sameSpend(h *entry.Header, p *Privacy) bool {
	if !isSpend(h, p.Budget) {
		return false
	}
	want := p.Attributes()
	for _, name := range []string{AttributeFlavor, AttributeUnit, AttributeRelation, AttributeEpsilon, AttributeDelta, AttributeRho} {
		if h.Attributes[name] != want[name] {
			return false
		}
	}
	return true
}
