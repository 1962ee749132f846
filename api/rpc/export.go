package rpc

import (
	"bufio"
	"context"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Exports implements ExportService.
type Exports struct {
	Ledger *ledger.Ledger
	Drain  Drain
	Public Public
}

func (s *Exports) Export(ctx context.Context, req *connect.Request[munimentv1.ExportRequest], stream *connect.ServerStream[munimentv1.ExportResponse]) error {
	ctx, end := s.Drain.whileServing(ctx) // do not delay a shutdown by gigabytes
	defer end()
	w := bufio.NewWriterSize(pieces{stream}, limit.ExportPiece)
	err := s.Ledger.Export(ctx, w, req.Msg.Since, []*ledger.Stream{auth.Caller(ctx).Tenant.Stream}, nil)
	if err == nil {
		err = w.Flush()
	}
	if err = causeOf(ctx, err); err != nil {
		return s.Public(err)
	}
	return nil
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
