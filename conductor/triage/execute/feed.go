package execute

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// pageSize is the number of entries that one call lists.
const pageSize = 500

// A Reader is a Feed from a server.
type Reader struct {
	client   *muniment.Client
	policy   *receipt.TrustPolicy
	recorder *Recorder
	self     string
}

// NewReader returns a reader of requests, whose credentials have the role
// reader. The recorder has those of the executor's own entries. It does not
// connect until the first call.
func NewReader(o muniment.Options, recorder *Recorder) (*Reader, error) {
	if o.Policy == nil {
		return nil, errors.New("no trust policy of the ledger: receipts could not be verified")
	}
	o.Reconnect = 0 // the executor repeats calls
	client, err := muniment.New(o)
	if err != nil {
		return nil, err
	}
	return &Reader{client: client, policy: o.Policy, recorder: recorder}, nil
}

// Self implements Feed.
func (r *Reader) Self(ctx context.Context) (string, error) {
	if r.self != "" {
		return r.self, nil
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	who, err := r.recorder.client.Identity.WhoAmI(ctx, connect.NewRequest(&munimentv1.WhoAmIRequest{}))
	if err != nil {
		return "", err
	}
	r.self = who.Msg.Identity
	return r.self, nil
}

// followed are the actions of entries without a phase that the executor reads.
var followed = []string{ActionApprove, ActionReject, ActionUndo, ActionMisfire, ActionRelease, ActionKill, ActionUnkill, ActionQuarantine}

// Requests implements Feed. It reads one page of entries. The time of an entry
// is not before that of the entry before it, so the list begins with the time
// of the last entry that was read.
func (r *Reader) Requests(ctx context.Context, from Cursor) (Page, error) {
	filter := &munimentv1.Filter{Kind: kindname.TriageAction}
	if !from.Time.IsZero() {
		filter.From = timestamppb.New(from.Time)
	}
	p := Page{Next: from}
	for token := ""; ; {
		entries, next, err := r.list(ctx, filter, token)
		if err != nil {
			return Page{}, err
		}
		for _, e := range entries {
			if e.Index < from.Next {
				continue
			}
			if e.Attributes["phase"] == "" && slices.Contains(followed, e.Attributes["action"]) {
				q, err := r.request(ctx, e.Index)
				if err != nil {
					return Page{}, err
				}
				p.Requests = append(p.Requests, q)
			}
			p.Next = Cursor{Next: e.Index + 1, Time: e.Time.AsTime()}
		}
		// A page can end within the entries of one time, and then must not be
		// the last of this call.
		if token = next; token == "" || p.Next.Time.After(from.Time) {
			p.More = token != ""
			return p, nil
		}
	}
}

func (r *Reader) list(ctx context.Context, filter *munimentv1.Filter, token string) ([]*munimentv1.Entry, string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	res, err := r.client.ListEntries(ctx, connect.NewRequest(&munimentv1.ListEntriesRequest{
		Tenant: r.client.Tenant, Filter: filter, Order: munimentv1.Order_ORDER_OLDEST_FIRST, PageSize: pageSize, PageToken: token,
	}))
	if err != nil {
		return nil, "", err
	}
	return res.Msg.Entries, res.Msg.NextPageToken, nil
}

// readTimeout bounds one call that reads.
const readTimeout = 10 * time.Second

// request reads an entry and verifies its receipt.
func (r *Reader) request(ctx context.Context, index uint64) (Request, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	q := Request{Reference: Reference{Index: index}}
	res, err := r.client.GetReceipt(ctx, connect.NewRequest(&munimentv1.GetReceiptRequest{
		Tenant: r.client.Tenant, Index: index, IncludePayload: true, Witnessed: r.policy.RequiresWitness(),
	}))
	if err != nil {
		return q, fmt.Errorf("receipt of entry %d: %w", index, err)
	}
	kind := kindname.TriageAction
	proven, err := receipt.Verify(res.Msg.Receipt, []*receipt.TrustPolicy{r.policy}, receipt.Options{Tenant: &r.client.Tenant, Kind: &kind})
	switch {
	case err != nil && errors.Is(err, receipt.ErrNotVerified):
		q.Fault = fmt.Sprintf("the receipt does not verify: %v", err)
		return q, nil
	case err != nil:
		return q, fmt.Errorf("receipt of entry %d: %w", index, err)
	case proven.Index != index:
		q.Fault = fmt.Sprintf("the receipt is for entry %d", proven.Index)
		return q, nil
	case proven.Header == nil || proven.PayloadSHA256 == nil:
		q.Fault = "the entry was erased"
		return q, nil
	}
	parsed, err := receipt.Parse(res.Msg.Receipt)
	if err != nil {
		return q, fmt.Errorf("receipt of entry %d: %w", index, err)
	}
	q.LeafHash, q.Submitter, q.Payload = hex.EncodeToString(proven.LeafHash[:]), proven.Header.Submitter, parsed.Payload.Content
	return q, nil
}
