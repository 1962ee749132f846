// Package connectortest is the contract of connectors, as a program.
package connectortest

import (
	"context"
	"errors"
	"testing"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
)

// A Subject is a connector under test, with a target and an action on it.
type Subject struct {
	Connector  connector.Connector
	Target     string
	Parameters map[string]string
	// Wrong are parameters that no action can have. Nil: there are none.
	Wrong map[string]string
	// State returns the whole state of the system, as its own reader sees it.
	State func(t *testing.T) string
	// Change changes the target as a person would, to a state that the action
	// does not produce. Nil: this part of the contract is not checked.
	Change func(t *testing.T)
}

// Run checks the contract of a connector. It leaves the target as it was,
// except for the change of a person and for an effect that lapses.
func Run(t *testing.T, s Subject) {
	ctx := t.Context()
	c := s.Connector
	initial := s.State(t)
	before := read(t, s)
	after, err := c.Plan(ctx, s.Target, s.Parameters, before)
	if err != nil || string(after) == string(before) {
		t.Fatalf("plan: %q, %v: the action must change the image %q", after, err, before)
	}
	if s.Wrong != nil {
		if _, err := c.Plan(ctx, s.Target, s.Wrong, before); err == nil {
			t.Error("plan accepts parameters that cannot be set")
		}
	}
	if _, err := c.Read(ctx, s.Target+"/none"); err == nil {
		t.Error("a target that does not exist is read")
	}
	unchanged := func(what string, want string) {
		t.Helper()
		if got := s.State(t); got != want {
			t.Errorf("%s: the state is\n%s\nwant\n%s", what, got, want)
		}
	}
	unchanged("read and plan", initial)
	if err := c.Set(ctx, s.Target, after, before); !errors.Is(err, connector.ErrChanged) {
		t.Errorf("set from another image: %v, want ErrChanged", err)
	}
	unchanged("set from another image", initial)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.Set(ended, s.Target, before, after); err == nil {
		t.Error("set with a context that has ended: no error")
	}
	unchanged("set with a context that has ended", initial)

	set(t, s, before, after)
	changed := s.State(t)
	if changed == initial {
		t.Error("set changes nothing that the system's own reader sees")
	}
	if got := read(t, s); string(got) != string(after) {
		t.Errorf("read after set: %q, want %q", got, after)
	}
	if err := c.Set(ctx, s.Target, before, after); !errors.Is(err, connector.ErrChanged) {
		t.Errorf("set again: %v, want ErrChanged", err)
	}
	unchanged("set again", changed)
	if c.Undo() == action.Lapse {
		return
	}
	set(t, s, after, before)
	unchanged("undo", initial)
	if s.Change == nil {
		return
	}
	set(t, s, before, after)
	s.Change(t)
	theirs := s.State(t)
	if theirs == changed || theirs == initial {
		t.Fatal("the change of a person changes nothing")
	}
	if err := c.Set(ctx, s.Target, after, before); !errors.Is(err, connector.ErrChanged) {
		t.Errorf("undo after the change of a person: %v, want ErrChanged", err)
	}
	unchanged("undo after the change of a person", theirs)
}

func read(t *testing.T, s Subject) connector.Image {
	t.Helper()
	image, err := s.Connector.Read(t.Context(), s.Target)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return image
}

func set(t *testing.T, s Subject, before, after connector.Image) {
	t.Helper()
	if err := s.Connector.Set(t.Context(), s.Target, before, after); err != nil {
		t.Fatalf("set: %v", err)
	}
}
