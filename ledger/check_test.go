package ledger

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// A wrongStore returns rows with the right checksums and the wrong content. The
// faults change while the log runs.
type wrongStore struct {
	store.Store
	skeleton, header, payload atomic.Bool
}

func (s *wrongStore) Skeletons(ctx context.Context, from, to uint64) ([]entry.Skeleton, error) {
	sk, err := s.Store.Skeletons(ctx, from, to)
	if err == nil && s.skeleton.Load() {
		sk[0].LinkSalt[3] ^= 1
	}
	return sk, err
}

func (s *wrongStore) Header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error) {
	h, err := s.Store.Header(ctx, index)
	if err == nil && s.header.Load() {
		h = &receipt.HeaderOpening{Salt: h.Salt, Content: append(append([]byte{}, h.Content...), ' ')}
	}
	return h, err
}

func (s *wrongStore) Payload(ctx context.Context, index uint64) (*receipt.PayloadOpening, error) {
	p, err := s.Store.Payload(ctx, index)
	if err == nil && s.payload.Load() {
		p = &receipt.PayloadOpening{Salt: p.Salt, Content: append(append([]byte{}, p.Content...), 'x')}
	}
	return p, err
}

func (s *wrongStore) OpenPayload(ctx context.Context, index uint64) (*store.PayloadReader, error) {
	r, err := s.Store.OpenPayload(ctx, index)
	if err == nil && s.payload.Load() {
		r.Salt[0] ^= 1
	}
	return r, err
}

// A record that does not match its leaf is never served.
func TestWrongRecordsAreNotServed(t *testing.T) {
	ctx := context.Background()
	wrong := &wrongStore{Store: memstore.New()}
	tl := newTestLogOn(t, Config{}, wrong)
	tl.fill(t, "entry", 3)
	reads := map[string]func() error{
		"Entry": func() error { _, err := tl.Entry(ctx, acme.stream, 1); return err },
		"Payload": func() error {
			_, err := readPayload(ctx, tl.Ledger, acme.stream, 1)
			return err
		},
		"OpenPayload": func() error {
			r, err := openPayload(ctx, tl.Ledger, acme.stream, 1)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, r)
			return errors.Join(err, r.Close())
		},
		"Receipt": func() error {
			_, err := tl.Receipt(ctx, acme.stream, 1, ReceiptOptions{EmbedPayload: true})
			return err
		},
		"EntryBundle": func() error { _, err := tl.EntryBundle(ctx, 0, 3); return err },
	}
	for name, read := range reads {
		with := func(fault *atomic.Bool) error {
			fault.Store(true)
			defer fault.Store(false)
			return read()
		}
		if err := read(); err != nil {
			t.Errorf("%s of sound records: %v", name, err)
		}
		if err := with(&wrong.skeleton); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s with a wrong skeleton: %v", name, err)
		}
		if name == "EntryBundle" {
			continue // has neither headers nor payloads
		}
		if err := with(&wrong.header); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s with a wrong header: %v", name, err)
		}
		if err := with(&wrong.payload); name != "Entry" && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s with a wrong payload: %v", name, err)
		}
	}
}
