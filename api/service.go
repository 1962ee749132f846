package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/fieldrules"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A service implements LedgerService. Requests have been authenticated and
// validated when they get here.
type service struct{ *Server }

func (s *service) Append(ctx context.Context, req *connect.Request[munimentv1.AppendRequest]) (*connect.Response[munimentv1.AppendResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if err := s.mayWait(req.Msg.Wait); err != nil {
		return nil, err
	}
	results, err := s.append(ctx, id, []ingest.Submission{submission(req.Msg.Submission)})
	if err == nil {
		err = s.await(ctx, id.Tenant.Stream, req.Msg.Wait, results)
	}
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return nil, s.public(err)
	}
	return connect.NewResponse(&munimentv1.AppendResponse{Appended: appended(results[0])}), nil
}

func (s *service) AppendBatch(ctx context.Context, req *connect.Request[munimentv1.AppendBatchRequest]) (*connect.Response[munimentv1.AppendBatchResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if err := s.mayWait(req.Msg.Wait); err != nil {
		return nil, err
	}
	if err := s.limits.Take(ctx, limit.ResultBytes*int64(len(req.Msg.Submissions))); err != nil {
		// before anything is recorded
		return nil, s.public(err)
	}
	subs := make([]ingest.Submission, len(req.Msg.Submissions))
	for i, m := range req.Msg.Submissions {
		subs[i] = submission(m)
		if err := fieldrules.Validate(m); err != nil {
			subs[i].Refused = ruleError(err)
		}
	}
	results, err := s.append(ctx, id, subs)
	if err == nil {
		err = s.await(ctx, id.Tenant.Stream, req.Msg.Wait, results)
	}
	if err != nil {
		return nil, s.public(err)
	}
	out := make([]*munimentv1.AppendResult, len(results))
	var refusal error
	for i, r := range results {
		if r.Err == nil {
			out[i] = &munimentv1.AppendResult{Result: &munimentv1.AppendResult_Appended{Appended: appended(r)}}
			continue
		}
		e := s.publicOf(r.Err, inBatch)
		out[i] = appendError(e, rpcerr.FieldOf(e))
		if refusal == nil && isRefusal(e) {
			refusal = e
		}
	}
	s.audit.refused(ctx, s.now(), refusal) // one line for the call
	return connect.NewResponse(&munimentv1.AppendBatchResponse{Results: out}), nil
}

// ruleError returns the error of a message that breaks the rules of its fields.
func ruleError(err error) *connect.Error {
	e := connect.NewError(connect.CodeInvalidArgument, err)
	var v *protovalidate.ValidationError
	if errors.As(err, &v) {
		if d, err := connect.NewErrorDetail(v.ToProto()); err == nil {
			e.AddDetail(d)
		}
	}
	return e
}

func submission(m *munimentv1.Submission) ingest.Submission {
	return ingest.Submission{Kind: m.Kind, MediaType: m.MediaType, Payload: m.Payload, IdempotencyKey: m.IdempotencyKey}
}

func appended(r ledger.Result) *munimentv1.Appended {
	return &munimentv1.Appended{Index: r.Index, Duplicate: r.Duplicate, Receipt: r.Receipt}
}

func appendError(e *connect.Error, field string) *munimentv1.AppendResult {
	return &munimentv1.AppendResult{Result: &munimentv1.AppendResult_Error{Error: &munimentv1.AppendError{Code: e.Code().String(), Field: field, Message: rpcerr.Shorten(e.Message())}}}
}

func (s *service) GetEntry(ctx context.Context, req *connect.Request[munimentv1.GetEntryRequest]) (*connect.Response[munimentv1.GetEntryResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	e, err := s.ledger.Entry(ctx, id.Tenant.Stream, req.Msg.Index)
	if err != nil {
		return nil, s.public(err)
	}
	res := &munimentv1.GetEntryResponse{}
	res.Entry = s.entryMessage(e)
	if req.Msg.IncludePayload {
		if err := s.limits.HoldPayload(ctx, s.ledger, e); err != nil {
			return nil, s.public(err)
		}
		p, err := s.ledger.Payload(ctx, e)
		if err != nil {
			return nil, s.public(err)
		}
		if p != nil {
			res.Payload = p.Content
		}
		res.Entry.PayloadErased = p == nil
	} else if res.Entry.PayloadErased, err = s.ledger.PayloadErased(ctx, e); err != nil {
		return nil, s.public(err)
	}
	return connect.NewResponse(res), nil
}

func (s *service) ListEntries(ctx context.Context, req *connect.Request[munimentv1.ListEntriesRequest]) (*connect.Response[munimentv1.ListEntriesResponse], error) {
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
	page, err := s.ledger.List(ctx, id.Tenant.Stream, q)
	if err != nil {
		return nil, s.public(err)
	}
	res := &munimentv1.ListEntriesResponse{NextPageToken: page.Next, TreeSize: page.Size}
	for i := range page.Entries {
		res.Entries = append(res.Entries, s.entryMessage(&page.Entries[i]))
	}
	return connect.NewResponse(res), nil
}

func filterOf(m *munimentv1.Filter) (ledger.Filter, error) {
	if m == nil {
		return ledger.Filter{}, nil
	}
	f := ledger.Filter{Kind: m.Kind, Subject: m.Subject, PredicateType: m.PredicateType, Signer: m.Signer,
		Submitter: m.Submitter, Control: m.Control, Attribute: m.Attribute, Material: m.Material}
	if f.Kind != "" && !slices.Contains(ingest.Kinds(), f.Kind) {
		return ledger.Filter{}, rpcerr.Field(connect.CodeInvalidArgument, "filter.kind", "%q is not a kind: use one of %s", f.Kind, strings.Join(ingest.Kinds(), ", "))
	}
	for _, d := range []struct {
		name string
		at   *string
	}{{"filter.subject", &f.Subject}, {"filter.material", &f.Material}} {
		if *d.at == "" {
			continue
		}
		digest, err := entry.ParseDigest(*d.at)
		if err != nil {
			return ledger.Filter{}, rpcerr.Field(connect.CodeInvalidArgument, d.name, "%s", err)
		}
		*d.at = digest.String()
	}
	for _, t := range []struct {
		name string
		from *timestamppb.Timestamp
		to   *time.Time
	}{{"filter.from", m.From, &f.From}, {"filter.to", m.To, &f.To}} {
		if t.from == nil {
			continue
		}
		if err := t.from.CheckValid(); err != nil {
			return ledger.Filter{}, rpcerr.Field(connect.CodeInvalidArgument, t.name, "not a valid time")
		}
		*t.to = t.from.AsTime()
	}
	if !f.From.IsZero() && !f.To.IsZero() && f.To.Before(f.From) {
		return ledger.Filter{}, rpcerr.Field(connect.CodeInvalidArgument, "filter.to", "before filter.from")
	}
	return f, nil
}

func (s *Server) entryMessage(e *ledger.Entry) *munimentv1.Entry {
	leaf := s.ledger.LeafHashOf(&e.Skeleton)
	m := &munimentv1.Entry{Index: e.Index, Seq: e.Skeleton.Seq, Time: timestamppb.New(time.UnixMilli(int64(e.Skeleton.Time))), LeafHash: leaf[:]}
	h := e.Header
	if h == nil {
		return m
	}
	m.Header, m.Kind, m.MediaType, m.PredicateType, m.Submitter = e.Opening.Content, h.Kind, h.MediaType, h.PredicateType, h.Submitter
	m.IdempotencyKey, m.AdmissionPolicy, m.Verification, m.PayloadSize = h.IdempotencyKey, h.AdmissionPolicy, h.Verification.Result, h.Payload.Size
	m.VerificationReason, m.VerificationFormat, m.TrustedRoot = h.Verification.Reason, h.Verification.Format, h.Verification.TrustedRoot
	m.Subjects, m.Materials, m.Controls, m.Attributes = subjectMessages(h.Subjects), subjectMessages(h.Materials), h.Controls, h.Attributes
	if a := h.Admission; a != nil {
		m.Admission = &munimentv1.Admission{Result: a.Result, Rule: a.Rule, Reason: a.Reason}
	}
	if x := h.External; x != nil {
		m.External = &munimentv1.External{Digest: x.Digest, Size: x.Size, Location: x.Location, MediaType: x.MediaType}
	}
	for _, s := range h.Signers {
		m.Signers = append(m.Signers, &munimentv1.Signer{Identity: s.Identity, Issuer: s.Issuer, KeyId: s.KeyID})
	}
	return m
}

func subjectMessages(all []entry.Subject) []*munimentv1.Subject {
	var out []*munimentv1.Subject
	for _, s := range all {
		out = append(out, &munimentv1.Subject{Name: s.Name, Digest: s.Digest})
	}
	return out
}

func (s *service) GetReceipt(ctx context.Context, req *connect.Request[munimentv1.GetReceiptRequest]) (*connect.Response[munimentv1.GetReceiptResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	if req.Msg.IncludePayload {
		e, err := s.ledger.Entry(ctx, id.Tenant.Stream, req.Msg.Index)
		if err == nil {
			err = s.limits.HoldPayload(ctx, s.ledger, e)
		}
		if err != nil {
			return nil, s.public(err)
		}
	}
	r, err := s.ledger.Receipt(ctx, id.Tenant.Stream, req.Msg.Index, ledger.ReceiptOptions{
		Size: req.Msg.TreeSize, Witnessed: req.Msg.Witnessed, Shared: req.Msg.Form == munimentv1.ReceiptForm_RECEIPT_FORM_SHARED, EmbedPayload: req.Msg.IncludePayload,
	})
	if err != nil {
		return nil, s.public(err)
	}
	return connect.NewResponse(&munimentv1.GetReceiptResponse{Receipt: r}), nil
}

func (s *service) GetInclusionProof(ctx context.Context, req *connect.Request[munimentv1.GetInclusionProofRequest]) (*connect.Response[munimentv1.GetInclusionProofResponse], error) {
	p := s.ledger.Published()
	size := req.Msg.TreeSize
	if size == 0 {
		size = p.Size
	}
	path, err := p.InclusionProof(ctx, req.Msg.Index, size)
	if err != nil {
		return nil, s.public(err)
	}
	leaf, err := s.ledger.LeafHash(ctx, p, req.Msg.Index)
	if err != nil {
		return nil, s.public(err)
	}
	return connect.NewResponse(&munimentv1.GetInclusionProofResponse{TreeSize: size, LeafHash: leaf[:], Hashes: byteSlices(path)}), nil
}

func (s *service) GetConsistencyProof(ctx context.Context, req *connect.Request[munimentv1.GetConsistencyProofRequest]) (*connect.Response[munimentv1.GetConsistencyProofResponse], error) {
	p := s.ledger.Published()
	to := req.Msg.ToSize
	if to == 0 {
		to = p.Size
	}
	path, err := p.ConsistencyProof(ctx, req.Msg.FromSize, to)
	if err != nil {
		return nil, s.public(err)
	}
	return connect.NewResponse(&munimentv1.GetConsistencyProofResponse{ToSize: to, Hashes: byteSlices(path)}), nil
}

func byteSlices(path []entry.Hash) [][]byte {
	out := make([][]byte, len(path))
	for i := range path {
		out[i] = path[i][:]
	}
	return out
}

func (s *service) GetCheckpoint(_ context.Context, req *connect.Request[munimentv1.GetCheckpointRequest]) (*connect.Response[munimentv1.GetCheckpointResponse], error) {
	if req.Msg.Witnessed && !s.ledger.RequiresWitness() {
		return nil, s.public(ledger.WrongField(ledger.FieldWitnessed, "%w", ledger.ErrNoQuorum))
	}
	w, p := s.ledger.Witnessed(), s.ledger.Published()
	if req.Msg.Witnessed && w == nil {
		return nil, s.public(fmt.Errorf("no checkpoint is witnessed: %w", ledger.ErrNotWitnessed))
	}
	if w != nil && (req.Msg.Witnessed || w.Size == p.Size) {
		return connect.NewResponse(&munimentv1.GetCheckpointResponse{Checkpoint: w.Checkpoint, TreeSize: w.Size, Root: w.Root[:]}), nil
	}
	return connect.NewResponse(&munimentv1.GetCheckpointResponse{Checkpoint: p.Checkpoint, TreeSize: p.Size, Root: p.Root[:]}), nil
}

func (s *service) GetStreamHead(ctx context.Context, req *connect.Request[munimentv1.GetStreamHeadRequest]) (*connect.Response[munimentv1.GetStreamHeadResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	p := s.ledger.Published()
	h, err := s.ledger.StreamHead(ctx, p, id.Tenant.Stream)
	if err != nil {
		return nil, s.public(err)
	}
	res := &munimentv1.GetStreamHeadResponse{StreamId: id.Tenant.Stream.ID[:], Entries: h.Entries, Checkpoint: p.Checkpoint}
	if h.Entries > 0 {
		res.LastIndex, res.LastLeafHash = &h.LastIndex, h.LastLeaf[:]
	}
	return connect.NewResponse(res), nil
}

// watchInterval is how often a watcher hears how far the log has come, when
// there is nothing else to hear.
const watchInterval = 15 * time.Second

// sendWatched sends an entry, and holds what a large one needs beside a
// watcher's own bytes.
func (s *service) sendWatched(ctx context.Context, stream *connect.ServerStream[munimentv1.WatchEntriesResponse], m *munimentv1.WatchEntriesResponse) error {
	if n := 3 * int64(proto.Size(m)); n > limit.WatchBytes {
		if err := s.limits.Take(ctx, n); err != nil {
			return s.public(err)
		}
		defer limit.HeldBy(ctx).Keep(limit.Bytes, limit.WatchBytes)
	}
	return stream.Send(m)
}

func (s *service) WatchEntries(ctx context.Context, req *connect.Request[munimentv1.WatchEntriesRequest], stream *connect.ServerStream[munimentv1.WatchEntriesResponse]) error {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return err
	}
	filter, err := filterOf(req.Msg.Filter)
	if err != nil {
		return err
	}
	for name, at := range map[string]time.Time{"filter.from": filter.From, "filter.to": filter.To} {
		if !at.IsZero() {
			return rpcerr.Field(connect.CodeInvalidArgument, name, "times are not allowed here; start from an index")
		}
	}
	next := req.Msg.FromIndex
	beat := time.NewTicker(watchInterval)
	defer beat.Stop()
	for told := false; ; {
		p := s.ledger.Published()
		for next < p.Size && !s.draining() {
			var e *ledger.Entry
			if e, next, err = s.follower.next(ctx, s.limits.Usage(id.Tenant.Name), p, id.Tenant.Stream, filter, next); err != nil {
				return s.public(err)
			}
			if e == nil {
				break
			}
			if err := s.sendWatched(ctx, stream, &munimentv1.WatchEntriesResponse{Entry: s.entryMessage(e), NextIndex: next}); err != nil {
				return err
			}
		}
		if !told { // the caller learns that it has caught up, and the headers leave
			if err := stream.Send(&munimentv1.WatchEntriesResponse{NextIndex: next}); err != nil {
				return err
			}
			told = true
		}
		select {
		case <-s.follower.await(id.Tenant.Stream.ID, p.Size):
		case <-beat.C:
			told = false
		case <-ctx.Done():
			return s.public(ctx.Err())
		case <-s.drain:
			return s.public(ledger.ErrClosed)
		}
	}
}
