package record

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// prove verifies the receipt of the entry that records a decision, and that
// this entry contains the decision. An answer alone is only a claim of the
// server: it could come from another state of the log than the one that an
// auditor sees.
func (s *Sender) prove(ctx context.Context, d *Decision, digest string) error {
	text, err := s.decisionReceipt(ctx, d.Entry)
	if err != nil {
		return err
	}
	kind := kindname.GateDecision
	proven, err := receipt.Verify(text, []*receipt.TrustPolicy{s.o.Ledger.Policy}, receipt.Options{Tenant: &s.client.Tenant, Kind: &kind})
	switch {
	case err != nil:
		return err
	case proven.Index != d.Entry:
		return fmt.Errorf("it is for entry %d, and not for entry %d", proven.Index, d.Entry)
	case proven.PayloadSHA256 == nil:
		return errors.New("it does not contain the decision")
	}
	parsed, err := receipt.Parse(text)
	if err != nil {
		return err
	}
	recorded := &munimentv1.GateDecision{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(parsed.Payload.Content, recorded); err != nil {
		return fmt.Errorf("read the decision: %w", err)
	}
	if err := d.recordedAs(recorded, digest); err != nil {
		return err
	}
	d.LeafHash = hex.EncodeToString(proven.LeafHash[:])
	return nil
}

// recordedAs returns an error unless an entry contains the decision. The entry
// can be older than the answer if it is still valid.
func (d *Decision) recordedAs(g *munimentv1.GateDecision, digest string) error {
	if g.Stage != d.Stage || g.Environment != d.Environment || len(g.Subjects) != 1 || !strings.EqualFold(g.Subjects[0].Digest["sha256"], digest) {
		return fmt.Errorf("entry %d is a decision about another artifact or stage", d.Entry)
	}
	if g.Decision != d.Decision {
		return fmt.Errorf("the server answered %s, and recorded %s as entry %d", d.Decision, g.Decision, d.Entry)
	}
	if g.ValidUntil != nil && !d.Decided.Before(g.ValidUntil.AsTime()) {
		return fmt.Errorf("the decision of entry %d is no longer valid", d.Entry)
	}
	return nil
}

// decisionReceipt returns the receipt of an entry, with its payload. It waits
// until the ledger has published the entry, with the cosignatures that the
// trust policy requires.
func (s *Sender) decisionReceipt(ctx context.Context, index uint64) ([]byte, error) {
	for wait := firstWait; ; wait = min(2*wait, s.o.MaxWait) {
		res, err := s.client.GetReceipt(ctx, connect.NewRequest(&munimentv1.GetReceiptRequest{
			Tenant: s.client.Tenant, Index: index, IncludePayload: true, Witnessed: s.o.Ledger.Policy.RequiresWitness(),
		}))
		if err == nil {
			return res.Msg.Receipt, nil
		}
		switch connect.CodeOf(err) {
		case connect.CodeUnavailable, connect.CodeOutOfRange:
			if pause(ctx, wait) {
				continue
			}
		case connect.CodeNotFound:
			return nil, fmt.Errorf("%w: another identity asked for this decision, which is still valid: use a control set that reads the steps of the job (muniment control init --template backfill), because each of them requires a new decision", err)
		}
		return nil, err
	}
}
