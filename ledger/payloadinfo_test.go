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

// Receipts without the payload's content do not read the payload. Neither does
// the check whether it was erased.
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

// A misplacedInfo answers for entry 1 with the row of entry 0 once it is wrong.
type misplacedInfo struct {
	store.Store
	wrong atomic.Bool
}

func (m *misplacedInfo) PayloadInfo(ctx context.Context, index uint64) (store.PayloadInfo, error) {
	if index == 1 && m.wrong.Load() {
		index = 0
	}
	return m.Store.PayloadInfo(ctx, index)
}

// The salt of another payload is not served, even if its row is intact.
func TestMisplacedPayloadInfo(t *testing.T) {
	ctx := context.Background()
	info := &misplacedInfo{Store: sealedInfo{memstore.New()}}
	tl := newTestLogOn(t, Config{}, info)
	twin := func(name string) Draft { return acme.draft(name + strings.Repeat("x", 64<<10)) }
	second := twin("b")
	tl.mustAppend(t, twin("a"), second)
	tl.form(t, acme, 1)
	info.wrong.Store(true)
	_, err := tl.Receipt(ctx, acme.stream, 1, ReceiptOptions{})
	wantErr(t, "a detached receipt", err, ErrDamaged)
	_, err = payloadErased(ctx, tl.Ledger, acme.stream, 1)
	wantErr(t, "whether the payload is erased", err, ErrDamaged)
	results, err := tl.Append(ctx, []Draft{second})
	if err == nil {
		err = results[0].Err
	}
	wantErr(t, "a duplicate", err, ErrDamaged)
}

// A sealedInfo seals the infos of all payloads, as an engine does that keeps
// them in rows of their own.
type sealedInfo struct{ store.Store }

func (s sealedInfo) PayloadInfo(ctx context.Context, index uint64) (store.PayloadInfo, error) {
	info, err := s.Store.PayloadInfo(ctx, index)
	if err != nil || info.Erased {
		return info, err
	}
	sk, err := s.Skeletons(ctx, index, index+1)
	if err != nil {
		return info, err
	}
	info.Seal = store.InfoSeal(sk[0].HeaderHash, info.Salt, info.Size)
	return info, nil
}
