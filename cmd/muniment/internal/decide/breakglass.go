package decide

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/exception"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
)

// breakGlassFlags are the flags for a pass that another person confirms or
// rejects afterwards.
type breakGlassFlags struct {
	BreakGlass bool     `help:"Pass at once, by an exception of at most 24 hours from what blocks, which another person must confirm or reject. Without the ledger, or with --offline, the request is signed and spooled."`
	Reason     string   `help:"With --break-glass: the reason, which is recorded." placeholder:"TEXT"`
	Expires    string   `help:"With --break-glass: the end, as a time in RFC 3339 or a duration." default:"24h" placeholder:"TIME|DURATION"`
	Key        string   `help:"With --break-glass: file with your registered private key, in PEM, that signs the request. Required without the ledger." placeholder:"FILE" predictor:"file" type:"path"`
	Control    []string `help:"With --break-glass, without the ledger: control that shall not apply. May be repeated." placeholder:"ID"`
	Controls   string   `help:"With --break-glass, without the ledger: the file of the controls in force. Those that would block shall not apply." placeholder:"FILE" predictor:"file" type:"path"`
	Policy     string   `help:"With --delta, or --break-glass without the ledger: trust policy of the log." env:"MUNIMENT_POLICY" placeholder:"FILE" predictor:"file" type:"path"`
	Spool      string   `help:"With --delta, or --break-glass without the ledger: folder that keeps decisions and signed requests until they are submitted." env:"MUNIMENT_SPOOL" placeholder:"DIR" type:"path"`
}

// A glassUse is a request for an exception by break-glass.
type glassUse struct {
	ID      string  `json:"id"`
	Control string  `json:"control"`
	Expires string  `json:"expires"`
	Entry   *uint64 `json:"entry,omitempty"`
	Spooled string  `json:"spooled,omitempty"` // digest of the document in the spool
}

// A glassNeed is a control with the artifacts that it would block.
type glassNeed struct {
	control   string
	artifacts []*munimentv1.Artifact
}

// A glass is one use of break-glass.
type glass struct {
	*gateCmd
	app     *term.App
	expires time.Time
	used    time.Time
	key     crypto.Signer // nil: the caller submits the request in person
}

// reachTimeout is how long break-glass waits for the ledger.
const reachTimeout = 10 * time.Second

// maxInScope is the number of artifacts that one request covers.
const maxInScope = 1024

// open checks the flags.
func (c *gateCmd) open(a *term.App) (*glass, error) {
	g := &glass{gateCmd: c, app: a, used: time.Now().UTC().Truncate(time.Millisecond)}
	switch {
	case c.Reason == "":
		return nil, errors.New("--break-glass: no reason specified: add --reason")
	case c.At != "" || c.DryRun:
		return nil, errors.New("--break-glass: records a request, so it cannot be used with --at or --dry-run")
	case strings.Contains(c.Environment, "*"):
		return nil, errors.New("--environment: with --break-glass, it cannot contain *, which would match others")
	}
	var err error
	if g.expires, err = remote.ParseExpiry(c.Expires, g.used); err != nil {
		return nil, err
	}
	if g.expires.IsZero() || !g.expires.After(g.used) || g.expires.After(g.used.Add(kinds.MaxBreakGlass)) {
		return nil, fmt.Errorf("--expires: break-glass lasts at most 24 hours: request an exception with 'muniment exception request' for a longer time")
	}
	if c.Key != "" {
		if g.key, err = datadir.ReadPrivateKey(c.Key); err != nil {
			return nil, fmt.Errorf("--key: %w", err)
		}
	}
	return g, nil
}

// run passes at once: by exceptions that it requests from the ledger, or by
// signed requests in a spool.
func (g *glass) run(request *munimentv1.DecideRequest) (*gateReport, error) {
	if g.Offline {
		return g.withoutLedger(nil)
	}
	client, err := g.Client(nil, nil)
	if err != nil {
		return nil, err
	}
	if err := reach(g.app.Ctx, client); err != nil {
		return g.withoutLedger(err)
	}
	report, err := g.ask(g.app, client, request)
	if err != nil || report.Decision == outcomePass {
		return report, err
	}
	needs, err := report.needs()
	if err != nil {
		return report, nil // nothing can be excepted, which the report explains
	}
	uses, err := g.request(client, needs)
	if err != nil {
		return nil, err
	}
	report, err = g.ask(g.app, client, request)
	if err == nil {
		report.BreakGlass = uses
	}
	return report, err
}

// reach returns an error if the ledger cannot be reached in time. Other errors
// are reported by the calls that follow.
func reach(ctx context.Context, client *muniment.Client) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	_, err := controlSet(ctx, client)
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded:
		return err
	}
	return nil
}

// needs returns what blocks the artifacts. The error is the reason why
// exceptions would not help.
func (r *gateReport) needs() ([]glassNeed, error) {
	var all []glassNeed
	for i, d := range r.decisions {
		if d.Decision != outcomePass {
			blocked := false
			for _, c := range d.Results {
				if c.Mode == string(evaluate.Enforce) && (c.Result == evaluate.NotSatisfied || c.Result == evaluate.Unclear) {
					all, blocked = addNeed(all, c.Control, r.artifacts[i].Artifact), true
				}
			}
			if !blocked {
				return nil, fmt.Errorf("%s: %s", r.artifacts[i].Artifact.GetName(), answer.Explain(d.Reason))
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no control blocks")
	}
	return all, nil
}

func addNeed(all []glassNeed, control string, a *munimentv1.Artifact) []glassNeed {
	i := slices.IndexFunc(all, func(n glassNeed) bool { return n.control == control && len(n.artifacts) < maxInScope })
	if i < 0 {
		all = append(all, glassNeed{control: control})
		i = len(all) - 1
	}
	all[i].artifacts = append(all[i].artifacts, a)
	return all
}

// document returns the request for an exception.
func (g *glass) document(n *glassNeed) *munimentv1.ExceptionRequest {
	scope := &munimentv1.ExceptionScope{Subjects: n.artifacts}
	if g.Environment != "" {
		scope.Environments = []string{g.Environment}
	}
	return &munimentv1.ExceptionRequest{
		Id: "BG-" + g.used.Format("20060102") + "-" + strings.ToLower(rand.Text()[:10]), Control: n.control, Scope: scope,
		Reason: g.Reason, Expires: timestamppb.New(g.expires), BreakGlass: true,
	}
}

// sign returns the envelope of a request for a log and a tenant.
func (g *glass) sign(m *munimentv1.ExceptionRequest, origin, tenant string) ([]byte, error) {
	m.Used = &munimentv1.BreakGlassUse{Origin: origin, Tenant: tenant, Time: timestamppb.New(g.used)}
	payload, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	envelope, err := dsse.Sign(kinds.BreakGlassType, payload, g.key)
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	return envelope, nil
}

// request appends the requests, and signs them if there is a key.
func (g *glass) request(client *muniment.Client, needs []glassNeed) (uses []glassUse, err error) {
	if err := g.allowed(client, needs); err != nil {
		return nil, err
	}
	origin := ""
	if g.key != nil {
		if origin, err = remote.OriginOf(g.app.Ctx, client); err != nil {
			return nil, err
		}
	}
	for i := range needs {
		m := g.document(&needs[i])
		var index uint64
		if g.key == nil {
			index, err = appendEvent(g.app.Ctx, client, kindname.ExceptionRequest, m)
		} else {
			var envelope []byte
			if envelope, err = g.sign(m, origin, client.Tenant); err == nil {
				index, err = submitSigned(g.app.Ctx, client, envelope)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("break-glass from control %s: %w", m.Control, err)
		}
		uses = append(uses, glassUse{ID: m.Id, Control: m.Control, Expires: answer.FormatTime(m.Expires), Entry: &index})
	}
	return uses, nil
}

// allowed returns an error if a control forbids exceptions, so that a request
// would have no effect.
func (g *glass) allowed(client *muniment.Client, needs []glassNeed) error {
	set, err := controlSet(g.app.Ctx, client)
	if err != nil {
		return err
	}
	for _, c := range set.GetControls() {
		if exception.LimitsOf(c.Exceptions).MaxDays == 0 && slices.ContainsFunc(needs, func(n glassNeed) bool { return n.control == c.Id }) {
			return errForbids(c.Id)
		}
	}
	return nil
}

func errForbids(control string) error {
	return term.ExitWith(term.ExitNo, fmt.Errorf("control %s forbids exceptions (max_days is 0), and break-glass too", control))
}

// withoutLedger signs requests and spools them. why is the reason that the
// ledger cannot be reached; nil: it was not asked.
func (g *glass) withoutLedger(why error) (*gateReport, error) {
	if err := g.complete(why); err != nil {
		return nil, err
	}
	policy, err := datadir.ReadPolicyFile(g.Policy)
	if err != nil {
		return nil, fmt.Errorf("--policy: %w", err)
	}
	set, err := g.offlineControls()
	if err != nil {
		return nil, err
	}
	subjects, unknown, err := g.resolve(g.app, set.paths)
	if err != nil {
		return nil, err
	}
	needs, err := g.offlineNeeds(set, subjects)
	if err != nil {
		return nil, err
	}
	tenant, err := g.tenant()
	if err != nil {
		return nil, err
	}
	s, err := spool.Make(g.Spool)
	if err != nil {
		return nil, fmt.Errorf("--spool: %w", err)
	}
	defer s.Close()
	report := &gateReport{Stage: g.Stage, Environment: g.Environment, Decision: outcomePass, Offline: true, spool: g.Spool, warnUnknown: true}
	for i := range needs {
		m := g.document(&needs[i])
		envelope, err := g.sign(m, policy.Origin(), tenant)
		if err != nil {
			return nil, err
		}
		digest, err := s.Put(envelope)
		if err != nil {
			return nil, fmt.Errorf("--spool: %w", err)
		}
		report.BreakGlass = append(report.BreakGlass, glassUse{ID: m.Id, Control: m.Control, Expires: answer.FormatTime(m.Expires), Spooled: digest})
	}
	decisions := make([]*munimentv1.SubjectDecision, len(subjects))
	for i := range subjects {
		decisions[i] = &munimentv1.SubjectDecision{Decision: &munimentv1.GateDecision{Decision: outcomePass, Reason: "break-glass", Decided: timestamppb.New(g.used), ValidUntil: timestamppb.New(g.expires)}}
	}
	report.add(subjects, decisions)
	report.addUnknown(unknown)
	return report, nil
}

// tenant returns the tenant that the flags name, or that of the credentials.
func (g *glass) tenant() (string, error) {
	if g.Tenant != "" {
		return g.Tenant, nil
	}
	client, err := g.Client(nil, nil)
	if err != nil {
		return "", err
	}
	return client.Tenant, nil
}

// complete returns an error about the flags that break-glass needs without the
// ledger.
func (g *glass) complete(why error) error {
	var missing []string
	for _, f := range []struct {
		flag string
		set  bool
	}{{"--key", g.key != nil}, {"--policy", g.Policy != ""}, {"--spool", g.Spool != ""}, {"--control or --controls", len(g.Control) > 0 || g.Controls != ""}} {
		if !f.set {
			missing = append(missing, f.flag)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	cause := "with --offline"
	if why != nil {
		cause = "the ledger cannot be reached (" + remote.Reason(why) + "), so that"
	}
	return fmt.Errorf("%s break-glass needs a signature: add %s", cause, strings.Join(missing, ", "))
}
