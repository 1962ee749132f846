package rpc

import (
	"context"
	"errors"
	"io"
	"os"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

func (s *Appends) AppendStream(ctx context.Context, stream *connect.ClientStream[munimentv1.AppendStreamRequest]) (*connect.Response[munimentv1.AppendStreamResponse], error) {
	in := &chunks{stream: stream, extend: limit.MessageDeadline(ctx)}
	h, err := in.header()
	if err != nil {
		return nil, err
	}
	id, err := auth.CallerOf(ctx, h.Tenant)
	if err != nil {
		return nil, err
	}
	if err := s.mayWait(h.Wait); err != nil {
		return nil, err
	}
	r, err := s.appendStream(ctx, id, &ingest.Stream{
		Kind: h.Kind, MediaType: h.MediaType, IdempotencyKey: h.IdempotencyKey, Size: h.Size, Digest: h.Digest, Payload: in,
	})
	in.extend() // the response gets its own time
	if err == nil {
		results := []ledger.Result{r}
		err = s.await(ctx, id.Tenant.Stream, h.Wait, results)
		r = results[0]
	}
	if err != nil {
		return nil, s.Public(err, InStream)
	}
	return connect.NewResponse(&munimentv1.AppendStreamResponse{Appended: appended(r)}), nil
}

// appendStream is append for one streamed submission. If the size is not
// declared, the bytes count against the tenant's limits as they arrive.
func (s *Appends) appendStream(ctx context.Context, id *auth.Identity, st *ingest.Stream) (ledger.Result, error) {
	if err := s.MayAppend(id, st.Kind); err != nil {
		return ledger.Result{}, err
	}
	q, bytes := s.Limits.Usage(id.Tenant.Name), int64(0)
	if st.Size != nil {
		// ingest refuses larger ones
		bytes = int64(min(*st.Size, uint64(s.Limits.Sizes().MaxStream)))
	}
	if err := s.Limits.TakeEntries(ctx, q, 1, bytes); err != nil {
		return ledger.Result{}, err
	}
	defer func() { q.Release(1, bytes) }()
	if st.Size == nil {
		from := st.Payload
		st.Payload = limit.ReaderFunc(func(p []byte) (int, error) {
			n, err := from.Read(p)
			if err := s.Limits.TakeStreamed(ctx, q, int64(n)); err != nil {
				return 0, err
			}
			bytes += int64(n)
			return n, err
		})
	}
	st.Hold = func(n int64) error { return s.Limits.Take(ctx, n) }
	return s.Ingest.AppendStream(ctx, id.Submitter(), st)
}

// chunks reads the payload of a stream.
type chunks struct {
	stream *connect.ClientStream[munimentv1.AppendStreamRequest]
	extend func() // extends the deadline for the next message
	rest   []byte

	messages, bytes int64 // received
}

// A message costs about as much as a kilobyte, however little it contains.
// Beyond the first smallChunks, chunks must contain minChunk bytes on average.
const (
	smallChunks = 4096
	minChunk    = 256
)

func (c *chunks) header() (*munimentv1.AppendStreamHeader, error) {
	m, err := c.receive()
	if errors.Is(err, io.EOF) {
		return nil, rpcerr.Field(connect.CodeInvalidArgument, "header", "the stream is empty: the first message must be the header")
	}
	if err != nil {
		return nil, err
	}
	h := m.GetHeader()
	if h == nil {
		return nil, rpcerr.Field(connect.CodeInvalidArgument, "header", "missing: the first message must be the header")
	}
	return h, nil
}

// Read implements io.Reader.
func (c *chunks) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		m, err := c.receive()
		if err != nil {
			return 0, err
		}
		if m.GetHeader() != nil {
			return 0, rpcerr.Field(connect.CodeInvalidArgument, "header", "duplicate header: only chunks can follow the first message")
		}
		c.rest = m.GetChunk()
		c.messages++
		c.bytes += int64(len(c.rest))
		if c.messages > smallChunks+c.bytes/minChunk {
			return 0, rpcerr.Field(connect.CodeInvalidArgument, "chunk", "%d chunks have only %d bytes in total: send at least %d bytes in each", c.messages, c.bytes, minChunk)
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// receive returns the next message, or io.EOF if the client has ended the
// stream properly.
func (c *chunks) receive() (*munimentv1.AppendStreamRequest, error) {
	c.extend()
	if c.stream.Receive() {
		return c.stream.Msg(), nil
	}
	err := c.stream.Err()
	switch {
	case err == nil:
		return nil, io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, connect.NewError(connect.CodeDeadlineExceeded, errors.New("the next message of the stream did not arrive in time; nothing was recorded"))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, connect.NewError(connect.CodeCanceled, errors.New("the stream broke off; nothing was recorded"))
	}
	return nil, err // keep its code
}
