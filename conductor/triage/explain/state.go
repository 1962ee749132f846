package explain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/conductor/triage/classify"
	"muniment.dev/muniment/conductor/triage/playbook"
	"muniment.dev/muniment/internal/safetext"
)

// Limits of a state. Their numbers are in docs/spec/triage.md, section 12.
const (
	// MaxListed is the number of candidates that are listed of each type.
	MaxListed = 16
	// MaxIncidents is the number of incidents that are listed.
	MaxIncidents = 200
	// MaxState is the size of a state in bytes of JSON.
	MaxState = 4 << 20
)

// A State is what a running triage holds, and what it makes of it.
type State struct {
	At            time.Time  `json:"at"`
	Alerts        Alerts     `json:"alerts"`
	Incidents     []Incident `json:"incidents"` // that are not closed
	MoreIncidents int        `json:"moreIncidents,omitempty"`
	Closed        int        `json:"closed"` // incidents that are still known
	Guards        Guards     `json:"guards"`
	Types         []Type     `json:"types"`
	// Cut means that incidents or candidates are left out, because the state is
	// large.
	Cut bool `json:"cut,omitempty"`
}

// Alerts are those that the router keeps.
type Alerts struct {
	Firing    int      `json:"firing"`
	Ended     int      `json:"ended"`
	Unmatched int      `json:"unmatched"`       // that fire and concern no type
	Names     []string `json:"names,omitempty"` // of some of these
}

// Guards are the guard rails that keep steps from being taken.
type Guards struct {
	KillSwitch  bool         `json:"killSwitch,omitempty"`
	DryRun      bool         `json:"dryRun,omitempty"`
	Standby     bool         `json:"standby,omitempty"`
	Quarantines []Quarantine `json:"quarantines,omitempty"`
}

// A Quarantine is that of a type.
type Quarantine struct {
	Type     string    `json:"type"`
	Incident string    `json:"incident"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since"`
}

// An Incident is one that is not closed.
type Incident struct {
	ID      string    `json:"id"`
	State   string    `json:"state"`
	Reason  string    `json:"reason,omitempty"` // of the state
	Opened  time.Time `json:"opened"`
	Alerts  []string  `json:"alerts"`            // their names
	Cleared bool      `json:"cleared,omitempty"` // the condition has cleared
	Steps   []string  `json:"steps,omitempty"`
}

// A Type is an incident type with its candidates.
type Type struct {
	Name       string         `json:"name"`
	Verdicts   map[string]int `json:"verdicts,omitempty"` // candidates by verdict
	Candidates []Candidate    `json:"candidates"`
	Unlisted   int            `json:"unlisted,omitempty"`
	Steps      []Step         `json:"steps,omitempty"` // of the playbook, if one is classified
}

// A Candidate is one with its verdict, or the reason why there is none.
type Candidate struct {
	*classify.Result
	Next string `json:"next,omitempty"` // what follows, if it is classified
}

// Types returns the types of results, each with its first candidates: those
// that are classified, then those that are abstained from.
func Types(results []*classify.Result, playbooks map[string][]playbook.Step, next func(*classify.Result) string) (all []Type) {
	place := map[string]int{}
	for _, r := range results {
		n, ok := place[r.Type]
		if !ok {
			n = len(all)
			place[r.Type] = n
			all = append(all, Type{Name: r.Type, Verdicts: map[string]int{}})
		}
		if r.Key != nil {
			all[n].Verdicts[string(r.Verdict)]++
		}
		c := Candidate{Result: r}
		if r.Verdict == classify.Classified {
			c.Next, all[n].Steps = next(r), steps(playbooks[r.Type])
		}
		all[n].Candidates = append(all[n].Candidates, c)
	}
	for n := range all {
		slices.SortStableFunc(all[n].Candidates, func(a, b Candidate) int { return rank(a.Verdict) - rank(b.Verdict) })
		if more := len(all[n].Candidates) - MaxListed; more > 0 {
			all[n].Candidates, all[n].Unlisted = slices.Clone(all[n].Candidates[:MaxListed]), more
		}
	}
	return all
}

func rank(v classify.Verdict) int {
	return slices.Index([]classify.Verdict{classify.Classified, classify.Abstained, classify.Incomplete}, v)
}

// Encode returns the state as JSON of at most MaxState bytes. It leaves
// incidents and candidates out to achieve that, and counts them.
func (s *State) Encode() ([]byte, error) {
	left := MaxState / 4
	for n := range s.Incidents {
		text, err := json.Marshal(&s.Incidents[n])
		if err != nil {
			return nil, err
		}
		if left -= len(text); left < 0 {
			s.MoreIncidents, s.Cut = s.MoreIncidents+len(s.Incidents)-n, true
			s.Incidents = s.Incidents[:n]
			break
		}
	}
	left = MaxState / 2
	for n := range s.Types {
		t := &s.Types[n]
		for i := range t.Candidates {
			text, err := json.Marshal(&t.Candidates[i])
			if err != nil {
				return nil, err
			}
			if left -= len(text); left < 0 {
				t.Unlisted, s.Cut = t.Unlisted+len(t.Candidates)-i, true
				t.Candidates = t.Candidates[:i]
				break
			}
		}
	}
	text, err := json.Marshal(s)
	if err == nil && len(text) > MaxState {
		err = fmt.Errorf("the state has %d bytes, above the limit of %d", len(text), MaxState)
	}
	return text, err
}

// Acts reports whether an incident is open or classified.
func (s *State) Acts() bool {
	return len(s.Incidents) > 0 || slices.ContainsFunc(s.Types, func(t Type) bool { return t.Verdicts[string(classify.Classified)] > 0 })
}

// Text returns the state for people. It can come from another machine, so every
// line is escaped.
func (s *State) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "as of %s: %s firing, %d ended, %s open, %d closed\n", s.At.UTC().Format(time.RFC3339), safetext.Count(s.Alerts.Firing, "alert"), s.Alerts.Ended,
		safetext.Count(len(s.Incidents)+s.MoreIncidents, "incident"), s.Closed)
	if s.Alerts.Unmatched > 0 {
		var names []string
		for _, name := range s.Alerts.Names {
			names = append(names, safetext.Quoted(name))
		}
		fmt.Fprintf(&b, "%s of no type: %s\n", safetext.Count(s.Alerts.Unmatched, "firing alert"), strings.Join(names, ", "))
	}
	s.Guards.text(&b)
	for _, i := range s.Incidents {
		i.text(&b)
	}
	if s.MoreIncidents > 0 {
		fmt.Fprintf(&b, "\nand %d more incidents\n", s.MoreIncidents)
	}
	for _, t := range s.Types {
		e := &Explanation{Steps: map[string][]Step{t.Name: t.Steps}}
		for _, c := range t.Candidates {
			e.result(&b, c.Result)
			if c.Next != "" {
				fmt.Fprintf(&b, "  next: %s\n", c.Next)
			}
		}
		if t.Unlisted > 0 {
			fmt.Fprintf(&b, "\n%s: and %d more\n", t.Name, t.Unlisted)
		}
	}
	var lines []string
	for line := range strings.SplitSeq(b.String(), "\n") {
		lines = append(lines, safetext.Escape(line))
	}
	return strings.Join(lines, "\n")
}

func (g *Guards) text(b *strings.Builder) {
	for _, line := range []struct {
		on   bool
		text string
	}{
		{g.KillSwitch, "the kill switch is on: no step but undo runs"},
		{g.DryRun, "dry run: nothing is changed or recorded"},
		{g.Standby, "standby: no step is taken without the ledger"},
	} {
		if line.on {
			b.WriteString(line.text + "\n")
		}
	}
	for _, q := range g.Quarantines {
		fmt.Fprintf(b, "%s is in quarantine since %s, by %s: %s\n", q.Type, q.Since.UTC().Format(time.RFC3339), q.Incident, q.Reason)
	}
}

func (i *Incident) text(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s: %s", i.ID, i.State)
	if i.Reason != "" {
		fmt.Fprintf(b, ", %s", i.Reason)
	}
	fmt.Fprintf(b, "\n  opened %s", i.Opened.UTC().Format(time.RFC3339))
	if i.Cleared {
		b.WriteString(", the condition has cleared")
	}
	b.WriteString("\n")
	var names []string
	for _, name := range i.Alerts {
		names = append(names, safetext.Quoted(name))
	}
	fmt.Fprintf(b, "  alerts: %s\n", strings.Join(names, ", "))
	for _, s := range i.Steps {
		fmt.Fprintf(b, "  %s\n", s)
	}
}
