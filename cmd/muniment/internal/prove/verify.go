package prove

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type verifyCmd struct {
	Receipts        []string `arg:"" name:"files" help:"Receipts, or with --trust any files." predictor:"file"`
	Policy          []string `help:"Trust policy: the keys of the log and its witnesses. May be repeated; one must accept." env:"MUNIMENT_POLICY" predictor:"file" sep:"none"`
	Payload         string   `help:"Payload of a receipt that does not contain it." type:"path" predictor:"file"`
	External        string   `help:"Evidence that the entry refers to, if it was appended with --by-reference." type:"path" predictor:"file"`
	HeaderOnly      bool     `help:"Verify the header only, without the payload."`
	Tenant          *string  `help:"The entry must belong to this tenant."`
	Stream          *string  `help:"The entry must belong to the stream with this ID, in hexadecimal." placeholder:"ID"`
	StreamKey       string   `help:"The entry must belong to this key's stream, and have the right tag." env:"MUNIMENT_STREAM_KEY" predictor:"file"`
	Kind            *string  `help:"The entry must be of this kind."`
	Subject         *string  `help:"The entry must be about this artifact." placeholder:"sha256:…"`
	PredicateType   *string  `help:"The entry must have this in-toto predicate type." placeholder:"URI"`
	Control         *string  `help:"The entry must be about this control."`
	RequireVerified bool     `help:"The log must have verified the evidence's signatures."`
	Signer          *string  `help:"The log must have verified a signature by this identity or key ID." placeholder:"ID"`
	Issuer          *string  `help:"The log must have verified a signature by an identity of this OIDC issuer." placeholder:"URL"`
	Admitted        bool     `help:"The admission policy must have admitted the entry."`
	JSON            bool     `help:"Print one JSON object per file (docs/spec/receipt.md, section 5; with --trust docs/spec/verify.md, section 4)."`
	configFlags
}

func (verifyCmd) Help() string {
	return `Needs no server and no network. Scripts should set --tenant, --kind and --subject: without them, any
genuine receipt of the log verifies. Gates should also set --admitted and either --require-verified or
--signer and --issuer.

With --trust it also verifies Sigstore bundles, exports with all their proofs, streams and evidence bundles, and
prints the report that the SDKs in Go, TypeScript and Python return (docs/spec/verify.md). docs/sdk-trust-boundary.md
lists what a green report does not prove.

Exit code: 0 all verified; 1 a file is refused; 2 a file could not be checked.

Examples:
  muniment verify provenance.json.receipt.json --policy policy
  muniment verify scan.receipt.json --policy policy --external scan.json
  muniment verify app.receipt.json --policy policy --payload app.intoto.json --tenant acme --kind attestation --subject sha256:2cf24dba…
  muniment verify app.receipt.json --policy policy --header-only --tenant acme --subject sha256:2cf24dba… --predicate-type https://slsa.dev/provenance/v1 \
    --signer https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main --issuer https://token.actions.githubusercontent.com --admitted
  muniment verify q2.export.sigstore.json --trust verify.json --files q2/ --receipt q2.receipt.json --stream-bundle acme.bundle.tar --html q2.html
  muniment verify app.sigstore.json --trust verify.json --as sigstore-bundle --artifact app.tar.gz --json`
}

func (c *verifyCmd) Run(a *term.App) error {
	if c.Trust != "" {
		return c.withConfig(a)
	}
	if flag := c.configFlags.given(); flag != "" {
		return fmt.Errorf("--%s requires --trust", flag)
	}
	if len(c.Policy) == 0 {
		return errors.New("no policy specified: use --policy, or --trust")
	}
	policies, err := datadir.LoadPolicies(c.Policy)
	if err != nil {
		return err
	}
	opts, err := c.options()
	if err != nil {
		return err
	}
	worst := term.ExitOK
	for _, path := range c.Receipts {
		s, err := c.verify(path, policies, opts)
		if a.Ctx.Err() != nil {
			return a.Ctx.Err()
		}
		report := receipt.NewReport(path, s, err)
		if c.JSON {
			if err := term.WriteJSON(a.Stdout, report); err != nil {
				return err
			}
		} else {
			fmt.Fprint(a.Stdout, reportText(report, s, policies))
		}
		switch report.Verdict {
		case receipt.VerdictRefused:
			worst = term.ExitNo
		case receipt.VerdictNotChecked:
			if worst == term.ExitOK {
				worst = term.ExitFailed
			}
		}
	}
	if worst != term.ExitOK {
		return term.ExitWith(worst, nil)
	}
	return nil
}

// verify verifies one receipt. The files of --payload and --external are
// streamed. They are opened first, because an unreadable input ranks before
// every fault of the receipt.
func (c *verifyCmd) verify(path string, policies []*receipt.TrustPolicy, opts receipt.Options) (*receipt.Statement, error) {
	data, err := bounded.ReadFile(path, bounded.Receipt)
	if err != nil {
		return nil, err
	}
	for _, f := range []struct {
		flag, path string
		to         *io.Reader
	}{{"--payload", c.Payload, &opts.PayloadReader}, {"--external", c.External, &opts.External}} {
		if f.path == "" {
			continue
		}
		file, err := interrupt.Open(f.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.flag, err)
		}
		defer file.Close()
		if info, err := file.Stat(); err == nil && info.IsDir() {
			return nil, fmt.Errorf("%s: %s is a folder", f.flag, f.path)
		}
		*f.to = file
	}
	return receipt.Verify(data, policies, opts)
}

func (c *verifyCmd) options() (receipt.Options, error) {
	o := receipt.Options{HeaderOnly: c.HeaderOnly, Tenant: c.Tenant, Kind: c.Kind, Subject: c.Subject, PredicateType: c.PredicateType, Control: c.Control,
		RequireVerified: c.RequireVerified, Signer: c.Signer, Issuer: c.Issuer, Admitted: c.Admitted}
	if c.Subject != nil {
		if _, err := entry.ParseDigest(*c.Subject); err != nil {
			return o, fmt.Errorf("--subject: %w", err)
		}
	}
	for _, f := range []struct{ flag, path string }{{"--payload", c.Payload}, {"--external", c.External}} {
		if f.path != "" && len(c.Receipts) > 1 {
			return o, fmt.Errorf("%s is for one receipt at a time", f.flag)
		}
	}
	if c.Stream != nil {
		id, err := entry.ParseStreamID(*c.Stream)
		if err != nil {
			return o, fmt.Errorf("--stream: %w", err)
		}
		o.StreamID = &id
	}
	if c.StreamKey != "" {
		k, err := datadir.ReadStreamKey(c.StreamKey)
		if err != nil {
			return o, fmt.Errorf("--stream-key: %w", err)
		}
		o.StreamKey = k
	}
	return o, nil
}

// reportText returns the report for people: what is proven, what is only
// claimed, and whether the checkpoint was witnessed.
func reportText(r *receipt.Report, s *receipt.Statement, policies []*receipt.TrustPolicy) string {
	if e := r.Reason; e != nil {
		verdict := "✗ NOT VERIFIED"
		if r.Verdict == receipt.VerdictNotChecked {
			verdict = "? NOT CHECKED"
		}
		return fmt.Sprintf("%s  %s\n  %s (%s)\n", verdict, term.Quoted(r.Receipt), strings.ReplaceAll(term.Escape(e.Message), "\n", "\n  "), e.Code)
	}
	return statementText(r.Receipt, s, policies)
}

func statementText(path string, s *receipt.Statement, policies []*receipt.TrustPolicy) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s%s\n", label, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "✓ VERIFIED  %s\n", term.Quoted(path))
	line("proven", "entry %d of the log %s is in its tree of %s", s.Index, s.Origin, term.Count(s.Size, "entry"))
	line("", "root %s", s.Root.Base64())
	line("", "signed by %s", strings.Join(s.Signers, ", "))
	switch {
	case s.Link != nil && s.TagChecked:
		line("", "entry %d of the stream %s, with the right tag", s.Link.Seq, s.Link.StreamID)
	case s.Link != nil:
		line("", "entry %d of the stream %s (use --stream-key to check its tag)", s.Link.Seq, s.Link.StreamID)
	}
	switch {
	case s.Header == nil:
		line("", "header hash %s; HEADER AND PAYLOAD NOT CHECKED", s.HeaderHash)
	case s.PayloadSHA256 != nil:
		line("", "header and payload are as recorded: %s, sha256:%s", term.Count(s.Header.Payload.Size, "byte"), s.PayloadSHA256)
	default:
		line("", "the header is as recorded; PAYLOAD NOT CHECKED")
	}
	if s.Header != nil && s.Header.External != nil {
		switch x := s.Header.External; {
		case s.ExternalSHA256 != nil:
			line("", "the evidence kept elsewhere matches: %s, sha256:%s", term.Count(x.Size, "byte"), s.ExternalSHA256)
		default:
			line("", "CONTENT NOT CHECKED: %s kept elsewhere (use --external to check)%s", term.Count(x.Size, "byte"), term.Optional(": ", x.Location))
		}
	}
	line("claimed", "by the log: recorded %s", time.UnixMilli(int64(s.Time)).UTC().Format(term.TimeFormat))
	if erased := s.Erased(); erased != nil {
		line("", "by the receipt: %s erased by the log (any holder of the receipt could have removed it)", strings.Join(erased, " and "))
	}
	if h := s.Header; h != nil {
		line("", "for tenant %s, from %s", term.Quoted(h.Tenant), term.Quoted(h.Submitter))
		line("", "as %s, %s%s", h.Kind, term.Quoted(h.MediaType), term.Optional(", predicate ", h.PredicateType))
		for i, sub := range h.Subjects {
			if i == 5 {
				line("", "and %d more", len(h.Subjects)-i)
				break
			}
			for _, alg := range slices.Sorted(maps.Keys(sub.Digest)) {
				line("", "about %s%s", term.Quoted(alg+":"+sub.Digest[alg]), term.Optional(" ", sub.Name))
			}
		}
		signed := "signed (claimed) by %s%s"
		if h.Verification.Result == entry.Verified {
			signed = "signed by %s%s"
		}
		for _, sig := range h.Signers {
			line("", signed, term.Quoted(sig.Name()), term.Optional(" of ", sig.Issuer))
		}
		switch why := term.Quoted(term.Optional(": ", h.Verification.Reason)); h.Verification.Result {
		case entry.Verified:
			line("", "the log verified the signature%s", why)
		case entry.Failed:
			line("", "THE LOG FOUND THE SIGNATURE INVALID%s", why)
		default:
			line("", "the log did not verify a signature%s", why)
		}
		if h.NotAdmitted() {
			line("", "not admitted by the admission policy, but recorded%s", term.Quoted(term.Optional(": ", h.Admission.Reason)))
		}
	}
	if s.Witnessed {
		line("witness", "cosigned by the witnesses that the policy requires")
	} else {
		line("witness", "not witnessed: the policy requires no witnesses, so the log could show others a different history")
	}
	if len(policies) > 1 {
		line("policy", "%s", s.Policy)
	}
	return b.String()
}

type proveCmd struct {
	Entry string `arg:"" help:"Receipt file, or index of an entry." predictor:"file"`
	remote.Flags
	Size   uint64 `help:"With an index: tree size of an earlier published checkpoint. Default: the latest."`
	Output string `short:"o" help:"File to write to. Default: standard output." placeholder:"FILE.tlog-proof" type:"path"`
}

func (proveCmd) Help() string {
	return `The proof shows that a leaf is in the log, but nothing about the entry's content. Any tool for
https://c2sp.org/tlog-proof can verify it with the leaf hash, which 'muniment verify --json' prints.

Exit code: 0 written; 1 no such entry, or not a receipt; 2 no answer.

Examples:
  muniment prove provenance.json.receipt.json -o provenance.tlog-proof
  muniment prove 42 -o entry-42.tlog-proof`
}

func (c *proveCmd) Run(a *term.App) error {
	data, err := bounded.ReadFile(c.Entry, bounded.Receipt)
	if index, nerr := strconv.ParseUint(c.Entry, 10, 64); err != nil && nerr == nil {
		client, err := c.Client(nil, nil)
		if err != nil {
			return err
		}
		res, err := client.GetReceipt(a.Ctx, connect.NewRequest(&munimentv1.GetReceiptRequest{Tenant: client.Tenant, Index: index, TreeSize: c.Size}))
		if err != nil {
			return remote.NotFound(err)
		}
		data = res.Msg.Receipt
	} else if err != nil {
		return err
	}
	r, err := receipt.Parse(data)
	if err != nil {
		return term.ExitWith(term.ExitNo, err)
	}
	if _, err := receipt.ParseProof(string(r.Proof)); err != nil {
		return term.ExitWith(term.ExitNo, err)
	}
	return a.WriteOutput(c.Output, r.Proof)
}
