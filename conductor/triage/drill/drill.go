package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/triage/account"
	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Action is the action of the entries of drills.
const Action = "drill"

// A Drill is one run of a scenario.
type Drill struct {
	Name     string // of the drill
	Scenario *Scenario
	// Send delivers the body of a webhook to triage.
	Send func(ctx context.Context, body []byte) error
	// Incidents returns the incidents with entries since a time.
	Incidents func(ctx context.Context, since time.Time) ([]*account.Incident, error)
	// Progress is called with each thing that has happened. It may be nil.
	Progress func(text string)

	ToAct  time.Duration // limit of the time until the first action
	ToUndo time.Duration // limit of the time from the resolution until the end
}

// A Result is how triage has reacted.
type Result struct {
	Drill    string    `json:"drill"`
	Type     string    `json:"type"`
	Severity string    `json:"severity"`
	Incident string    `json:"incident,omitempty"`
	Passed   bool      `json:"passed"`
	Reason   string    `json:"reason,omitempty"` // why it has not passed
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`

	// FirstAction is the time after the alerts, as the ledger shows it.
	FirstAction float64 `json:"firstActionSeconds,omitempty"`
	Actions     int     `json:"actions"`
	Undone      int     `json:"undone"`
	Closed      float64 `json:"closedSeconds,omitempty"` // after the resolution
	Entry       *uint64 `json:"entry,omitempty"`         // in which this is recorded
}

// ErrBusy reports that there is an incident of the same type and key, to which
// the alerts of the drill would belong.
var ErrBusy = errors.New("such an incident is open")

// Run runs the drill. Its alerts are resolved in any case, also when the
// context ends. The error is about the drill, and not about what triage does.
func (d *Drill) Run(ctx context.Context) (*Result, error) {
	before, err := d.Incidents(ctx, time.Now().Add(-24*time.Hour))
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, i := range before {
		known[i.ID] = true
		if strings.HasPrefix(i.ID, d.Scenario.Prefix) && i.State != account.Closed {
			return nil, fmt.Errorf("%w: %s is %s", ErrBusy, i.ID, i.State)
		}
	}
	r := &Result{Drill: d.Name, Type: d.Scenario.Type, Severity: d.Scenario.Severity, Started: time.Now()}
	if err := d.Send(ctx, d.Scenario.fires); err != nil {
		return nil, fmt.Errorf("send the alerts: %w", err)
	}
	d.report("the alerts are sent")
	acted := d.await(ctx, d.ToAct, known, r, func(i *account.Incident) bool { return actions(i, r) > 0 })
	if acted {
		r.FirstAction = time.Since(r.Started).Seconds()
		d.report("first action against " + r.Incident)
	}
	resolved := time.Now()
	if err := d.Send(context.WithoutCancel(ctx), d.Scenario.resolves); err != nil {
		return nil, fmt.Errorf("resolve the alerts: %w: they end by themselves only when triage forgets them", err)
	}
	d.report("the alerts are resolved")
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	closed := acted && d.await(ctx, d.ToUndo, known, r, func(i *account.Incident) bool {
		actions(i, r)
		return i.State == account.Closed
	})
	r.Finished = time.Now()
	if closed {
		r.Closed = r.Finished.Sub(resolved).Seconds()
	}
	r.judge(acted, closed, d)
	return r, ctx.Err()
}

func (d *Drill) report(text string) {
	if d.Progress != nil {
		d.Progress(text)
	}
}

// judge decides whether triage has passed.
func (r *Result) judge(acted, closed bool, d *Drill) {
	switch {
	case r.Incident == "":
		r.Reason = fmt.Sprintf("no incident of the type %s after %s", r.Type, d.ToAct)
	case !acted:
		r.Reason = fmt.Sprintf("no action had succeeded after %s", d.ToAct)
	case !closed:
		r.Reason = fmt.Sprintf("the incident was not closed %s after the alerts were resolved", d.ToUndo)
	case r.Undone < r.Actions:
		r.Reason = fmt.Sprintf("%d of %d actions were undone", r.Undone, r.Actions)
	default:
		r.Passed = true
	}
}

// actions counts the actions of an incident that succeeded, and those that were
// undone or end by themselves.
func actions(i *account.Incident, r *Result) int {
	r.Actions, r.Undone = 0, 0
	for _, s := range i.Steps {
		switch {
		case s.Result != "succeeded":
		case s.Undoes != "":
			r.Undone++
		default:
			r.Actions++
			if s.Lapses {
				r.Undone++
			}
		}
	}
	return r.Actions
}

// await waits until the incident of the drill is as wanted.
func (d *Drill) await(ctx context.Context, limit time.Duration, known map[string]bool, r *Result, wanted func(*account.Incident) bool) bool {
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	end := time.After(limit)
	for {
		// An error of the ledger passes, or else the time does.
		all, _ := d.Incidents(ctx, r.Started.Add(-time.Minute))
		for _, i := range all {
			if strings.HasPrefix(i.ID, d.Scenario.Prefix) && !known[i.ID] {
				r.Incident = i.ID
				if wanted(i) {
					return true
				}
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-end:
			return false
		case <-again.C:
		}
	}
}

// Submission returns the entry of a result.
func (r *Result) Submission(actor string) (muniment.Submission, error) {
	m := &munimentv1.TriageAction{
		Incident: r.Incident, Playbook: r.Type, Action: Action, Result: "failed", Irreversible: true, Detail: r.Reason,
		Actor: actor, Started: timestamppb.New(r.Started), Finished: timestamppb.New(r.Finished),
	}
	if r.Passed {
		m.Result = "succeeded"
	}
	if m.Incident == "" {
		m.Incident = r.Type
	}
	parameters := map[string]any{"drill": r.Drill, "actions": r.Actions, "undone": r.Undone}
	for name, seconds := range map[string]float64{"firstActionSeconds": r.FirstAction, "closedSeconds": r.Closed} {
		if seconds > 0 {
			parameters[name] = seconds
		}
	}
	var err error
	if m.Parameters, err = structpb.NewStruct(parameters); err != nil {
		return muniment.Submission{}, err
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return muniment.Submission{}, err
	}
	return muniment.Submission{Kind: kindname.TriageAction, Payload: text, IdempotencyKey: "triage-drill/" + r.Drill}, nil
}

// Text returns the result for people.
func (r *Result) Text() string {
	var b strings.Builder
	if r.Passed {
		fmt.Fprintf(&b, "✓ PASSED  drill %s of %s\n", r.Drill, r.Type)
	} else {
		fmt.Fprintf(&b, "✗ FAILED  drill %s of %s: %s\n", r.Drill, r.Type, r.Reason)
	}
	if r.Incident != "" {
		fmt.Fprintf(&b, "  incident       %s\n", r.Incident)
	}
	if r.FirstAction > 0 {
		fmt.Fprintf(&b, "  first action   after %.1f s\n", r.FirstAction)
	}
	if r.Closed > 0 {
		fmt.Fprintf(&b, "  closed         %.1f s after the alerts were resolved, with %d of %d actions undone\n", r.Closed, r.Undone, r.Actions)
	}
	if r.Entry != nil {
		fmt.Fprintf(&b, "  recorded       entry %d\n", *r.Entry)
	}
	return b.String()
}
