package execute

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
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

	mu   sync.Mutex // guards self
	self string
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
	r.mu.Lock()
	defer r.mu.Unlock()
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

// request reads an entry of the feed.
func (r *Reader) request(ctx context.Context, index uint64) (Request, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	e, err := ReadEntry(ctx, r.client, r.policy, index)
	if errors.Is(err, receipt.ErrNotVerified) {
		return Request{Reference: Reference{Index: index}, Fault: err.Error()}, nil
	}
	if err != nil {
		return Request{}, err
	}
	return Request{Reference: e.Reference, Submitter: e.Submitter, Payload: e.Payload}, nil
}

// A Recorded entry is one of the kind triage-action whose receipt verifies.
type Recorded struct {
	Reference
	Key       string    // for idempotency, from the header
	Time      time.Time // of the ledger
	Submitter string    // from the header
	Payload   []byte
}

// ReadEntry reads an entry of the kind triage-action. The error wraps
// receipt.ErrNotVerified if its receipt does not verify.
func ReadEntry(ctx context.Context, client *muniment.Client, policy *receipt.TrustPolicy, index uint64) (*Recorded, error) {
	res, err := client.GetReceipt(ctx, connect.NewRequest(&munimentv1.GetReceiptRequest{
		Tenant: client.Tenant, Index: index, IncludePayload: true, Witnessed: policy.RequiresWitness(),
	}))
	if err != nil {
		return nil, fmt.Errorf("receipt of entry %d: %w", index, err)
	}
	kind := kindname.TriageAction
	proven, err := receipt.Verify(res.Msg.Receipt, []*receipt.TrustPolicy{policy}, receipt.Options{Tenant: &client.Tenant, Kind: &kind})
	switch {
	case err != nil:
		return nil, fmt.Errorf("receipt of entry %d: %w", index, err)
	case proven.Index != index:
		return nil, fmt.Errorf("receipt of entry %d: %w: it is for entry %d", index, receipt.ErrNotVerified, proven.Index)
	case proven.Header == nil || proven.PayloadSHA256 == nil:
		return nil, fmt.Errorf("receipt of entry %d: %w: the entry was erased", index, receipt.ErrNotVerified)
	}
	parsed, err := receipt.Parse(res.Msg.Receipt)
	if err != nil {
		return nil, fmt.Errorf("receipt of entry %d: %w", index, err)
	}
	at := Reference{Index: index, LeafHash: hex.EncodeToString(proven.LeafHash[:])}
	return &Recorded{at, proven.Header.IdempotencyKey, time.UnixMilli(int64(proven.Time)).UTC(), proven.Header.Submitter, parsed.Payload.Content}, nil
}
