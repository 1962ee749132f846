package record_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"muniment.dev/muniment/conductor/backfill/record"
)

// An outbox keeps entries in memory.
type outbox struct {
	mu       sync.Mutex
	items    []record.Item
	receipts map[uint64]record.Receipt
	sealed   map[uint64][]byte
	fails    error // of the next Acknowledge
	lost     int   // calls of Next that fail, as while a database fails over
	over     error // of every call of Next
}

func newOutbox() *outbox {
	return &outbox{receipts: map[uint64]record.Receipt{}, sealed: map[uint64][]byte{}}
}

// put adds drafts, and returns the number of the last.
func (o *outbox) put(drafts ...record.Draft) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range drafts {
		o.items = append(o.items, record.Item{Seq: uint64(len(o.items) + 1), Draft: d})
	}
	return uint64(len(o.items))
}

func (o *outbox) Next(context.Context) (record.Item, bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over != nil {
		return record.Item{}, false, o.over
	}
	if o.lost > 0 {
		o.lost--
		return record.Item{}, false, errors.New("the connection was lost")
	}
	for _, item := range o.items {
		if _, ok := o.receipts[item.Seq]; ok {
			continue
		}
		item.Sealed = o.sealed[item.Seq]
		text, err := item.Encode()
		if err == nil {
			item.Draft, err = record.Decode(text)
		}
		return item, true, err
	}
	return record.Item{}, false, nil
}

func (o *outbox) Receipt(_ context.Context, seq uint64) (record.Receipt, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, ok := o.receipts[seq]
	if !ok {
		return r, fmt.Errorf("entry %d is not acknowledged", seq)
	}
	return r, nil
}

func (o *outbox) Seal(_ context.Context, seq uint64, payload []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if old, ok := o.sealed[seq]; ok && !bytes.Equal(old, payload) {
		return errors.New("two payloads for one entry")
	}
	o.sealed[seq] = payload
	return nil
}

func (o *outbox) Acknowledge(_ context.Context, seq uint64, r record.Receipt) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.fails; err != nil {
		o.fails = nil
		return err
	}
	if old, ok := o.receipts[seq]; ok && (old.Index != r.Index || old.LeafHash != r.LeafHash || !bytes.Equal(old.Payload, r.Payload)) {
		return errors.New("two receipts for one entry")
	}
	o.receipts[seq] = r
	return nil
}

// acknowledged returns the receipts in the order of their items.
func (o *outbox) acknowledged() []record.Receipt {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []record.Receipt
	for _, item := range o.items {
		if r, ok := o.receipts[item.Seq]; ok {
			all = append(all, r)
		}
	}
	return all
}
