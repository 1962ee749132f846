package retention

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A Hold protects the entries that match its filter from erasure.
type Hold struct {
	ID     string
	Filter ledger.Filter
	Shown  *munimentv1.Filter // the same filter, as recorded
	Reason string
	Since  uint64 // Unix milliseconds
	Index  uint64 // of the entry that placed it
}

// holdPrefix is the common prefix of the config entries of holds.
const holdPrefix = "legal-hold/"

// Place places a hold on the entries that match the filter. A nil filter
// matches all entries. Errors: ErrHoldExists.
func (k *Keeper) Place(ctx context.Context, who ingest.Submitter, id string, shown *munimentv1.Filter, reason string) (r ledger.Result, err error) {
	if shown == nil {
		shown = &munimentv1.Filter{}
	}
	loose, err := protojson.Marshal(shown)
	if err != nil {
		return r, err
	}
	// The white space in protojson's output differs between builds.
	var document bytes.Buffer
	if err := json.Compact(&document, loose); err != nil {
		return r, err
	}
	err = k.Ingester.Decide(ctx, who, func(b ingest.Basis) error {
		switch h, err := k.hold(ctx, who.Stream, id); {
		case err != nil:
			return err
		case h != nil:
			return ledger.WrongField(ledger.FieldHold, "%w (entry %d): release it first, or choose another name", ErrHoldExists, h.Index)
		}
		r, err = k.Ingester.RecordConfig(ctx, who, b, holdPrefix+id, document.Bytes(), reason)
		return err
	})
	return r, err
}

// Release releases a hold. Errors: ErrNoHold.
func (k *Keeper) Release(ctx context.Context, who ingest.Submitter, id, reason string) (r ledger.Result, err error) {
	err = k.Ingester.Decide(ctx, who, func(b ingest.Basis) error {
		switch h, err := k.hold(ctx, who.Stream, id); {
		case err != nil:
			return err
		case h == nil:
			return ledger.WrongField(ledger.FieldHold, "%w as %q", ErrNoHold, id)
		}
		r, err = k.Ingester.RecordConfig(ctx, who, b, holdPrefix+id, nil, reason)
		return err
	})
	return r, err
}

// hold returns the hold with the ID, or nil if it is not in force.
func (k *Keeper) hold(ctx context.Context, s *ledger.Stream, id string) (*Hold, error) {
	c, err := ingest.NewestConfig(ctx, k.Ingester.Ledger, s, holdPrefix+id)
	if err != nil || c == nil || len(c.Document) == 0 {
		return nil, err
	}
	return readHold(c)
}

// Holds returns the holds in force, the oldest first.
func (k *Keeper) Holds(ctx context.Context, s *ledger.Stream) ([]Hold, error) {
	var holds []Hold
	seen := map[string]bool{}
	for q := (ledger.Query{Filter: ledger.Filter{Kind: kindname.Config, Attribute: "type=legal-hold"}, Limit: 500}); ; {
		page, err := k.Ingester.Ledger.List(ctx, s, q)
		if err != nil {
			return nil, fmt.Errorf("legal holds: %w", err)
		}
		for i := range page.Entries {
			e := &page.Entries[i]
			name := e.Header.Attributes["name"]
			if !strings.HasPrefix(name, holdPrefix) || seen[name] {
				continue
			}
			seen[name] = true // only the newest entry of a name counts
			c, err := ingest.ReadConfig(ctx, k.Ingester.Ledger, e)
			if err != nil {
				return nil, err
			}
			if len(c.Document) == 0 {
				continue
			}
			hold, err := readHold(c)
			if err != nil {
				return nil, err
			}
			holds = append(holds, *hold)
		}
		if q.Token = page.Next; q.Token == "" {
			break
		}
	}
	slices.SortFunc(holds, func(a, b Hold) int { return cmp.Compare(a.Index, b.Index) })
	return holds, nil
}

func readHold(c *ingest.Config) (*Hold, error) {
	h := &Hold{ID: strings.TrimPrefix(c.Name, holdPrefix), Shown: &munimentv1.Filter{}, Reason: c.Reason, Since: c.Time, Index: c.Index}
	if err := protojson.Unmarshal(c.Document, h.Shown); err != nil {
		return nil, fmt.Errorf("legal hold of entry %d: %w", c.Index, err)
	}
	f := h.Shown
	h.Filter = ledger.Filter{Kind: f.Kind, Subject: f.Subject, PredicateType: f.PredicateType, Signer: f.Signer, Submitter: f.Submitter,
		Control: f.Control, Attribute: f.Attribute, Material: f.Material, From: timeOf(f.From), To: timeOf(f.To)}
	return h, nil
}

func timeOf(t interface {
	IsValid() bool
	AsTime() time.Time
}) time.Time {
	if !t.IsValid() { // or nil
		return time.Time{}
	}
	return t.AsTime()
}
