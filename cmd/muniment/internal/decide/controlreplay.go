package decide

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type controlReplayCmd struct {
	Set string `arg:"" optional:"" help:"Control set file." default:"controls.yaml" predictor:"file"`
	remote.Flags
	Since string `help:"Decisions recorded since then: a day, a time in RFC 3339, or how long ago, such as 30d." default:"30d" placeholder:"TIME|DURATION"`
	JSON  bool   `help:"Print one JSON object."`
}

func (controlReplayCmd) Help() string {
	return `Shows what a control set would have decided, before it is put in force. Each recorded decision is decided again with it, as of its own time and tree size, and
those with another outcome are listed with the controls and reasons. Decisions about the same artifact, stage and environment with the same change are listed
once. Nothing is recorded. What was erased since then is missing from the decision.

Exit code: 0 replayed, whatever the result; 1 the set is invalid; 2 no answer.

Examples:
  muniment control replay --since 30d
  muniment control replay strict.yaml --since 2026-11-01 --json`
}

// A replayReport is the result of the command. Its JSON is stable.
type replayReport struct {
	Since      string            `json:"since"`
	Version    string            `json:"version"`
	ControlSet string            `json:"controlSet"`
	Unchanged  uint64            `json:"unchanged"`
	Blocked    uint64            `json:"blocked"`
	Undecided  uint64            `json:"undecided"`
	Passed     uint64            `json:"passed"`
	Skipped    uint64            `json:"skipped"`
	Decisions  []*replayedResult `json:"decisions"`

	byKey map[string]*replayedResult
}

// A replayedResult is a change of the outcome of one question.
type replayedResult struct {
	pastQuestion
	Entries  []uint64        `json:"entries"` // that record it
	Recorded string          `json:"recorded"`
	Replayed string          `json:"replayed,omitempty"` // absent: it could not be replayed
	Reason   string          `json:"reason,omitempty"`
	Results  []answer.Result `json:"results"`
}

func (c *controlReplayCmd) Run(a *term.App) error {
	since, err := sinceTime("--since", c.Since, time.Now())
	if err != nil {
		return err
	}
	text, err := readControlFile(c.Set)
	if err != nil {
		return err
	}
	set, err := catalog.Parse(text)
	if err != nil {
		return term.ExitWith(term.ExitNo, fmt.Errorf("%s: invalid:\n%w", c.Set, err))
	}
	entries, err := set.Entries()
	if err != nil {
		return err
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	head := entries[len(entries)-1]
	request := &munimentv1.ReplayRequest{Tenant: client.Tenant, ControlSet: head.Payload, Since: timestamppb.New(since)}
	for _, e := range entries[:len(entries)-1] {
		request.Controls = append(request.Controls, e.Payload)
	}
	report := &replayReport{Since: since.UTC().Format(term.TimeFormat), Version: set.Version, ControlSet: head.Digest, Decisions: []*replayedResult{}, byKey: map[string]*replayedResult{}}
	if err := report.replay(a, client, request); err != nil {
		return err
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, report)
	}
	_, err = io.WriteString(a.Stdout, report.Text())
	return err
}

// replay makes as many calls as it takes to replay every decision.
func (r *replayReport) replay(a *term.App, client *muniment.Client, request *munimentv1.ReplayRequest) error {
	show, finish := a.ProgressFunc("replay")
	defer finish()
	for {
		next, err := r.call(a.Ctx, client, request, show)
		if err != nil || next == nil {
			return err
		}
		request.FromIndex = *next
	}
}

func (r *replayReport) call(ctx context.Context, client *muniment.Client, request *munimentv1.ReplayRequest, show func(done, total uint64)) (next *uint64, err error) {
	stream, err := client.Gate.Replay(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	var totals *munimentv1.ReplayTotals
	err = receive(stream, show, func(m *munimentv1.ReplayResponse) *uint64 {
		for _, d := range m.Decisions {
			r.add(d)
		}
		next, totals = m.NextIndex, m.Totals
		return next
	})
	if err != nil {
		return nil, err
	}
	r.Unchanged += totals.GetUnchanged()
	r.Blocked += totals.GetBlocked()
	r.Undecided += totals.GetUndecided()
	r.Passed += totals.GetPassed()
	r.Skipped += totals.GetSkipped()
	return next, nil
}

// A partial is a message of a call about many past decisions.
type partial[M any] interface {
	*M
	GetDone() uint64
	GetTotal() uint64
}

// receive passes the messages of a stream to take, and closes it. take returns
// where the next call continues, or nil. It is an error if the stream ends
// before the work does.
func receive[M any, P partial[M]](stream *connect.ServerStreamForClient[M], show func(done, total uint64), take func(*M) (next *uint64)) error {
	defer stream.Close()
	ended := false
	for stream.Receive() {
		m := P(stream.Msg())
		next := take(stream.Msg())
		if ended = m.GetDone() == m.GetTotal() || next != nil; m.GetTotal() > 1 {
			show(m.GetDone(), m.GetTotal())
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	if !ended {
		return errors.New("the server ended the stream early: try again")
	}
	return nil
}

func (r *replayReport) add(d *munimentv1.ReplayedDecision) {
	one := &replayedResult{pastQuestion: newQuestion(d.Type, d.Stage, d.Environment, d.Subjects), Entries: []uint64{d.Index}, Recorded: d.Recorded, Replayed: d.Replayed, Reason: d.Reason, Results: pastResults(d.Results)}
	key := strings.Join([]string{one.key(), d.Recorded, d.Replayed, d.Reason}, "\n")
	for _, g := range one.Results {
		key += "\n" + g.Control + " " + g.Result
	}
	if known := r.byKey[key]; known != nil {
		known.Entries = append(known.Entries, d.Index)
		return
	}
	r.byKey[key] = one
	r.Decisions = append(r.Decisions, one)
}

// wouldBe are the marks of replayed outcomes.
var wouldBe = map[string]string{outcomePass: "✓ WOULD PASS", outcomeBlocked: "✗ WOULD BE BLOCKED", outcomeUndecided: "? WOULD BE UNDECIDED", "": "! NOT REPLAYED"}

// Text returns the report for people.
func (r *replayReport) Text() string {
	var b strings.Builder
	for _, d := range r.Decisions {
		fmt.Fprintf(&b, "%s  %s\n", wouldBe[d.Replayed], d.heading())
		if d.Name != "" {
			answer.Line(&b, "digest", answer.DigestText(d.Digest))
		}
		answer.Line(&b, "recorded", d.Recorded+" in "+entriesText(d.Entries))
		if d.Reason != "" {
			answer.Line(&b, "reason", answer.Explain(d.Reason))
		}
		for i := range d.Results {
			d.Results[i].Write(&b)
		}
	}
	if len(r.Decisions) > 0 {
		b.WriteByte('\n')
	}
	n := r.Unchanged + r.Blocked + r.Undecided + r.Passed + r.Skipped
	fmt.Fprintf(&b, "%s since %s with version %s: %d would be blocked, %d would be undecided, %d would pass, %d unchanged", term.Count(n, "decision"), r.Since, term.Quoted(r.Version), r.Blocked, r.Undecided, r.Passed, r.Unchanged)
	if r.Skipped > 0 {
		fmt.Fprintf(&b, ", %d not replayed", r.Skipped)
	}
	b.WriteByte('\n')
	return b.String()
}
