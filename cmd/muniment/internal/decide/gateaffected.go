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
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// An affectedReport is the result of gate --affected. Its JSON is stable.
type affectedReport struct {
	Decided  uint64          `json:"decided"` // passes that were decided again
	Affected []*affectedPass `json:"affected"`

	seen map[string]bool // questions
}

// An affectedPass is a recorded pass that would no longer be one.
type affectedPass struct {
	pastQuestion
	Entry    uint64          `json:"entry"`
	Decided  string          `json:"decided"` // when it was passed
	Decision string          `json:"decision"`
	Reason   string          `json:"reason,omitempty"`
	Results  []answer.Result `json:"results"`
	Causes   []affectCause   `json:"causes"`
}

type affectCause struct {
	Control string   `json:"control,omitempty"`
	Change  string   `json:"change"`
	Text    string   `json:"text"`
	Entries []uint64 `json:"entries,omitempty"`
}

// checkAffected returns an error if a flag excludes --affected.
func (c *gateCmd) checkAffected() error {
	switch {
	case len(c.Subjects)+len(c.Manifest) > 0:
		return errors.New("--affected is about everything that was passed: omit the subjects, or ask about them with muniment why")
	case c.At != "" || c.Save != "" || c.BreakGlass:
		return errors.New("--affected decides as of now, and records nothing: omit --at, --save and --break-glass")
	case c.Format != "text" && c.Format != "json":
		return fmt.Errorf("--affected has no format %s: use text or json", c.Format)
	}
	return nil
}

// affected lists the passes that would no longer be one.
func (c *gateCmd) affected(a *term.App) error {
	if err := c.checkAffected(); err != nil {
		return err
	}
	request := &munimentv1.ListAffectedRequest{Stage: c.Stage, Environment: c.Environment}
	if c.Since != "" {
		since, err := sinceTime("--since", c.Since, time.Now())
		if err != nil {
			return err
		}
		request.Since = timestamppb.New(since)
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	request.Tenant = client.Tenant
	report := &affectedReport{Affected: []*affectedPass{}, seen: map[string]bool{}}
	show, finish := a.ProgressFunc("passes")
	defer finish()
	for {
		next, err := report.call(a.Ctx, client, request, show)
		if err != nil {
			return err
		}
		if next == nil {
			break
		}
		request.BelowIndex = *next
	}
	finish()
	if c.Format == "json" {
		err = term.WriteJSON(a.Stdout, report)
	} else {
		_, err = io.WriteString(a.Stdout, report.Text())
	}
	if err == nil && len(report.Affected) > 0 {
		err = term.ExitWith(term.ExitNo, nil)
	}
	return err
}

func (r *affectedReport) call(ctx context.Context, client *muniment.Client, request *munimentv1.ListAffectedRequest, show func(done, total uint64)) (next *uint64, err error) {
	stream, err := client.Gate.ListAffected(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	var decided uint64
	err = receive(stream, show, func(m *munimentv1.ListAffectedResponse) *uint64 {
		for _, p := range m.Passes {
			r.add(p)
		}
		next, decided = m.NextBelow, m.Decided
		return next
	})
	if err != nil {
		return nil, err
	}
	r.Decided += decided
	return next, nil
}

// add adds a pass, unless a newer one about the same was added.
func (r *affectedReport) add(p *munimentv1.AffectedPass) {
	one := &affectedPass{pastQuestion: newQuestion(p.Type, p.Stage, p.Environment, p.Subjects), Entry: p.Index, Decided: answer.FormatTime(p.Decided), Decision: p.Decision, Reason: p.Reason, Results: pastResults(p.Results), Causes: []affectCause{}}
	if r.seen[one.key()] {
		return
	}
	r.seen[one.key()] = true
	for _, c := range p.Causes {
		one.Causes = append(one.Causes, affectCause{c.Control, c.Change, c.Text, c.Entries})
	}
	r.Affected = append(r.Affected, one)
}

// Text returns the report for people.
func (r *affectedReport) Text() string {
	var b strings.Builder
	for _, p := range r.Affected {
		fmt.Fprintf(&b, "%s  %s\n", answer.Marks[p.Decision], p.heading())
		if p.Name != "" {
			answer.Line(&b, "digest", answer.DigestText(p.Digest))
		}
		answer.Line(&b, "passed", fmt.Sprintf("entry %d, %s", p.Entry, p.Decided))
		if p.Reason != "" {
			answer.Line(&b, "reason", answer.Explain(p.Reason))
		}
		for _, c := range p.Causes {
			if c.Control == "" {
				answer.Line(&b, "changed", c.String())
			}
		}
		for i := range p.Results {
			g := &p.Results[i]
			g.Write(&b)
			for _, c := range p.Causes {
				if c.Control == g.Control {
					answer.Detail(&b, "changed", c.String())
				}
			}
		}
	}
	if len(r.Affected) > 0 {
		b.WriteByte('\n')
	}
	if r.Decided == 0 {
		return "no recorded passes\n"
	}
	fmt.Fprintf(&b, "%s decided again: ", term.Count(r.Decided, "recorded pass"))
	switch n := len(r.Affected); n {
	case 0:
		b.WriteString("all would pass\n")
	default:
		fmt.Fprintf(&b, "%d would no longer pass\n", n)
	}
	return b.String()
}

func (c *affectCause) String() string {
	text := c.Change + ": " + c.Text
	if len(c.Entries) > 0 {
		text += " (" + entriesText(c.Entries) + ")"
	}
	return text
}
