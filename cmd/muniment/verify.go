package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type verifyCmd struct {
	Receipts   []string `arg:"" help:"Receipt files." predictor:"file"`
	Policy     []string `help:"Policy file: the keys of the log and its witnesses. May be given more than once; one must accept." required:"" env:"MUNIMENT_POLICY" predictor:"file"`
	Payload    string   `help:"The payload, for a receipt that does not hold it." type:"path" predictor:"file"`
	External   string   `help:"The evidence that the entry refers to, for an entry made with --by-reference." type:"path" predictor:"file"`
	HeaderOnly bool     `help:"Verify without the payload."`
	Tenant     *string  `help:"The entry must be of this tenant."`
	Stream     *string  `help:"The entry must be of this stream (its ID in hexadecimal)." placeholder:"ID"`
	StreamKey  string   `help:"The entry must be of this key's stream, and filed under the right tag." env:"MUNIMENT_STREAM_KEY" predictor:"file"`
	Kind       *string  `help:"The entry must be of this kind."`
	Subject    *string  `help:"The entry must be about this artifact." placeholder:"sha256:…"`
	JSON       bool     `help:"Print one JSON object for each receipt."`
}

func (verifyCmd) Help() string {
	return `Needs no server and no network. Scripts should give --tenant, --kind and --subject: without them any genuine receipt of the log will do.

Exit code: 0 all verified; 1 one is not verified; 2 one could not be checked.

Examples:
  muniment verify provenance.json.receipt.json --policy policy
  muniment verify scan.receipt.json --policy policy --external scan.json
  muniment verify app.receipt.json --policy policy --payload app.intoto.json --tenant acme --kind attestation --subject sha256:2cf24dba…`
}

func (c *verifyCmd) Run(a *app) error {
	policies, err := loadPolicies(c.Policy)
	if err != nil {
		return err
	}
	opts, err := c.options()
	if err != nil {
		return err
	}
	worst := exitOK
	for _, path := range c.Receipts {
		data, err := bounded.ReadFile(path, bounded.Receipt)
		var s *receipt.Statement
		code := exitFailed
		if err == nil {
			s, err = c.verify(data, policies, opts)
			switch {
			case err == nil:
				code = exitOK
			case errors.Is(err, receipt.ErrNotVerified):
				code = exitNo
			}
		}
		if c.JSON {
			if err := writeJSON(a.stdout, verdict(path, code, s, err, c.External != "")); err != nil {
				return err
			}
		} else if err != nil {
			text := strings.TrimPrefix(err.Error(), receipt.ErrNotVerified.Error()+": ")
			fmt.Fprintf(a.stdout, "%s  %s\n  %s\n", map[int]string{exitNo: "✗ NOT VERIFIED", exitFailed: "? NOT CHECKED"}[code], quoted(path), strings.ReplaceAll(printable(text), "\n", "\n  "))
		} else {
			fmt.Fprint(a.stdout, statementText(path, s, policies, c.External != ""))
		}
		if worst != exitNo && code != exitOK {
			worst = code
		}
	}
	if worst != exitOK {
		return exitWith(worst, nil)
	}
	return nil
}

// verify verifies one receipt. A payload that was given is read as a stream.
func (c *verifyCmd) verify(data []byte, policies []*receipt.Policy, opts receipt.Options) (*receipt.Statement, error) {
	if c.Payload != "" {
		f, err := os.Open(c.Payload)
		if err != nil {
			return nil, fmt.Errorf("--payload: %w", err)
		}
		defer f.Close()
		opts.PayloadReader = f
	}
	s, err := receipt.Verify(data, policies, opts)
	if err != nil {
		return nil, err
	}
	if c.External != "" {
		err = checkExternal(c.External, s.Header)
	}
	return s, err
}

// checkExternal checks that a file is the evidence that an entry refers to.
func checkExternal(path string, h *receipt.Header) error {
	if h == nil || h.External == nil {
		return fmt.Errorf("%w: --external: the entry refers to no evidence elsewhere; its payload is the evidence, give it with --payload", receipt.ErrNotVerified)
	}
	want, ok := h.External.Digest["sha256"]
	if !ok {
		return fmt.Errorf("%w: --external: the entry has no SHA-256 of the evidence", receipt.ErrNotVerified)
	}
	sum, size, err := sumFile(path)
	if err != nil {
		return fmt.Errorf("--external: %w", err)
	}
	if size != h.External.Size || sum != want {
		return fmt.Errorf("%w: --external: %s has %d bytes and sha256:%s; the entry refers to %d bytes with sha256:%s", receipt.ErrNotVerified, path, size, sum, h.External.Size, want)
	}
	return nil
}

func (c *verifyCmd) options() (receipt.Options, error) {
	o := receipt.Options{HeaderOnly: c.HeaderOnly}
	for _, f := range []struct {
		name string
		from *string
		to   *string
	}{{"tenant", c.Tenant, &o.Tenant}, {"kind", c.Kind, &o.Kind}, {"subject", c.Subject, &o.Subject}} {
		if f.from == nil {
			continue
		}
		if *f.from == "" {
			return o, fmt.Errorf("--%s: empty; leave the flag out if any will do", f.name)
		}
		*f.to = *f.from
	}
	if c.Subject != nil {
		d, err := receipt.ParseDigest(*c.Subject)
		if err != nil {
			return o, fmt.Errorf("--subject: %w", err)
		}
		o.Subject = d.String()
	}
	if c.Payload != "" {
		if len(c.Receipts) > 1 {
			return o, errors.New("--payload is for one receipt at a time")
		}
		if info, err := os.Stat(c.Payload); err != nil {
			return o, fmt.Errorf("--payload: %w", err)
		} else if info.IsDir() {
			return o, fmt.Errorf("--payload: %s is a folder", c.Payload)
		}
	}
	if c.External != "" && len(c.Receipts) > 1 {
		return o, errors.New("--external is for one receipt at a time")
	}
	if c.Stream != nil {
		id, err := receipt.ParseHash(*c.Stream)
		if err != nil {
			return o, fmt.Errorf("--stream: %w", err)
		}
		o.StreamID = &id
	}
	if c.StreamKey != "" {
		k, err := readStreamKey(c.StreamKey)
		if err != nil {
			return o, fmt.Errorf("--stream-key: %w", err)
		}
		o.StreamKey = k
	}
	return o, nil
}

// statementText says what was proven, what is only claimed, and whether it was witnessed.
func statementText(path string, s *receipt.Statement, policies []*receipt.Policy, external bool) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s%s\n", label, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "✓ VERIFIED  %s\n", quoted(path))
	line("proven", "entry %d of the log %s is in its tree of %d entries", s.Index, s.Origin, s.Size)
	line("", "root %s", s.Root.Base64())
	line("", "signed by %s", strings.Join(s.Signers, ", "))
	switch {
	case s.Link != nil && s.TagChecked:
		line("", "it is entry %d of the stream %s, under its right tag", s.Link.Seq, s.Link.StreamID)
	case s.Link != nil:
		line("", "it is entry %d of the stream %s (give --stream-key to check its tag)", s.Link.Seq, s.Link.StreamID)
	}
	switch {
	case s.Header == nil:
		line("", "header and payload are erased; their hash is in the log")
	case s.PayloadSHA256 != nil:
		line("", "header and payload are what was recorded: %d bytes, sha256:%s", s.Header.Payload.Size, s.PayloadSHA256)
	default:
		line("", "the header is what was recorded; the PAYLOAD WAS NOT CHECKED")
	}
	if s.Header != nil && s.Header.External != nil {
		switch x := s.Header.External; {
		case external:
			line("", "the evidence kept elsewhere is what was referred to: %d bytes, sha256:%s", x.Size, quoted(x.Digest["sha256"]))
		default:
			line("", "it refers to %d bytes kept elsewhere, WHICH WERE NOT CHECKED (give them with --external)%s", x.Size, optional(": ", x.Location))
		}
	}
	line("claimed", "by the log: recorded %s", time.UnixMilli(int64(s.Time)).UTC().Format(timeFormat))
	if h := s.Header; h != nil {
		line("", "for tenant %s, from %s", quoted(h.Tenant), quoted(h.Submitter))
		line("", "as %s, %s%s", h.Kind, quoted(h.MediaType), optional(", predicate ", h.PredicateType))
		for i, sub := range h.Subjects {
			if i == 5 {
				line("", "and %d more subjects", len(h.Subjects)-i)
				break
			}
			for alg, v := range sub.Digest {
				line("", "about %s%s", quoted(alg+":"+v), optional(" ", sub.Name))
			}
		}
		signed := "signed, it says, by %s%s"
		if h.Verification.Result == receipt.Verified {
			signed = "signed by %s%s"
		}
		for _, sig := range h.Signers {
			line("", signed, quoted(sig.Identity+sig.KeyID), optional(" of ", sig.Issuer))
		}
		switch why := quoted(optional(": ", h.Verification.Reason)); h.Verification.Result {
		case receipt.Verified:
			line("", "the log found the signature good%s", why)
		case receipt.Failed:
			line("", "THE LOG FOUND THE SIGNATURE WRONG%s", why)
		default:
			line("", "the log did not verify a signature%s", why)
		}
		if a := h.Admission; a != nil && a.Result == receipt.Recorded {
			line("", "kept although the admission policy does not admit it%s", quoted(optional(": ", a.Reason)))
		}
	}
	if s.Witnessed {
		line("witness", "cosigned by the witnesses that the policy asks for")
	} else {
		line("witness", "not witnessed: the policy asks for none, so the log could show others another history")
	}
	if len(policies) > 1 {
		line("policy", "%s", s.Policy)
	}
	return b.String()
}

func optional(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + quoted(s)
}

// verdict is the JSON form of a verification. Under "claimed" is what only the log says.
func verdict(path string, code int, s *receipt.Statement, err error, external bool) any {
	type proven struct {
		Origin        string   `json:"origin"`
		Index         uint64   `json:"index"`
		Size          uint64   `json:"size"`
		Root          string   `json:"root"`
		LeafHash      string   `json:"leafHash"`
		Signers       []string `json:"signers"`
		StreamID      string   `json:"streamId,omitempty"`
		Seq           *uint64  `json:"seq,omitempty"`
		TagChecked    bool     `json:"tagChecked"`
		PayloadSHA256 string   `json:"payloadSha256,omitempty"`
		External      bool     `json:"externalChecked,omitempty"` // against the file given
	}
	type claimed struct {
		Time   string          `json:"time"`
		Header json.RawMessage `json:"header,omitempty"`
	}
	type out struct {
		Receipt   string   `json:"receipt"`
		Verified  bool     `json:"verified"`
		Checked   bool     `json:"checked"` // false: the file could not be read, so nothing is known
		Error     string   `json:"error,omitempty"`
		Proven    *proven  `json:"proven,omitempty"`
		Claimed   *claimed `json:"claimed,omitempty"`
		Witnessed bool     `json:"witnessed"`
		Policy    string   `json:"policy,omitempty"`
	}
	if err != nil {
		return out{Receipt: path, Checked: code != exitFailed, Error: err.Error()}
	}
	p := &proven{Origin: s.Origin, Index: s.Index, Size: s.Size, Root: s.Root.Base64(), LeafHash: s.LeafHash.String(), Signers: s.Signers, TagChecked: s.TagChecked, External: external}
	if s.Link != nil {
		p.StreamID, p.Seq = s.Link.StreamID.String(), &s.Link.Seq
	}
	if s.PayloadSHA256 != nil {
		p.PayloadSHA256 = s.PayloadSHA256.String()
	}
	return out{Receipt: path, Verified: true, Checked: true, Proven: p, Witnessed: s.Witnessed, Policy: s.Policy,
		Claimed: &claimed{time.UnixMilli(int64(s.Time)).UTC().Format(timeFormat), s.HeaderBytes}}
}

type proveCmd struct {
	Entry string `arg:"" help:"Receipt file, or index of an entry." predictor:"file"`
	serverFlags
	Size   uint64 `help:"With an index: size of an earlier published checkpoint. Default: the latest."`
	Output string `short:"o" help:"File to write to; default: standard output." placeholder:"FILE.tlog-proof" type:"path"`
}

func (proveCmd) Help() string {
	return `The proof shows that a leaf is in the log, and nothing about what is in the entry. Any tool for https://c2sp.org/tlog-proof checks it; it
needs the leaf hash, which 'muniment verify --json' prints.

Examples:
  muniment prove provenance.json.receipt.json -o provenance.tlog-proof
  muniment prove 42 -o entry-42.tlog-proof`
}

func (c *proveCmd) Run(a *app) error {
	data, err := bounded.ReadFile(c.Entry, bounded.Receipt)
	if index, nerr := strconv.ParseUint(c.Entry, 10, 64); err != nil && nerr == nil {
		client, err := c.client(nil, nil)
		if err != nil {
			return err
		}
		res, err := client.GetReceipt(a.ctx, connect.NewRequest(&munimentv1.GetReceiptRequest{Tenant: client.Tenant, Index: index, TreeSize: c.Size}))
		if err != nil {
			return notFound(err)
		}
		data = res.Msg.Receipt
	} else if err != nil {
		return err
	}
	r, err := receipt.Parse(data)
	if err != nil {
		return exitWith(exitNo, err)
	}
	if _, err := receipt.ParseProof(string(r.Proof)); err != nil {
		return exitWith(exitNo, err)
	}
	return a.writeOutput(c.Output, r.Proof)
}
