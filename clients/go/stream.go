package muniment

import (
	"context"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// chunkBytes is the size of a chunk, the part of a payload in one message.
const chunkBytes = 1 << 20

// A Stream is a submission whose payload may exceed the size of a message or of
// memory. See docs/spec/kinds.md.
type Stream struct {
	Kind string
	// MediaType may be empty for a payload that is small enough for the server
	// to parse. The server then detects it.
	MediaType      string
	IdempotencyKey string
	// Payload is read twice from start to end: to send it, and to check the
	// receipt.
	Payload io.ReadSeeker
	// Progress, if not nil, is called with the number of bytes sent so far. The
	// number starts at zero again when a call is repeated.
	Progress func(sent int64)
}

// AppendStream records one submission, sent in chunks.
func (c *Client) AppendStream(ctx context.Context, s Stream) (Result, error) {
	size, err := s.Payload.Seek(0, io.SeekEnd)
	if err != nil {
		return Result{}, fmt.Errorf("read the payload: %w", err)
	}
	var a *munimentv1.Appended
	if err := c.retry(ctx, func() (err error) {
		a, err = c.sendStream(ctx, &s, uint64(size))
		return err
	}); err != nil {
		return Result{}, err
	}
	r := c.checkStream(&s, a)
	return r, r.Err
}

func (c *Client) sendStream(ctx context.Context, s *Stream, size uint64) (*munimentv1.Appended, error) {
	if _, err := s.Payload.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the payload: %w", err)
	}
	// If reading the payload fails, the stream must not look complete.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	call := c.LedgerServiceClient.AppendStream(ctx)
	header := &munimentv1.AppendStreamHeader{Tenant: c.Tenant, Kind: s.Kind, MediaType: s.MediaType, IdempotencyKey: s.IdempotencyKey, Size: &size, Wait: c.wait}
	err := call.Send(&munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Header{Header: header}})
	chunk := make([]byte, chunkBytes)
	for sent := int64(0); err == nil; {
		n, rerr := io.ReadFull(s.Payload, chunk)
		if n > 0 {
			err = call.Send(&munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Chunk{Chunk: chunk[:n]}})
			sent += int64(n)
			if s.Progress != nil {
				s.Progress(sent)
			}
		}
		if errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF) {
			break
		}
		if rerr != nil {
			return nil, fmt.Errorf("read the payload: %w", rerr)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) { // CloseAndReceive returns the cause of EOF
		return nil, err
	}
	res, err := call.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	return res.Msg.Appended, nil
}

// checkStream is check for a streamed payload.
func (c *Client) checkStream(s *Stream, a *munimentv1.Appended) Result {
	r := Result{Index: a.GetIndex(), Duplicate: a.GetDuplicate(), Receipt: a.GetReceipt()}
	if _, r.Err = s.Payload.Seek(0, io.SeekStart); r.Err != nil {
		return r
	}
	if c.policy != nil {
		_, r.Err = receipt.Verify(r.Receipt, []*receipt.TrustPolicy{c.policy}, receipt.Options{PayloadReader: s.Payload, Tenant: &c.Tenant, Kind: &s.Kind, StreamKey: c.streamKey})
		return r
	}
	r.Err = checkCommitment(r.Receipt, func(salt entry.Salt) (entry.Hash, error) {
		h := entry.NewCommitment(salt)
		_, err := io.Copy(h, s.Payload)
		return entry.Hash(h.Sum(nil)), err
	})
	return r
}

// checkCommitment checks that a receipt commits to the payload that was sent.
// The function commit returns the payload's commitment under a salt.
func checkCommitment(data []byte, commit func(entry.Salt) (entry.Hash, error)) error {
	parsed, err := receipt.Parse(data)
	if err != nil {
		return err
	}
	if parsed.Header == nil || parsed.Payload == nil {
		return nil // erased in the meantime
	}
	h, err := entry.ParseHeader(parsed.Header.Content)
	if err != nil {
		return fmt.Errorf("%w: %w", receipt.ErrNotVerified, err)
	}
	commitment, err := commit(parsed.Payload.Salt)
	if err != nil {
		return fmt.Errorf("read the payload: %w", err)
	}
	if commitment != h.Payload.Commitment {
		return fmt.Errorf("%w: the receipt is for a different payload from the one sent", receipt.ErrNotVerified)
	}
	return nil
}

// ReadPayload writes the payload of an entry to w as it arrives, and returns
// its size in bytes. If the payload is erased, the error's Connect code is
// failed_precondition.
func (c *Client) ReadPayload(ctx context.Context, index uint64, w io.Writer) (int64, error) {
	stream, err := c.LedgerServiceClient.GetPayload(ctx, connect.NewRequest(&munimentv1.GetPayloadRequest{Tenant: c.Tenant, Index: index}))
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	n := int64(0)
	for stream.Receive() {
		m, err := w.Write(stream.Msg().Chunk)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, stream.Err()
}
