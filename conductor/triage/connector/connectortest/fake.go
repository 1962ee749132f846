package connectortest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
)

// Fake is a connector to values in memory. The parameter value is the new value
// of a target.
type Fake struct {
	mu     sync.Mutex // guards the rest
	values map[string]string
	calls  []Call
}

// A Call is a change that took effect.
type Call struct{ Target, Before, After string }

// NewFake returns a connector with the values of all targets.
func NewFake(values map[string]string) *Fake { return &Fake{values: maps.Clone(values)} }

// Undo implements connector.Connector.
func (f *Fake) Undo() string { return action.Restore }

// Read implements connector.Connector.
func (f *Fake) Read(_ context.Context, target string) (connector.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.values[target]
	if !ok {
		return nil, fmt.Errorf("no target %s", target)
	}
	return connector.Image(v), nil
}

// Plan implements connector.Connector.
func (f *Fake) Plan(_ context.Context, _ string, parameters map[string]string, _ connector.Image) (connector.Image, error) {
	v, ok := parameters["value"]
	if !ok {
		return nil, fmt.Errorf("no value")
	}
	return connector.Image(v), nil
}

// Set implements connector.Connector.
func (f *Fake) Set(ctx context.Context, target string, before, after connector.Image) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.values[target] != string(before) {
		return connector.ErrChanged
	}
	f.values[target] = string(after)
	f.calls = append(f.calls, Call{target, string(before), string(after)})
	return nil
}

// Put changes a value as somebody else would.
func (f *Fake) Put(target, value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[target] = value
}

// Calls returns the changes that took effect, in their order.
func (f *Fake) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// State returns all values, one on each line.
func (f *Fake) State() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, target := range slices.Sorted(maps.Keys(f.values)) {
		fmt.Fprintf(&b, "%s=%s\n", target, f.values[target])
	}
	return b.String()
}
