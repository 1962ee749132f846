package rpc

import (
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/inventory"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// ListInventory sends what the newest inventories list.
func (s *Gates) ListInventory(ctx context.Context, req *connect.Request[munimentv1.ListInventoryRequest], stream *connect.ServerStream[munimentv1.ListInventoryResponse]) error {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return err
	}
	ctx, end := s.Drain.whileServing(ctx)
	defer end()
	q, err := s.inventoryQuery(ctx, req.Msg.Query)
	if err != nil {
		return err
	}
	in, err := s.Inventory.Read(ctx, id.Tenant.Stream, q)
	if err != nil {
		return s.coverageError(ctx, err)
	}
	out := &pastStream[munimentv1.ListInventoryResponse, *munimentv1.ListInventoryResponse]{stream: stream}
	message := &munimentv1.ListInventoryResponse{TreeSize: in.At.Size, AsOf: timestamppb.New(in.At.Time)}
	send := func(last bool) error {
		sent, err := out.send(message, last)
		if sent {
			message = &munimentv1.ListInventoryResponse{}
		}
		return err
	}
	for _, one := range in.Sources {
		message.Sources = append(message.Sources, sourceMessage(one))
		if err := send(false); err != nil {
			return s.coverageError(ctx, err)
		}
	}
	for _, a := range in.Artifacts {
		message.Artifacts = append(message.Artifacts, inventoriedMessage(a))
		if err := send(false); err != nil {
			return s.coverageError(ctx, err)
		}
	}
	return s.coverageError(ctx, send(true))
}

// ListCoverage sends the artifacts that are not attested.
func (s *Gates) ListCoverage(ctx context.Context, req *connect.Request[munimentv1.ListCoverageRequest], stream *connect.ServerStream[munimentv1.ListCoverageResponse]) error {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return err
	}
	if (req.Msg.Stage == "") == (req.Msg.Control == "") {
		return rpcerr.Field(connect.CodeInvalidArgument, "stage", "must be specified, or a control instead")
	}
	ctx, end := s.Drain.whileServing(ctx)
	defer end()
	q, err := s.inventoryQuery(ctx, req.Msg.Query)
	if err != nil {
		return err
	}
	out := &pastStream[munimentv1.ListCoverageResponse, *munimentv1.ListCoverageResponse]{stream: stream}
	message := &munimentv1.ListCoverageResponse{}
	by := inventory.Criteria{Stage: req.Msg.Stage, Control: req.Msg.Control}
	c, err := s.Inventory.Cover(ctx, id.Tenant.Name, id.Tenant.Stream, q, by, func(a *inventory.Artifact, g *inventory.Gap, done, total int) error {
		if message.Done, message.Total = uint64(done), uint64(total); g != nil {
			message.Gaps = append(message.Gaps, gapMessage(a, g))
		}
		sent, err := out.send(message, false)
		if sent {
			message = &munimentv1.ListCoverageResponse{}
		}
		return err
	})
	if err == nil {
		message.TreeSize, message.AsOf, message.ControlSet, message.Problems = c.At.Size, timestamppb.New(c.At.Time), c.ControlSet, c.Problems
		for _, one := range c.Sources {
			message.Sources = append(message.Sources, sourceMessage(one))
		}
		for i := range c.Counts {
			message.Counts = append(message.Counts, countMessage(&c.Counts[i]))
		}
		_, err = out.send(message, true)
	}
	return s.coverageError(ctx, err)
}

// coverageError returns the error that the caller of a stream sees.
func (s *Gates) coverageError(ctx context.Context, err error) error {
	switch err = causeOf(ctx, err); {
	case err == nil:
		return nil
	case errors.Is(err, decide.ErrUnknownControl):
		return rpcerr.Field(connect.CodeNotFound, "control", "%s", err)
	case errors.Is(err, inventory.ErrTooMuch):
		return rpcerr.Field(connect.CodeResourceExhausted, "inventory", "%s", err)
	}
	return notYet(s.Public, "at", err)
}

// inventoryQuery returns the query that a message describes, which accounts for
// the inventories that it reads.
func (s *Gates) inventoryQuery(ctx context.Context, m *munimentv1.InventoryQuery) (*inventory.Query, error) {
	q := &inventory.Query{Environment: m.GetEnvironment(), Scope: m.GetScope(), Types: m.GetTypes(), MaxAge: time.Duration(m.GetMaxAgeSeconds()) * time.Second}
	switch at := m.GetAt().(type) {
	case *munimentv1.InventoryQuery_TreeSize:
		if at.TreeSize == 0 {
			return nil, rpcerr.Field(connect.CodeInvalidArgument, "tree_size", "must be at least 1")
		}
		q.At.Size = at.TreeSize
	case *munimentv1.InventoryQuery_Time:
		if q.At.Time = at.Time.AsTime(); q.At.Time.IsZero() { // which decide takes for now
			return nil, rpcerr.Field(connect.CodeInvalidArgument, "time", "must be after the year 1")
		}
	}
	q.Hold = func(bytes uint64) error { return s.Limits.Take(ctx, limit.InventoryFactor*int64(bytes)) }
	return q, nil
}

func sourceMessage(s *inventory.Source) *munimentv1.InventorySource {
	return &munimentv1.InventorySource{
		Release: s.Release, Version: s.Version,
		Scope: s.Scope, Environment: s.Environment, Source: s.Source, Observed: timestamppb.New(s.Observed), Recorded: timestamppb.New(s.Recorded), Submitter: s.Submitter,
		Entries: s.Entries, Items: uint64(s.Items), Unidentified: uint64(s.Unidentified), Stale: s.Stale, Retired: s.Retired, Problem: s.Problem,
	}
}

func inventoriedMessage(a *inventory.Artifact) *munimentv1.InventoriedArtifact {
	m := &munimentv1.InventoriedArtifact{
		Environment: a.Environment, Type: a.Type, Artifact: &munimentv1.Artifact{Digest: a.Digest}, Scopes: a.Scopes, Places: a.Places, PlaceCount: uint64(a.PlaceCount),
		StaticPod: a.StaticPod, Declared: a.Declared, Unidentified: a.Unidentified,
	}
	if len(a.Names) > 0 {
		m.Artifact.Name, m.Names = a.Names[0], a.Names[1:]
	}
	for _, p := range a.Parts() {
		m.Parts = append(m.Parts, &munimentv1.GatePart{Digest: p.Digest, Platform: p.Name})
	}
	return m
}

func gapMessage(a *inventory.Artifact, g *inventory.Gap) *munimentv1.CoverageGap {
	return &munimentv1.CoverageGap{Artifact: inventoriedMessage(a), Reason: g.Reason, Detail: g.Detail, Results: decide.Results(g.Results)}
}

func countMessage(n *inventory.Count) *munimentv1.CoverageCount {
	return &munimentv1.CoverageCount{Environment: n.Environment, Type: n.Type, Inventoried: uint64(n.Inventoried), Attested: uint64(n.Attested), Excepted: uint64(n.Excepted), Undecided: uint64(n.Undecided)}
}
