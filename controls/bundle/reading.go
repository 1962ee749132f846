package bundle

import (
	"context"
	"fmt"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/verifiers/facts"
)

// A contentLog is what reports are computed from: a log, or the content of a
// bundle.
type contentLog interface {
	decide.Log
	decide.FactsLog
}

// A reading is the log as the reports of a bundle read it. It notes the
// entries whose payloads were read, which the bundle then contains.
type reading struct {
	*ledger.Ledger
	size   uint64
	erased map[uint64]bool // entries whose payload was erased below the size
	read   map[uint64]bool // entries whose payload was read
	// included reports whether the bundle contains a payload. Others cannot be
	// read. Nil: all can.
	included func(index uint64) bool
}

// Payload returns the payload of an entry, or nil if it was erased below the
// size. The error wraps ledger.ErrErased if it was erased later.
func (r *reading) Payload(ctx context.Context, e *ledger.Entry) (*receipt.PayloadOpening, error) {
	if err := r.note(e); err != nil {
		return nil, err
	}
	p, err := r.Ledger.Payload(ctx, e)
	if err == nil && p == nil && !r.erased[e.Index] {
		err = erasedLater(r.size, e.Index)
	}
	return p, err
}

// Facts returns the encoded facts of an entry, or nil if it has none or its
// payload was erased below the size.
func (r *reading) Facts(ctx context.Context, e *ledger.Entry) ([]byte, error) {
	if !facts.Expected(e.Header) {
		return r.Ledger.Facts(ctx, e)
	}
	if err := r.note(e); err != nil {
		return nil, err
	}
	encoded, err := r.Ledger.Facts(ctx, e)
	if err == nil && encoded == nil && !r.erased[e.Index] {
		err = erasedLater(r.size, e.Index)
	}
	return encoded, err
}

func (r *reading) note(e *ledger.Entry) error {
	if r.included != nil && !r.erased[e.Index] && !r.included(e.Index) {
		return fmt.Errorf("entry %d: %w", e.Index, ErrOmitted)
	}
	r.read[e.Index] = true
	return nil
}

// restricted returns the log as a reader of the bundle reads it.
func (r *reading) restricted(included func(uint64) bool) *reading {
	return &reading{Ledger: r.Ledger, size: r.size, erased: r.erased, read: map[uint64]bool{}, included: included}
}

// unnoted returns the whole log. What is read of it is not noted.
func (r *reading) unnoted() *reading {
	return &reading{Ledger: r.Ledger, size: r.size, erased: r.erased, read: map[uint64]bool{}}
}

// erasedLater returns the error of an opening that was erased at a size or
// above.
func erasedLater(size, index uint64) error {
	return ledger.WrongField(ledger.FieldTreeSize, "entry %d was %w after the log had %d entries: choose a size that includes its erasure", index, ledger.ErrErased, size)
}
