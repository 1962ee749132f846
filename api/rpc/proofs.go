package rpc

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Proofs serves proofs, checkpoints and stream heads.
type Proofs struct {
	Ledger *ledger.Ledger
	Public Public
}

func (s *Proofs) GetInclusionProof(ctx context.Context, req *connect.Request[munimentv1.GetInclusionProofRequest]) (*connect.Response[munimentv1.GetInclusionProofResponse], error) {
	p := s.Ledger.Published()
	size := req.Msg.TreeSize
	if size == 0 {
		size = p.Size
	}
	path, err := p.InclusionProof(ctx, req.Msg.Index, size)
	if err != nil {
		return nil, s.Public(err)
	}
	leaf, err := s.Ledger.LeafHash(ctx, p, req.Msg.Index)
	if err != nil {
		return nil, s.Public(err)
	}
	return connect.NewResponse(&munimentv1.GetInclusionProofResponse{TreeSize: size, LeafHash: leaf[:], Hashes: entry.ByteSlices(path)}), nil
}

func (s *Proofs) GetConsistencyProof(ctx context.Context, req *connect.Request[munimentv1.GetConsistencyProofRequest]) (*connect.Response[munimentv1.GetConsistencyProofResponse], error) {
	p := s.Ledger.Published()
	to := req.Msg.ToSize
	if to == 0 {
		to = p.Size
	}
	path, err := p.ConsistencyProof(ctx, req.Msg.FromSize, to)
	if err != nil {
		return nil, s.Public(err)
	}
	return connect.NewResponse(&munimentv1.GetConsistencyProofResponse{ToSize: to, Hashes: entry.ByteSlices(path)}), nil
}

func (s *Proofs) GetCheckpoint(ctx context.Context, req *connect.Request[munimentv1.GetCheckpointRequest]) (*connect.Response[munimentv1.GetCheckpointResponse], error) {
	if req.Msg.Witnessed && !s.Ledger.RequiresWitness() {
		return nil, s.Public(ledger.WrongField(ledger.FieldWitnessed, "%w", ledger.ErrNoQuorum))
	}
	if err := s.Ledger.Latest(ctx); err != nil {
		return nil, s.Public(err)
	}
	age := s.Ledger.Age() // before the state is read, which can be newer
	w, p := s.Ledger.Witnessed(), s.Ledger.Published()
	if req.Msg.Witnessed && w == nil {
		return nil, s.Public(fmt.Errorf("no checkpoint is witnessed: %w", ledger.ErrNotWitnessed))
	}
	res := &munimentv1.GetCheckpointResponse{Checkpoint: p.Checkpoint, TreeSize: p.Size, Root: p.Root[:], Age: durationpb.New(age), Replica: s.Ledger.IsReplica()}
	if w != nil && (req.Msg.Witnessed || w.Size == p.Size) {
		res.Checkpoint, res.TreeSize, res.Root = w.Checkpoint, w.Size, w.Root[:]
	}
	return connect.NewResponse(res), nil
}

func (s *Proofs) GetStreamHead(ctx context.Context, req *connect.Request[munimentv1.GetStreamHeadRequest]) (*connect.Response[munimentv1.GetStreamHeadResponse], error) {
	id, err := auth.CallerOf(ctx, req.Msg.Tenant)
	if err != nil {
		return nil, err
	}
	p := s.Ledger.Published()
	h, err := s.Ledger.StreamHead(ctx, p, id.Tenant.Stream)
	if err != nil {
		return nil, s.Public(err)
	}
	res := &munimentv1.GetStreamHeadResponse{StreamId: id.Tenant.Stream.ID[:], Entries: h.Entries, Checkpoint: p.Checkpoint}
	if h.Entries > 0 {
		res.LastIndex, res.LastLeafHash = &h.LastIndex, h.LastLeaf[:]
	}
	return connect.NewResponse(res), nil
}
