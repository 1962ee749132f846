package decide

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/verifiers/facts"
)

// Facts has the facts of entries.
type Facts interface {
	// FactsOf returns the facts of an entry, or nil if it has none. The error
	// wraps ledger.ErrErased if its payload was erased.
	FactsOf(ctx context.Context, s *ledger.Stream, e *ledger.Entry) (*facts.Facts, error)
}

// maxElements bounds the elements of the facts that one decision reads. Older
// facts beyond it are not available.
const maxElements = 200_000

// A gatherer gathers the inputs of the decisions about one state of a stream.
type gatherer struct {
	*Decider
	stream   *ledger.Stream
	question *Question
	size     uint64
	at       time.Time
	set      *evaluate.Set  // applied instead of the one in force; nil: none
	shared   evaluate.Input // all but what concerns one artifact
	kinds    []string       // of evidence that matters
}

// share gathers what all decisions have in common.
func (g *gatherer) share(ctx context.Context, p *ledger.Published) error {
	g.shared = evaluate.Input{Size: g.size, Time: g.at, Stage: g.question.Stage, Environment: g.question.Environment}
	st, err := g.current(ctx, p, g.stream)
	if err != nil {
		return err
	}
	defer st.mu.Unlock()
	if g.shared.Set = g.set; g.set == nil {
		if g.shared.Set, err = g.setInForce(ctx, st); err != nil {
			var unreadable *unreadableError
			if !errors.As(err, &unreadable) {
				return err
			}
			g.shared.Unreadable = unreadable.error
		}
	}
	if g.shared.Set == nil {
		return nil
	}
	if id := g.question.Control; id != "" {
		if g.shared.Set, g.shared.Stage = g.shared.Set.Only(id); g.shared.Set == nil {
			return fmt.Errorf("control %s: %w", id, ErrUnknownControl)
		}
	}
	set := g.shared.Set
	for kind := range set.Kinds() {
		g.kinds = append(g.kinds, kind)
	}
	slices.Sort(g.kinds)
	g.shared.KeyEvents = slices.Clone(st.keyEvents)
	for _, c := range set.Controls {
		if !c.ReadsFindings() {
			continue
		}
		found, err := g.findingsOf(ctx, p, g.stream, st, c.ID)
		if err != nil {
			return err
		}
		g.shared.Findings = append(g.shared.Findings, found...)
	}
	g.shared.Findings = uniqueEvidence(g.shared.Findings)
	all, err := g.Exceptions.All(ctx, g.stream)
	if err != nil {
		return err
	}
	g.shared.Exceptions = slices.DeleteFunc(all, func(x *exception.Exception) bool {
		return x.Index >= g.size || !slices.ContainsFunc(set.Controls, func(c *evaluate.Control) bool { return c.ID == x.Control })
	})
	return nil
}

// uniqueEvidence sorts evidence by index and removes duplicates.
func uniqueEvidence(all []evaluate.Evidence) []evaluate.Evidence {
	slices.SortFunc(all, func(a, b evaluate.Evidence) int { return cmp.Compare(a.Index, b.Index) })
	return slices.CompactFunc(all, func(a, b evaluate.Evidence) bool { return a.Index == b.Index })
}

// A found maps the entries that mention an artifact by their indexes.
type found map[uint64]*ledger.Entry

// input gathers the input of the decision about an artifact, without facts.
func (g *gatherer) input(ctx context.Context, a *Artifact) (*evaluate.Input, found, error) {
	in := g.shared
	in.Subject, in.Parts = a.Subject, a.Parts
	all := found{}
	if in.Set == nil {
		return &in, all, nil
	}
	for digest := range in.Digests() {
		for _, kind := range g.kinds {
			if err := g.find(ctx, all, digest.String(), kind); err != nil {
				return nil, nil, err
			}
		}
	}
	for _, index := range slices.Sorted(maps.Keys(all)) {
		e := all[index]
		in.Evidence = append(in.Evidence, evaluate.Evidence{Index: index, Time: timeOf(e), Header: e.Header})
	}
	return &in, all, nil
}

// find adds the entries of a kind about a digest, the newest first, until they
// are more than decisions are made from.
func (g *gatherer) find(ctx context.Context, all found, digest, kind string) error {
	most := evaluate.MaxEvidence + 1
	if evaluate.RecentOnly(kind) {
		most = evaluate.MaxRecent
	}
	n := 0
	return g.newestFirst(ctx, g.stream, ledger.Filter{Subject: digest, Kind: kind}, g.size, pageEntries, func(e *ledger.Entry) bool {
		all[e.Index] = e
		n++
		return n < most
	})
}

// addAllFacts adds the facts of the evidence that a decision reads, which is
// the newest first.
func (g *gatherer) addAllFacts(ctx context.Context, read []*evaluate.Evidence, all found) error {
	elements := 0
	for _, one := range read {
		if elements > cmp.Or(g.elements, maxElements) {
			one.Unavailable = true
			continue
		}
		if err := g.addFacts(ctx, one, all[one.Index]); err != nil {
			return err
		}
		elements += elementsOf(one.Facts)
	}
	return nil
}

func (g *gatherer) addFacts(ctx context.Context, one *evaluate.Evidence, e *ledger.Entry) (err error) {
	one.Facts, err = g.Facts.FactsOf(ctx, g.stream, e)
	if errors.Is(err, ledger.ErrErased) {
		one.Unavailable = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("facts of entry %d: %w", e.Index, err)
	}
	return nil
}

// elementsOf returns the number of elements of the lists that can be long.
func elementsOf(f *facts.Facts) (n int) {
	if f == nil {
		return 0
	}
	if f.Scan != nil {
		n += len(f.Scan.Vulnerabilities)
	}
	if f.VEX != nil {
		n += len(f.VEX.Statements)
	}
	if f.SBOM != nil {
		n += len(f.SBOM.Components)
	}
	if f.Build != nil {
		n += len(f.Build.Materials)
	}
	if t := f.Test; t != nil {
		n += len(t.Configuration) + len(t.Passed) + len(t.Warned) + len(t.Failed)
	}
	if f.Summary != nil {
		n += len(f.Summary.Levels)
	}
	if f.Properties != nil {
		n += len(f.Properties.Properties)
	}
	if e := f.Export; e != nil {
		n += len(e.Contents) + len(e.Residency) + len(e.Regions) + len(e.Licenses)
	}
	return n
}
