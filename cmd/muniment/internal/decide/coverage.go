package decide

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/inventory"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// queryFlags select inventories.
type queryFlags struct {
	Environment string        `help:"Only inventories of this environment." placeholder:"NAME"`
	Scope       string        `help:"Only inventories of what exists, or of what runs." enum:",exists,runs" default:"" placeholder:"exists|runs"`
	Type        []string      `help:"Only artifacts of this type. May be repeated." enum:"image,chart,delta,export-manifest,file" placeholder:"image|chart|delta|export-manifest|file"`
	At          string        `help:"As of a tree size, or a time in RFC 3339." placeholder:"SIZE|TIME"`
	MaxAge      time.Duration `help:"Age from which an inventory is stale. Default: 48h of what runs, and 720h of what exists." placeholder:"DURATION"`
}

func (f *queryFlags) query() (*munimentv1.InventoryQuery, error) {
	if f.MaxAge < 0 || f.MaxAge > 0 && f.MaxAge < time.Second {
		return nil, errors.New("--max-age: must be at least 1s")
	}
	q := &munimentv1.InventoryQuery{Environment: f.Environment, Scope: f.Scope, Types: f.Type, MaxAgeSeconds: uint64(f.MaxAge / time.Second)}
	at := &munimentv1.DecideRequest{}
	if err := setAt(at, f.At); err != nil {
		return nil, err
	}
	switch at := at.At.(type) {
	case *munimentv1.DecideRequest_TreeSize:
		q.At = &munimentv1.InventoryQuery_TreeSize{TreeSize: at.TreeSize}
	case *munimentv1.DecideRequest_Time:
		q.At = &munimentv1.InventoryQuery_Time{Time: at.Time}
	}
	return q, nil
}

type coverageCmd struct {
	remote.Flags
	queryFlags
	Stage   string `help:"Stage whose enforced controls an artifact must satisfy, without an exception." default:"deploy" placeholder:"STAGE"`
	Control string `help:"Only this control must be satisfied, whatever its mode." placeholder:"ID"`
	Require string `help:"Exit with 1 if less than this share of any type is attested, in percent, such as 100 or 99.5." placeholder:"PERCENT"`
	term.ResultFlags
}

func (coverageCmd) Help() string {
	return `Coverage is the number of attested artifacts divided by that of inventoried ones, for each environment and type. What is inventoried comes from muniment
inventory only, so an artifact of which the ledger has no evidence is counted, and named.

An artifact is attested if the controls that are enforced at the stage are satisfied for it, and one of them rests on evidence of a signer that the control set
lists. Exceptions do not make it attested, and evidence of others changes nothing.

There is no coverage without an inventory, with a stale or unreadable one, or without a control set: an empty inventory is not 100 %.

Exit code: 0 shown, or with --require enough is attested; 1 with --require, it is not; 2 no answer. Treat 2 like 1.

Examples:
  muniment coverage
  muniment coverage --environment production/eu --require 100
  muniment coverage --environment production/eu --type image --type chart --require 100 --json
  muniment coverage --control SLSA-BUILD-L3 --scope runs --at 2026-11-01T00:00:00Z`
}

func (c *coverageCmd) Run(a *term.App) error {
	required, err := parsePercent(c.Require)
	if err != nil {
		return err
	}
	query, err := c.query()
	if err != nil {
		return err
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	request := &munimentv1.ListCoverageRequest{Tenant: client.Tenant, Query: query, Stage: c.Stage, Control: c.Control}
	if c.Control != "" {
		request.Stage = ""
	}
	report := &coverageReport{Stage: request.Stage, Control: c.Control, Coverage: []coverageCount{}, Gaps: []coverageGap{}, Sources: []inventorySource{}, Problems: []string{}}
	show, finish := a.ProgressFunc("artifacts")
	defer finish()
	if err := report.call(a.Ctx, client, request, show); err != nil {
		return err
	}
	finish()
	report.require(required, c.Require)
	if err := c.Print(a, report); err != nil {
		return err
	}
	switch {
	case report.Met != nil && !*report.Met:
		return term.ExitWith(term.ExitNo, nil)
	case len(report.Problems) > 0:
		return term.ExitWith(term.ExitFailed, nil)
	}
	return nil
}

// parsePercent returns a share in millionths. Nil: none is required.
func parsePercent(s string) (*uint64, error) {
	if s == "" {
		return nil, nil
	}
	text := strings.TrimSpace(strings.TrimSuffix(s, "%"))
	whole, fraction, _ := strings.Cut(text, ".")
	digits := fraction + strings.Repeat("0", max(0, 4-len(fraction)))
	n, err := strconv.ParseUint(whole+digits, 10, 64)
	if err != nil || len(digits) > 4 || n > 1_000_000 || whole == "" {
		return nil, fmt.Errorf("--require: %q is not a share in percent between 0 and 100, such as 100 or 99.5", s)
	}
	return &n, nil
}

// A coverageReport is the result of the command. Its JSON is stable.
type coverageReport struct {
	// Met is whether --require is met. Absent: no answer, or it was not asked.
	Met        *bool             `json:"met,omitempty"`
	Required   string            `json:"required,omitempty"`
	Stage      string            `json:"stage,omitempty"`
	Control    string            `json:"control,omitempty"`
	ControlSet string            `json:"controlSet,omitempty"`
	TreeSize   uint64            `json:"treeSize"`
	AsOf       string            `json:"asOf"`
	Coverage   []coverageCount   `json:"coverage"`
	Gaps       []coverageGap     `json:"gaps"`
	Sources    []inventorySource `json:"sources"`
	Problems   []string          `json:"problems"`
}

type coverageCount struct {
	Environment string `json:"environment"`
	Type        string `json:"type"`
	Inventoried uint64 `json:"inventoried"`
	Attested    uint64 `json:"attested"`
	Excepted    uint64 `json:"excepted,omitempty"`
	Undecided   uint64 `json:"undecided,omitempty"`
	Percent     string `json:"percent"` // rounded down
}

type coverageGap struct {
	inventoriedArtifact
	Reason  string          `json:"reason"`
	Detail  string          `json:"detail,omitempty"`
	Results []answer.Result `json:"results,omitempty"`
	Fix     string          `json:"fix"`
}

type inventorySource struct {
	Scope        string   `json:"scope"`
	Environment  string   `json:"environment"`
	Source       string   `json:"source,omitempty"`
	Release      string   `json:"release,omitempty"`
	Version      string   `json:"version,omitempty"`
	Observed     string   `json:"observed"`
	Submitter    string   `json:"submitter"`
	Entries      []uint64 `json:"entries"`
	Items        uint64   `json:"items"`
	Unidentified uint64   `json:"unidentified,omitempty"`
	Stale        bool     `json:"stale,omitempty"`
	Retired      bool     `json:"retired,omitempty"`
	Problem      string   `json:"problem,omitempty"`
}

// An inventoriedArtifact is an artifact as inventories list it.
type inventoriedArtifact struct {
	Environment  string            `json:"environment"`
	Type         string            `json:"type"`
	Name         string            `json:"name,omitempty"`
	Names        []string          `json:"otherNames,omitempty"`
	Digest       map[string]string `json:"digest,omitempty"` // absent: not identified
	Parts        []string          `json:"parts,omitempty"`
	Scopes       []string          `json:"scopes"`
	Places       []string          `json:"places,omitempty"`
	PlaceCount   uint64            `json:"placeCount,omitempty"`
	StaticPod    bool              `json:"staticPod,omitempty"`
	Declared     []string          `json:"declared,omitempty"`
	Unidentified string            `json:"unidentified,omitempty"`
}

func newInventoried(m *munimentv1.InventoriedArtifact) inventoriedArtifact {
	out := inventoriedArtifact{Environment: m.Environment, Type: m.Type, Name: m.Artifact.GetName(), Names: m.Names, Digest: m.Artifact.GetDigest(), Scopes: m.Scopes, Places: m.Places,
		PlaceCount: m.PlaceCount, StaticPod: m.StaticPod, Declared: m.Declared, Unidentified: m.Unidentified}
	for _, p := range m.Parts {
		out.Parts = append(out.Parts, strings.TrimSpace(p.Platform+" "+answer.DigestText(p.Digest)))
	}
	return out
}

func newSource(m *munimentv1.InventorySource) inventorySource {
	return inventorySource{Scope: m.Scope, Environment: m.Environment, Source: m.Source, Release: m.Release, Version: m.Version, Observed: answer.FormatTime(m.Observed), Submitter: m.Submitter, Entries: m.Entries, Items: m.Items,
		Unidentified: m.Unidentified, Stale: m.Stale, Retired: m.Retired, Problem: m.Problem}
}

// call asks the server for the coverage.
func (r *coverageReport) call(ctx context.Context, client *muniment.Client, request *munimentv1.ListCoverageRequest, show func(done, total uint64)) error {
	stream, err := client.Gate.ListCoverage(ctx, connect.NewRequest(request))
	if err != nil {
		return err
	}
	err = receive(stream, show, func(m *munimentv1.ListCoverageResponse) *uint64 {
		for _, g := range m.Gaps {
			r.Gaps = append(r.Gaps, coverageGap{newInventoried(g.Artifact), g.Reason, g.Detail, pastResults(g.Results), gapFixes[g.Reason]})
		}
		if m.AsOf == nil {
			return nil
		}
		r.ControlSet, r.TreeSize, r.AsOf = m.ControlSet, m.TreeSize, answer.FormatTime(m.AsOf)
		r.Problems = append(r.Problems, m.Problems...)
		for _, s := range m.Sources {
			r.Sources = append(r.Sources, newSource(s))
		}
		for _, n := range m.Counts {
			r.Coverage = append(r.Coverage, coverageCount{n.Environment, n.Type, n.Inventoried, n.Attested, n.Excepted, n.Undecided, percent(n.Attested, n.Inventoried)})
		}
		return nil
	})
	if err == nil && r.AsOf == "" {
		err = errors.New("the server ended the stream early: try again")
	}
	return err
}

// percent returns a share, rounded down: only all of it is 100.
func percent(part, whole uint64) string {
	if whole == 0 {
		return "0"
	}
	tenths := part * 1000 / whole
	if tenths%10 == 0 {
		return strconv.FormatUint(tenths/10, 10)
	}
	return fmt.Sprintf("%d.%d", tenths/10, tenths%10)
}

// require decides whether enough is attested. Too little is an answer, whatever
// else is not known.
func (r *coverageReport) require(millionths *uint64, text string) {
	if millionths == nil {
		return
	}
	r.Required = strings.TrimSuffix(text, "%") + " %"
	met := true
	for _, n := range r.Coverage {
		if n.Attested*1_000_000 < *millionths*n.Inventoried {
			met = false
		}
	}
	if !met || len(r.Problems) == 0 {
		r.Met = &met
	}
}

// gapFixes has the remedy for each reason of a gap.
var gapFixes = map[string]string{
	inventory.Unidentified: "pin its digest, or pull it from a registry, and record the inventory again",
	inventory.NotSatisfied: "append the missing evidence with muniment append; muniment why shows what each control needs",
	inventory.Undecided:    "see muniment why",
	inventory.Excepted:     "resolve what the exception is about: an exception is not evidence",
	inventory.NoControl:    "enforce a control for its type and name at this stage, or stop running it",
	inventory.Unsigned:     "require evidence by signers in one of its controls: unsigned evidence attests nothing",
}

// Text implements term.Result.
func (r *coverageReport) Text() string {
	var b strings.Builder
	for i := range r.Gaps {
		r.Gaps[i].text(&b)
	}
	if len(r.Gaps) > 0 {
		b.WriteByte('\n')
	}
	for _, n := range r.Coverage {
		mark := "✗"
		if n.Attested == n.Inventoried {
			mark = "✓"
		}
		fmt.Fprintf(&b, "%s %5s %%  %d of %d %s in %s attested\n", mark, n.Percent, n.Attested, n.Inventoried, inventory.Plural(n.Type), term.Quoted(n.Environment))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(&b, "? %s\n", term.Quoted(p))
	}
	switch {
	case r.Met != nil && *r.Met:
		fmt.Fprintf(&b, "✓ at least %s of each type are attested\n", r.Required)
	case r.Met != nil:
		fmt.Fprintf(&b, "✗ less than %s are attested\n", r.Required)
	case len(r.Problems) > 0:
		b.WriteString("? coverage could not be decided\n")
	}
	return b.String()
}

func (g *coverageGap) text(b *strings.Builder) {
	name := g.Name
	if name == "" {
		name = answer.DigestText(g.Digest)
	}
	mark := "✗"
	if g.Reason == inventory.Undecided || g.Reason == inventory.Unidentified {
		mark = "?"
	}
	fmt.Fprintf(b, "%s %s (%s) in %s: %s\n", mark, term.Quoted(name), g.Type, term.Quoted(g.Environment), g.Reason)
	if len(g.Digest) > 0 && g.Name != "" {
		answer.Line(b, "digest", answer.DigestText(g.Digest))
	}
	for _, p := range g.Places {
		answer.Line(b, "used in", p)
	}
	if more := int(g.PlaceCount) - len(g.Places); more > 0 {
		answer.Line(b, "", fmt.Sprintf("and %d more", more))
	}
	if g.StaticPod {
		answer.Line(b, "note", "runs in a static Pod, about which no admission has decided")
	}
	for _, d := range g.Declared {
		answer.Line(b, "declared", d)
	}
	if g.Detail != "" {
		answer.Line(b, "because", answer.Explain(g.Detail))
	}
	for i := range g.Results {
		result := &g.Results[i]
		text := result.Control + ": " + result.Reason
		if len(result.Missing) > 0 {
			text = result.Control + ": " + strings.Join(result.Missing, "; ")
		}
		answer.Line(b, "because", text)
	}
	answer.Line(b, "fix", g.Fix)
}
