package correlate

import (
	"maps"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/triage/catalogue"
)

// MaxCandidates is the number of candidates of a type.
const MaxCandidates = 1000

// A Candidate is an incident type, a key, and the alerts that belong to it.
type Candidate struct {
	Type    *catalogue.Type
	Key     catalogue.Key
	Members []Member // sorted by name and labels
}

// A Member is an alert of a candidate.
type Member struct {
	*Alert
	Match    *Match
	Standing Standing
}

// Anchors reports whether the member is an anchor of its candidate.
func (m *Member) Anchors() bool { return m.Match.Signals&1 != 0 }

// Candidates returns the candidates of a type at a time, sorted by key. It
// returns the alerts that match a condition of the type and belong to no
// candidate as others. There are more than MaxCandidates keys if full is true,
// and then there are no candidates.
func (t *Table) Candidates(of *catalogue.Type, now time.Time) (candidates []*Candidate, others []Member, full bool) {
	members := t.members(of, now)
	byKey := map[catalogue.Key]*Candidate{}
	traces := map[string][]catalogue.Key{} // of anchors
	for _, m := range members {
		if !m.Anchors() || !m.Match.Keyed || m.Standing != Counts {
			continue
		}
		if byKey[m.Match.Key] == nil {
			if len(byKey) == MaxCandidates {
				return nil, members, true
			}
			byKey[m.Match.Key] = &Candidate{Type: of, Key: m.Match.Key}
		}
		for _, id := range m.traces {
			if of.Traces && !slices.Contains(traces[id], m.Match.Key) {
				traces[id] = append(traces[id], m.Match.Key)
			}
		}
	}
	for _, m := range members {
		keys := t.keys(of, &m, traces)
		belongs := false
		for _, key := range keys {
			if c := byKey[key]; c != nil {
				c.Members = append(c.Members, m)
				belongs = true
			}
		}
		if !belongs {
			others = append(others, m)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		candidates = append(candidates, byKey[key])
	}
	return candidates, others, false
}

// members returns the alerts that concern a type, sorted.
func (t *Table) members(of *catalogue.Type, now time.Time) (members []Member) {
	t.visited += len(t.concerned[of])
	for a, i := range t.concerned[of] {
		m := Member{a, &a.matches[i], t.Standing(a, of, now)}
		if m.Standing == Counts && m.claimed() {
			m.Standing = Claimed
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.identity, b.identity) })
	return members
}

// keys returns the keys of the candidates to which an alert can belong.
func (t *Table) keys(of *catalogue.Type, m *Member, traces map[string][]catalogue.Key) (keys []catalogue.Key) {
	if m.Match.Keyed {
		keys = append(keys, m.Match.Key)
		keys = append(keys, t.catalogue.Adjacent(of, m.Match.Key)...)
	}
	for _, id := range m.traces {
		keys = append(keys, traces[id]...)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
