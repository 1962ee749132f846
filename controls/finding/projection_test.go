package finding

import (
	"context"
	"fmt"
	"testing"
	"time"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// reports is a log of entries about findings.
type reports []Entry

func (r reports) Published() *ledger.Published { return &ledger.Published{Size: uint64(len(r))} }

func (r reports) Next(_ context.Context, _ *ledger.Published, _ *ledger.Stream, f ledger.Filter, from uint64) (*ledger.Entry, uint64, error) {
	if f.Kind != kindname.Finding {
		return nil, uint64(len(r)), nil
	}
	e := r[from]
	return &ledger.Entry{Index: e.Index, Skeleton: entry.Skeleton{Time: uint64(e.Time.UnixMilli())}, Header: e.Header}, from + 1, nil
}

func (reports) Payload(context.Context, *ledger.Entry) (*receipt.PayloadOpening, error) {
	panic("findings are read from headers")
}

// TestUseSoon calls UseSoon until it has read the log: it returns what it has,
// and how much is left.
func TestUseSoon(t *testing.T) {
	var log reports
	const size = 5000
	for i := range size {
		log = append(log, report(i, fmt.Sprint("F-", i), "open"))
	}
	p, s := &Projection{Log: log}, &ledger.Stream{}
	calls, last := 0, 0
	for left := uint64(size); left > 0; calls++ {
		err := p.UseSoon(context.Background(), s, 20*time.Microsecond, func(all []*Finding, behind uint64) {
			if len(all)+int(behind) != size || len(all) < last {
				t.Fatalf("%d findings and %d indexes left, of %d, after %d findings", len(all), behind, size, last)
			}
			last, left = len(all), behind
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if calls < 2 {
		t.Errorf("one call has read everything")
	}
	if err := p.Use(context.Background(), s, func(all []*Finding, _ uint64) {
		if len(all) != size {
			t.Errorf("%d findings, want %d", len(all), size)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
