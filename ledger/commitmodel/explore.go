package commitmodel

import (
	"errors"
	"fmt"
	"strings"
)

// A Step is one thing that can happen next.
type Step struct {
	Name string
	To   State
}

// A Violation is a reachable state that breaks an invariant, with the shortest
// way to it.
type Violation struct {
	Invariant string   // one of Invariants
	Trace     []string // names of the steps from the initial state
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s is violated after\n  %s", v.Invariant, strings.Join(v.Trace, "\n  "))
}

// ErrTooLarge is the error of an exploration that reaches more states than it
// was allowed.
var ErrTooLarge = errors.New("the model has more reachable states than the limit")

// A Report describes a complete exploration.
type Report struct {
	States int            // distinct reachable states
	Steps  map[string]int // transitions by the name of their step, without its arguments
	Quiet  int            // states from which nothing more can happen
}

// A node is a reached state and the node it was first reached from.
type node struct {
	state  State
	parent int32
}

// Explore visits every state that the protocol can reach, breadth first. The
// error is a *Violation, whose trace is then the shortest, or ErrTooLarge.
func Explore(p Protocol, limit int) (*Report, error) {
	r := &Report{Steps: map[string]int{}}
	start := p.initial()
	nodes := []node{{state: start, parent: -1}}
	seen := map[State]struct{}{start: {}}
	for at := 0; at < len(nodes); at++ {
		steps := p.next(&nodes[at].state)
		if len(steps) == 0 {
			r.Quiet++
		}
		for _, s := range steps {
			name, _, _ := strings.Cut(s.Name, "(")
			r.Steps[name]++
			if _, old := seen[s.To]; old {
				continue
			}
			seen[s.To] = struct{}{}
			nodes = append(nodes, node{state: s.To, parent: int32(at)})
			if broken := s.To.broken(); broken != "" {
				return nil, &Violation{Invariant: broken, Trace: p.trace(nodes, len(nodes)-1)}
			}
			if len(nodes) > limit {
				return nil, ErrTooLarge
			}
		}
	}
	r.States = len(nodes)
	return r, nil
}

// trace returns the names of the steps that lead to the node.
func (p Protocol) trace(nodes []node, at int) []string {
	var names []string
	for nodes[at].parent >= 0 {
		parent := int(nodes[at].parent)
		for _, s := range p.next(&nodes[parent].state) {
			if s.To == nodes[at].state {
				names = append([]string{s.Name}, names...)
				break
			}
		}
		at = parent
	}
	return names
}
