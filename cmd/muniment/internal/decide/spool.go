package decide

import (
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type spoolCmd struct {
	Submit spoolSubmitCmd `cmd:"" help:"Record the decisions of offline gates in the ledger."`
}

type spoolSubmitCmd struct {
	Spool string `arg:"" help:"Folder with decisions, as gate --delta or the server of a replica has written them." type:"path"`
	remote.Flags
	term.ResultFlags
}

func (spoolSubmitCmd) Help() string {
	return `Sends the decisions of offline gates to the ledger. The ledger makes each decision again, from the entries that the gate had and for the same time, and
records its own. A decision that differs is refused, and both outcomes are shown. What is recorded, or repeats a recorded decision, is removed from the
folder. The rest stays there. The command can be repeated: nothing is recorded twice. Signed requests for break-glass stay for 'muniment exception submit'.

Exit code: 0 all recorded; 1 some refused; 2 no answer.

Examples:
  muniment spool submit spool --token-file acme.token
  muniment spool submit /media/courier/spool --json`
}

// A submittedDecision is the result for one document of a spool.
type submittedDecision struct {
	Document string  `json:"document"` // digest
	Result   string  `json:"result"`
	Entry    *uint64 `json:"entry,omitempty"`
	Subject  string  `json:"subject,omitempty"`
	Stage    string  `json:"stage,omitempty"`
	Decided  string  `json:"decided,omitempty"`
	Decision string  `json:"decision,omitempty"`       // of the gate
	Ledger   string  `json:"ledgerDecision,omitempty"` // if it differs
	Reason   string  `json:"reason,omitempty"`
	Results  *differ `json:"results,omitempty"`
}

// A differ has the results of both decisions, each as CONTROL: RESULT REASON.
type differ struct {
	Gate   []string `json:"gate"`
	Ledger []string `json:"ledger"`
}

// Names of results that the ledger has no part in.
const (
	resultChanged    = "changed"
	resultUnreadable = "unreadable"
)

// done reports whether the ledger has the decision.
func (r *submittedDecision) done() bool { return r.Entry != nil }

// Text implements term.Result.
func (r *submittedDecision) Text() string {
	name := r.Subject
	if name == "" {
		name = r.Document
	}
	if r.done() {
		return fmt.Sprintf("✓ %s  %s: %s at stage %s (entry %d)\n", r.Result, term.Quoted(name), r.Decision, term.Quoted(r.Stage), *r.Entry)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "✗ %s  %s: %s\n", r.Result, term.Quoted(name), term.Quoted(r.Reason))
	if r.Results != nil {
		for _, side := range []struct {
			name string
			all  []string
		}{{"gate", r.Results.Gate}, {"ledger", r.Results.Ledger}} {
			for _, one := range side.all {
				answer.Line(&b, side.name, one)
			}
		}
	}
	answer.Line(&b, "document", r.Document)
	return b.String()
}

func (c *spoolSubmitCmd) Run(a *term.App) error {
	s, err := spool.Open(c.Spool)
	if err != nil {
		return err
	}
	defer s.Close()
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	var rows []*submittedDecision // of documents that cannot be submitted
	pending, err := s.Pending(nil, func(digest string, err error) {
		result := resultUnreadable
		if errors.Is(err, spool.ErrChanged) {
			result = resultChanged
		}
		rows = append(rows, &submittedDecision{Document: digest, Result: result, Reason: err.Error()})
	})
	if err != nil {
		return err
	}
	refused := len(rows)
	if err := term.PrintRows(a, c.ResultFlags, rows, ""); err != nil {
		return err
	}
	if len(pending)+refused == 0 {
		return term.PrintRows(a, c.ResultFlags, rows, "no decisions")
	}
	err = s.Submit(pending, func(documents [][]byte) ([]*munimentv1.SubmittedDecision, error) {
		res, err := client.Gate.SubmitDecisions(a.Ctx, connect.NewRequest(&munimentv1.SubmitDecisionsRequest{Tenant: client.Tenant, Decisions: documents}))
		if err != nil {
			return nil, err
		}
		return res.Msg.Results, nil
	}, func(batch []spool.Pending, documents [][]byte, results []*munimentv1.SubmittedDecision) error {
		rows, err := submittedRows(batch, documents, results)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if !r.done() {
				refused++
			}
		}
		return term.PrintRows(a, c.ResultFlags, rows, "")
	})
	if err != nil {
		return err
	}
	if refused > 0 {
		return term.ExitWith(term.ExitNo, fmt.Errorf("%s not recorded, and kept in the spool", term.Count(refused, "decision")))
	}
	return nil
}

// submittedRows returns the results of one call.
func submittedRows(batch []spool.Pending, documents [][]byte, results []*munimentv1.SubmittedDecision) (rows []*submittedDecision, err error) {
	for i, result := range results {
		m, err := decide.ReadSpooled(documents[i])
		if err != nil {
			return nil, err
		}
		r := &submittedDecision{
			Document: batch[i].Digest, Result: resultName(result.Result), Entry: result.Index, Subject: m.Subject.Artifact.GetName(), Stage: m.Decision.Stage,
			Decided: answer.FormatTime(m.Decision.Decided), Decision: m.Decision.Decision, Reason: result.Reason,
		}
		if other := result.Decision; other != nil {
			r.Ledger, r.Results = other.Decision, &differ{resultLines(m.Decision), resultLines(other)}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func resultName(r munimentv1.SubmissionResult) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(r.String(), "SUBMISSION_RESULT_")), "_", "-")
}

func resultLines(m *munimentv1.GateDecision) []string {
	all := []string{strings.TrimSpace(m.Decision + " " + m.Reason)}
	for _, r := range m.Results {
		all = append(all, fmt.Sprintf("%s: %s, %s", r.Control, r.Result, r.Reason))
	}
	return all
}
