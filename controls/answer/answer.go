// Package answer words the answers of gates, for people and for programs.
//
// Every gate prints the same reasons for the same decision: the command, whose
// JSON it defines, and the admission of clusters.
package answer

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/internal/safetext"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A Subject is an artifact with the decision about it.
type Subject struct {
	Name       string            `json:"name,omitempty"`
	Type       string            `json:"type"`
	Digest     map[string]string `json:"digest"`
	Parts      []string          `json:"parts,omitempty"`
	Where      []string          `json:"where,omitempty"`
	Decision   string            `json:"decision"`
	Reason     string            `json:"reason,omitempty"`
	ValidUntil string            `json:"validUntil,omitempty"`
	Entry      *uint64           `json:"entry,omitempty"`
	Repeated   bool              `json:"repeated,omitempty"`
	Spooled    string            `json:"spooled,omitempty"`
	Results    []Result          `json:"results"`
}

// A Result is that of one control.
type Result struct {
	Control      string        `json:"control"`
	Title        string        `json:"title,omitempty"`
	Severity     string        `json:"severity,omitempty"`
	Owner        string        `json:"owner,omitempty"`
	Mode         string        `json:"mode"`
	Result       string        `json:"result"`
	Reason       string        `json:"reason"`
	Missing      []string      `json:"missing,omitempty"`
	Entries      []uint64      `json:"entries,omitempty"`
	Condition    string        `json:"condition,omitempty"`
	Requirements []Requirement `json:"requirements,omitempty"`
	Exceptions   []Exception   `json:"exceptions,omitempty"`
}

// A Requirement of a control, with the evidence for it.
type Requirement struct {
	Name    string  `json:"name"`
	Needs   string  `json:"needs"`
	Met     bool    `json:"met"`
	Found   []Found `json:"found,omitempty"`
	Ignored []Found `json:"ignored,omitempty"`
}

// A Found entry is evidence about the artifact.
type Found struct {
	Entry         uint64   `json:"entry"`
	Time          string   `json:"time"`
	Age           string   `json:"age"`
	Kind          string   `json:"kind"`
	PredicateType string   `json:"predicateType,omitempty"`
	Signers       []string `json:"signers,omitempty"`
	Why           string   `json:"why,omitempty"`
}

// An Exception is one that a result rests on.
type Exception struct {
	ID          string   `json:"id"`
	Entry       uint64   `json:"entry"`
	Expires     string   `json:"expires"`
	Requester   string   `json:"requester"`
	Approvers   []string `json:"approvers"`
	Unconfirmed bool     `json:"unconfirmed,omitempty"` // break-glass
}

// An UnknownField looks like an image, and is in no known place.
type UnknownField struct {
	Resource  string `json:"resource"`
	Field     string `json:"field"`
	Reference string `json:"reference"`
}

// NewSubject returns an artifact, and where it was found, with the decision
// about it.
func NewSubject(s *munimentv1.GateSubject, where []string, d *munimentv1.SubjectDecision) Subject {
	g := d.Decision
	out := Subject{
		Name: s.Artifact.GetName(), Type: s.Type, Digest: s.Artifact.GetDigest(), Where: where, Decision: g.Decision, Reason: g.Reason, ValidUntil: FormatTime(g.ValidUntil),
		Entry: d.Index, Repeated: d.Repeated, Spooled: d.Spooled, Results: []Result{},
	}
	for _, p := range s.Parts {
		out.Parts = append(out.Parts, strings.TrimSpace(p.Platform+" "+DigestText(p.Digest)))
	}
	why := map[string]*munimentv1.Explanation{}
	for _, e := range d.Explanations {
		why[e.Control] = e
	}
	for _, c := range g.Results {
		out.Results = append(out.Results, NewResult(c, why[c.Control], g.Decided.AsTime()))
	}
	return out
}

// NewResult returns the result of a control. The explanation can be nil.
func NewResult(c *munimentv1.ControlResult, why *munimentv1.Explanation, decided time.Time) Result {
	out := Result{
		Control: c.Control, Mode: c.Mode, Result: c.Result, Reason: c.Reason, Missing: c.Missing, Entries: c.Entries,
		Title: why.GetTitle(), Severity: why.GetSeverity(), Owner: why.GetOwner(), Condition: why.GetCondition(),
	}
	for _, q := range why.GetRequirements() {
		out.Requirements = append(out.Requirements, Requirement{q.Name, q.Needs, q.Met, foundEvidence(q.Found, decided), foundEvidence(q.Ignored, decided)})
	}
	for _, x := range why.GetExceptions() {
		out.Exceptions = append(out.Exceptions, Exception{x.Id, x.Index, FormatTime(x.Expires), x.Requester, x.Approvers, x.Unconfirmed})
	}
	return out
}

func foundEvidence(all []*munimentv1.FoundEvidence, decided time.Time) (out []Found) {
	for _, f := range all {
		out = append(out, Found{f.Index, FormatTime(f.Time), age(decided.Sub(f.Time.AsTime())), f.Kind, f.PredicateType, f.Signers, f.Why})
	}
	return out
}

// age returns a duration in its largest unit, such as 3 days.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return safetext.Count(int(d.Hours()/24), "day")
	case d >= 2*time.Hour:
		return safetext.Count(int(d.Hours()), "hour")
	case d >= 2*time.Minute:
		return safetext.Count(int(d.Minutes()), "minute")
	}
	return safetext.Count(max(int(d.Seconds()), 0), "second")
}

// FormatTime returns a time for people and programs, or "".
func FormatTime(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format(safetext.TimeFormat)
}

// DigestText returns digests in one text, sorted.
func DigestText(d map[string]string) string {
	var all []string
	for alg, v := range d {
		all = append(all, alg+":"+v)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
