// Package catalogue reads the incident types that triage knows. See
// docs/spec/triage.md, sections 3 and 4.
package catalogue

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types/ref"

	"muniment.dev/muniment/internal/condition"
)

// MaxBytes is the size limit of a catalogue.
const MaxBytes = 256 << 10

// A Catalogue contains the incident types, and what their correlation needs.
type Catalogue struct {
	Twins    []string // labels that distinguish twins
	Flapping Flapping
	Topology Topology
	Types    []*Type // sorted by name

	byName  map[string][]Place // of conditions that can hold for a name only
	anyName []Place            // of the other conditions
}

// A Place is that of a condition in a catalogue: signal or reason N of type T.
type Place struct {
	T, N   int
	Reason bool
}

func (p Place) compare(o Place) int {
	reason := map[bool]int{true: 1}
	return cmp.Or(p.T-o.T, reason[p.Reason]-reason[o.Reason], p.N-o.N)
}

// Condition returns the condition at a place.
func (c *Catalogue) Condition(p Place) *Condition {
	if p.Reason {
		return &c.Types[p.T].Abstain[p.N].When
	}
	return &c.Types[p.T].Signals[p.N].When
}

// Conditions returns the places of the conditions that can be other than false
// for alerts with a name, sorted.
func (c *Catalogue) Conditions(name string) []Place {
	some := c.byName[name]
	if len(some) == 0 {
		return c.anyName
	}
	all := slices.Concat(c.anyName, some)
	slices.SortFunc(all, Place.compare)
	return all
}

// index fills byName and anyName.
func (c *Catalogue) index() {
	c.byName = map[string][]Place{}
	add := func(p Place) {
		names, ok := c.Condition(p).compiled.Only("name")
		if !ok {
			c.anyName = append(c.anyName, p)
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if ok {
				c.byName[name] = append(c.byName[name], p)
			}
		}
	}
	for t, of := range c.Types {
		for n := range of.Signals {
			add(Place{t, n, false})
		}
		for n := range of.Abstain {
			add(Place{t, n, true})
		}
	}
}

// Flapping defines when an alert is flapping.
type Flapping struct {
	Changes int
	Within  time.Duration
}

// Topology contains which values of a label depend on each other.
type Topology struct {
	Label      string              // empty: none
	neighbours map[string][]string // in both directions, sorted
}

// Neighbours returns the values on which a value depends, and those that depend
// on it.
func (t *Topology) Neighbours(value string) []string { return t.neighbours[value] }

// A Type is an incident type.
type Type struct {
	Name      string
	Severity  string
	Correlate []string // labels of the key
	Topology  bool
	Traces    bool
	Signals   []Requirement // the first is the anchor
	Abstain   []Reason
	Window    time.Duration
	Decay     time.Duration
	Priority  int
}

// A Requirement is a required signal.
type Requirement struct {
	Name  string
	When  Condition
	Count int
	For   time.Duration
}

// A Reason is a reason to abstain.
type Reason struct {
	When   Condition
	Reason string
}

// An Alert is what conditions read.
type Alert struct {
	Source, Name string
	Labels       map[string]string
}

// A Condition is a condition about one alert.
type Condition struct {
	Source   string
	compiled *condition.Condition[*Alert]
}

// maxCost is the budget of a condition, in units.
const maxCost = 10_000

// variables lists the variables of conditions.
var variables = []condition.Variable[*Alert]{
	{Name: "source", Type: cel.StringType, Value: func(a *Alert) ref.Val { return condition.Value(a.Source) }},
	{Name: "name", Type: cel.StringType, Value: func(a *Alert) ref.Val { return condition.Value(a.Name) }},
	{Name: "labels", Type: cel.MapType(cel.StringType, cel.StringType), Value: func(a *Alert) ref.Val { return condition.Value(a.Labels) }},
}

var environment = sync.OnceValues(func() (*condition.Environment[*Alert], error) { return condition.New(variables...) })

// Holds evaluates the condition. An error means that it cannot be evaluated, so
// it is neither true nor false.
func (c *Condition) Holds(a *Alert) (bool, error) {
	err := c.compiled.Holds(condition.NewMeter(context.Background(), maxCost), a)
	if errors.Is(err, condition.ErrFalse) {
		return false, nil
	}
	return err == nil, err
}

// Key returns the values of the labels by which alerts are correlated, as one
// text. It reports whether the alert has all of them.
func (t *Type) Key(labels map[string]string) (Key, bool) {
	values := make([]string, len(t.Correlate))
	for i, label := range t.Correlate {
		if values[i] = labels[label]; values[i] == "" {
			return "", false
		}
	}
	return MakeKey(values), true
}

// A Key consists of texts, each preceded by its length.
type Key string

// MakeKey returns the key of values.
func MakeKey(values []string) Key {
	var b strings.Builder
	for _, v := range values {
		b.WriteString(strconv.Itoa(len(v)) + ":" + v)
	}
	return Key(b.String())
}

// Values returns the values of a key.
func (k Key) Values() (values []string) {
	for rest := string(k); rest != ""; {
		size, after, _ := strings.Cut(rest, ":")
		n, err := strconv.Atoi(size)
		if err != nil || n > len(after) {
			return nil // not made by MakeKey
		}
		values, rest = append(values, after[:n]), after[n:]
	}
	return values
}

// Adjacent returns the keys of direct neighbours in the topology.
func (c *Catalogue) Adjacent(t *Type, k Key) (keys []Key) {
	at := slices.Index(t.Correlate, c.Topology.Label)
	if !t.Topology || at < 0 {
		return nil
	}
	values := k.Values()
	for _, n := range c.Topology.Neighbours(values[at]) {
		other := slices.Clone(values)
		other[at] = n
		keys = append(keys, MakeKey(other))
	}
	return keys
}

// Type returns a type by its name, or nil.
func (c *Catalogue) Type(name string) *Type {
	i, ok := slices.BinarySearchFunc(c.Types, name, func(t *Type, name string) int { return strings.Compare(t.Name, name) })
	if !ok {
		return nil
	}
	return c.Types[i]
}
