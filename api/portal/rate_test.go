package portal

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"muniment.dev/muniment/internal/edge"
)

// flood tries from n addresses, and returns how many attempts are allowed.
func flood(rs *rates, n int, now time.Time, address func(i int) netip.Addr) (allowed int) {
	for i := range n {
		if rs.allow(edge.Address(address(i).String()), now) {
			allowed++
		}
	}
	return allowed
}

// TestFloodOfAttempts checks that a caller with many addresses cannot try
// without end, and does not keep others from signing in.
func TestFloodOfAttempts(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	v6 := func(text string, at, i int) netip.Addr {
		b := netip.MustParseAddr(text).As16()
		b[at], b[at+1] = byte(i>>8), byte(i)
		return netip.AddrFrom16(b)
	}
	for name, c := range map[string]struct {
		address func(i int) netip.Addr
		most    int
	}{
		"one address":  {func(int) netip.Addr { return netip.MustParseAddr("192.0.2.1") }, attemptBurst},
		"a /64":        {func(i int) netip.Addr { return v6("2001:db8:1:2::", 14, i) }, attemptBurst},
		"a /48":        {func(i int) netip.Addr { return v6("2001:db8:1::1", 6, i) }, widerFactor * attemptBurst},
		"a /32":        {func(i int) netip.Addr { return v6("2001:db8::1", 4, i) }, widerFactor * widerFactor * attemptBurst},
		"every source": {func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }, 1 << 30},
	} {
		rs := newRates()
		if got := flood(rs, 5000, now, c.address); got > c.most {
			t.Errorf("%s: %d attempts at once, want at most %d", name, got, c.most)
		}
		if len(rs.of) > maxAddresses {
			t.Errorf("%s: %d rows", name, len(rs.of))
		}
		// Of others, nearly all can still sign in.
		if got := flood(rs, 100, now, func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", i)) }); got < 90 {
			t.Errorf("%s: only %d of 100 others can sign in", name, got)
		}
		if got := flood(rs, 100, now, func(i int) netip.Addr { return v6("2001:470::1", 2, i) }); got < 90 {
			t.Errorf("%s: only %d of 100 others with IPv6 can sign in", name, got)
		}
		if got := flood(rs, 200, now.Add(2*time.Minute), c.address); got == 0 {
			t.Errorf("%s: refused for ever", name)
		}
	}
}
