package decide

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// appendEvent appends an event as the JSON form of its message and returns the
// index of its entry.
func appendEvent(ctx context.Context, client *muniment.Client, kind string, m proto.Message) (uint64, error) {
	payload, err := protojson.Marshal(m)
	if err != nil {
		return 0, err
	}
	key := make([]byte, 16)
	if _, err := rand.Read(key); err != nil {
		return 0, err
	}
	r, err := client.Append(ctx, muniment.Submission{Kind: kind, Payload: payload, IdempotencyKey: hex.EncodeToString(key)})
	if err == nil {
		err = r.Err
	}
	if isRefusal(err) { // these commands have no flag for the kind
		err = term.ExitWith(term.ExitNo, errors.New(strings.TrimPrefix(remote.ErrorText(err), "--kind: ")))
	}
	return r.Index, err
}

// isRefusal reports whether the server has refused what it was asked to record.
func isRefusal(err error) bool {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return false
	}
	switch ce.Code() {
	case connect.CodeInvalidArgument, connect.CodePermissionDenied, connect.CodeFailedPrecondition, connect.CodeAlreadyExists:
		return true
	}
	return false
}

// eachEntry calls f for each entry that matches a filter, in an order, until it
// returns false.
func eachEntry(ctx context.Context, client *muniment.Client, filter *munimentv1.Filter, order munimentv1.Order, f func(*munimentv1.Entry) (more bool, err error)) error {
	req := &munimentv1.ListEntriesRequest{Tenant: client.Tenant, Filter: filter, Order: order}
	if order == munimentv1.Order_ORDER_OLDEST_FIRST { // which callers read to the end
		req.PageSize = 1000
	}
	for {
		res, err := client.ListEntries(ctx, connect.NewRequest(req))
		if err != nil {
			return err
		}
		for _, e := range res.Msg.Entries {
			if more, err := f(e); err != nil || !more {
				return err
			}
		}
		if req.PageToken = res.Msg.NextPageToken; req.PageToken == "" {
			return nil
		}
	}
}

// ledgerEntries returns all entries of the kinds as the ledger reads them, each
// kind in the order of the stream.
func ledgerEntries(ctx context.Context, client *muniment.Client, kinds ...string) (all []*ledger.Entry, err error) {
	for _, kind := range kinds {
		err := eachEntry(ctx, client, &munimentv1.Filter{Kind: kind}, munimentv1.Order_ORDER_OLDEST_FIRST, func(e *munimentv1.Entry) (bool, error) {
			parsed, err := ledgerEntry(e)
			all = append(all, parsed)
			return true, err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// ledgerEntry returns an entry that the API returned as the ledger reads it.
// The header of an erased one is nil.
func ledgerEntry(e *munimentv1.Entry) (*ledger.Entry, error) {
	out := &ledger.Entry{Index: e.Index, Skeleton: entry.Skeleton{Time: uint64(e.Time.AsTime().UnixMilli())}}
	if len(e.Header) == 0 {
		return out, nil
	}
	var err error
	if out.Header, err = entry.ParseHeader(e.Header); err != nil {
		return nil, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	return out, nil
}
