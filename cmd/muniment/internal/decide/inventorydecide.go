package decide

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type inventoryListCmd struct {
	remote.Flags
	queryFlags
	term.ResultFlags
}

func (inventoryListCmd) Help() string {
	return `Prints the newest inventory of each scope, environment and source, and what they list, each artifact once.

Exit code: 0 listed; 2 no answer.

Examples:
  muniment inventory list --environment production/eu
  muniment inventory list --scope runs --json`
}

func (c *inventoryListCmd) Run(a *term.App) error {
	query, err := c.query()
	if err != nil {
		return err
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	report, err := listInventory(a.Ctx, client, query)
	if err != nil {
		return err
	}
	return c.Print(a, report)
}

// A listReport is what inventories contain. Its JSON is stable.
type listReport struct {
	TreeSize  uint64                `json:"treeSize"`
	AsOf      string                `json:"asOf"`
	Sources   []inventorySource     `json:"sources"`
	Artifacts []inventoriedArtifact `json:"artifacts"`

	messages []*munimentv1.InventoriedArtifact
}

// listInventory asks the server what the newest inventories list.
func listInventory(ctx context.Context, client *muniment.Client, query *munimentv1.InventoryQuery) (*listReport, error) {
	stream, err := client.Gate.ListInventory(ctx, connect.NewRequest(&munimentv1.ListInventoryRequest{Tenant: client.Tenant, Query: query}))
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	r := &listReport{Sources: []inventorySource{}, Artifacts: []inventoriedArtifact{}}
	for stream.Receive() {
		m := stream.Msg()
		if m.AsOf != nil {
			r.TreeSize, r.AsOf = m.TreeSize, answer.FormatTime(m.AsOf)
		}
		for _, s := range m.Sources {
			r.Sources = append(r.Sources, newSource(s))
		}
		for _, one := range m.Artifacts {
			r.Artifacts, r.messages = append(r.Artifacts, newInventoried(one)), append(r.messages, one)
		}
	}
	return r, stream.Err()
}

// Text implements term.Result.
func (r *listReport) Text() string {
	if len(r.Sources) == 0 {
		return "no inventories\n"
	}
	var b strings.Builder
	for i := range r.Sources {
		b.WriteString(r.Sources[i].text())
	}
	for i := range r.Artifacts {
		one := &r.Artifacts[i]
		text := answer.DigestText(one.Digest)
		if one.Unidentified != "" {
			text = "no digest: " + one.Unidentified
		}
		name := one.Name
		if name == "" {
			name = "(no name)"
		}
		fmt.Fprintf(&b, "  %-15s %s  %s  %s in %s\n", one.Type, term.Quoted(name), term.Quoted(text), strings.Join(one.Scopes, " and "), term.Quoted(one.Environment))
	}
	return b.String()
}

func (s *inventorySource) text() string {
	text := fmt.Sprintf("%s in %s", s.Scope, term.Quoted(s.Environment))
	if s.Source != "" {
		text += ", " + term.Quoted(s.Source)
	}
	if s.Version != "" {
		text += ", version " + term.Quoted(s.Version)
	}
	text += fmt.Sprintf(": %s, observed %s by %s", term.Count(s.Items, "item"), s.Observed, term.Quoted(s.Submitter))
	for _, state := range []struct {
		is   bool
		text string
	}{{s.Unidentified > 0, fmt.Sprintf("%d without a digest", s.Unidentified)}, {s.Stale, "STALE"}, {s.Retired, "ended"}, {s.Problem != "", "cannot be read: " + term.Quoted(s.Problem)}} {
		if state.is {
			text += ", " + state.text
		}
	}
	return text + "\n"
}

type inventoryDecideCmd struct {
	remote.Flags
	Environment string        `help:"Environment whose artifacts are decided about." placeholder:"NAME" required:""`
	Stage       string        `help:"Stage of the decisions." default:"deploy" placeholder:"STAGE"`
	Scope       string        `help:"What runs, or what exists." enum:"exists,runs" default:"runs" placeholder:"exists|runs"`
	MaxAge      time.Duration `help:"Age from which an inventory is stale. Default: 48h of what runs, and 720h of what exists." placeholder:"DURATION"`
	DryRun      bool          `help:"Do not record the decisions."`
	term.ResultFlags
}

func (inventoryDecideCmd) Help() string {
	return `Asks the gate about everything that the newest inventories of the environment list, and records the decisions. Run it on a schedule, after muniment
inventory cluster: what was passed once may no longer be, and what was never decided about may run nevertheless. It lists what would not pass, and each
artifact whose decision differs from the last recorded one at this stage and in this environment.

Exit code: 0 everything passes; 1 something is blocked; 2 something could not be decided, has no digest, or an inventory is missing, empty, stale or unreadable.

Examples:
  muniment inventory decide --environment production/eu --stage deploy
  muniment inventory cluster --environment production/eu && muniment inventory decide --environment production/eu --json`
}

func (c *inventoryDecideCmd) Run(a *term.App) error {
	f := queryFlags{Environment: c.Environment, Scope: c.Scope, MaxAge: c.MaxAge}
	query, err := f.query()
	if err != nil {
		return err
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	listed, err := listInventory(a.Ctx, client, query)
	if err != nil {
		return err
	}
	r := &reviewReport{Decision: outcomePass, Stage: c.Stage, Environment: c.Environment, Sources: listed.Sources, Changes: []reviewed{}, Failing: []reviewed{}, Problems: []string{}}
	r.inspect(listed)
	if err := c.decide(a, client, listed, r); err != nil {
		return err
	}
	if err := c.Print(a, r); err != nil {
		return err
	}
	return exitOf(r.Decision)
}

// reviewBatch is the number of artifacts that one call decides about.
const reviewBatch = 1000

// A reviewReport is the result of deciding again. Its JSON is stable.
type reviewReport struct {
	Decision    string            `json:"decision"`
	Stage       string            `json:"stage"`
	Environment string            `json:"environment"`
	ControlSet  string            `json:"controlSet,omitempty"`
	Decided     int               `json:"decided"` // artifacts, once for each name
	Passed      int               `json:"passed"`
	Blocked     int               `json:"blocked"`
	Undecided   int               `json:"undecided"`
	New         int               `json:"new"`     // that were never decided about before
	Changes     []reviewed        `json:"changes"` // whose outcome differs from the last one
	Failing     []reviewed        `json:"failing"`
	Sources     []inventorySource `json:"sources"`
	Problems    []string          `json:"problems"`
}

// A reviewed is a decision about something that runs.
type reviewed struct {
	Type     string            `json:"type"`
	Name     string            `json:"name,omitempty"`
	Digest   map[string]string `json:"digest,omitempty"`
	Places   []string          `json:"places,omitempty"`
	Decision string            `json:"decision"`
	Before   string            `json:"before,omitempty"` // absent: it was never decided about
	Entry    *uint64           `json:"entry,omitempty"`
	Reason   string            `json:"reason,omitempty"`
	Results  []answer.Result   `json:"results,omitempty"` // that keep it from a pass
}

// inspect notes what keeps the inventories from being complete.
func (r *reviewReport) inspect(listed *listReport) {
	problem := func(format string, args ...any) {
		r.Problems, r.Decision = append(r.Problems, fmt.Sprintf(format, args...)), outcomeUndecided
	}
	if len(listed.messages) == 0 { // which is no pass
		problem("nothing is inventoried in %s: record it with muniment inventory cluster", r.Environment)
	}
	for i := range listed.Sources {
		switch s := &listed.Sources[i]; {
		case s.Problem != "":
			problem("the inventory by %s cannot be read: %s: record it again", s.Source, s.Problem)
		case s.Stale:
			problem("the inventory by %s is stale, observed %s: record it again", s.Source, s.Observed)
		}
	}
}

// decide decides about the artifacts, several at a time.
func (c *inventoryDecideCmd) decide(a *term.App, client *muniment.Client, listed *listReport, r *reviewReport) error {
	var subjects []*munimentv1.GateSubject
	var of []*munimentv1.InventoriedArtifact
	for _, one := range listed.messages {
		if one.Unidentified != "" {
			r.add(&reviewed{Type: one.Type, Name: one.Artifact.GetName(), Places: one.Places, Decision: outcomeUndecided, Reason: one.Unidentified})
			continue
		}
		for _, name := range append([]string{one.Artifact.GetName()}, one.Names...) {
			subjects = append(subjects, &munimentv1.GateSubject{Type: one.Type, Artifact: &munimentv1.Artifact{Name: name, Digest: one.Artifact.GetDigest()}, Parts: one.Parts})
			of = append(of, one)
		}
	}
	bar := a.Progress(int64(len(subjects)), "artifacts")
	defer bar.Finish()
	done := 0
	for batch := range slices.Chunk(subjects, reviewBatch) {
		res, err := client.Gate.Decide(a.Ctx, connect.NewRequest(&munimentv1.DecideRequest{Tenant: client.Tenant, Stage: c.Stage, Environment: c.Environment, Subjects: batch, DryRun: c.DryRun}))
		if err != nil {
			return err
		}
		if n := len(res.Msg.Decisions); n != len(batch) {
			return fmt.Errorf("the server decided about %d of %s: upgrade it", n, term.Count(len(batch), "artifact"))
		}
		for i, d := range res.Msg.Decisions {
			before, err := c.before(a.Ctx, client, d)
			if err != nil {
				return err
			}
			r.addDecision(batch[i], of[done+i], d, before)
		}
		done += len(batch)
		_ = bar.Set(done) // a bar that can't be drawn changes nothing
	}
	return nil
}

// maxBefore is the number of earlier decisions about an artifact among which
// the last one of the stage and environment is looked for.
const maxBefore = 256

// before returns the outcome of the last decision about the same artifact, at
// the same stage and in the same environment, or "".
func (c *inventoryDecideCmd) before(ctx context.Context, client *muniment.Client, d *munimentv1.SubjectDecision) (outcome string, err error) {
	if d.Repeated {
		return d.Decision.Decision, nil
	}
	digest, n := answer.DigestText(d.Decision.Subjects[0].Digest), 0
	filter := &munimentv1.Filter{Kind: kindname.GateDecision, Subject: digest}
	err = eachEntry(ctx, client, filter, munimentv1.Order_ORDER_NEWEST_FIRST, func(e *munimentv1.Entry) (bool, error) {
		n++
		parsed, err := ledgerEntry(e)
		if err != nil || parsed.Header == nil || d.Index != nil && e.Index >= *d.Index {
			return n < maxBefore, err
		}
		attributes := parsed.Header.Attributes
		if attributes["stage"] != c.Stage || attributes["environment"] != c.Environment || attributes["spooled"] != "" {
			return n < maxBefore, nil
		}
		outcome = attributes["decision"]
		return false, nil
	})
	return outcome, err
}

func (r *reviewReport) addDecision(s *munimentv1.GateSubject, of *munimentv1.InventoriedArtifact, d *munimentv1.SubjectDecision, before string) {
	r.ControlSet = d.Decision.ControlSet
	one := &reviewed{Type: s.Type, Name: s.Artifact.Name, Digest: s.Artifact.Digest, Places: of.Places, Decision: d.Decision.Decision, Before: before, Entry: d.Index, Reason: d.Decision.Reason}
	for _, result := range d.Decision.Results {
		if result.Mode == "enforce" && slices.Contains([]string{"not-satisfied", "undecided"}, result.Result) {
			one.Results = append(one.Results, answer.NewResult(result, nil, time.Time{}))
		}
	}
	r.add(one)
}

func (r *reviewReport) add(one *reviewed) {
	r.Decided++
	r.Decision = worse(r.Decision, one.Decision)
	switch one.Decision {
	case outcomePass:
		r.Passed++
	case outcomeBlocked:
		r.Blocked++
	default:
		r.Undecided++
	}
	switch {
	case one.Before == "":
		r.New++
	case one.Before != one.Decision:
		r.Changes = append(r.Changes, *one)
	}
	if one.Decision != outcomePass {
		r.Failing = append(r.Failing, *one)
	}
}

// Text implements term.Result.
func (r *reviewReport) Text() string {
	var b strings.Builder
	for i := range r.Failing {
		r.Failing[i].text(&b)
	}
	for i := range r.Changes {
		if one := &r.Changes[i]; one.Decision == outcomePass {
			one.text(&b)
		}
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "? %s\n", term.Quoted(p))
	}
	fmt.Fprintf(&b, "%s  %s at %s: %d passed, %d blocked, %d undecided; %d changed, %d new\n", answer.Marks[r.Decision], term.Count(r.Decided, "decision"), answer.AtStage(r.Stage, r.Environment),
		r.Passed, r.Blocked, r.Undecided, len(r.Changes), r.New)
	return b.String()
}

func (o *reviewed) text(b *strings.Builder) {
	name := o.Name
	if name == "" {
		name = answer.DigestText(o.Digest)
	}
	fmt.Fprintf(b, "%s  %s (%s)\n", answer.Marks[o.Decision], term.Quoted(name), o.Type)
	if len(o.Digest) > 0 && o.Name != "" {
		answer.Line(b, "digest", answer.DigestText(o.Digest))
	}
	for _, p := range o.Places {
		answer.Line(b, "used in", p)
	}
	if o.Before != "" && o.Before != o.Decision {
		answer.Line(b, "changed", "it was "+o.Before)
	}
	if o.Reason != "" {
		answer.Line(b, "reason", answer.Explain(o.Reason))
	}
	for i := range o.Results {
		o.Results[i].Write(b)
	}
}
