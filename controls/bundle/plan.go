package bundle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	bundlefile "muniment.dev/muniment/verifiers/bundle"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// plan reads the headers of the stream, and decides which payloads the bundle
// contains.
func (c *creation) plan(ctx context.Context) error {
	m, wanted := &c.manifest, c.manifest.Wanted()
	erased, header := map[uint64]bool{}, map[uint64]bool{} // by entries of the bundle
	var gone []uint64                                      // entries without a header
	linked := map[uint64]bool{}                            // as evidence of findings
	err := c.each(ctx, func(e *ledger.Entry) error {
		one := planned{index: e.Index, state: bundlefile.Omitted}
		switch h := e.Header; {
		case h == nil:
			gone = append(gone, e.Index)
		case h.Kind == ledger.ErasureKind:
			if index, err := strconv.ParseUint(h.Attributes["entry"], 10, 64); err == nil {
				erased[index] = true
				header[index] = header[index] || h.Attributes["scope"] == ledger.ScopeHeaderAndPayload
			}
			fallthrough
		default:
			one.json = strings.HasSuffix(bundlefile.PayloadName(e.Index, h.MediaType), ".json")
			if wanted.Needs(h, e.Skeleton.Time) {
				one.state = bundlefile.Included
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
	for i := range c.entries {
		switch one := &c.entries[i]; {
		case erased[one.index]:
			one.state = bundlefile.Erased
		case linked[one.index]:
			one.state = bundlefile.Included
		}
	}
	for _, index := range gone {
		if !header[index] {
			return c.erasedLater(index)
		}
	}
	return c.setTime()
}

// erasedLater returns the error of an opening that is erased by now.
func (c *creation) erasedLater(index uint64) error {
	return ledger.WrongField(ledger.FieldTreeSize, "entry %d was %w after the log had %d entries: choose a size that includes its erasure", index, ledger.ErrErased, c.size())
}

// setTime sets the time for which the reports are made.
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
