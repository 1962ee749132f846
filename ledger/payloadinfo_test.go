package ledger

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// A payloadGate refuses to read payloads once it is closed.
type payloadGate struct {
	store.Store
	closed atomic.Bool
}

var errPayloadRead = errors.New("a payload was read")

func (g *payloadGate) Payload(ctx context.Context, index uint64) (*receipt.PayloadOpening, error) {
	if g.closed.Load() {
		return nil, errPayloadRead
	}
	return g.Store.Payload(ctx, index)
}

func (g *payloadGate) OpenPayload(ctx context.Context, index uint64) (*store.PayloadReader, error) {
	if g.closed.Load() {
		return nil, errPayloadRead
	}
	return g.Store.OpenPayload(ctx, index)
}

// Receipts without the payload's content, and the question whether it was
// erased, do not read the payload.
func TestPayloadIsNotRead(t *testing.T) {
	ctx := context.Background()
	gate := &payloadGate{Store: memstore.New()}
	tl := newTestLogOn(t, Config{}, gate)
	large := acme.draft(strings.Repeat("x", 1<<20))
	tl.mustAppend(t, large, acme.draft("small"), acme.draft("to be erased"))
	tl.erase(t, acme, 2, false)
	gate.closed.Store(true)
	for index, want := range []struct {
		form   receipt.Form
		erased bool
	}{{receipt.Detached, false}, {receipt.Detached, false}, {receipt.PayloadErased, true}} {
		if got := tl.form(t, acme, uint64(index)); got != want.form {
			t.Errorf("entry %d: the receipt is %s, want %s", index, got, want.form)
		}
		if erased, err := payloadErased(ctx, tl.Ledger, acme.stream, uint64(index)); err != nil || erased != want.erased {
			t.Errorf("entry %d: erased: %t %v, want %t", index, erased, err, want.erased)
		}
	}
	if r := tl.mustAppend(t, large)[0]; !r.Duplicate || r.Index != 0 {
		t.Errorf("a copy: %+v", r)
	}
	if _, err := tl.Receipt(ctx, acme.stream, 0, ReceiptOptions{EmbedPayload: true}); !errors.Is(err, errPayloadRead) {
		t.Errorf("a receipt with the payload: %v", err)
	}
}
