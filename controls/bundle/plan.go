package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/controls/report"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// readErasures reads what was erased below the size.
func (c *creation) readErasures(ctx context.Context) error {
	c.headerless = map[uint64]bool{}
	return c.each(ctx, ledger.Filter{Kind: ledger.ErasureKind}, func(e *ledger.Entry) error {
		if index, err := strconv.ParseUint(e.Header.Attributes["entry"], 10, 64); err == nil {
			c.reading.erased[index] = true
			c.headerless[index] = c.headerless[index] || e.Header.Attributes["scope"] == ledger.ScopeHeaderAndPayload
		}
		return nil
	})
}

// plan reads the headers of the stream, and decides which payloads the bundle
// contains.
func (c *creation) plan(ctx context.Context) error {
	m, wanted := &c.manifest, c.manifest.Wanted()
	var gone []uint64           // entries without a header
	linked := map[uint64]bool{} // as evidence of findings
	incident, found := m.Selection.Incident, false
	err := c.each(ctx, ledger.Filter{}, func(e *ledger.Entry) error {
		one := planned{index: e.Index, state: bundlefile.Omitted}
		if h := e.Header; h == nil {
			gone = append(gone, e.Index)
		} else {
			one.json = strings.HasSuffix(bundlefile.PayloadName(e.Index, h.MediaType), ".json")
			if wanted.Needs(h, e.Skeleton.Time) {
				one.state = bundlefile.Included
				found = found || h.Kind == kindname.TriageAction && h.Attributes["incident"] == incident
			}
			if h.Kind == kindname.Finding && (len(h.Subjects) == 0 || wanted.Mentions(h)) {
				for _, index := range h.AttributeValues("entry") {
					if i, err := strconv.ParseUint(index, 10, 64); err == nil {
						linked[i] = true
					}
				}
			}
		}
		c.entries = append(c.entries, one)
		m.Stream.Entries++
		m.Time, m.Stream.Last = e.Skeleton.Time, c.Ledger.LeafHashOf(&e.Skeleton)
		return nil
	})
	if err != nil {
		return err
	}
	if incident != "" && !found {
		return fmt.Errorf("%w: the log has no entries of the incident %q", ErrSelection, incident)
	}
	for i := range c.entries {
		switch one := &c.entries[i]; {
		case c.reading.erased[one.index]:
			one.state = bundlefile.Erased
		case linked[one.index]:
			one.state = bundlefile.Included
		}
	}
	for _, index := range gone {
		if !c.headerless[index] {
			return erasedLater(c.size(), index)
		}
	}
	return c.setTime()
}

func (c *creation) setTime() error {
	if c.request.Time.IsZero() {
		return nil
	}
	at := c.request.Time.UnixMilli()
	if at < int64(c.manifest.Time) {
		return fmt.Errorf("time %s: %w, which was recorded at %s", c.request.Time.Format(time.RFC3339), ErrEarly, time.UnixMilli(int64(c.manifest.Time)).UTC().Format(time.RFC3339))
	}
	c.manifest.Time = uint64(at)
	return nil
}

// find returns the planned entry with an index, or nil.
func (c *creation) find(index uint64) *planned {
	i, ok := slices.BinarySearchFunc(c.entries, index, func(p planned, index uint64) int { return cmp.Compare(p.index, index) })
	if !ok {
		return nil
	}
	return &c.entries[i]
}

// included reports whether the bundle contains the payload of an entry.
func (c *creation) included(index uint64) bool {
	one := c.find(index)
	return one != nil && one.state == bundlefile.Included
}

// include adds the payload of an entry to the bundle, unless it was erased.
func (c *creation) include(index uint64) {
	if one := c.find(index); one != nil && one.state == bundlefile.Omitted {
		one.state = bundlefile.Included
	}
}

// report makes the reports. What they read is included.
func (c *creation) report(ctx context.Context) (err error) {
	if c.documents, c.page, err = c.reporting.make(ctx); err != nil {
		return err
	}
	for index := range c.reading.read {
		c.include(index)
	}
	return nil
}

// show includes the entries that the reports refer to, and returns their
// members.
func (c *creation) show(entries []uint64) map[uint64]report.File {
	all := map[uint64]report.File{}
	for _, index := range entries {
		c.include(index)
		if one := c.find(index); one != nil && one.state == bundlefile.Included {
			all[index] = report.File{Receipt: bundlefile.ReceiptName(index), Payload: one.payloadName()}
		}
	}
	return all
}

// coverage returns the reader that computes coverage from what the bundle
// contains. It is complete then, because a reader of the bundle has no more.
// For other artifacts it states the result in the account.
func (c *creation) coverage(ctx context.Context, r *report.Release) (*inventory.Reader, error) {
	newest, err := c.Inventories.Newest(ctx, c.Stream, c.size())
	if err != nil {
		return nil, err
	}
	for _, o := range newest {
		for _, index := range o.Entries {
			c.include(index)
		}
	}
	for _, index := range r.Entries() {
		c.include(index)
	}
	for index := range c.reading.read {
		c.include(index)
	}
	whole := &inventory.Reader{Decider: c.reporting.decider(c.reading.unnoted()), Projection: c.Inventories}
	state := func(ctx context.Context, q *decide.Question, a *inventory.Artifact, err error) (*inventory.Gap, error) {
		if !errors.Is(err, ErrOmitted) {
			return nil, err
		}
		g, err := whole.Judge(ctx, c.Tenant, c.Stream, q, a)
		if err != nil {
			return nil, err
		}
		return c.reporting.state(newStated(q.Environment, a, g)), nil
	}
	return &inventory.Reader{Decider: c.reporting.decider(c.reading.restricted(c.included)), Projection: c.Inventories, Stated: state}, nil
}
