package notify

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"muniment.dev/muniment/controls/posture"
	"muniment.dev/muniment/ledger/store"
)

// A table is what servers share. It can be cut off.
type table struct {
	mu       sync.Mutex
	cut      bool
	since    map[string]time.Time
	received map[string]bool // by webhook and ID
}

func newTable() *table { return &table{since: map[string]time.Time{}, received: map[string]bool{}} }

var errCut = errors.New("cut off")

func (t *table) setCut(cut bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cut = cut
}

func (t *table) Webhook(_ context.Context, name string) (time.Time, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut {
		return time.Time{}, errCut
	}
	return t.since[name], nil
}

func (t *table) AddWebhook(_ context.Context, name string, since time.Time, received []store.Delivery) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut {
		return errCut
	}
	if !t.since[name].IsZero() {
		return nil
	}
	t.since[name] = since
	for _, d := range received {
		t.received[name+" "+d.Event] = true
	}
	return nil
}

func (t *table) Delivered(_ context.Context, name string, events []string) (received []string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut {
		return nil, errCut
	}
	for _, id := range events {
		if t.received[name+" "+id] {
			received = append(received, id)
		}
	}
	return received, nil
}

func (t *table) Deliver(_ context.Context, name string, d store.Delivery, _ time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut {
		return errCut
	}
	t.received[name+" "+d.Event] = true
	return nil
}

func (r *rig) file() *File {
	f, err := OpenFile(filepath.Join(r.dir, "webhooks.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// TestTakeOver checks that a server that takes over delivers what another one
// has not, and what a server has delivered before its log was shared is not
// delivered again.
func TestTakeOver(t *testing.T) {
	one, two, to, shared := newRig(t), newRig(t), newReceiver(t), newTable()
	two.source = one.source
	expect := func(r *rig, want posture.Event) {
		t.Helper()
		if got := <-to.got; got.header.Get("Webhook-Id") != want.ID {
			t.Fatalf("got %s, want %s (%s)", got.header.Get("Webhook-Id"), want.ID, want.Type)
		}
		<-r.tried
	}
	first := one.source.add("acme", posture.ExceptionExpiring, start)
	one.run(to.hook(t))
	expect(one, first)
	one.stop()

	second := one.source.add("acme", posture.FindingOverdue, start.Add(time.Minute))
	one.now = start.Add(time.Hour)
	one.runWith(NewShared(shared, one.file()), to.hook(t))
	expect(one, second)
	one.stop()

	third := one.source.add("acme", posture.BreakGlassUsed, start.Add(2*time.Minute))
	two.now = start.Add(2 * time.Hour)
	two.runWith(NewShared(shared, two.file()), to.hook(t))
	expect(two, third)
	two.stop()

	one.runWith(NewShared(shared, one.file()), to.hook(t))
	fourth := one.source.add("acme", posture.ExceptionExpired, start.Add(3*time.Minute))
	expect(one, fourth)
	one.stop()
}

// TestUnwrittenDelivery checks that an event that has arrived is not delivered
// again because the store did not answer, and is written once it does.
func TestUnwrittenDelivery(t *testing.T) {
	r, to, shared := newRig(t), newReceiver(t), newTable()
	ctx, s, h := t.Context(), NewShared(shared, r.file()), to.hook(t)
	r.now = start
	e := r.source.add("acme", posture.ExceptionExpiring, start)
	n := New(Config{Source: r.source, Deliveries: s, Now: func() time.Time { return r.now }, Tried: func(bool) {}})
	sent := 0
	search := func(deliver func()) error {
		return n.search(ctx, &h, func(context.Context, string, []byte) error {
			sent++
			deliver()
			return nil
		})
	}
	if err := search(func() { shared.setCut(true) }); !errors.Is(err, errCut) || sent != 1 {
		t.Fatalf("%d events were sent, error %v", sent, err)
	}
	if err := search(func() {}); !errors.Is(err, errCut) || sent != 1 {
		t.Fatalf("without an answer of the store %d events were sent, error %v", sent, err)
	}
	shared.setCut(false)
	if err := search(func() {}); err != nil || sent != 1 {
		t.Fatalf("%d events were sent, error %v", sent, err)
	}
	if received, err := shared.Delivered(ctx, h.Name, []string{e.ID}); err != nil || len(received) != 1 {
		t.Errorf("the store has the deliveries %v, want the event (error %v)", received, err)
	}
}

// TestOvertaken checks that a server stops in the middle of its events when
// another one delivers them.
func TestOvertaken(t *testing.T) {
	r, to, shared := newRig(t), newReceiver(t), newTable()
	h := to.hook(t)
	var ids []string
	for i := range 5 {
		ids = append(ids, r.source.add("acme", posture.ExceptionExpiring, start.Add(time.Duration(i)*time.Minute)).ID)
	}
	r.now = start
	n := New(Config{Source: r.source, Deliveries: NewShared(shared, r.file()), Now: func() time.Time { return r.now }, Tried: func(bool) {}})
	var sent []string
	err := n.search(t.Context(), &h, func(_ context.Context, id string, _ []byte) error {
		if sent = append(sent, id); len(sent) == 2 {
			for _, id := range ids { // while this one was stopped
				if err := shared.Deliver(t.Context(), h.Name, store.Delivery{Event: id}, start); err != nil {
					t.Error(err)
				}
			}
		}
		return nil
	})
	if err != nil || len(sent) != 2 {
		t.Errorf("%d events were sent, want the 2 before another server delivered all (error %v)", len(sent), err)
	}
}
