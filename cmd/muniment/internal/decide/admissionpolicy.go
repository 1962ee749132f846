package decide

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ingest/policy"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/plain"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/shape"
	"muniment.dev/muniment/verifiers/sigstore"
)

type policyCmd struct {
	Test policyTestCmd `cmd:"" help:"Show the decision of an admission policy on evidence, and its reasons."`
	Lint policyLintCmd `cmd:"" help:"Report mistakes in admission policies."`
	Set  policySetCmd  `cmd:"" help:"Put an admission policy in force for the tenant."`
	Get  policyGetCmd  `cmd:"" help:"Print the admission policy in force for the tenant."`
}

// readPolicy reads an admission policy file.
func readPolicy(path string) ([]byte, error) {
	return readFile(path, policy.MaxSize, "an admission policy", func(text []byte) string {
		if _, err := receipt.ParseTrustPolicy(path, text); err == nil {
			return "a trust policy, which contains the log's public keys"
		}
		return datadir.SecretKind(text)
	})
}

// readFile reads a file of a kind that is for people to write. It names other
// files that users mistake for one, as mistaken describes them, since the
// errors of the parser would not, or would show secrets.
func readFile(path string, limit int64, what string, mistaken func(text []byte) string) ([]byte, error) {
	text, err := bounded.ReadFile(path, limit)
	if err != nil {
		return nil, err
	}
	if kind := mistaken(text); kind != "" {
		return nil, term.ExitWith(term.ExitNo, fmt.Errorf("%s: not %s: it is %s", path, what, kind))
	}
	return text, nil
}

type policyLintCmd struct {
	Policies []string `arg:"" help:"Admission policy files." predictor:"file"`
	JSON     bool     `help:"Print one JSON object per file."`
}

func (policyLintCmd) Help() string {
	return `Reports all mistakes in admission policies, with line and field. Needs no server.

Exit code: 0 no mistakes; 1 mistakes found; 2 no answer.

Examples:
  muniment policy lint admission.yaml
  muniment policy lint policies/*.yaml --json`
}

func (c *policyLintCmd) Run(a *term.App) error {
	bad := 0
	for _, path := range c.Policies {
		text, err := readPolicy(path)
		if err != nil {
			return err
		}
		p, err := ingest.ParseAdmissionPolicy(text)
		var wrong *policy.Error
		if err != nil && !errors.As(err, &wrong) {
			return err
		}
		if wrong != nil {
			bad++
		}
		switch {
		case c.JSON:
			o := struct {
				File     string           `json:"file"`
				Digest   string           `json:"digest"`
				OK       bool             `json:"ok"`
				Problems []policy.Problem `json:"problems,omitempty"`
			}{File: path, Digest: policy.Digest(text), OK: wrong == nil}
			if wrong != nil {
				o.Problems = wrong.Problems
			}
			if err := term.WriteJSON(a.Stdout, o); err != nil {
				return err
			}
		case wrong != nil:
			for _, problem := range wrong.Problems {
				fmt.Fprintf(a.Stdout, "%s: %s\n", term.Quoted(path), term.Indented(problem.String()))
			}
		default:
			fmt.Fprintf(a.Stdout, "%s: valid, %s, mode %s, %s\n", term.Quoted(path), term.Count(len(p.Rules), "rule"), p.Mode, p.Digest())
		}
	}
	if bad > 0 {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

type policySetCmd struct {
	Policy string `arg:"" help:"Admission policy file." predictor:"file"`
	remote.Flags
	Reason string `help:"Reason for the change; recorded." required:""`
	JSON   bool   `help:"Print one JSON object."`
}

func (policySetCmd) Help() string {
	return `Puts an admission policy in force for the tenant, and records it as an entry of kind config.
Requires the role admin. Try the policy first with 'muniment policy test'.

Exit code: 0 in force; 1 the policy is invalid, and the old one stays in force; 2 no answer.

Example:
  muniment policy set admission.yaml --reason 'only the release workflow attests releases'`
}

func (c *policySetCmd) Run(a *term.App) error {
	text, err := readPolicy(c.Policy)
	if err != nil {
		return err
	}
	if _, err := ingest.ParseAdmissionPolicy(text); err != nil {
		return term.ExitWith(term.ExitNo, fmt.Errorf("%s: invalid, so the policy in force is unchanged:\n%w", c.Policy, err))
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	res, err := client.Admin.SetPolicy(a.Ctx, connect.NewRequest(&munimentv1.SetPolicyRequest{Tenant: client.Tenant, Policy: text, Reason: c.Reason}))
	if connect.CodeOf(err) == connect.CodeInvalidArgument {
		return term.ExitWith(term.ExitNo, err)
	} else if err != nil {
		return err
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, policyJSON{res.Msg.Digest, res.Msg.Appended.GetIndex(), ""})
	}
	_, err = fmt.Fprintf(a.Stdout, "in force since entry %d: %s\n", res.Msg.Appended.GetIndex(), res.Msg.Digest)
	return err
}

type policyJSON struct {
	Digest string `json:"digest"`
	Index  uint64 `json:"index"`
	Policy string `json:"policy,omitempty"`
}

type policyGetCmd struct {
	remote.Flags
	Output string `short:"o" help:"File to write to. Default: standard output." placeholder:"FILE" type:"path"`
	JSON   bool   `help:"Print one JSON object."`
}

func (policyGetCmd) Help() string {
	return `Prints the tenant's admission policy in force. Its digest, and the entry that put it in force, go to
standard error.

Exit code: 0 printed; 2 no answer.

Examples:
  muniment policy get
  muniment policy get -o admission.yaml`
}

func (c *policyGetCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	res, err := client.Admin.GetPolicy(a.Ctx, connect.NewRequest(&munimentv1.GetPolicyRequest{Tenant: client.Tenant}))
	if err != nil {
		return err
	}
	if c.JSON {
		return term.WriteJSON(a.Stdout, policyJSON{res.Msg.Digest, res.Msg.Index, string(res.Msg.Policy)})
	}
	fmt.Fprintf(a.Stderr, "in force since entry %d: %s\n", res.Msg.Index, res.Msg.Digest)
	return a.WriteOutput(c.Output, res.Msg.Policy)
}

type policyTestCmd struct {
	Policy      string   `arg:"" help:"Admission policy file." predictor:"file"`
	Evidence    []string `arg:"" help:"Evidence files, as they would be appended." predictor:"file"`
	TrustedRoot []string `help:"Trusted root that the policy names. May be repeated. The Sigstore public-good instance is built in." placeholder:"NAME=FILE" sep:"none"`
	Kind        string   `help:"Kind of the entries." default:"${kind}"`
	MediaType   string   `help:"Media type of the evidence, if 'muniment append' requires one." placeholder:"TYPE"`
	Tenant      string   `help:"Tenant to append for." default:"test"`
	Submitter   string   `help:"Identity of the submitter." default:"token:test"`
	JSON        bool     `help:"Print one JSON object per piece of evidence."`
}

func (policyTestCmd) Help() string {
	return `Shows the policy's decision on evidence, with the result of each rule. Needs no server and no network,
and records nothing.

Exit code: 0 all would be admitted; 1 some would not; 2 no answer.

Examples:
  muniment policy test admission.yaml build/provenance.sigstore.json
  muniment policy test admission.yaml *.json --trusted-root ours=trusted-root.json
  muniment policy test admission.yaml exception.json --kind exception-request --submitter oidc:https://login.acme.example#kim --json`
}

func (c *policyTestCmd) Run(a *term.App) error {
	text, err := readPolicy(c.Policy)
	if err != nil {
		return term.ExitWith(term.ExitFailed, err) // no decision on the evidence
	}
	p, err := ingest.ParseAdmissionPolicy(text)
	if err != nil {
		return fmt.Errorf("%s:\n%w", c.Policy, err)
	}
	roots, err := c.roots(p)
	if err != nil {
		return err
	}
	admitted := true
	for _, path := range c.Evidence {
		ok, err := c.try(a, p, roots, path)
		if err != nil {
			return err
		}
		admitted = admitted && ok
	}
	if !admitted {
		return term.ExitWith(term.ExitNo, nil)
	}
	return nil
}

// roots returns the trusted roots of the flags, and the public-good root.
func (c *policyTestCmd) roots(p *policy.AdmissionPolicy) (policy.Roots, error) {
	roots := policy.Roots{policy.DefaultRoot: {Name: policy.DefaultRoot, Trusted: sigstore.PublicGood()}}
	for _, given := range c.TrustedRoot {
		name, path, ok := strings.Cut(given, "=")
		if !ok {
			return nil, fmt.Errorf("--trusted-root: %q is not NAME=FILE", given)
		}
		trusted, err := datadir.ReadTrustedRoot(path)
		if err != nil {
			return nil, fmt.Errorf("--trusted-root: %s: %w", path, err)
		}
		roots[name] = &evidence.Root{Name: name, Trusted: trusted}
	}
	var names []string
	for name := range roots {
		names = append(names, name)
	}
	slices.Sort(names)
	if err := p.CheckRoots(names); err != nil {
		return nil, fmt.Errorf("%w\nspecify it with --trusted-root NAME=FILE", err)
	}
	return roots, nil
}

// try decides on one file and reports whether it would be admitted.
func (c *policyTestCmd) try(a *term.App, p *policy.AdmissionPolicy, roots policy.Roots, path string) (bool, error) {
	payload, err := bounded.ReadFile(path, int64(format.Bundle.MaxSize))
	if err != nil {
		return false, err
	}
	if c.MediaType == "" {
		lines, err := shape.Lines(payload)
		if err != nil {
			return false, fmt.Errorf("%s: %w", path, err)
		}
		if lines != nil { // append records each line
			admitted := true
			for i, line := range lines {
				ok, err := c.decide(a, p, roots, term.LineName(path, i+1), line)
				if err != nil {
					return false, err
				}
				admitted = admitted && ok
			}
			return admitted, nil
		}
	}
	return c.decide(a, p, roots, path, payload)
}

func (c *policyTestCmd) decide(a *term.App, p *policy.AdmissionPolicy, roots policy.Roots, path string, payload []byte) (bool, error) {
	s := &ingest.Submission{Kind: c.Kind, MediaType: c.MediaType, Payload: payload}
	if ingest.IsEvent(c.Kind) {
		s.IdempotencyKey = "test"
	}
	d, err := ingest.Try(context.WithoutCancel(a.Ctx), p, roots, ingest.Submitter{Tenant: c.Tenant, Identity: c.Submitter}, s, time.Now())
	var field *ingest.FieldError
	if err != nil && !errors.As(err, &field) {
		return false, err
	}
	if c.JSON {
		return d != nil && d.Result == entry.Admitted, term.WriteJSON(a.Stdout, decisionJSON(path, p, d, err))
	}
	if err != nil {
		fmt.Fprintf(a.Stdout, "✗ REFUSED  %s\n  regardless of policy: %s\n", term.Quoted(path), term.Indented(plain.FileErrors(err)))
		return false, nil
	}
	fmt.Fprint(a.Stdout, decisionText(path, d))
	return d.Result == entry.Admitted, nil
}

func decisionJSON(path string, p *policy.AdmissionPolicy, d *policy.Decision, err error) any {
	type verification struct {
		Result      string         `json:"result"`
		Format      string         `json:"format,omitempty"`
		TrustedRoot string         `json:"trustedRoot,omitempty"`
		Reason      string         `json:"reason,omitempty"`
		Signers     []entry.Signer `json:"signers,omitempty"`
	}
	o := struct {
		File         string        `json:"file"`
		Policy       string        `json:"policy"`
		Result       string        `json:"result"`
		Rule         string        `json:"rule,omitempty"`
		Reason       string        `json:"reason,omitempty"`
		Verification *verification `json:"verification,omitempty"`
		Rules        []policy.Step `json:"rules,omitempty"`
	}{File: path, Policy: p.Digest(), Result: policy.Refused}
	if d == nil {
		o.Reason = plain.FileErrors(err)
		return o
	}
	o.Result, o.Rule, o.Reason, o.Rules = d.Result, d.Rule, d.Reason, d.Steps
	o.Verification = &verification{d.Verification.Result, d.Verification.Format, d.Verification.TrustedRoot, d.Verification.Reason, d.Signers}
	return o
}

// decisionText returns an explanation of the decision for people.
func decisionText(path string, d *policy.Decision) string {
	var b strings.Builder
	mark := "✗"
	if d.Result == entry.Admitted {
		mark = "✓"
	}
	fmt.Fprintf(&b, "%s %s  %s\n", mark, strings.ToUpper(d.Result), term.Quoted(path))
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-10s%s\n", name, term.Indented(value))
		}
	}
	line("rule", d.Rule)
	line("because", d.Reason)
	line("signature", term.Because(strings.TrimSpace(d.Verification.Result+" "+d.Verification.Format), d.Verification.Reason))
	for _, s := range d.Signers {
		line("signer", strings.TrimSpace(s.Name()+" "+s.Issuer))
	}
	line("root", d.Verification.TrustedRoot)
	b.WriteString("  rules, in order:\n")
	for _, s := range d.Steps {
		word := map[string]string{policy.Applies: "applies", policy.NotApplicable: "does not apply", policy.NotMet: "not met", policy.NotReached: "not reached", policy.SignatureFailed: "not met"}[s.Result]
		fmt.Fprintf(&b, "    %-30s %s\n", term.Quoted(s.Rule), term.Indented(term.Because(word, s.Why)))
	}
	return b.String()
}
