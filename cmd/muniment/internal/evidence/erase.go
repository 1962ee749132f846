package evidence

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/term"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// erasureScopes names the parts of an entry that can be erased.
var erasureScopes = map[string]munimentv1.ErasureScope{
	"payload":            munimentv1.ErasureScope_ERASURE_SCOPE_PAYLOAD,
	"header-and-payload": munimentv1.ErasureScope_ERASURE_SCOPE_HEADER_AND_PAYLOAD,
}

func scopeName(s munimentv1.ErasureScope) string {
	for name, is := range erasureScopes {
		if is == s {
			return name
		}
	}
	return "nothing"
}

type eraseCmd struct {
	Index uint64 `arg:"" help:"Index of the entry in the log."`
	remote.Flags
	Scope  string `help:"What to erase: payload or header-and-payload. A header that contains a digest of the payload is always erased with it." enum:"payload,header-and-payload" required:"" placeholder:"payload|header-and-payload"`
	Reason string `help:"Reason for the erasure. It is recorded permanently, so it must not repeat what is erased." required:""`
	Yes    bool   `help:"Don't ask for confirmation."`
	JSON   bool   `help:"Print JSON."`
}

func (eraseCmd) Help() string {
	return `Deletes the evidence and its salts permanently. The entry and its hash stay in the log, so all proofs
still verify, and so do receipts handed out earlier. The erasure is itself recorded as an entry.
Requires the role admin.

Copies outside the log, such as backups, are not erased: see the section on erasure in docs/operator.md.

Exit code: 0 erased; 1 refused (legal hold, already erased, no such entry) or not confirmed; 2 no answer.

Examples:
  muniment erase 42 --scope payload --reason "GDPR request 88"
  muniment erase 42 --scope header-and-payload --reason "GDPR request 88" --yes --json`
}

func (c *eraseCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	if !c.Yes {
		if err := c.confirm(a, client); err != nil {
			return err
		}
	}
	res, err := client.Admin.Erase(a.Ctx, connect.NewRequest(&munimentv1.EraseRequest{Tenant: client.Tenant, Index: c.Index, Scope: erasureScopes[c.Scope], Reason: c.Reason}))
	if err != nil {
		return remote.Refusal(err)
	}
	scope, entry := scopeName(res.Msg.Scope), res.Msg.Appended.GetIndex()
	if c.JSON {
		return term.WriteJSON(a.Stdout, struct {
			Index      uint64 `json:"index"`
			Scope      string `json:"scope"`
			RecordedAs uint64 `json:"recordedAs"`
		}{c.Index, scope, entry})
	}
	fmt.Fprintf(a.Stdout, "erased the %s of entry %d; recorded as entry %d\n", strings.ReplaceAll(scope, "-", " "), c.Index, entry)
	if scope != c.Scope {
		fmt.Fprintln(a.Stdout, "the header contained a digest of the payload, so it was erased as well")
	}
	return nil
}

// confirm shows what would be erased and asks for confirmation.
func (c *eraseCmd) confirm(a *term.App, client *muniment.Client) error {
	f, ok := a.Stdin.(*os.File)
	if !ok || !term.IsTerminal(f) {
		return errors.New("no terminal to ask for confirmation: use --yes")
	}
	res, err := client.GetEntry(a.Ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: client.Tenant, Index: c.Index}))
	if err != nil {
		return remote.NotFound(err)
	}
	fmt.Fprintf(a.Stderr, "%s\nErase its %s permanently? Type yes: ", entryText(res.Msg.Entry), strings.ReplaceAll(c.Scope, "-", " "))
	answer := make(chan string, 1)
	go func() { // reading a terminal may block indefinitely
		line, _ := bufio.NewReader(f).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case line := <-answer:
		if line != "yes" {
			return term.ExitWith(term.ExitNo, errors.New("nothing was erased"))
		}
		return nil
	case <-a.Ctx.Done():
		return a.Ctx.Err()
	}
}

type retentionCmd struct {
	Set   retentionSetCmd   `cmd:"" help:"Set the retention rules, replacing all earlier ones."`
	Show  retentionShowCmd  `cmd:"" help:"Show the retention rules in force."`
	Apply retentionApplyCmd `cmd:"" help:"Erase evidence whose retention period has ended."`
}

type retentionSetCmd struct {
	Rule []string `help:"How many days to keep the payloads, or headers and payloads, of a kind. May be repeated." placeholder:"KIND=DAYS:SCOPE"`
	None bool     `help:"Remove all rules, so that everything is kept."`
	remote.Flags
	Reason string `help:"Reason for the change; recorded." required:""`
	JSON   bool   `help:"Print JSON."`
}

func (retentionSetCmd) Help() string {
	return `The rules are recorded as an entry of the tenant's stream. They erase nothing by themselves: run
'muniment retention apply' regularly, for example daily. Kinds without a rule are kept.
Requires the role admin.

Exit code: 0 in force; 1 refused; 2 no answer.

Examples:
  muniment retention set --rule attestation=730:payload --rule metric-snapshot=90:header-and-payload --reason "retention policy 7"
  muniment retention set --none --reason "litigation"`
}

func (c *retentionSetCmd) Run(a *term.App) error {
	if c.None == (len(c.Rule) > 0) {
		return errors.New("specify --rule, or --none to remove all rules")
	}
	rules := make([]*munimentv1.RetentionRule, len(c.Rule))
	for i, text := range c.Rule {
		kind, rest, ok := strings.Cut(text, "=")
		days, scope, ok2 := strings.Cut(rest, ":")
		n, err := strconv.ParseUint(days, 10, 32)
		if !ok || !ok2 || err != nil || erasureScopes[scope] == 0 {
			return fmt.Errorf("--rule: %q is not KIND=DAYS:SCOPE, such as attestation=730:payload; SCOPE is payload or header-and-payload", text)
		}
		rules[i] = &munimentv1.RetentionRule{Kind: kind, Days: uint32(n), Scope: erasureScopes[scope]}
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	res, err := client.Admin.SetRetention(a.Ctx, connect.NewRequest(&munimentv1.SetRetentionRequest{Tenant: client.Tenant, Rules: rules, Reason: c.Reason}))
	if err != nil {
		return remote.Refusal(err)
	}
	return printRecorded(a, c.JSON, term.Count(len(rules), "retention rule")+" in force", res.Msg.Appended)
}

// printRecorded prints the result of a call, and the entry that records it.
func printRecorded(a *term.App, asJSON bool, what string, r *munimentv1.Appended) error {
	if asJSON {
		return term.WriteJSON(a.Stdout, struct {
			RecordedAs uint64 `json:"recordedAs"`
		}{r.GetIndex()})
	}
	fmt.Fprintf(a.Stdout, "%s; recorded as entry %d\n", what, r.GetIndex())
	return nil
}

type retentionShowCmd struct {
	remote.Flags
	JSON bool `help:"Print JSON."`
}

func (retentionShowCmd) Help() string {
	return `Exit code: 0 shown; 1 refused; 2 no answer.

Example:
  muniment retention show`
}

func (c *retentionShowCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	list, err := client.ListEntries(a.Ctx, connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: client.Tenant, PageSize: 1,
		Filter: &munimentv1.Filter{Kind: kindname.Config, Attribute: "name=retention"}}))
	if err != nil {
		return remote.Refusal(err)
	}
	type rule struct {
		Kind  string `json:"kind"`
		Days  uint32 `json:"days"`
		Scope string `json:"scope"`
	}
	o := struct {
		Entry *uint64 `json:"entry,omitempty"`
		Rules []rule  `json:"rules"`
	}{Rules: []rule{}}
	if len(list.Msg.Entries) > 0 {
		e, err := client.GetEntry(a.Ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: client.Tenant, Index: list.Msg.Entries[0].Index, IncludePayload: true}))
		if err != nil {
			return remote.Refusal(err)
		}
		config := &munimentv1.Config{}
		if err := protojson.Unmarshal(e.Msg.Payload, config); err != nil {
			return fmt.Errorf("entry %d: %w", e.Msg.Entry.Index, err)
		}
		if err := json.Unmarshal([]byte(config.Document), &o); err != nil {
			return fmt.Errorf("entry %d: %w", e.Msg.Entry.Index, err)
		}
		o.Entry = &e.Msg.Entry.Index
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, o)
	}
	if len(o.Rules) == 0 {
		fmt.Fprintln(a.Stdout, "no rules: everything is kept")
		return nil
	}
	fmt.Fprintf(a.Stdout, "since entry %d:\n", *o.Entry)
	for _, r := range o.Rules {
		fmt.Fprintf(a.Stdout, "%-24s %11s  %s\n", r.Kind, term.Count(r.Days, "day"), r.Scope)
	}
	return nil
}

type retentionApplyCmd struct {
	remote.Flags
	DryRun bool `help:"List what would be erased, what would be kept, and why, without erasing anything."`
	JSON   bool `help:"Print one JSON object per entry whose retention period has ended."`
}

func (retentionApplyCmd) Help() string {
	return `An entry is kept while a legal hold covers it, or while something relies on it, such as an exception in
force. The output states the reason. Running it again is safe. Requires the role admin.

Exit code: 0 done; 1 refused; 2 no answer, or interrupted (run it again).

Examples:
  muniment retention apply --dry-run
  muniment retention apply --json`
}

func (c *retentionApplyCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	stream, err := client.Admin.ApplyRetention(a.Ctx, connect.NewRequest(&munimentv1.ApplyRetentionRequest{Tenant: client.Tenant, DryRun: c.DryRun}))
	if err != nil {
		return remote.Refusal(err)
	}
	defer stream.Close()
	erased, kept := 0, 0
	for stream.Receive() {
		m := stream.Msg()
		done := m.KeptBecause == ""
		if done {
			erased++
		} else {
			kept++
		}
		if c.JSON {
			if err := term.WriteJSON(a.Stdout, struct {
				Index       uint64 `json:"index"`
				Kind        string `json:"kind"`
				Time        string `json:"time"`
				Scope       string `json:"scope"`
				Erased      bool   `json:"erased"`
				DryRun      bool   `json:"dryRun"`
				KeptBecause string `json:"keptBecause,omitempty"`
			}{m.Index, m.Kind, m.Time.AsTime().Format(term.TimeFormat), scopeName(m.Scope), done && !c.DryRun, c.DryRun, m.KeptBecause}); err != nil {
				return err
			}
			continue
		}
		what := map[bool]string{true: "would erase", false: "erased"}[c.DryRun] + " " + strings.ReplaceAll(scopeName(m.Scope), "-", " ")
		if !done {
			what = "kept: " + term.Quoted(m.KeptBecause)
		}
		fmt.Fprintf(a.Stdout, "%8d  %s  %-20s  %s\n", m.Index, m.Time.AsTime().Format(term.TimeFormat), term.Quoted(m.Kind), what)
	}
	if err := stream.Err(); err != nil {
		return remote.Refusal(err)
	}
	if !c.JSON {
		fmt.Fprintf(a.Stderr, "%d %s, %d kept\n", erased, map[bool]string{true: "would be erased", false: "erased"}[c.DryRun], kept)
	}
	return nil
}

type holdCmd struct {
	Place   holdPlaceCmd   `cmd:"" help:"Protect entries from erasure."`
	Release holdReleaseCmd `cmd:"" help:"Release a hold."`
	List    holdListCmd    `cmd:"" help:"List the holds in force."`
}

type holdPlaceCmd struct {
	ID string `arg:"" help:"Name of the hold: 1 to 63 letters, digits, dots, underscores and hyphens."`
	remote.Flags
	filterFlags
	From   time.Time `help:"Only entries recorded at or after this time." placeholder:"TIME"`
	To     time.Time `help:"Only entries recorded before this time." placeholder:"TIME"`
	All    bool      `help:"Cover every entry."`
	Reason string    `help:"Reason; recorded." required:""`
	JSON   bool      `help:"Print JSON."`
}

func (holdPlaceCmd) Help() string {
	return `A legal hold protects all entries that match its filters, including future ones, from 'muniment erase'
and from retention. It is recorded as an entry of the tenant's stream. Requires the role admin.

Exit code: 0 in force; 1 refused (for example, the name is in use); 2 no answer.

Examples:
  muniment hold place case-2041 --subject sha256:2cf24dba… --reason "court order 2041"
  muniment hold place audit-2026 --from 2026-01-01T00:00:00Z --to 2027-01-01T00:00:00Z --reason "audit of 2026"
  muniment hold place everything --all --reason "litigation"`
}

func (c *holdPlaceCmd) Run(a *term.App) error {
	f := c.message()
	if !c.From.IsZero() {
		f.From = timestamppb.New(c.From)
	}
	if !c.To.IsZero() {
		f.To = timestamppb.New(c.To)
	}
	any := c.filterFlags == filterFlags{} && c.From.IsZero() && c.To.IsZero()
	if any != c.All {
		return errors.New("specify which entries the hold covers: use either filters or --all")
	}
	return setHold(a, &c.Flags, c.JSON, "hold in force", &munimentv1.SetLegalHoldRequest{Id: c.ID, Filter: f, Reason: c.Reason})
}

func setHold(a *term.App, flags *remote.Flags, asJSON bool, what string, req *munimentv1.SetLegalHoldRequest) error {
	client, err := flags.Client(nil, nil)
	if err != nil {
		return err
	}
	req.Tenant = client.Tenant
	res, err := client.Admin.SetLegalHold(a.Ctx, connect.NewRequest(req))
	if err != nil {
		return remote.Refusal(err)
	}
	return printRecorded(a, asJSON, what, res.Msg.Appended)
}

type holdReleaseCmd struct {
	ID string `arg:"" help:"Name of the hold."`
	remote.Flags
	Reason string `help:"Reason; recorded." required:""`
	JSON   bool   `help:"Print JSON."`
}

func (holdReleaseCmd) Help() string {
	return `Erases nothing by itself. Entries that the hold protected can be erased from now on.

Exit code: 0 released; 1 refused (for example, no such hold); 2 no answer.

Example:
  muniment hold release case-2041 --reason "case closed"`
}

func (c *holdReleaseCmd) Run(a *term.App) error {
	return setHold(a, &c.Flags, c.JSON, "hold released", &munimentv1.SetLegalHoldRequest{Id: c.ID, Release: true, Reason: c.Reason})
}

type holdListCmd struct {
	remote.Flags
	JSON bool `help:"Print one JSON object per hold."`
}

func (holdListCmd) Help() string {
	return `Exit code: 0 listed; 1 refused; 2 no answer.

Example:
  muniment hold list`
}

func (c *holdListCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	res, err := client.Admin.ListLegalHolds(a.Ctx, connect.NewRequest(&munimentv1.ListLegalHoldsRequest{Tenant: client.Tenant}))
	if err != nil {
		return remote.Refusal(err)
	}
	for _, h := range res.Msg.Holds {
		if c.JSON {
			if err := term.WriteJSON(a.Stdout, struct {
				ID     string            `json:"id"`
				Filter map[string]string `json:"filter"`
				Reason string            `json:"reason"`
				Since  string            `json:"since"`
				Entry  uint64            `json:"entry"`
			}{h.Id, filterFields(h.Filter), h.Reason, h.Since.AsTime().Format(term.TimeFormat), h.Index}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(a.Stdout, "%-24s since %s (entry %d): %s\n  %s\n", term.Quoted(h.Id), h.Since.AsTime().Format(term.TimeFormat), h.Index, term.Quoted(h.Reason), filterText(h.Filter))
	}
	if len(res.Msg.Holds) == 0 && !c.JSON {
		fmt.Fprintln(a.Stderr, "no holds")
	}
	return nil
}

// filterFields returns the conditions of a filter by flag name.
func filterFields(f *munimentv1.Filter) map[string]string {
	out := map[string]string{}
	set := func(name, value string) {
		if value != "" {
			out[name] = value
		}
	}
	set("kind", f.GetKind())
	set("subject", f.GetSubject())
	set("predicate-type", f.GetPredicateType())
	set("signer", f.GetSigner())
	set("submitter", f.GetSubmitter())
	set("control", f.GetControl())
	set("attribute", f.GetAttribute())
	set("material", f.GetMaterial())
	if t := f.GetFrom(); t != nil {
		set("from", t.AsTime().Format(term.TimeFormat))
	}
	if t := f.GetTo(); t != nil {
		set("to", t.AsTime().Format(term.TimeFormat))
	}
	return out
}

func filterText(f *munimentv1.Filter) string {
	var all []string
	for name, value := range filterFields(f) {
		all = append(all, name+" "+term.Quoted(value))
	}
	if len(all) == 0 {
		return "every entry"
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}
