package trial

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/facts"
)

// A stream has the entries of one case, in their order. It is a decide.Log.
type stream struct {
	entries  []ledger.Entry
	payloads [][]byte
}

// add appends the entry of a submission.
func (w *stream) add(ctx context.Context, s *Submission, read Reader) error {
	h, err := read(ctx, s)
	if err != nil {
		return s.source.wrap(err)
	}
	if len(s.Verified) > 0 {
		h.Verification.Result, h.Signers = entry.Verified, s.Verified
	}
	h.Payload.Size = uint64(len(s.Payload))
	index := uint64(len(w.entries))
	w.entries = append(w.entries, ledger.Entry{Index: index, Header: h, Skeleton: entry.Skeleton{Time: uint64(s.Recorded.UnixMilli())}})
	w.payloads = append(w.payloads, s.Payload)
	return nil
}

// approve appends the approvals of the exception whose request is the last
// entry.
func (w *stream) approve(ctx context.Context, x *Exception, read Reader) error {
	request := uint64(len(w.entries) - 1)
	for _, by := range x.Approvers {
		payload, err := protojson.Marshal(&munimentv1.ExceptionDecision{Exception: x.ID, Request: &request, Decision: "approve"})
		if err != nil {
			return err
		}
		s := &Submission{Kind: kindname.ExceptionDecision, Payload: payload, Submitter: by, Recorded: x.Request.Recorded, source: x.Request.source}
		if err := w.add(ctx, s, read); err != nil {
			return err
		}
	}
	return nil
}

// Published implements decide.Log.
func (w *stream) Published() *ledger.Published {
	p := &ledger.Published{Size: uint64(len(w.entries))}
	if n := len(w.entries); n > 0 {
		p.Time = w.entries[n-1].Skeleton.Time
	}
	return p
}

// Next implements decide.Log.
func (w *stream) Next(ctx context.Context, _ *ledger.Published, _ *ledger.Stream, f ledger.Filter, from uint64) (*ledger.Entry, uint64, error) {
	for i := from; i < uint64(len(w.entries)); i++ {
		if e := w.entries[i]; f.Matches(&e) {
			return &e, i + 1, ctx.Err()
		}
	}
	return nil, max(from, uint64(len(w.entries))), ctx.Err()
}

// List implements decide.Log, newest first.
func (w *stream) List(ctx context.Context, _ *ledger.Stream, q ledger.Query) (*ledger.Page, error) {
	page := &ledger.Page{Size: uint64(len(w.entries))}
	below := page.Size
	if q.Below > 0 {
		below = min(below, q.Below)
	}
	if q.Token != "" {
		from, err := strconv.ParseUint(q.Token, 10, 64)
		if err != nil {
			return nil, ledger.ErrPageToken
		}
		below = min(below, from)
	}
	for i := below; i > 0; i-- {
		e := w.entries[i-1]
		if !q.Filter.Matches(&e) {
			continue
		}
		if len(page.Entries) == q.Limit {
			page.Next = strconv.FormatUint(i, 10)
			break
		}
		page.Entries = append(page.Entries, e)
	}
	return page, ctx.Err()
}

// Entry implements decide.Log.
func (w *stream) Entry(_ context.Context, _ *ledger.Stream, index uint64) (*ledger.Entry, error) {
	if index >= uint64(len(w.entries)) {
		return nil, ledger.ErrNotFound
	}
	e := w.entries[index]
	return &e, nil
}

// Payload implements decide.Log.
func (w *stream) Payload(_ context.Context, e *ledger.Entry) (*receipt.PayloadOpening, error) {
	if e.Index >= uint64(len(w.payloads)) {
		return nil, ledger.ErrNotFound
	}
	return &receipt.PayloadOpening{Content: w.payloads[e.Index]}, nil
}

// FactsOf implements decide.Facts.
func (w *stream) FactsOf(ctx context.Context, _ *ledger.Stream, e *ledger.Entry) (*facts.Facts, error) {
	return facts.OfPayload(ctx, e.Header, func() ([]byte, error) { return w.payloads[e.Index], nil })
}

// A source is the place of a submission in the test file.
type source struct {
	line, column int
	field        string
}

func (s *source) wrap(err error) error {
	if s.line == 0 {
		return err
	}
	return fmt.Errorf("line %d, column %d: %s: %w", s.line, s.column, s.field, err)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
