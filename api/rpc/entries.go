package rpc

import (
	"context"
	"fmt"
	"io"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Entries reads entries, with their payloads and receipts.
type Entries struct {
	Ledger *ledger.Ledger
	Limits *limit.Limiter
	Drain  Drain
	Public Public
}

func (s *Entries) GetEntry(ctx context.Context, req *connect.Request[munimentv1.GetEntryRequest]) (*connect.Response[munimentv1.GetEntryResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	e, err := s.Ledger.Entry(ctx, id.Tenant.Stream, req.Msg.Index)
	if err != nil {
		return nil, s.Public(err)
	}
	res := &munimentv1.GetEntryResponse{}
	res.Entry = entryMessage(s.Ledger, e)
	if req.Msg.IncludePayload {
		if err := s.Limits.HoldPayload(ctx, s.Ledger, e); err != nil {
			return nil, s.Public(err)
		}
		p, err := s.Ledger.Payload(ctx, e)
		if err != nil {
			return nil, s.Public(err)
		}
		if p != nil {
			res.Payload = p.Content
		}
		res.Entry.PayloadErased = p == nil
	} else if res.Entry.PayloadErased, err = s.Ledger.PayloadErased(ctx, e); err != nil {
		return nil, s.Public(err)
	}
	return connect.NewResponse(res), nil
}

func (s *Entries) ListEntries(ctx context.Context, req *connect.Request[munimentv1.ListEntriesRequest]) (*connect.Response[munimentv1.ListEntriesResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	filter, err := filterOf(req.Msg.Filter)
	if err != nil {
		return nil, err
	}
	q := ledger.Query{Filter: filter, OldestFirst: req.Msg.Order == munimentv1.Order_ORDER_OLDEST_FIRST, Limit: int(req.Msg.PageSize), Token: req.Msg.PageToken}
	if q.Limit == 0 {
		q.Limit = limit.DefaultPageSize
	}
	page, err := s.Ledger.List(ctx, id.Tenant.Stream, q)
	if err != nil {
		return nil, s.Public(err)
	}
	res := &munimentv1.ListEntriesResponse{NextPageToken: page.Next, TreeSize: page.Size}
	for i := range page.Entries {
		res.Entries = append(res.Entries, entryMessage(s.Ledger, &page.Entries[i]))
	}
	return connect.NewResponse(res), nil
}

func (s *Entries) GetReceipt(ctx context.Context, req *connect.Request[munimentv1.GetReceiptRequest]) (*connect.Response[munimentv1.GetReceiptResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if req.Msg.IncludePayload || id.Role == munimentv1.Role_ROLE_APPENDER {
		e, err := s.Ledger.Entry(ctx, id.Tenant.Stream, req.Msg.Index)
		if err == nil {
			err = receiptOf(id, e)
		}
		if err == nil && req.Msg.IncludePayload {
			err = s.Limits.HoldPayload(ctx, s.Ledger, e)
		}
		if err != nil {
			return nil, s.Public(err)
		}
	}
	r, err := s.Ledger.Receipt(ctx, id.Tenant.Stream, req.Msg.Index, ledger.ReceiptOptions{
		Size: req.Msg.TreeSize, Witnessed: req.Msg.Witnessed, Shared: req.Msg.Form == munimentv1.ReceiptForm_RECEIPT_FORM_SHARED, EmbedPayload: req.Msg.IncludePayload,
	})
	if err != nil {
		return nil, s.Public(err)
	}
	return connect.NewResponse(&munimentv1.GetReceiptResponse{Receipt: r}), nil
}

// receiptOf returns an error if the caller may not get the receipt of an entry.
// An appender may get those of the decisions that it has asked for: Decide has
// returned their content to it. For it, no other entry exists.
func receiptOf(id *auth.Identity, e *ledger.Entry) error {
	own := e.Header != nil && e.Header.Kind == kindname.GateDecision && e.Header.Submitter == id.Name
	if id.Role == munimentv1.Role_ROLE_APPENDER && !own {
		return ledger.WrongField(ledger.FieldIndex, "%w as %d in this tenant's stream", ledger.ErrNotFound, e.Index)
	}
	return nil
}

func (s *Entries) GetPayload(ctx context.Context, req *connect.Request[munimentv1.GetPayloadRequest], stream *connect.ServerStream[munimentv1.GetPayloadResponse]) error {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return err
	}
	e, err := s.Ledger.Entry(ctx, id.Tenant.Stream, req.Msg.Index)
	if err != nil {
		return s.Public(err)
	}
	p, err := s.Ledger.OpenPayload(ctx, e)
	if err != nil {
		return s.Public(err)
	}
	if p == nil {
		return s.Public(ledger.WrongField(ledger.FieldIndex, "the payload of entry %d is %w", req.Msg.Index, ledger.ErrErased))
	}
	defer p.Close()
	if s.Ledger.Shared() && p.Size > limit.ChunkBytes { // it may be in a bucket
		if err := s.Limits.Take(ctx, min(int64(p.Size), limit.PieceBytes)); err != nil {
			return s.Public(err)
		}
	}
	chunk := make([]byte, min(limit.ChunkBytes, p.Size))
	for left := p.Size; left > 0; {
		n, err := io.ReadFull(p, chunk[:min(left, uint64(len(chunk)))])
		if err != nil {
			return s.Public(fmt.Errorf("payload of entry %d: %w", req.Msg.Index, err))
		}
		left -= uint64(n)
		if err := stream.Send(&munimentv1.GetPayloadResponse{Chunk: chunk[:n]}); err != nil {
			return err
		}
		if s.Drain.closed() {
			return s.Public(ledger.ErrClosed)
		}
	}
	return nil
}
