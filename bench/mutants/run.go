package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"strings"

	"muniment.dev/muniment/ledger/receipt"
)

// An input is one line of a file of mutants, for a receipt.
type input struct {
	ID         int      `json:"id"`
	Receipt    []byte   `json:"receipt"`
	Policies   [][]byte `json:"policies"`
	StreamKey  *[]byte  `json:"streamKey,omitempty"`
	Payload    *[]byte  `json:"payload,omitempty"`
	External   *[]byte  `json:"external,omitempty"`
	HeaderOnly bool     `json:"headerOnly,omitempty"`
	Expect     *expect  `json:"expect,omitempty"`
}

type expect struct {
	Tenant          *string `json:"tenant,omitempty"`
	Kind            *string `json:"kind,omitempty"`
	Subject         *string `json:"subject,omitempty"`
	PredicateType   *string `json:"predicateType,omitempty"`
	Control         *string `json:"control,omitempty"`
	Signer          *string `json:"signer,omitempty"`
	Issuer          *string `json:"issuer,omitempty"`
	RequireVerified bool    `json:"requireVerified,omitempty"`
	Admitted        bool    `json:"admitted,omitempty"`
	Stream          *string `json:"stream,omitempty"`
}

// verifyAll prints a verdict for each input.
func verifyAll(r io.Reader, w io.Writer) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	out := bufio.NewWriter(w)
	for lines.Scan() {
		in, id, err := read(lines.Bytes())
		if err != nil {
			return fmt.Errorf("line %d: %w", id, err)
		}
		fmt.Fprintln(out, id, in.verdict())
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return out.Flush()
}

// verdict returns the output line for an input, without its ID.
func (in *input) verdict() string {
	s, err := in.verify()
	r := receipt.NewReport("", s, err)
	if r.Reason != nil {
		return fmt.Sprintf("%s %s", r.Verdict, r.Reason.Code)
	}
	return fmt.Sprintf("%s %s", r.Verdict, fingerprint(r))
}

func (in *input) verify() (*receipt.Statement, error) {
	var policies []*receipt.TrustPolicy
	for i, text := range in.Policies {
		p, err := receipt.ParseTrustPolicy(strconv.Itoa(i), text)
		if err != nil {
			return nil, err
		}
		policies = append(policies, p)
	}
	o := receipt.Options{HeaderOnly: in.HeaderOnly}
	if in.Payload != nil {
		o.PayloadReader = bytes.NewReader(*in.Payload)
	}
	if in.External != nil {
		o.External = bytes.NewReader(*in.External)
	}
	if len(policies) > 0 && in.StreamKey != nil { // without a policy, its absence is the error
		var err error
		if o.StreamKey, err = receipt.ParseStreamKey(*in.StreamKey); err != nil {
			return nil, err
		}
	}
	if e := in.Expect; e != nil {
		o.Tenant, o.Kind, o.Subject, o.PredicateType, o.Control, o.Signer, o.Issuer = e.Tenant, e.Kind, e.Subject, e.PredicateType, e.Control, e.Signer, e.Issuer
		o.RequireVerified, o.Admitted = e.RequireVerified, e.Admitted
		if len(policies) > 0 && e.Stream != nil {
			id, err := receipt.ParseStreamID(*e.Stream)
			if err != nil {
				return nil, err
			}
			o.StreamID = &id
		}
	}
	return receipt.Verify(in.Receipt, policies, o)
}

// fingerprint covers all of a report except the header's text, whose hash it
// includes.
func fingerprint(r *receipt.Report) string {
	h := sha256.New()
	line := func(name, value string) { fmt.Fprintf(h, "%s=%s\n", name, value) }
	optional := func(name, value string) {
		if value != "" {
			line(name, value)
		}
	}
	p := r.Proven
	line("origin", p.Origin)
	line("index", strconv.FormatUint(p.Index, 10))
	line("size", strconv.FormatUint(p.Size, 10))
	line("root", p.Root)
	line("leafHash", p.LeafHash)
	line("tag", p.Tag)
	optional("streamId", p.StreamID)
	if p.Seq != nil {
		line("seq", strconv.FormatUint(*p.Seq, 10))
	}
	optional("prev", p.Prev)
	line("headerHash", p.HeaderHash)
	optional("headerSha256", p.HeaderSHA256)
	optional("payloadSha256", p.PayloadSHA256)
	optional("externalSha256", p.ExternalSHA256)
	line("tagChecked", strconv.FormatBool(p.TagChecked))
	line("signers", strings.Join(p.Signers, ","))
	line("policy", p.Policy)
	line("witnessed", strconv.FormatBool(p.Witnessed))
	line("time", strconv.FormatUint(r.Claimed.Time, 10))
	if r.Claimed.Erased != nil {
		line("erased", strings.Join(r.Claimed.Erased, ","))
	}
	line("content", r.Content)
	line("warnings", strings.Join(*r.Warnings, ","))
	return fmt.Sprintf("%x", h.Sum(nil))
}
