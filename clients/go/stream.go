package muniment

import (
	"context"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"

	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// chunkBytes is how much of a payload goes into one message of a stream.
const chunkBytes = 1 << 20

// A Stream is a submission that may be too large for one message, or for the
// memory. See docs/spec/kinds.md.
type Stream struct {
	Kind string
	// "": the server recognises it, if it is not larger than what the server
	// parses
	MediaType      string
	IdempotencyKey string
	// Payload is read from its beginning to its end to send it, and again to
	// check the receipt.
	Payload io.ReadSeeker
	// Progress, if not nil, is told how many bytes have been sent. They may
	// become fewer again, when a call is repeated.
	Progress func(sent int64)
}

// AppendStream records one submission that is sent in chunks.
func (c *Client) AppendStream(ctx context.Context, s Stream) (Result, error) {
	size, err := s.Payload.Seek(0, io.SeekEnd)
	if err != nil {
		return Result{}, fmt.Errorf("read the payload: %w", err)
	}
	var a *munimentv1.Appended
	if err := retry(ctx, func() (err error) {
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
	// a payload that can't be read to its end must not arrive as one that ends
	// there
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
	if err != nil && !errors.Is(err, io.EOF) { // of EOF the answer tells the cause
		return nil, err
	}
	res, err := call.CloseAndReceive()
	if err != nil {
		return nil, err
	}
	return res.Msg.Appended, nil
}

// checkStream is check for a payload that is read.
func (c *Client) checkStream(s *Stream, a *munimentv1.Appended) Result {
	r := Result{Index: a.GetIndex(), Duplicate: a.GetDuplicate(), Receipt: a.GetReceipt()}
	if _, r.Err = s.Payload.Seek(0, io.SeekStart); r.Err != nil {
		return r
	}
	if c.policy != nil {
		_, r.Err = receipt.Verify(r.Receipt, []*receipt.Policy{c.policy}, receipt.Options{PayloadReader: s.Payload, Tenant: &c.Tenant, Kind: &s.Kind, StreamKey: c.streamKey})
		return r
	}
	r.Err = checkCommitment(r.Receipt, func(salt receipt.Salt) (receipt.Hash, error) {
		h := receipt.NewCommitment(salt)
		_, err := io.Copy(h, s.Payload)
		return receipt.Hash(h.Sum(nil)), err
	})
	return r
}

// checkCommitment checks that a receipt is for the payload that was sent, to
// which commit commits with a salt.
func checkCommitment(data []byte, commit func(receipt.Salt) (receipt.Hash, error)) error {
	parsed, err := receipt.Parse(data)
	if err != nil {
		return err
	}
	if parsed.Header == nil || parsed.Payload == nil {
		return nil // erased since; nothing to compare
	}
	h, err := receipt.ParseHeader(parsed.Header.Content)
	if err != nil {
		return fmt.Errorf("%w: %w", receipt.ErrNotVerified, err)
	}
	commitment, err := commit(parsed.Payload.Salt)
	if err != nil {
		return fmt.Errorf("read the payload: %w", err)
	}
	if commitment != h.Payload.Commitment {
		return fmt.Errorf("%w: the receipt is for another payload than the one sent", receipt.ErrNotVerified)
	}
	return nil
}

// ReadPayload writes the payload of an entry to w as it arrives, and returns
// its size. The error is failed_precondition if it is erased.
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
