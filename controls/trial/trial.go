// Package trial runs control sets on example evidence, without a log.
//
// The evidence becomes the entries of a stream in memory, and package decide
// makes the decisions, as it does from a log.
package trial

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/controls/catalog"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// A Submission is an example of evidence.
type Submission struct {
	Kind      string
	MediaType string // "": detected
	Payload   []byte
	Submitter string
	Recorded  time.Time
	// Verified has the signers that are declared to be verified.
	Verified []entry.Signer

	source source
}

// Declared reports whether the log's own submissions, or signers that are
// declared, take the place of an admission policy.
func (s *Submission) Declared() bool { return len(s.Verified) > 0 || s.Kind != kindname.Attestation }

// A Reader returns the header of the entry that the log would record for a
// submission.
type Reader func(ctx context.Context, s *Submission) (*entry.Header, error)

// A Case is a question about example evidence, with the expected answer.
type Case struct {
	Name     string
	Question decide.Question
	Artifact decide.Artifact
	Time     time.Time
	Evidence []*Submission
	// Exceptions has the requests, each with its approvals.
	Exceptions []*Exception
	Expect     Expectation
}

// An Exception is a request, and the persons who approve it.
type Exception struct {
	Request   *Submission
	ID        string
	Approvers []string
}

// An Expectation is what a case expects. Empty texts match everything.
type Expectation struct {
	Decision string
	Reason   string // a code
	Controls map[string]ControlExpectation
}

// A ControlExpectation is what a case expects of one control.
type ControlExpectation struct {
	Result string
	Reason string // a code
}

// An Outcome is the decision of a case, with its differences from what was
// expected.
type Outcome struct {
	Decision    *evaluate.Decision
	Differences []string
}

// Run decides a case with the control set in the entries. The error reports
// evidence that the log would refuse.
func Run(ctx context.Context, set []catalog.Entry, c *Case, read Reader) (*Outcome, error) {
	w := &stream{}
	first := c.Time
	for _, s := range c.submissions() {
		if s.Recorded.Before(first) {
			first = s.Recorded
		}
	}
	for _, e := range set {
		s := &Submission{Kind: e.Kind, Payload: e.Payload, Submitter: "token:test", Recorded: first}
		if err := w.add(ctx, s, read); err != nil {
			return nil, fmt.Errorf("control set: %w", err)
		}
	}
	all := c.submissions()
	slices.SortStableFunc(all, func(a, b *Submission) int { return cmp.Compare(a.Recorded.UnixMilli(), b.Recorded.UnixMilli()) })
	for _, s := range all {
		if err := w.add(ctx, s, read); err != nil {
			return nil, err
		}
		for _, x := range c.Exceptions {
			if x.Request != s {
				continue
			}
			if err := w.approve(ctx, x, read); err != nil {
				return nil, err
			}
		}
	}
	now := func() time.Time { return c.Time }
	d := &decide.Decider{Log: w, Facts: w, Exceptions: &exception.Projection{Log: w, Now: now}, Now: now}
	out := &Outcome{}
	err := d.Decide(ctx, "test", ledger.NewStream(entry.StreamKey{1}), &c.Question, []decide.Artifact{c.Artifact}, func(_ int, one *evaluate.Decision) error {
		out.Decision, out.Differences = one, c.Expect.compare(one)
		return nil
	})
	return out, err
}

func (c *Case) submissions() []*Submission {
	all := slices.Clone(c.Evidence)
	for _, x := range c.Exceptions {
		all = append(all, x.Request)
	}
	return all
}

// compare returns the differences of a decision from what is expected.
func (x *Expectation) compare(d *evaluate.Decision) (all []string) {
	differ := func(what, got, reason, want, code string) {
		has, _, _ := strings.Cut(reason, ":")
		if (want == "" || got == want) && (code == "" || has == code) {
			return
		}
		all = append(all, fmt.Sprintf("%s: %s, want %s", what, strings.TrimSpace(got+" "+reason), strings.TrimSpace(want+" "+code)))
	}
	differ("decision", string(d.Decision), d.Reason, x.Decision, x.Reason)
	seen := map[string]bool{}
	for i := range d.Results {
		r := &d.Results[i]
		if want, ok := x.Controls[r.Control]; ok {
			seen[r.Control] = true
			differ(r.Control, r.Result, r.Reason, want.Result, want.Reason)
		}
	}
	for _, id := range sortedKeys(x.Controls) {
		if !seen[id] {
			all = append(all, fmt.Sprintf("%s: has no mode at this stage and environment, want %s", id, x.Controls[id].Result))
		}
	}
	return all
}
