package rpc

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ingest/retention"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Erasures erases entries and sets retention rules and holds.
type Erasures struct {
	Keeper *retention.Keeper
	Log    *slog.Logger
	Public Public
}

// scopes maps the scopes of erasure to their names.
var scopes = map[munimentv1.ErasureScope]string{
	munimentv1.ErasureScope_ERASURE_SCOPE_PAYLOAD:            ledger.ScopePayload,
	munimentv1.ErasureScope_ERASURE_SCOPE_HEADER_AND_PAYLOAD: ledger.ScopeHeaderAndPayload,
}

func scopeOf(name string) munimentv1.ErasureScope {
	for s, n := range scopes {
		if n == name {
			return s
		}
	}
	return munimentv1.ErasureScope_ERASURE_SCOPE_UNSPECIFIED
}

// public is Public for calls whose fields are not those of a submission.
func (s *Erasures) public(err error) *connect.Error {
	var fe *ingest.FieldError
	if errors.As(err, &fe) {
		return rpcerr.Field(connect.CodeInvalidArgument, string(fe.Field), "%s", fe.Message())
	}
	return s.Public(err)
}

func (s *Erasures) Erase(ctx context.Context, req *connect.Request[munimentv1.EraseRequest]) (*connect.Response[munimentv1.EraseResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	header := req.Msg.Scope == munimentv1.ErasureScope_ERASURE_SCOPE_HEADER_AND_PAYLOAD
	scope, r, err := s.Keeper.Erase(ctx, id.Submitter(), req.Msg.Index, header, req.Msg.Reason)
	if err != nil {
		return nil, s.public(err)
	}
	s.Log.Info("erased", "tenant", id.Tenant.Name, "by", id.Name, "entry", req.Msg.Index, "scope", scope, "recorded as", r.Index)
	return connect.NewResponse(&munimentv1.EraseResponse{Scope: scopeOf(scope), Appended: appended(r)}), nil
}

func (s *Erasures) SetRetention(ctx context.Context, req *connect.Request[munimentv1.SetRetentionRequest]) (*connect.Response[munimentv1.SetRetentionResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	rules := make([]retention.Rule, len(req.Msg.Rules))
	for i, r := range req.Msg.Rules {
		rules[i] = retention.Rule{Kind: r.Kind, Days: r.Days, Scope: scopes[r.Scope]}
	}
	r, err := s.Keeper.SetRules(ctx, id.Submitter(), rules, req.Msg.Reason)
	if err != nil {
		return nil, s.public(err)
	}
	s.Log.Info("retention rules changed", "tenant", id.Tenant.Name, "by", id.Name, "rules", len(rules), "entry", r.Index)
	return connect.NewResponse(&munimentv1.SetRetentionResponse{Appended: appended(r)}), nil
}

func (s *Erasures) ApplyRetention(ctx context.Context, req *connect.Request[munimentv1.ApplyRetentionRequest], stream *connect.ServerStream[munimentv1.ApplyRetentionResponse]) error {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return err
	}
	limit.LiftDeadlines(ctx)
	erased, kept := 0, 0
	err = s.Keeper.Apply(ctx, id.Submitter(), req.Msg.DryRun, func(o *retention.Outcome) error {
		if o.Kept == "" {
			erased++
		} else {
			kept++
		}
		return stream.Send(&munimentv1.ApplyRetentionResponse{
			Index: o.Entry.Index, Kind: o.Kind, Time: timestamppb.New(time.UnixMilli(int64(o.Entry.Skeleton.Time))), Scope: scopeOf(o.Scope), KeptBecause: o.Kept,
		})
	})
	if !req.Msg.DryRun {
		log := s.Log.With("tenant", id.Tenant.Name, "by", id.Name, "erased", erased, "kept", kept)
		if err != nil {
			log.Warn("retention applied in part", "err", err)
		} else {
			log.Info("retention applied")
		}
	}
	if err != nil {
		return s.public(err)
	}
	return nil
}

func (s *Erasures) SetLegalHold(ctx context.Context, req *connect.Request[munimentv1.SetLegalHoldRequest]) (*connect.Response[munimentv1.SetLegalHoldResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	filter, err := filterOf(req.Msg.Filter)
	if err != nil {
		return nil, err
	}
	if m := req.Msg.Filter; m != nil { // record digests in the spelling of headers
		m.Subject, m.Material = filter.Subject, filter.Material
	}
	var r ledger.Result
	if req.Msg.Release {
		r, err = s.Keeper.Release(ctx, id.Submitter(), req.Msg.Id, req.Msg.Reason)
	} else {
		r, err = s.Keeper.Place(ctx, id.Submitter(), req.Msg.Id, req.Msg.Filter, req.Msg.Reason)
	}
	if err != nil {
		return nil, s.public(err)
	}
	s.Log.Info("legal hold changed", "tenant", id.Tenant.Name, "by", id.Name, "hold", req.Msg.Id, "released", req.Msg.Release, "entry", r.Index)
	return connect.NewResponse(&munimentv1.SetLegalHoldResponse{Appended: appended(r)}), nil
}

func (s *Erasures) ListLegalHolds(ctx context.Context, req *connect.Request[munimentv1.ListLegalHoldsRequest]) (*connect.Response[munimentv1.ListLegalHoldsResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	holds, err := s.Keeper.Holds(ctx, id.Tenant.Stream)
	if err != nil {
		return nil, s.public(err)
	}
	res := &munimentv1.ListLegalHoldsResponse{}
	for _, h := range holds {
		res.Holds = append(res.Holds, &munimentv1.LegalHold{Id: h.ID, Filter: h.Shown, Reason: h.Reason, Since: timestamppb.New(time.UnixMilli(int64(h.Since))), Index: h.Index})
	}
	return connect.NewResponse(res), nil
}
