package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"muniment.dev/muniment/conductor/triage/sim"
	"muniment.dev/muniment/internal/soak"
)

// rounds is the variable with the number of rounds of the simulation.
const rounds = "MUNIMENT_TRIAGE_SIM"

// play runs patterns in both arms.
func play(t *testing.T, patterns []sim.Pattern, round uint64, enough func(with map[string]*cast) bool) []sim.Run {
	t.Helper()
	s := newStage(t)
	without, with := map[string]*cast{}, map[string]*cast{}
	for i, p := range patterns {
		seed := round*1000 + uint64(i)
		without[p.Name], with[p.Name] = s.add(p, seed, "without"), s.add(p, seed, "with")
		s.triageFor(with[p.Name])
	}
	s.run(func() bool { return enough(with) })
	var runs []sim.Run
	for _, p := range patterns {
		runs = append(runs, sim.Run{
			Pattern: p.Name, Seed: round, Truth: p.Truth, Length: without[p.Name].length, Without: s.result(without[p.Name]), With: s.result(with[p.Name]),
		})
	}
	return runs
}

// TestTriageSimulation measures the time to the first action for all patterns
// if the variable has a number of rounds, and prints the tables of
// docs/triage.md. Otherwise it checks one incident, in which triage acts once
// although two Alertmanagers report it, beside a deployment, in which it does
// not.
func TestTriageSimulation(t *testing.T) {
	soak.WithoutRace(t)
	patterns, err := sim.Patterns()
	if err != nil {
		t.Fatal(err)
	}
	if n := os.Getenv(rounds); n != "" {
		simulate(t, patterns, n)
		return
	}
	two := slices.DeleteFunc(patterns, func(p sim.Pattern) bool { return p.Name != "edge-rules-regex" && p.Name != "rolling-deployment" })
	runs := play(t, two, soak.Seed(t), func(with map[string]*cast) bool { return len(with["edge-rules-regex"].Files.Changes()) > 0 })
	for _, r := range runs {
		wanted := 0
		if r.Truth.Type != "" {
			wanted = 1
		}
		if r.Verdict() != sim.Right || r.With.Actions != wanted || r.Without.Actions != 0 || r.Without.Acted != 0 {
			t.Errorf("%s: %+v", r.Verdict(), r)
		}
		if r.Truth.Type != "" && r.Without.Alerted == 0 {
			t.Errorf("without triage, no alert fired: %+v", r)
		}
	}
}

func simulate(t *testing.T, patterns []sim.Pattern, rounds string) {
	n, err := strconv.ParseUint(rounds, 10, 16)
	if err != nil || n == 0 {
		t.Fatalf("the number of rounds must be from 1 to 65535, not %q", rounds)
	}
	var runs []sim.Run
	failed := 0
	for round := range n {
		var got []sim.Run
		if t.Run(strconv.FormatUint(round, 10), func(t *testing.T) {
			got = play(t, patterns, round, func(map[string]*cast) bool { return false })
			for _, r := range got {
				text, err := json.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s %s", r.Verdict(), text)
			}
		}) {
			runs = append(runs, got...)
		} else {
			failed++
		}
	}
	if len(runs) == 0 {
		t.Fatal("no round succeeded")
	}
	if failed > 0 {
		fmt.Printf("%d of %d rounds failed because of the rig, and do not count.\n\n", failed, n)
	}
	if err := sim.Print(os.Stdout, runs, sim.Compute(runs, sim.Grid(1))); err != nil {
		t.Error(err)
	}
}
