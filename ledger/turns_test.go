package ledger

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/turns"
)

// The ledger takes turns on behalf of the tenants that its callers name.
func TestTurnsOfTheTenant(t *testing.T) {
	tl := newTestLog(t, Config{})
	var held []*turns.Turn
	for range turns.CPU.Slots() {
		x, err := turns.CPU.Begin(context.Background(), "the test")
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, x)
	}
	large := tl.appendLater(acme.draft(strings.Repeat("large ", turns.Free)))
	for end := time.Now().Add(soak.Patience); len(turns.CPU.Round()) == 0 && time.Now().Before(end); {
		runtime.Gosched()
	}
	if round := turns.CPU.Round(); len(round) != 1 || round[0] != acme.name {
		t.Errorf("a turn is for %q, want %q", round, acme.name)
	}
	for _, x := range held {
		x.End()
	}
	if a := <-large; a.err != nil {
		t.Error(a.err)
	}
}
