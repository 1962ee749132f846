package limit

import (
	"fmt"
	"testing"
	"time"

	"muniment.dev/muniment/internal/soak"
)

// The waiting calls of one owner proceed one at a time, even if they began
// together. Other owners do not wait.
func TestDebtorsContinueOneByOne(t *testing.T) {
	var d Debts
	now := time.Unix(1_800_000_000, 0)
	for range 4 {
		d.Charge("noisy", now, failureBurst)
	}
	const most = time.Second / 2
	last := time.Duration(0)
	for i := range 2000 {
		wait := d.reserve("noisy", now, most)
		if i == 0 && wait != most {
			t.Fatalf("the first call waits for %s, want %s", wait, most)
		}
		if i > 0 && wait-last < releaseEvery {
			t.Fatalf("call %d continues %s after the one before, want at least %s", i, wait-last, releaseEvery)
		}
		last = wait
	}
	for range 100_000 { // these stop waiting at once
		last = d.reserve("noisy", now, most)
	}
	if last > most+maxDebt {
		t.Errorf("a call waits for %s, want at most %s", last, most+maxDebt)
	}
	if wait := d.reserve("quiet", now, most); wait != 0 {
		t.Errorf("an owner without failures waits for %s", wait)
	}
	later := now.Add(time.Minute)
	if wait := d.reserve("noisy", later, most); wait != 0 {
		t.Errorf("after a minute without failures, a call waits for %s", wait)
	}
}

// ipv6 returns the n-th network of 64 bits of a provider.
func ipv6(provider, n int) string {
	return fmt.Sprintf("address 2001:%x:%x:%x::/64", provider, n>>16, n&0xffff)
}

// TestFloodOfNetworks checks that failures from ever new IPv6 networks of one
// provider do not fill the table and are not free, and that real debtors stay
// in the table.
func TestFloodOfNetworks(t *testing.T) {
	soak.WithoutRace(t)
	var d Debts
	now := time.Unix(1_800_000_000, 0)
	real := []string{"acme", "address 192.0.2.7", ipv6(0xd00d, 1)}
	for _, owner := range real {
		for range 2 * failureBurst {
			d.Charge(owner, now, 1)
		}
	}
	free := 0
	for n := range 100_000 {
		owner := ipv6(0xbad, n<<4) // each 16 in another /48
		if d.reserve(owner, now, time.Second/2) == 0 {
			free++
		}
		d.Charge(owner, now, 1)
		if n == 50_000 { // and some that owe much
			for m := range 200 {
				d.Charge(ipv6(0xbad, m<<16), now, failureBurst)
			}
		}
	}
	if most := failureBurst * widerShare * widerShare; free > most+1 {
		t.Errorf("%d calls of a provider's networks fail without a wait, want at most %d", free, most)
	}
	if len(d.owners) > maxDebtors {
		t.Errorf("%d rows, want at most %d", len(d.owners), maxDebtors)
	}
	for _, owner := range real {
		if d.reserve(owner, now, time.Second/2) == 0 {
			t.Errorf("%s is forgotten", owner)
		}
	}
	if wait := d.reserve(ipv6(0xbeef, 1), now, time.Second/2); wait != 0 {
		t.Errorf("an address of another provider waits for %s", wait)
	}
	// A debtor that comes now still finds a row.
	for range 2 * failureBurst {
		d.Charge("globex", now, 1)
	}
	if d.reserve("globex", now, time.Second/2) == 0 {
		t.Error("a new debtor finds no row")
	}
}

// TestOneNetworkLeavesTheOthers checks that the debt of one IPv6 network does
// not delay its neighbours.
func TestOneNetworkLeavesTheOthers(t *testing.T) {
	var d Debts
	now := time.Unix(1_800_000_000, 0)
	for range 2 * failureBurst {
		d.Charge(ipv6(1, 1), now, 1)
	}
	if d.reserve(ipv6(1, 1), now, time.Second) == 0 || d.reserve(ipv6(1, 2), now, time.Second) != 0 {
		t.Error("want a wait for the debtor, and none for the network beside it")
	}
}
