package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/difference"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/facts"
	"muniment.dev/muniment/verifiers/intoto"
)

// addAnalyses adds the results of tests about the artifacts.
func (g *gathering) addAnalyses(ctx context.Context) error {
	for i := range g.release.Evidence {
		e := &g.release.Evidence[i]
		if e.Erased || intoto.CategoryOf(e.Header.PredicateType) != intoto.TestedBy || !counts(e.Header) {
			continue
		}
		f, err := g.factsOf(ctx, &ledger.Entry{Index: e.Entry, Header: e.Header})
		if err != nil {
			return err
		}
		if f != nil && f.Test != nil {
			g.release.Analyses = append(g.release.Analyses, Analysis{Entry: e.Entry, Time: e.Time, Artifacts: e.Artifacts, Test: f.Test})
		}
	}
	slices.Reverse(g.release.Analyses)
	return nil
}

// counts reports whether evidence with the header can be shown as such.
func counts(h *entry.Header) bool {
	return !h.NotAdmitted() && h.Verification.Result != entry.Failed
}

// factsOf returns the facts of an entry, or nil if it has none or was erased.
func (g *gathering) factsOf(ctx context.Context, e *ledger.Entry) (*facts.Facts, error) {
	whole, err := g.Decider.Log.Entry(ctx, g.Stream, e.Index)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	if whole.Header == nil {
		return nil, nil
	}
	f, err := g.Decider.Facts.FactsOf(ctx, g.Stream, whole)
	if errors.Is(err, ledger.ErrErased) {
		return nil, nil
	}
	return f, err
}

// addDifferences compares the release with the previous one.
func (g *gathering) addDifferences(ctx context.Context) error {
	previous := g.selection.Previous
	if previous == nil {
		return nil
	}
	d, err := difference.Releases(ctx, previous.Artifacts, g.selection.Artifacts, g.described)
	if err != nil {
		return fmt.Errorf("compare with the previous release: %w", err)
	}
	d.Previous = previous.Name
	g.release.Differences = d
	return nil
}

// maxDescribing is the number of entries about an artifact in which the newest
// bill of materials and provenance are searched.
const maxDescribing = 256

// described returns an artifact with the facts that are compared.
func (g *gathering) described(ctx context.Context, a *decide.Artifact) (*difference.Artifact, error) {
	out := &difference.Artifact{Artifact: *a}
	sets := []map[string]string{a.Digest}
	for _, p := range a.Parts {
		sets = append(sets, p.Digest)
	}
	for _, set := range sets {
		sbom, build, err := g.describing(ctx, set)
		if err != nil {
			return nil, err
		}
		if sbom != nil && !slices.ContainsFunc(out.SBOMs, func(s difference.SBOM) bool { return s.Entry == sbom.Entry }) {
			out.SBOMs = append(out.SBOMs, *sbom)
		}
		if build != nil && (out.Build == nil || build.Entry > out.Build.Entry) {
			out.Build = build
		}
	}
	return out, nil
}

// describing returns the newest bill of materials and the newest provenance of
// an artifact. Those with a verified signature are preferred.
func (g *gathering) describing(ctx context.Context, digests map[string]string) (sbom *difference.SBOM, build *difference.Build, err error) {
	var candidates []*ledger.Entry
	for digest := range artifact.Digests(digests) {
		_, err := g.newestFirst(ctx, ledger.Filter{Subject: digest.String()}, maxDescribing, func(e *ledger.Entry) error {
			if counts(e.Header) && describes(e.Header) && aboutSame(e.Header, digests) {
				candidates = append(candidates, e)
			}
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	slices.SortFunc(candidates, func(a, b *ledger.Entry) int {
		verified := func(e *ledger.Entry) bool { return e.Header.Verification.Result == entry.Verified }
		if c := compareBools(!verified(a), !verified(b)); c != 0 {
			return c
		}
		return cmp.Compare(b.Index, a.Index)
	})
	for _, e := range candidates {
		if sbom != nil && build != nil {
			break
		}
		f, err := g.factsOf(ctx, e)
		switch {
		case err != nil:
			return nil, nil, err
		case f == nil:
		case f.SBOM != nil && sbom == nil:
			sbom = &difference.SBOM{Entry: e.Index, SBOM: f.SBOM}
		case f.Build != nil && build == nil:
			build = &difference.Build{Entry: e.Index, Build: f.Build}
		}
	}
	return sbom, build, nil
}

// describes reports whether an entry can have facts that are compared.
func describes(h *entry.Header) bool {
	if h.PredicateType != "" {
		c := intoto.CategoryOf(h.PredicateType)
		return c == intoto.DescribedBy || c == intoto.BuiltBy
	}
	return strings.Contains(h.MediaType, "spdx") || strings.Contains(h.MediaType, "cyclonedx")
}

func aboutSame(h *entry.Header, digests map[string]string) bool {
	return slices.ContainsFunc(h.Subjects, func(s entry.Subject) bool { return artifact.Same(s.Digest, digests) })
}
