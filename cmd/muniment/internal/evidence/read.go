package evidence

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

type getCmd struct {
	Index uint64 `arg:"" help:"Index of the entry in the log."`
	remote.Flags
	Payload bool   `help:"Write the payload instead of a description."`
	Output  string `short:"o" help:"File to write to. Default: standard output." placeholder:"FILE" type:"path"`
	JSON    bool   `help:"Print JSON."`
}

func (getCmd) Help() string {
	return `Exit code: 0 written; 1 no such entry, or its payload is erased; 2 no answer.

Examples:
  muniment get 42
  muniment get 42 --payload -o provenance.json`
}

func (c *getCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	res, err := client.GetEntry(a.Ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: client.Tenant, Index: c.Index}))
	if err != nil {
		return remote.NotFound(err)
	}
	if c.Payload {
		return c.payload(a, client, res.Msg.Entry)
	}
	if c.JSON {
		return a.WriteOutput(c.Output, []byte(term.Escape(string(entryJSON(res.Msg.Entry))+"\n")))
	}
	return a.WriteOutput(c.Output, []byte(term.Escape(entryText(res.Msg.Entry))))
}

// payload writes the payload as it arrives.
func (c *getCmd) payload(a *term.App, client *muniment.Client, e *munimentv1.Entry) error {
	if e.PayloadErased {
		return term.ExitWith(term.ExitNo, fmt.Errorf("the payload of entry %d is erased", c.Index))
	}
	write := func(w io.Writer) error {
		bar := a.ByteProgress(int64(e.PayloadSize), "get")
		n, err := client.ReadPayload(a.Ctx, c.Index, io.MultiWriter(w, bar))
		_ = bar.Finish()
		if err == nil && uint64(n) != e.PayloadSize {
			err = fmt.Errorf("the server sent %d of %s", n, term.Count(e.PayloadSize, "byte"))
		}
		return err
	}
	return remote.NotFound(a.StreamOutput(c.Output, write))
}

// entryJSON returns the entry as one line of JSON: its position in the log, and
// its header verbatim.
func entryJSON(e *munimentv1.Entry) []byte {
	o := struct {
		Index    uint64          `json:"index"`
		Seq      uint64          `json:"seq"`
		Time     string          `json:"time"`
		LeafHash string          `json:"leafHash"`
		Header   json.RawMessage `json:"header,omitempty"`
	}{e.Index, e.Seq, e.Time.AsTime().Format(term.TimeFormat), hex.EncodeToString(e.LeafHash), e.Header}
	var b bytes.Buffer
	if err := term.WriteJSON(&b, o); err != nil { // the header is not JSON
		o.Header = nil
		b.Reset()
		_ = term.WriteJSON(&b, o)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// entryText returns a description of the entry for people.
func entryText(e *munimentv1.Entry) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-15s %s\n", name, term.Quoted(value))
		}
	}
	line("index", fmt.Sprint(e.Index))
	line("time", e.Time.AsTime().Format(term.TimeFormat))
	line("stream", fmt.Sprintf("entry %d", e.Seq))
	if len(e.Header) == 0 {
		line("header", "erased")
		return b.String()
	}
	line("kind", e.Kind)
	line("media type", e.MediaType)
	line("predicate type", e.PredicateType)
	for _, s := range e.Subjects {
		line("subject", strings.TrimSpace(s.Name+" "+digests(s)))
	}
	for _, s := range e.Materials {
		line("material", strings.TrimSpace(s.Name+" "+digests(s)))
	}
	signer := "signer (claimed)"
	if e.Verification == entry.Verified {
		signer = "signer"
	}
	for _, s := range e.Signers {
		line(signer, strings.Join(strings.Fields(s.Identity+" "+s.KeyId+" "+s.Issuer), " "))
	}
	line("verification", term.Because(e.Verification, e.VerificationReason))
	line("trusted root", e.TrustedRoot)
	if e.Admission != nil {
		line("admission", term.Because(decision(e.Admission), e.Admission.Reason))
	}
	line("policy", e.AdmissionPolicy)
	for _, c := range e.Controls {
		line("control", c)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Attributes)) {
		line("  "+name, e.Attributes[name])
	}
	line("submitter", e.Submitter)
	line("event", e.IdempotencyKey)
	if e.PayloadErased {
		line("payload", "erased; its size was "+term.Count(e.PayloadSize, "byte"))
	} else {
		line("payload", term.Count(e.PayloadSize, "byte"))
	}
	if x := e.External; x != nil {
		line("kept elsewhere", fmt.Sprintf("%s, %s", term.Count(x.Size, "byte"), digests(&munimentv1.Subject{Digest: x.Digest})))
		line("", x.Location)
	}
	line("leaf hash", fmt.Sprintf("%x", e.LeafHash))
	return b.String()
}

func digests(s *munimentv1.Subject) string {
	var all []string
	for _, alg := range slices.Sorted(maps.Keys(s.Digest)) {
		all = append(all, alg+":"+s.Digest[alg])
	}
	return strings.Join(all, " ")
}

// filterFlags select entries.
type filterFlags struct {
	Kind          string `help:"Only entries of this kind."`
	Subject       string `help:"Only entries about this artifact." placeholder:"sha256:…"`
	PredicateType string `help:"Only entries with this in-toto predicate type." placeholder:"URI"`
	Signer        string `help:"Only entries signed by this identity or key ID." placeholder:"ID"`
	Submitter     string `help:"Only entries submitted by this identity." placeholder:"ID"`
	Control       string `help:"Only entries about this control." placeholder:"ID"`
	Attribute     string `help:"Only entries with this attribute, such as incident=INC-2041." placeholder:"NAME=VALUE"`
	Material      string `help:"Only entries on artifacts that were made from this artifact, or contain it." placeholder:"sha256:…"`
}

func (f *filterFlags) message() *munimentv1.Filter {
	return &munimentv1.Filter{Kind: f.Kind, Subject: f.Subject, PredicateType: f.PredicateType, Signer: f.Signer,
		Submitter: f.Submitter, Control: f.Control, Attribute: f.Attribute, Material: f.Material}
}

// decision words an admission policy's decision.
func decision(a *munimentv1.Admission) string {
	if a.Rule == "" {
		return a.Result
	}
	return a.Result + " (rule " + a.Rule + ")"
}

// largestPage is the largest page that the API allows, in entries.
const largestPage = 1000

type listCmd struct {
	remote.Flags
	filterFlags
	From   time.Time `help:"Only entries recorded at or after this time." placeholder:"TIME"`
	To     time.Time `help:"Only entries recorded before this time." placeholder:"TIME"`
	Oldest bool      `help:"Oldest first. Default: newest first."`
	Limit  int       `short:"n" help:"Maximum number of entries; 0 for all." default:"50"`
	JSON   bool      `help:"Print one JSON object per entry."`
}

func (listCmd) Help() string {
	return `An entry must match every filter.

Exit code: 0 listed, even if no entry matches; 2 no answer.

Examples:
  muniment list
  muniment list --subject sha256:2cf24dba… --predicate-type https://slsa.dev/provenance/v1
  muniment list --kind exception-request --control VULN-CRITICAL-0
  muniment list --attribute incident=INC-2041
  muniment list --material sha256:2cf24dba…
  muniment list --signer ci@acme.example --from 2026-11-01T00:00:00Z --oldest --limit 0 --json`
}

func (c *listCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	if c.Limit < 0 {
		return errors.New("--limit: must be at least 0")
	}
	req := &munimentv1.ListEntriesRequest{Tenant: client.Tenant, Filter: c.message(), Order: munimentv1.Order_ORDER_NEWEST_FIRST}
	if c.Oldest {
		req.Order = munimentv1.Order_ORDER_OLDEST_FIRST
	}
	if !c.From.IsZero() {
		req.Filter.From = timestamppb.New(c.From)
	}
	if !c.To.IsZero() {
		req.Filter.To = timestamppb.New(c.To)
	}
	out := a.Buffered()
	defer out.Flush()
	for n := 0; ; {
		req.PageSize = largestPage
		if c.Limit > 0 {
			req.PageSize = uint32(min(largestPage, c.Limit-n))
		}
		res, err := client.ListEntries(a.Ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		for _, e := range res.Msg.Entries {
			c.print(out, n, e)
			n++
		}
		req.PageToken = res.Msg.NextPageToken
		if req.PageToken == "" || c.Limit > 0 && n >= c.Limit {
			if !c.JSON && req.PageToken != "" {
				out.Flush()
				fmt.Fprintf(a.Stderr, "more entries match: use --limit 0 to list them all\n")
			} else if !c.JSON && n == 0 {
				fmt.Fprintln(a.Stderr, "no entries")
			}
			return nil
		}
	}
}

func (c *listCmd) print(w io.Writer, n int, e *munimentv1.Entry) {
	if c.JSON {
		fmt.Fprintf(w, "%s\n", entryJSON(e))
		return
	}
	if n == 0 {
		fmt.Fprintf(w, "%8s  %-24s  %-20s  %s\n", "INDEX", "TIME", "KIND", "ABOUT")
	}
	fmt.Fprintln(w, entryLine(e))
}

// entryLine returns a description of the entry on one line.
func entryLine(e *munimentv1.Entry) string {
	about := "erased"
	if len(e.Header) > 0 {
		about = e.PredicateType
		if about == "" {
			about = cmp.Or(keyFacts(e.Attributes), e.MediaType)
		}
		if len(e.Subjects) > 0 {
			s := e.Subjects[0]
			name := s.Name
			if name == "" {
				name = digests(s)
			}
			about += "  " + name
			if n := len(e.Subjects); n > 1 {
				about += fmt.Sprintf(" and %d more", n-1)
			}
		}
	}
	return fmt.Sprintf("%8d  %-24s  %-20s  %s", e.Index, e.Time.AsTime().Format(term.TimeFormat), term.Quoted(e.Kind), term.Quoted(about))
}

// keyFacts returns the attributes of a typed kind that fit on a line. It skips
// digests, which only machines read.
func keyFacts(attributes map[string]string) string {
	const width = 100
	var facts []string
	n := 0
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		fact := name + "=" + attributes[name]
		if strings.Contains(fact, "sha256:") {
			continue
		}
		if n += len(fact); n > width {
			break
		}
		facts = append(facts, fact)
	}
	return strings.Join(facts, " ")
}

type watchCmd struct {
	remote.Flags
	filterFlags
	FromIndex *uint64 `help:"Index to start from. Default: only new entries." placeholder:"INDEX"`
	JSON      bool    `help:"Print one JSON object per entry."`
}

func (watchCmd) Help() string {
	return `Runs until interrupted.

Exit code: 0 interrupted; 2 no answer, or the stream ended.

Examples:
  muniment watch
  muniment watch --from-index 0 --kind attestation --json`
}

func (c *watchCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	req := &munimentv1.WatchEntriesRequest{Tenant: client.Tenant, Filter: c.message()}
	if c.FromIndex != nil {
		req.FromIndex = *c.FromIndex
	} else {
		cp, err := client.GetCheckpoint(a.Ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{}))
		if err != nil {
			return err
		}
		req.FromIndex = cp.Msg.TreeSize
	}
	stream, err := client.WatchEntries(a.Ctx, connect.NewRequest(req))
	if err != nil {
		return err
	}
	defer stream.Close()
	next := req.FromIndex
	for stream.Receive() {
		m := stream.Msg()
		next = m.NextIndex
		if m.Entry == nil {
			continue
		}
		if c.JSON {
			fmt.Fprintf(a.Stdout, "%s\n", entryJSON(m.Entry))
		} else {
			fmt.Fprintln(a.Stdout, entryLine(m.Entry))
		}
	}
	if a.Ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("the stream ended: %w\nresume with --from-index %d", stream.Err(), next)
}

type receiptCmd struct {
	Index uint64 `arg:"" help:"Index of the entry in the log."`
	remote.Flags
	Size      uint64 `help:"Tree size of an earlier published checkpoint. Default: the latest."`
	Witnessed bool   `help:"Use a checkpoint with the cosignatures that the log's policy requires: the latest one, or that of --size."`
	Shared    bool   `help:"For third parties: hide the stream and the entry's position in it."`
	Detached  bool   `help:"Leave the payload out."`
	Output    string `short:"o" help:"File to write to. Default: standard output." placeholder:"FILE" type:"path"`
}

func (receiptCmd) Help() string {
	return `Exit code: 0 written; 1 no such entry or checkpoint; 2 no answer.

Examples:
  muniment receipt 42 -o provenance.receipt.json
  muniment receipt 42 --witnessed -o provenance.receipt.json
  muniment receipt 42 --shared -o for-customer.receipt.json`
}

func (c *receiptCmd) Run(a *term.App) error {
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	req := &munimentv1.GetReceiptRequest{Tenant: client.Tenant, Index: c.Index, TreeSize: c.Size, Witnessed: c.Witnessed, IncludePayload: !c.Detached}
	if c.Shared {
		req.Form = munimentv1.ReceiptForm_RECEIPT_FORM_SHARED
	}
	res, err := client.GetReceipt(a.Ctx, connect.NewRequest(req))
	if err != nil {
		return remote.NotFound(c.explain(a.Ctx, client, err))
	}
	return a.WriteOutput(c.Output, append(res.Msg.Receipt, '\n'))
}

// explain adds the remedy to the error for an erased payload.
func (c *receiptCmd) explain(ctx context.Context, client *muniment.Client, err error) error {
	if c.Detached || connect.CodeOf(err) != connect.CodeFailedPrecondition {
		return err
	}
	res, getErr := client.GetEntry(ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: client.Tenant, Index: c.Index}))
	if getErr != nil || !res.Msg.Entry.PayloadErased {
		return err
	}
	return fmt.Errorf("%w: use --detached for a receipt without it", err)
}

type checkpointCmd struct {
	remote.Flags
	Witnessed bool   `help:"Print the latest checkpoint with the cosignatures that the log's policy requires."`
	Policy    string `help:"Trust policy to verify the checkpoint against." env:"MUNIMENT_POLICY" predictor:"file"`
	JSON      bool   `help:"Print JSON."`
}

func (checkpointCmd) Help() string {
	return `Exit code: 0 printed; 1 not verified; 2 no answer.

Examples:
  muniment checkpoint --policy policy
  muniment checkpoint --witnessed --policy policy.pq`
}

func (c *checkpointCmd) Run(a *term.App) error {
	policy, _, err := datadir.OptionalPolicy(c.Policy, "")
	if err != nil {
		return err
	}
	client, err := c.Client(nil, nil)
	if err != nil {
		return err
	}
	res, err := client.GetCheckpoint(a.Ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{Witnessed: c.Witnessed}))
	if err != nil {
		return err
	}
	if policy != nil {
		if _, _, err := policy.VerifyCheckpoint(res.Msg.Checkpoint); err != nil {
			return term.ExitWith(term.ExitNo, err)
		}
	}
	if !c.JSON {
		_, err = a.Stdout.Write(res.Msg.Checkpoint)
		return err
	}
	cp, err := receipt.ParseCheckpointUnverified(res.Msg.Checkpoint)
	if err != nil {
		return term.ExitWith(term.ExitNo, err)
	}
	return term.WriteJSON(a.Stdout, struct {
		Origin   string `json:"origin"`
		Size     uint64 `json:"size"`
		Root     string `json:"root"`
		Signed   string `json:"checkpoint"`
		Verified bool   `json:"verified"`
	}{cp.Origin, cp.Size, cp.Root.Base64(), string(res.Msg.Checkpoint), policy != nil})
}
