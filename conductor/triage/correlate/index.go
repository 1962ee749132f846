package correlate

import (
	"slices"
	"strings"

	"muniment.dev/muniment/conductor/triage/catalogue"
)

// An Index finds the firing alerts that belong to incidents. It looks at the
// alerts of a type once, however many incidents there are. It is valid until
// the table changes, except for claims.
type Index struct {
	table *Table
	types map[*catalogue.Type]*indexed
}

// An indexed is the firing alerts that match a required signal of a type.
type indexed struct {
	keys   map[catalogue.Key][]Member // including those of neighbours
	traces map[string][]Member        // nil: the type does not use them
}

// Index returns an index of the table as it is now.
func (t *Table) Index() *Index { return &Index{t, map[*catalogue.Type]*indexed{}} }

// of returns the index of a type.
func (x *Index) of(of *catalogue.Type) *indexed {
	if in := x.types[of]; in != nil {
		return in
	}
	in := &indexed{keys: map[catalogue.Key][]Member{}}
	if of.Traces {
		in.traces = map[string][]Member{}
	}
	x.types[of] = in
	x.table.visited += len(x.table.concerned[of])
	for a, i := range x.table.concerned[of] {
		m := Member{Alert: a, Match: &a.matches[i]}
		if !a.Fires() || m.Match.Signals == 0 {
			continue
		}
		for _, key := range x.table.keys(of, &m, nil) {
			in.keys[key] = append(in.keys[key], m)
		}
		if of.Traces {
			for _, id := range a.traces {
				in.traces[id] = append(in.traces[id], m)
			}
		}
	}
	return in
}

// Belonging returns the firing alerts that match a required signal of a type
// and belong to a key, sorted, without their standing. Anchors are the
// identities of the anchors whose traces count.
func (x *Index) Belonging(of *catalogue.Type, key catalogue.Key, anchors []string) []Member {
	in := x.of(of)
	all := slices.Clone(in.keys[key])
	if of.Traces {
		seen := map[string]bool{}
		for _, id := range anchors {
			a := x.table.alerts[id]
			if a == nil {
				continue
			}
			for _, trace := range a.traces {
				if !seen[trace] {
					seen[trace] = true
					all = append(all, in.traces[trace]...)
				}
			}
		}
	}
	x.table.visited += len(all)
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.identity, b.identity) })
	return slices.CompactFunc(all, func(a, b Member) bool { return a.Alert == b.Alert })
}

// Visited returns how many alerts were looked at so far to find those that
// belong together. It bounds the work of an evaluation.
func (t *Table) Visited() int { return t.visited }
