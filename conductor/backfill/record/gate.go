package record

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/internal/safetext"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A Decision is the answer of the ledger's gate about the job.
type Decision struct {
	Stage       string    `json:"stage"`
	Environment string    `json:"environment,omitempty"`
	Decision    string    `json:"decision"`           // pass, blocked or undecided
	Reason      string    `json:"reason,omitempty"`   // of a decision without results
	Entry       uint64    `json:"entry,string"`       // that records the decision
	LeafHash    string    `json:"leafHash,omitempty"` // of the entry, by its receipt; of a pass
	TreeSize    uint64    `json:"treeSize,string"`    // that it was made from
	Decided     time.Time `json:"decided"`
	ValidUntil  time.Time `json:"validUntil"`
	Results     []Control `json:"results,omitempty"`
}

// A Control is the result of one control.
type Control struct {
	ID         string   `json:"control"`
	Title      string   `json:"title,omitempty"`
	Owner      string   `json:"owner,omitempty"`
	Mode       string   `json:"mode"`   // enforce, warn or audit
	Result     string   `json:"result"` // as docs/spec/decision.md defines it
	Reason     string   `json:"reason"` // a code, and a text after a colon
	Missing    []string `json:"missing,omitempty"`
	Exceptions []string `json:"exceptions,omitempty"` // the IDs of those it rests on
}

// Passed reports whether the gate lets the job through.
func (d *Decision) Passed() bool { return d.Decision == passed }

const passed = "pass"

// ErrNotPassed is wrapped by the errors of decisions that are not pass.
var ErrNotPassed = errors.New("the gate of the ledger does not let the job through")

// Err returns nil for a pass. Otherwise it returns an error with the controls
// that are not satisfied, and the remedy.
func (d *Decision) Err() error {
	if d.Passed() {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "stage %s: %s", d.Stage, d.Decision)
	if d.Reason != "" {
		fmt.Fprintf(&b, " (%s)", safetext.Escape(d.Reason))
	}
	b.WriteString(", recorded as entry " + fmt.Sprint(d.Entry))
	for _, c := range d.Results {
		if c.blocks() {
			fmt.Fprintf(&b, "\n  %s: %s", safetext.Escape(c.ID), safetext.Escape(c.text()))
		}
	}
	b.WriteString("\n" + d.remedy())
	return fmt.Errorf("%w: %s", ErrNotPassed, b.String())
}

func (c *Control) blocks() bool {
	return c.Mode == "enforce" && (c.Result == "not-satisfied" || c.Result == "undecided")
}

func (c *Control) text() string {
	text := c.Reason
	if c.Title != "" {
		text = c.Title + " (" + c.Reason + ")"
	}
	if len(c.Missing) > 0 {
		text += ": " + strings.Join(c.Missing, "; ")
	}
	return text
}

// remedy returns what a person can do about a decision that is not pass.
func (d *Decision) remedy() string {
	switch d.Reason {
	case "no-control-set", "no-control-applies", "unknown-stage":
		return fmt.Sprintf("put controls for the stage %s in force: muniment control init --template backfill, muniment control apply", d.Stage)
	case "":
		return "record what is missing (conductor backfill rehearse, validate), or have an exception approved: muniment exception request"
	}
	return "see docs/spec/decision.md for the reason"
}

// Ask asks the ledger's gate whether the job may pass a stage. The environment
// can be empty. The ledger records its decision. A pass is returned only if the
// receipt of this entry verifies.
func (s *Sender) Ask(ctx context.Context, stage, environment string) (*Decision, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	digest := s.o.Job.Digest()
	job := &munimentv1.Artifact{Name: s.o.Job.File, Digest: map[string]string{"sha256": digest}}
	res, err := s.client.Gate.Decide(ctx, connect.NewRequest(&munimentv1.DecideRequest{
		Tenant: s.client.Tenant, Stage: stage, Environment: environment, Explain: true,
		Subjects: []*munimentv1.GateSubject{{Type: "file", Artifact: job}},
	}))
	if err != nil {
		return nil, fmt.Errorf("ask the gate of the ledger about %s: %w", s.o.Job.File, err)
	}
	d, err := decision(res.Msg, stage, environment, digest)
	if err != nil {
		return nil, fmt.Errorf("ask the gate of the ledger about %s: %w", s.o.Job.File, err)
	}
	if d.Passed() {
		if err := s.prove(ctx, d, digest); err != nil {
			return nil, fmt.Errorf("receipt of the gate's decision about %s: %w", s.o.Job.File, err)
		}
	}
	return d, nil
}

// decision returns the answer, which must be about the question.
func decision(res *munimentv1.DecideResponse, stage, environment, digest string) (*Decision, error) {
	if len(res.Decisions) != 1 {
		return nil, fmt.Errorf("the server returned %d decisions for one subject", len(res.Decisions))
	}
	answer := res.Decisions[0]
	g := answer.GetDecision()
	if subjects := g.GetSubjects(); g.GetStage() != stage || g.GetEnvironment() != environment || len(subjects) != 1 || !strings.EqualFold(subjects[0].Digest["sha256"], digest) {
		return nil, errors.New("the server returned a decision about another artifact or stage")
	}
	if answer.Index == nil {
		return nil, errors.New("the decision is not recorded: ask the log itself, not a replica")
	}
	d := &Decision{
		Stage: stage, Environment: environment, Decision: g.Decision, Reason: g.Reason, Entry: *answer.Index, TreeSize: g.GetTreeSize(),
		Decided: g.Decided.AsTime(), ValidUntil: g.ValidUntil.AsTime(),
	}
	explained := map[string]*munimentv1.Explanation{}
	for _, e := range answer.Explanations {
		explained[e.Control] = e
	}
	for _, r := range g.Results {
		c := Control{ID: r.Control, Mode: r.Mode, Result: r.Result, Reason: r.Reason, Missing: r.Missing}
		if e := explained[r.Control]; e != nil {
			c.Title, c.Owner = e.Title, e.Owner
			for _, x := range e.Exceptions {
				c.Exceptions = append(c.Exceptions, x.Id)
			}
		}
		d.Results = append(d.Results, c)
	}
	return d, nil
}
