package limit

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// Decoded releases what the request held only for decoding.
func (l *Limiter) Decoded(ctx context.Context, req connect.AnyRequest) {
	h, own := HeldBy(ctx), ShapeOf(req.Spec().Procedure).bytes
	if h != nil && h.Held(Bytes) > own && isMessage(req.Any()) {
		h.Keep(Bytes, max(own, int64(SizeOf(req.Any()))+callBytes))
	}
}

// Encoding takes the bytes that encoding the response requires beyond those the
// call already holds.
func (l *Limiter) Encoding(ctx context.Context, res connect.AnyResponse) error {
	h := HeldBy(ctx)
	if h == nil || !isMessage(res.Any()) {
		return nil
	}
	need := 2*int64(SizeOf(res.Any())) - h.Held(Bytes)
	if _, batch := res.Any().(*munimentv1.AppendBatchResponse); need <= 0 || batch {
		// A batch took them before anything was recorded.
		return nil
	}
	if err := h.Take(Bytes, need); err != nil {
		return l.Busy(err)
	}
	return nil
}

func isMessage(m any) bool {
	_, ok := m.(proto.Message)
	return ok
}

// SizeOf returns the encoded size of a message.
func SizeOf(m any) int {
	pm, _ := m.(proto.Message)
	return proto.Size(pm)
}
