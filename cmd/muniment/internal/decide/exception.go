package decide

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type exceptionCmd struct {
	Request exceptionRequestCmd `cmd:"" help:"Ask for an exception: artifacts may pass without a control until a day."`
	Approve exceptionApproveCmd `cmd:"" help:"Approve an exception that another person requested."`
	Reject  exceptionRejectCmd  `cmd:"" help:"Reject an exception for good."`
	Revoke  exceptionRevokeCmd  `cmd:"" help:"End an exception at once."`
	Renew   exceptionRenewCmd   `cmd:"" help:"Extend an exception that is in force."`
	Submit  exceptionSubmitCmd  `cmd:"" help:"Submit requests for break-glass that were signed without the ledger."`
	List    exceptionListCmd    `cmd:"" help:"List exceptions with their states."`
	Show    exceptionShowCmd    `cmd:"" help:"Show an exception with every decision about it."`
}

func (exceptionCmd) Help() string {
	return `An exception lets artifacts pass without satisfying a control, until it expires. One person requests it, and
another approves it. People are authenticated by identity tokens: a shared token can neither request nor approve.

Examples:
  muniment exception request EXC-17 --control VULN-SLA --finding CVE-2026-12345 --glob 'registry.example.com/gateway*' --expires 14d --reason "fix is in 1.8" --identity-token env --tenant acme
  muniment exception approve EXC-17 --identity-token env --tenant acme
  muniment exception list --expiring 7d`
}

type exceptionRequestCmd struct {
	ID string `arg:"" help:"ID of the exception, such as EXC-17."`
	remote.Flags
	Control     string   `help:"Control that shall not apply." required:"" placeholder:"ID"`
	Finding     []string `help:"Finding or vulnerability that is excepted, such as CVE-2026-12345. Without it, every reason for which the control is not satisfied. May be repeated." placeholder:"ID"`
	Subject     []string `help:"Digest of an artifact in scope. May be repeated." placeholder:"sha256:…"`
	Glob        []string `help:"Pattern of names in scope: * matches any characters except /, ** any characters. May be repeated." placeholder:"PATTERN"`
	Environment []string `help:"Pattern of environments in scope. Default: all. May be repeated." placeholder:"PATTERN"`
	Expires     string   `help:"End of the exception: a day, a time in RFC 3339, or a duration such as 14d." required:"" placeholder:"DAY|TIME|DURATION"`
	Reason      string   `help:"Reason, which is recorded." required:"" placeholder:"TEXT"`
	term.ResultFlags
}

func (exceptionRequestCmd) Help() string {
	return `The exception counts only after as many other people have approved it as the control requires. Its longest life is that of the control.

Exit code: 0 recorded; 1 refused; 2 no answer.

Examples:
  muniment exception request EXC-17 --control VULN-SLA --finding CVE-2026-12345 --glob 'registry.example.com/gateway*' --expires 14d --reason "fix is in 1.8" --identity-token env --tenant acme
  muniment exception request EXC-18 --control SLSA-BUILD-L3 --subject sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 --environment 'staging/**' --expires 2027-01-31 --reason "rebuild is on its way" --identity-token env --tenant acme`
}

func (c *exceptionRequestCmd) Run(a *term.App) error {
	expires, err := exceptionEnd(c.Expires)
	if err != nil {
		return err
	}
	scope := &munimentv1.ExceptionScope{Globs: c.Glob, Environments: c.Environment}
	for _, s := range c.Subject {
		d, err := entry.ParseDigest(s)
		if err != nil {
			return fmt.Errorf("--subject: %w", err)
		}
		scope.Subjects = append(scope.Subjects, &munimentv1.Artifact{Digest: digestOf(d.String())})
	}
	if len(c.Subject)+len(c.Glob) == 0 {
		return errors.New("no scope specified: add --subject or --glob")
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	return recordException(a, client, c.ResultFlags, kindname.ExceptionRequest, c.ID, "request", &munimentv1.ExceptionRequest{
		Id: c.ID, Control: c.Control, Findings: c.Finding, Scope: scope, Reason: c.Reason, Expires: timestamppb.New(expires),
	})
}

// exceptionEnd returns the end of an exception, which every exception has.
func exceptionEnd(s string) (time.Time, error) {
	t, err := remote.ParseExpiry(s, time.Now())
	if err == nil && t.IsZero() {
		err = errors.New("--expires: an exception must end")
	}
	return t, err
}

// An exceptionChange is the result of a command that records an event about an
// exception.
type exceptionChange struct {
	Exception string `json:"exception"`
	Action    string `json:"action"`
	Entry     uint64 `json:"entry"`
	State     string `json:"state"`
	Expires   string `json:"expires,omitempty"`
	missing   int    // approvals
}

// Text implements term.Result.
func (r *exceptionChange) Text() string {
	text := fmt.Sprintf("%s %s (entry %d): %s", term.Quoted(r.Exception), actionsDone[r.Action], r.Entry, r.State)
	switch {
	case r.missing > 0:
		text += fmt.Sprintf(", needs %s by others", term.Count(r.missing, "approval"))
	case r.Expires != "":
		text += " until " + r.Expires
	}
	return text + "\n"
}

// endOf returns the end of an exception, or "" if it never counts again.
func endOf(s *exception.Status) string {
	if s.Expires.IsZero() || s.State == exception.Rejected || s.State == exception.Revoked {
		return ""
	}
	return s.Expires.UTC().Format(term.TimeFormat)
}

var actionsDone = map[string]string{"request": "requested", "approve": "approved", "reject": "rejected", "revoke": "revoked", "renew": "renewed"}

// recordException appends an event and prints the state of the exception after
// it.
func recordException(a *term.App, client *muniment.Client, out term.ResultFlags, kind, id, action string, m proto.Message) error {
	index, err := appendEvent(a.Ctx, client, kind, m)
	if err != nil {
		return err
	}
	r := &exceptionChange{Exception: id, Action: action, Entry: index}
	book, err := readExceptions(a.Ctx, client)
	switch {
	case connect.CodeOf(err) == connect.CodePermissionDenied:
		r.State = "recorded" // the caller may append, and not read
	case err != nil:
		return fmt.Errorf("recorded as entry %d, but its state cannot be read: %w", index, err)
	default:
		x, err := book.find(id)
		if err != nil {
			return err
		}
		s, limits := book.status(x)
		r.State, r.Expires = string(s.State), endOf(&s)
		if s.State == exception.Requested {
			r.missing = limits.Approvers - len(s.Approvers)
		}
	}
	return out.Print(a, r)
}

// exceptionFlags are the flags of commands that decide about an exception.
type exceptionFlags struct {
	ID string `arg:"" help:"ID of the exception."`
	remote.Flags
	term.ResultFlags
}

func (f *exceptionFlags) decide(a *term.App, action exception.Action, reason, expires string) error {
	client, book, err := openExceptions(a, &f.Flags)
	if err != nil {
		return err
	}
	x, err := book.find(f.ID)
	if err != nil {
		return err
	}
	m := &munimentv1.ExceptionDecision{Exception: x.ID, Request: proto.Uint64(x.Index), Decision: string(action), Reason: reason}
	if expires != "" {
		end, err := exceptionEnd(expires)
		if err != nil {
			return err
		}
		m.Expires = timestamppb.New(end)
	}
	return recordException(a, client, f.ResultFlags, kindname.ExceptionDecision, x.ID, string(action), m)
}

type exceptionApproveCmd struct {
	exceptionFlags
	Reason string `help:"Reason, which is recorded." placeholder:"TEXT"`
}

func (exceptionApproveCmd) Help() string {
	return `The person who requested the exception cannot approve it.

Exit code: 0 recorded; 1 refused; 2 no answer.

Example:
  muniment exception approve EXC-17 --identity-token env --tenant acme`
}

func (c *exceptionApproveCmd) Run(a *term.App) error {
	return c.decide(a, exception.Approve, c.Reason, "")
}

type exceptionRejectCmd struct {
	exceptionFlags
	Reason string `help:"Reason, which is recorded." required:"" placeholder:"TEXT"`
}

func (exceptionRejectCmd) Help() string {
	return `An exception that was rejected stays rejected: request another.

Exit code: 0 recorded; 1 refused; 2 no answer.

Example:
  muniment exception reject EXC-17 --reason "the fix is out" --identity-token env --tenant acme`
}

func (c *exceptionRejectCmd) Run(a *term.App) error {
	return c.decide(a, exception.Reject, c.Reason, "")
}

type exceptionRevokeCmd struct {
	exceptionFlags
	Reason string `help:"Reason, which is recorded." required:"" placeholder:"TEXT"`
}

func (exceptionRevokeCmd) Help() string {
	return `The exception stops counting at the next decision. The person who requested it can revoke it, too.

Exit code: 0 recorded; 1 refused; 2 no answer.

Example:
  muniment exception revoke EXC-17 --reason "exploited elsewhere" --identity-token env --tenant acme`
}

func (c *exceptionRevokeCmd) Run(a *term.App) error {
	return c.decide(a, exception.Revoke, c.Reason, "")
}

type exceptionRenewCmd struct {
	exceptionFlags
	Expires string `help:"New end: a day, a time in RFC 3339, or a duration from now, such as 14d." required:"" placeholder:"DAY|TIME|DURATION"`
	Reason  string `help:"Reason, which is recorded." required:"" placeholder:"TEXT"`
}

func (exceptionRenewCmd) Help() string {
	return `As many people renew an exception to the same time as the control requires approvers.

Exit code: 0 recorded; 1 refused; 2 no answer.

Example:
  muniment exception renew EXC-17 --expires 2027-02-28 --reason "1.8 slipped" --identity-token env --tenant acme`
}

func (c *exceptionRenewCmd) Run(a *term.App) error {
	return c.decide(a, exception.Renew, c.Reason, c.Expires)
}

// A book has the exceptions of a stream, and the limits of their controls.
type book struct {
	all    []*exception.Exception
	limits map[string]exception.Limits // by control; nil: no control set is in force
	now    time.Time
}

// readExceptions reads the events about exceptions and the control set in force
// from the server.
func readExceptions(ctx context.Context, client *muniment.Client) (*book, error) {
	b := &book{now: time.Now()}
	entries, err := ledgerEntries(ctx, client, kindname.KeyEvent, kindname.ExceptionRequest, kindname.ExceptionDecision, kindname.Erasure)
	if err != nil {
		return nil, err
	}
	if b.all, err = exception.Read(entries); err != nil {
		return nil, err
	}
	set, err := controlSet(ctx, client)
	if err != nil || set == nil {
		return b, err
	}
	b.limits = map[string]exception.Limits{}
	for _, c := range set.Controls {
		b.limits[c.Id] = exception.LimitsOf(c.Exceptions)
	}
	return b, nil
}

// openExceptions returns a client with the flags, and what readExceptions
// reads.
func openExceptions(a *term.App, f *remote.Flags) (*muniment.Client, *book, error) {
	client, err := f.Client(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	b, err := readExceptions(a.Ctx, client)
	return client, b, err
}

// find returns the exception with the ID.
func (b *book) find(id string) (*exception.Exception, error) {
	i := slices.IndexFunc(b.all, func(x *exception.Exception) bool { return strings.EqualFold(x.ID, id) })
	if i < 0 {
		return nil, fmt.Errorf("no exception %q: see muniment exception list", id)
	}
	return b.all[i], nil
}

// status returns the state of an exception now. The state of one whose control
// is not in force is that under the default limits.
func (b *book) status(x *exception.Exception) (exception.Status, exception.Limits) {
	limits, ok := b.limits[x.Control]
	if !ok {
		limits = exception.DefaultLimits
	}
	return x.At(b.now, limits), limits
}

type exceptionListCmd struct {
	remote.Flags
	State      string `help:"Only exceptions in this state." enum:",requested,break-glass,approved,rejected,revoked,expired,void" default:"" placeholder:"STATE"`
	Expiring   string `help:"Only exceptions in force that end within this time, such as 7d." placeholder:"DURATION"`
	Control    string `help:"Only exceptions from this control." placeholder:"ID"`
	BreakGlass bool   `help:"Only break-glass that another person must still confirm or reject, whether it has ended or not."`
	term.ResultFlags
}

func (exceptionListCmd) Help() string {
	return `Exit code: 0 listed; 2 no answer.

Examples:
  muniment exception list
  muniment exception list --break-glass
  muniment exception list --expiring 7d --json`
}

func (c *exceptionListCmd) Run(a *term.App) error {
	var until time.Time
	if c.Expiring != "" {
		d, err := datadir.ParseAge(c.Expiring)
		if err != nil {
			return fmt.Errorf("--expiring: %w", err)
		}
		until = time.Now().Add(d)
	}
	_, b, err := openExceptions(a, &c.Flags)
	if err != nil {
		return err
	}
	var rows []*exceptionRow
	for _, x := range b.all {
		r := b.row(x)
		s, _ := b.status(x)
		switch {
		case c.BreakGlass && !s.Unconfirmed:
		case c.State != "" && r.State != c.State, c.Control != "" && x.Control != c.Control:
		case c.Expiring != "" && (!s.InForce() || s.Expires.After(until)):
		default:
			rows = append(rows, r)
		}
	}
	return term.PrintRows(a, c.ResultFlags, rows, "no exceptions")
}

// An exceptionRow is an exception as the commands print it.
type exceptionRow struct {
	ID           string   `json:"id"`
	State        string   `json:"state"`
	Control      string   `json:"control"`
	Findings     []string `json:"findings,omitempty"`
	Subjects     []string `json:"subjects,omitempty"`
	Globs        []string `json:"globs,omitempty"`
	Environments []string `json:"environments,omitempty"`
	Expires      string   `json:"expires,omitempty"`
	Requester    string   `json:"requester"`
	Approvers    []string `json:"approvers,omitempty"`
	Needed       int      `json:"approversNeeded"`
	Entry        uint64   `json:"entry"`
	Unconfirmed  bool     `json:"unconfirmed,omitempty"` // break-glass
	// Used is when it was used without the ledger, by the signer's clock.
	Used      string            `json:"used,omitempty"`
	UsedBy    string            `json:"usedBy,omitempty"` // if that is not the requester
	Key       string            `json:"key,omitempty"`    // that signed the request
	Note      string            `json:"note,omitempty"`
	Decisions []exceptionAction `json:"decisions,omitempty"`
}

type exceptionAction struct {
	Entry   uint64 `json:"entry"`
	Time    string `json:"time"`
	Action  string `json:"action"`
	By      string `json:"by"`
	Expires string `json:"expires,omitempty"`
}

func (b *book) row(x *exception.Exception) *exceptionRow {
	s, limits := b.status(x)
	r := &exceptionRow{
		ID: x.ID, State: string(s.State), Control: x.Control, Findings: x.Findings, Globs: x.Globs, Environments: x.Environments,
		Requester: x.Requester, Approvers: s.Approvers, Needed: limits.Approvers, Entry: x.Index, Unconfirmed: s.Unconfirmed, Key: x.KeyID, UsedBy: x.UsedBy,
	}
	r.Expires = endOf(&s)
	if !x.Used.IsZero() {
		r.Used = x.Used.UTC().Format(term.TimeFormat)
	}
	for _, subject := range x.Subjects {
		r.Subjects = append(r.Subjects, answer.DigestText(subject.Digest))
	}
	if _, ok := b.limits[x.Control]; !ok {
		r.Note = "no effect: the control is not in force"
	} else if x.Wildcard() && !limits.Wildcard {
		r.Note = "no effect: the control allows no wildcard"
	}
	return r
}

// Text implements term.Result.
func (r *exceptionRow) Text() string {
	text := fmt.Sprintf("%-12s %-10s %s", term.Quoted(r.ID), r.State, term.Quoted(r.Control))
	if len(r.Findings) > 0 {
		text += " for " + term.Quoted(strings.Join(r.Findings, ", "))
	}
	if r.Expires != "" {
		text += ", until " + r.Expires
	}
	if len(r.Approvers) > 0 {
		text += ", approved by " + term.Quoted(strings.Join(r.Approvers, " and "))
	}
	if r.State == string(exception.Requested) {
		text += fmt.Sprintf(", %d of %s", len(r.Approvers), term.Count(r.Needed, "approval"))
	}
	if r.Unconfirmed {
		text += fmt.Sprintf(", by break-glass of %s: another person must confirm or reject it", term.Quoted(cmp.Or(r.UsedBy, r.Requester)))
	}
	if r.Note != "" {
		text += " (" + r.Note + ")"
	}
	return text + "\n"
}

type exceptionShowCmd struct {
	ID string `arg:"" help:"ID of the exception."`
	remote.Flags
	JSON bool `help:"Print one JSON object."`
}

func (exceptionShowCmd) Help() string {
	return `Exit code: 0 shown; 2 no answer, or no such exception.

Examples:
  muniment exception show EXC-17
  muniment exception show EXC-17 --json`
}

func (c *exceptionShowCmd) Run(a *term.App) error {
	_, b, err := openExceptions(a, &c.Flags)
	if err != nil {
		return err
	}
	x, err := b.find(c.ID)
	if err != nil {
		return err
	}
	r := b.row(x)
	for _, d := range x.Decisions {
		action := exceptionAction{Entry: d.Index, Time: d.Time.UTC().Format(term.TimeFormat), Action: string(d.Action), By: d.By}
		if !d.Expires.IsZero() {
			action.Expires = d.Expires.UTC().Format(term.TimeFormat)
		}
		r.Decisions = append(r.Decisions, action)
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, r)
	}
	p := term.NewPage("%s", strings.TrimSuffix(r.Text(), "\n"))
	p.Line("requested", "by %s in entry %d, %s", term.Quoted(x.Requester), x.Index, x.Time.UTC().Format(term.TimeFormat))
	if r.UsedBy != "" {
		p.Line("used", "by %s", term.Quoted(r.UsedBy))
	}
	if r.Key != "" {
		p.Line("signed", "with the key %s at %s, submitted by %s", term.Quoted(r.Key), r.Used, term.Quoted(x.Submitter))
	}
	for _, scope := range slices.Concat(r.Subjects, r.Globs) {
		p.Line("scope", "%s", term.Quoted(scope))
	}
	for _, e := range r.Environments {
		p.Line("in", "%s", term.Quoted(e))
	}
	for _, d := range r.Decisions {
		p.Line(d.Action, "by %s in entry %d, %s%s", term.Quoted(d.By), d.Entry, d.Time, term.Optional(", until ", d.Expires))
	}
	_, err = fmt.Fprint(a.Stdout, p.String())
	return err
}
