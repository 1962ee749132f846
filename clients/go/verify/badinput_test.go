package verify

import (
	"encoding/json"
	"muniment.dev/muniment/internal/soak"
	"testing"
)

// A badInput is an item of docs/spec/vectors/bad-input.json.
type badInput struct {
	Item  string
	Cases []struct{ File, Name, Reason string }
}

// TestBadInput checks that every sort of hostile input has vectors, with these
// reason codes. The tests of each file run all of its cases.
func TestBadInput(t *testing.T) {
	soak.WithoutRace(t)
	items := readVectors[[]badInput](t, "bad-input.json")
	if len(items) != 19 {
		t.Errorf("%d items, want 19", len(items))
	}
	for _, item := range items {
		if len(item.Cases) == 0 {
			t.Errorf("%s: no vector", item.Item)
		}
		for _, c := range item.Cases {
			if got := reasonsOf(t, c.File, c.Name); len(got) != 1 || got[0] != c.Reason {
				t.Errorf("%s: %s, %q: the reasons are %q, want only %s", item.Item, c.File, c.Name, got, c.Reason)
			}
		}
	}
}

// reasonsOf returns the reasons of the cases of a file with a name.
func reasonsOf(t *testing.T, file, name string) (reasons []string) {
	type vector struct{ Name, Reason string }
	var cases []vector
	if content := readVectors[json.RawMessage](t, file); content[0] == '[' {
		cases = readVectors[[]vector](t, file)
	} else {
		cases = readVectors[struct{ Cases []vector }](t, file).Cases
	}
	for _, c := range cases {
		if c.Name == name {
			reasons = append(reasons, c.Reason)
		}
	}
	return reasons
}
