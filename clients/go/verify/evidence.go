package verify

import (
	"context"
	"errors"
	"maps"
	"slices"

	"muniment.dev/muniment/verifiers/bundle"
	"muniment.dev/muniment/verifiers/export"
)

// The warnings of evidence bundles and streams, besides those of receipts.
const (
	WarnCompletenessNotChecked = "completeness-not-checked"
	WarnReportsNotCompared     = "reports-not-compared"
	WarnSpendsUnreadable       = "spends-unreadable"
	WarnNotWitnessed           = "not-witnessed"
	WarnErased                 = "erased"
)

// EvidenceBundleOptions are the inputs for an evidence bundle besides the
// configuration.
type EvidenceBundleOptions struct {
	Identity *string // expected; nil: any
	Tenant   *string // expected; nil: any
	// Progress is called with the number of bytes that were checked. It can be
	// nil.
	Progress func(done, total uint64)
}

// StreamOptions are the inputs for a stream besides the configuration.
type StreamOptions struct {
	Tenant *string // expected; nil: any
	// Progress is called with the number of bytes that were checked. It can be
	// nil.
	Progress func(done, total uint64)
}

// An EvidenceBundleResult is what an evidence bundle proves, and what the log
// and the bundle's creator claim.
type EvidenceBundleResult struct {
	Proven  EvidenceBundleProven  // what follows from signatures by trusted keys, and from hashes
	Claimed EvidenceBundleClaimed // what the log or the creator asserts, and nothing else supports
}

// EvidenceBundleProven is what an evidence bundle proves. Hashes are in
// hexadecimal.
type EvidenceBundleProven struct {
	Identity  string   `json:"identity"`  // sha256: and the digest of the manifest
	Origin    string   `json:"origin"`    // of the log
	Tenant    string   `json:"tenant"`    // whose stream it is
	Size      uint64   `json:"size"`      // of the tree
	Root      string   `json:"root"`      // of the tree
	StreamID  string   `json:"streamId"`  // identifies the stream
	Entries   uint64   `json:"entries"`   // of the stream
	Last      string   `json:"last"`      // leaf hash
	Included  uint64   `json:"included"`  // payloads
	Omitted   uint64   `json:"omitted"`   // payloads that are not in the bundle
	Erased    uint64   `json:"erased"`    // payloads that were erased
	Complete  bool     `json:"complete"`  // the stream key was given
	Signers   []string `json:"signers"`   // keys of the policy, name+hash, sorted
	Policy    string   `json:"policy"`    // name of the accepting policy
	Witnessed bool     `json:"witnessed"` // the policy requires a witness
}

// EvidenceBundleClaimed is what an evidence bundle claims. Times are in
// milliseconds since 1970. All but Time are those of a stream.
type EvidenceBundleClaimed struct {
	Time   uint64                `json:"time"`             // T of the bundle's manifest
	First  *uint64               `json:"first,omitempty"`  // of the first entry
	Newest *uint64               `json:"newest,omitempty"` // of the last entry
	Kinds  []KindCount           `json:"kinds,omitzero"`   // sorted by kind
	Spends []export.BudgetSpends `json:"spends,omitzero"`  // nil: they cannot be read
}

// A KindCount is the number of entries of a kind.
type KindCount struct {
	Kind    string `json:"kind"`    // of the entries
	Entries int    `json:"entries"` // number of them
}

// EvidenceBundle verifies an evidence bundle under the trust policies. With a
// stream key in the configuration, it also proves that the bundle has all
// entries of the stream. It does not compute the reports in the bundle, as the
// warning reports-not-compared states. The codes are those of
// docs/spec/bundle.md, section 5. The error is that of the context.
func (v *Verifier) EvidenceBundle(ctx context.Context, f *File, o EvidenceBundleOptions) (*Report, error) {
	b, r, failed, err := v.evidence(ctx, f, EvidenceBundle, bundle.Options{StreamKey: v.config.streamKey, Identity: o.Identity, Tenant: o.Tenant, Progress: o.Progress})
	if err != nil || failed != nil {
		return failed, err
	}
	warnings := chosen([]warning{{WarnNotWitnessed, !r.Witnessed}, {WarnCompletenessNotChecked, !r.Complete}, {WarnErased, len(r.Erased) > 0}, {WarnReportsNotCompared, true}})
	return ended(ctx, success(f, EvidenceBundle, warnings, func(out *Report) {
		out.EvidenceBundle = &EvidenceBundleResult{evidenceProven(b, r), EvidenceBundleClaimed{Time: r.Time}}
	}))
}

// Stream verifies that an evidence bundle has all entries of a tenant's stream
// up to its size, and lists them by kind and their spends by budget. It
// requires the stream key. The codes are those of docs/spec/bundle.md, section
// 5, and stream-key-missing. The error is that of the context.
func (v *Verifier) Stream(ctx context.Context, f *File, o StreamOptions) (*Report, error) {
	switch {
	case len(v.config.policies) == 0:
		return failure(f, Stream, string(bundle.PolicyMissing), "the configuration has no trustPolicy"), nil
	case v.config.streamKey == nil:
		return failure(f, Stream, string(export.StreamKeyMissing), "the configuration has no streamKey: without it, entries could be missing"), nil
	}
	b, r, failed, err := v.evidence(ctx, f, Stream, bundle.Options{StreamKey: v.config.streamKey, Tenant: o.Tenant, Progress: o.Progress})
	if err != nil || failed != nil {
		return failed, err
	}
	claimed := EvidenceBundleClaimed{Time: r.Time}
	readable, err := claimed.scan(ctx, b)
	if err != nil {
		failed, err := evidenceFailure(ctx, f, Stream, err)
		return failed, err
	}
	warnings := chosen([]warning{{WarnNotWitnessed, !r.Witnessed}, {WarnErased, len(r.Erased) > 0}, {WarnSpendsUnreadable, !readable}})
	return ended(ctx, success(f, Stream, warnings, func(out *Report) { out.Stream = &EvidenceBundleResult{evidenceProven(b, r), claimed} }))
}

// evidence verifies an evidence bundle.
func (v *Verifier) evidence(ctx context.Context, f *File, kind Kind, o bundle.Options) (*bundle.Bundle, *bundle.Report, *Report, error) {
	b, r, err := bundle.Verify(ctx, f.reader(), f.size, v.config.policies, o)
	if err == nil {
		return b, r, nil, nil
	}
	// Faults of the call rank before a file that cannot be read.
	var e *bundle.Error
	if f.err != nil && errors.As(err, &e) && e.Step > 0 {
		return nil, nil, failure(f, kind, CodeUnreadable, reason(f.err)), nil
	}
	failed, err := evidenceFailure(ctx, f, kind, err)
	return nil, nil, failed, err
}

func evidenceFailure(ctx context.Context, f *File, kind Kind, err error) (*Report, error) {
	var e *bundle.Error
	if !errors.As(err, &e) {
		return nil, err
	}
	return ended(ctx, refusal(f, kind, string(e.Code), e.Step, e.Message))
}

func evidenceProven(b *bundle.Bundle, r *bundle.Report) EvidenceBundleProven {
	s := b.Manifest.Stream
	return EvidenceBundleProven{Identity: r.Identity, Origin: r.Origin, Tenant: r.Tenant, Size: r.Size, Root: r.Root.String(), StreamID: s.ID.String(), Entries: r.Entries, Last: s.Last.String(),
		Included: r.Included, Omitted: r.Omitted, Erased: uint64(len(r.Erased)), Complete: r.Complete, Signers: r.Signers, Policy: r.Policy, Witnessed: r.Witnessed}
}

// scan reads what the headers of a stream claim, and reports whether all spends
// can be read.
func (c *EvidenceBundleClaimed) scan(ctx context.Context, b *bundle.Bundle) (readable bool, err error) {
	kinds := map[string]int{}
	var sums export.SpendSums
	err = b.EachRecord(ctx, func(r *bundle.Record) error {
		at := r.Time
		if c.First == nil {
			c.First = &at
		}
		c.Newest = &at
		if r.Header != nil {
			kinds[r.Header.Kind]++
		}
		sums.Add(r)
		return nil
	})
	c.Kinds = []KindCount{}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		c.Kinds = append(c.Kinds, KindCount{kind, kinds[kind]})
	}
	spends, readable := sums.All()
	if readable {
		c.Spends = append([]export.BudgetSpends{}, spends...)
	}
	return readable, err
}

// A warning is listed if it applies.
type warning struct {
	code string
	when bool
}

func chosen(all []warning) []string {
	var out []string
	for _, w := range all {
		if w.when {
			out = append(out, w.code)
		}
	}
	return out
}
