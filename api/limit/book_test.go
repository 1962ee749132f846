package limit

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

func TestBook(t *testing.T) {
	b := NewBook(HeldLimits{Bytes: {Total: 10, Owner: 6}})
	acme, globex := b.Open("acme"), b.Open("globex")
	for _, c := range []struct {
		h    *Hold
		n    int64
		full *Full
	}{
		{acme, 6, nil}, {acme, 1, &Full{Bytes, true}}, {globex, 5, &Full{Bytes, false}}, {globex, 4, nil},
	} {
		err := c.h.Take(Bytes, c.n)
		var full *Full
		if errors.As(err, &full) != (c.full != nil) || full != nil && *full != *c.full {
			t.Errorf("%s takes %d: %v, want %v", c.h.owner, c.n, err, c.full)
		}
	}
	acme.Keep(Bytes, 2)
	if b.Held("acme", Bytes) != 2 || b.Total(Bytes) != 6 {
		t.Errorf("acme holds %d of %d", b.Held("acme", Bytes), b.Total(Bytes))
	}
	b.SetLimits(HeldLimits{})
	if err := acme.Take(Bytes, 1000); err != nil {
		t.Errorf("without limits: %v", err)
	}
	acme.Release()
	acme.Release()
	globex.Release()
	if err := globex.Take(Bytes, 1); err != nil || globex.Held(Bytes) != 0 {
		t.Error("a hold that was released holds again")
	}
	if b.Total(Bytes) != 0 || len(b.owners) != 0 {
		t.Errorf("%d bytes and %d owners are left over", b.Total(Bytes), len(b.owners))
	}
}

// Under concurrent use, the limits hold, and everything taken is given back.
func TestManyHolds(t *testing.T) {
	b := NewBook(HeldLimits{Bytes: {Total: 100, Owner: 60}, Calls: {Owner: 3}})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 200 {
				h := b.Open(fmt.Sprint(i % 3))
				if h.Take(Calls, 1) == nil && h.Take(Bytes, int64(i)) == nil {
					h.Keep(Bytes, int64(i/2))
				}
				if b.Total(Bytes) > 100 || b.Held(fmt.Sprint(i%3), Calls) > 3 {
					t.Error("above a limit")
				}
				h.Release()
			}
		}()
	}
	wg.Wait()
	for _, r := range All() {
		if b.Total(r) != 0 || r.String() == "" {
			t.Errorf("%d %s are left over", b.Total(r), r)
		}
	}
}

// TestProviderLeavesRoom checks that the networks of one IPv6 provider together
// hold at most half of a resource.
func TestProviderLeavesRoom(t *testing.T) {
	b := NewBook(HeldLimits{Public: {Total: 100, Owner: 10}})
	held := 0
	var holds []*Hold
	for n := range 200 {
		h := b.Open(ipv6(0xbad, n<<12))
		if h.Take(Public, 1) == nil {
			held++
		}
		holds = append(holds, h)
	}
	if held != 50 {
		t.Errorf("one provider holds %d of 100, want 50", held)
	}
	for _, owner := range []string{ipv6(0xbeef, 1), "address 192.0.2.1"} {
		h := b.Open(owner)
		if err := h.Take(Public, 10); err != nil {
			t.Errorf("%s: %v", owner, err)
		}
		holds = append(holds, h)
	}
	for _, h := range holds {
		h.Release()
	}
	if len(b.owners) != 0 || b.Total(Public) != 0 {
		t.Errorf("%d owners and %d places are left over", len(b.owners), b.Total(Public))
	}
}
