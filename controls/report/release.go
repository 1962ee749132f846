// Package report shows what a ledger proves about a release, as a page that
// people read.
//
// Gather fills a Release from a stream, and HTML renders it. Both are
// functions of their input: the same state gives the same bytes. Package oscal
// renders the same Release for machines.
package report

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/difference"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/finding"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/facts"
)

// A Release is everything that reports show about artifacts, as of one state of
// a stream. Gather fills it, except for Log, Files, Members and
// Commands. Lists
// have the order in which they are shown, and an Entry is the index of an entry
// below Log.Size.
type Release struct {
	Name      string // of the release; "": the artifacts were selected otherwise
	Selection string // what was selected, as a phrase, such as "release 1.7.0"
	Log       Log
	Tenant    string
	Time      time.Time // at which decisions were made: T
	Since     time.Time // events without artifacts are shown from then; zero: all

	ControlSet  *ControlSet // nil: none is in force, or it cannot be read
	Places      []Place     // for which artifacts were decided about
	Artifacts   []Artifact
	Controls    []Control
	Exceptions  []Exception
	Findings    []Finding
	Burndown    []finding.Count // oldest first; the last is at Time
	Evidence    []Evidence      // about the artifacts, and what findings link
	Checkpoints []Checkpoint    // of backfills
	Analyses    []Analysis      // tests and canary analyses
	Actions     []Action
	Metrics     []Metrics
	Reports     []VerificationReport
	Erased      []Erased
	LeftOut     []LeftOut
	Differences *difference.Release // nil: there is no previous release

	Coverage    []Coverage // by environment and type
	Inventories []uint64   // entries that the coverage is computed from
	// Unknown is why the coverage is not known or incomplete, a sentence each.
	Unknown []string
	// Stated is what is not computed from the evidence in the bundle, but the
	// account of its creator, a sentence each.
	Stated []string

	Files    map[uint64]File // of entries, in the bundle
	Members  []Member        // further files of the bundle
	Commands []Command       // that check the bundle
}

// A Member is a file of a bundle.
type Member struct {
	Name  string // relative to the root of the bundle
	About string // in a phrase
}

// A Command is a command line for readers.
type Command struct {
	Line  string
	About string // what it checks, in a phrase
}

// A Log is the state of the log that the report is about.
type Log struct {
	Origin string
	Size   uint64 // of the tree: N
	Root   string // "sha256:" and the root hash of the tree
	// Trust describes the trust policy in words, a sentence each.
	Trust []string
	// Keys has the verifier keys of the log and its witnesses.
	Keys []string
}

// A File is what a bundle contains of an entry. The names are relative to the
// root of the bundle, and "" without a file.
type File struct {
	Receipt string
	Payload string
}

// A Place is a stage in an environment, or in none.
type Place struct {
	Stage       string
	Environment string // can be empty
}

// String returns the place in words.
func (p Place) String() string {
	if p.Environment == "" {
		return p.Stage
	}
	return p.Stage + " to " + p.Environment
}

// A ControlSet is the control set in force.
type ControlSet struct {
	Version string
	Digest  string
	Entry   uint64
}

// An Artifact is one of the selected artifacts.
type Artifact struct {
	decide.Artifact
	Decisions []*evaluate.Decision // one for each of the places, in their order
	Recorded  []Recorded           // newest first
	Evidence  []uint64             // entries about it, increasing
}

// A Recorded is a decision that a gate has recorded.
type Recorded struct {
	Entry      uint64
	Time       time.Time // of the entry
	Place      Place
	Decision   evaluate.Outcome
	Decided    time.Time
	ValidUntil time.Time // zero if the payload was erased
	Offline    bool
}

// A Status is that of a control for the whole release.
type Status string

// The statuses, the worst first. A release has the worst status of any of its
// artifacts at any place.
const (
	NotSatisfied  Status = evaluate.NotSatisfied
	Undecided     Status = evaluate.Unclear
	Excepted      Status = evaluate.Excepted
	Satisfied     Status = evaluate.Satisfied
	NotApplicable Status = evaluate.NotApplicable
)

// Statuses lists the statuses, the worst first.
var Statuses = []Status{NotSatisfied, Undecided, Excepted, Satisfied, NotApplicable}

// A Control is a control of the set, with its status.
type Control struct {
	*munimentv1.Control
	Entry  uint64
	Status Status
	// Enforced reports that a result with this status keeps an artifact from a
	// pass.
	Enforced bool
	Counts   map[Status]int // artifacts, each by its worst result
	Results  []ControlResult
}

// A ControlResult is the result of a control for one artifact at one place.
type ControlResult struct {
	Artifact int // index in Artifacts
	Place    int // index in Places
	*evaluate.Result
}

// An Exception is an exception with its state.
type Exception struct {
	*exception.Exception
	exception.Status
	Reason string // as the request gives it; "": its payload was erased
}

// A Finding is a finding with its state.
type Finding struct {
	*finding.Finding
	Status      finding.Status
	Severity    string
	Due         time.Time // zero: none
	Overdue     bool
	Owners      []string // of its controls
	Description string   // of its newest report
}

// Evidence is an entry about artifacts.
type Evidence struct {
	Entry     uint64
	Time      time.Time
	Header    *entry.Header
	Relation  string // of artifacts to the entry, such as "built-by"
	Erased    bool   // its payload was erased
	Artifacts []int  // indexes in Artifacts
}

// A Checkpoint is an entry of kind backfill-checkpoint.
type Checkpoint struct {
	Entry uint64
	Time  time.Time
	facts.Checkpoint
}

// An Analysis is the result of a test or of an automated canary analysis.
type Analysis struct {
	Entry     uint64
	Time      time.Time
	Artifacts []int // indexes in Artifacts
	*facts.Test
}

// An Action is an entry of kind triage-action.
type Action struct {
	Entry uint64
	Time  time.Time
	*munimentv1.TriageAction
}

// Metrics is an entry of kind metric-snapshot.
type Metrics struct {
	Entry uint64
	Time  time.Time
	*munimentv1.MetricSnapshot
}

// A VerificationReport is an entry of that kind.
type VerificationReport struct {
	Entry     uint64
	Time      time.Time
	Submitter string
	*munimentv1.VerificationReport
}

// An Erased is an entry of which something was erased.
type Erased struct {
	Entry   uint64
	Scope   string // what was erased
	Reason  string // can be empty
	Actor   string // who has requested it
	Erasure uint64 // the entry that records it
	Time    time.Time
}

// A LeftOut is what a bound has left out.
type LeftOut struct {
	What  string // plural, such as "triage actions"
	Limit int    // the newest are shown
}

// A Coverage is the share of the artifacts of one type in an environment that
// are attested (docs/spec/controls.md, section 7).
type Coverage struct {
	Kind        string // such as "container images"
	Environment string
	Stage       string
	Attested    int
	Inventoried int
	Gaps        []Gap
	MoreGaps    int // that are not listed
}

// A Gap is an artifact that an inventory names and that lacks evidence.
type Gap struct {
	Name   string
	Digest string // algorithm:value; can be empty
	Where  string // such as an environment and a workload
	Reason string
}

// Idle reports whether no control applies to an artifact at a place, so that
// there is nothing to decide about.
func Idle(d *evaluate.Decision) bool { return d.Reason == evaluate.NothingApplies }

// Outcome returns the worst outcome of the artifact at all places. Those at
// which no control applies do not matter, unless there are no others.
func (a *Artifact) Outcome() evaluate.Outcome { return combined(a.Decisions) }

// Outcome returns the worst outcome of all artifacts at a place. Those to which
// no control applies do not matter, unless there are no others.
func (r *Release) Outcome(place int) evaluate.Outcome { return combined(r.at(place)) }

// at returns the decisions about a place.
func (r *Release) at(place int) []*evaluate.Decision {
	all := make([]*evaluate.Decision, 0, len(r.Artifacts))
	for i := range r.Artifacts {
		all = append(all, r.Artifacts[i].Decisions[place])
	}
	return all
}

func combined(decisions []*evaluate.Decision) evaluate.Outcome {
	var all []evaluate.Outcome
	for _, d := range decisions {
		if !Idle(d) {
			all = append(all, d.Decision)
		}
	}
	return evaluate.Combine(all...)
}

// Verdict returns the worst outcome of all artifacts.
func (r *Release) Verdict() evaluate.Outcome {
	all := make([]evaluate.Outcome, 0, len(r.Artifacts))
	for i := range r.Artifacts {
		all = append(all, r.Artifacts[i].Outcome())
	}
	return evaluate.Combine(all...)
}

// Entries returns the entries that the release refers to, increasing. A bundle
// of it has their receipts.
func (r *Release) Entries() []uint64 {
	all := map[uint64]bool{}
	if r.ControlSet != nil {
		all[r.ControlSet.Entry] = true
	}
	for i := range r.Controls {
		all[r.Controls[i].Entry] = true
	}
	for i := range r.Artifacts {
		a := &r.Artifacts[i]
		for _, e := range a.Evidence {
			all[e] = true
		}
		for k := range a.Recorded {
			all[a.Recorded[k].Entry] = true
		}
		for _, d := range a.Decisions {
			addEntries(all, d)
		}
	}
	for i := range r.Exceptions {
		x := r.Exceptions[i].Exception
		all[x.Index] = true
		for k := range x.Decisions {
			all[x.Decisions[k].Index] = true
		}
		for k := range x.KeyEvents {
			all[x.KeyEvents[k].Index] = true
		}
	}
	for i := range r.Findings {
		for k := range r.Findings[i].Reports {
			report := &r.Findings[i].Reports[k]
			all[report.Index] = true
			for _, e := range report.Evidence {
				all[e] = true
			}
		}
	}
	for i := range r.Evidence {
		all[r.Evidence[i].Entry] = true
	}
	for _, e := range r.Inventories {
		all[e] = true
	}
	r.addEvents(all)
	return slices.Sorted(maps.Keys(all))
}

func addEntries(all map[uint64]bool, d *evaluate.Decision) {
	for i := range d.Results {
		for _, e := range d.Results[i].Entries {
			all[e] = true
		}
		for _, x := range d.Results[i].Exceptions {
			all[x.Index] = true
		}
	}
}

func (r *Release) addEvents(all map[uint64]bool) {
	for i := range r.Checkpoints {
		all[r.Checkpoints[i].Entry] = true
	}
	for i := range r.Analyses {
		all[r.Analyses[i].Entry] = true
	}
	for i := range r.Actions {
		all[r.Actions[i].Entry] = true
	}
	for i := range r.Metrics {
		all[r.Metrics[i].Entry] = true
	}
	for i := range r.Reports {
		all[r.Reports[i].Entry] = true
	}
	for i := range r.Erased {
		all[r.Erased[i].Entry] = true
		if e := r.Erased[i].Erasure; e < r.Log.Size {
			all[e] = true
		}
	}
}

// count fills the status, counts and results of the controls from the
// decisions.
func (r *Release) count() {
	at := map[string]int{}
	for i := range r.Controls {
		c := &r.Controls[i]
		c.Status, c.Counts, c.Results, c.Enforced = NotApplicable, map[Status]int{}, nil, false
		at[c.Id] = i
	}
	for a := range r.Artifacts {
		worst := map[int]Status{}
		for p, d := range r.Artifacts[a].Decisions {
			for k := range d.Results {
				result := &d.Results[k]
				i, ok := at[result.Control]
				if !ok {
					continue
				}
				c, status := &r.Controls[i], Status(result.Result)
				c.Results = append(c.Results, ControlResult{a, p, result})
				worst[i] = worse(worst[i], status)
				c.add(status, result.Mode == evaluate.Enforce)
			}
		}
		for i, status := range worst {
			r.Controls[i].Counts[status]++
		}
	}
}

func (c *Control) add(status Status, enforced bool) {
	switch before := c.Status; {
	case before == status:
		c.Enforced = c.Enforced || enforced
	case worse(before, status) == status:
		c.Status, c.Enforced = status, enforced
	}
}

// worse returns the worse of two statuses. The empty one is the best.
func worse(a, b Status) Status {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	if cmp.Less(slices.Index(Statuses, b), slices.Index(Statuses, a)) {
		return b
	}
	return a
}
