package limit

import (
	"testing"
	"time"
)

// The waiting calls of one owner continue one after the other, however many
// there are and even if they began at the same time. Other owners do not wait.
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
