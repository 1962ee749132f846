package rpc

import (
	"bufio"
	"context"
	"crypto/sha256"
	"io"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/controls/attest"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Exports implements ExportService.
type Exports struct {
	Ledger *ledger.Ledger
	Drain  Drain
	Public Public
	Key    *attest.Signer // signs attestations of deltas; nil: there are none
}

func (s *Exports) Export(ctx context.Context, req *connect.Request[munimentv1.ExportRequest], stream *connect.ServerStream[munimentv1.ExportResponse]) error {
	if req.Msg.Attest && s.Key == nil {
		return s.Public(attest.ErrNoKey)
	}
	ctx, end := s.Drain.whileServing(ctx) // do not delay a shutdown by gigabytes
	defer end()
	if err := causeOf(ctx, s.export(ctx, req.Msg, stream)); err != nil {
		return s.Public(err)
	}
	return nil
}

func (s *Exports) export(ctx context.Context, req *munimentv1.ExportRequest, stream *connect.ServerStream[munimentv1.ExportResponse]) error {
	w, sum := bufio.NewWriterSize(pieces{stream}, limit.ExportPiece), sha256.New()
	h, err := s.Ledger.Export(ctx, io.MultiWriter(w, sum), req.Since, []*ledger.Stream{auth.Caller(ctx).Tenant.Stream}, nil)
	if err == nil {
		err = w.Flush()
	}
	if err != nil || !req.Attest {
		return err
	}
	attestation, err := s.Key.Delta(h, [sha256.Size]byte(sum.Sum(nil)), time.Now())
	if err != nil {
		return err
	}
	return stream.Send(&munimentv1.ExportResponse{Attestation: attestation})
}

// pieces is a writer that sends each write as messages.
type pieces struct {
	stream *connect.ServerStream[munimentv1.ExportResponse]
}

func (p pieces) Write(b []byte) (int, error) {
	return inPieces(b, func(piece []byte) error {
		return p.stream.Send(&munimentv1.ExportResponse{Data: piece})
	})
}

// inPieces calls send with pieces of b, in order.
func inPieces(b []byte, send func([]byte) error) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), limit.ExportPiece)
		if err := send(rest[:n]); err != nil {
			return len(b) - len(rest), err
		}
		rest = rest[n:]
	}
	return len(b), nil
}
