package commitmodel_test

import (
	"errors"
	"slices"
	"testing"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/commitmodel"
)

const limit = 2_000_000 // states

// TestProtocol visits every state of the protocol. That each kind of step
// occurs shows that the invariants were put to the test.
func TestProtocol(t *testing.T) {
	soak.WithoutRace(t)
	t.Parallel()
	r, err := commitmodel.Explore(commitmodel.Protocol{Crashes: 1, Outages: 1}, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d states; transitions: %v", r.States, r.Steps)
	for _, step := range []string{"send", "compute", "deliver", "sync", "win", "lose", "follow", "crash", "lose power"} {
		if r.Steps[step] == 0 {
			t.Errorf("no state is reached by %q", step)
		}
	}
}

// TestFaults leaves out one rule at a time. The invariant that the rule
// protects must then fail.
func TestFaults(t *testing.T) {
	soak.WithoutRace(t)
	t.Parallel()
	for fault, invariant := range commitmodel.Faults {
		t.Run(string(fault), func(t *testing.T) {
			_, err := commitmodel.Explore(commitmodel.Protocol{Fault: fault, Crashes: 1, Outages: 1}, limit)
			var v *commitmodel.Violation
			if !errors.As(err, &v) {
				t.Fatalf("the exploration ended with %v, want a violation", err)
			}
			if v.Invariant != invariant {
				t.Errorf("broke %q, want %q", v.Invariant, invariant)
			}
			t.Log(v)
		})
	}
}

// TestInvariants checks that each invariant is broken by a fault.
func TestInvariants(t *testing.T) {
	var broken []string
	for _, invariant := range commitmodel.Faults {
		broken = append(broken, invariant)
	}
	for _, inv := range commitmodel.Invariants {
		if !slices.Contains(broken, inv.Name) {
			t.Errorf("no fault breaks %q", inv.Name)
		}
	}
}

func TestLimit(t *testing.T) {
	if _, err := commitmodel.Explore(commitmodel.Protocol{}, 100); !errors.Is(err, commitmodel.ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}
