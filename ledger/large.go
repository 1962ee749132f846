package ledger

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// ErrTooLarge reports that a payload is too large to be held in memory. It can
// be read as a stream.
var ErrTooLarge = errors.New("too large for one message")

// MaxWhole is the largest payload, in bytes, that is read into memory, such as
// for a receipt that embeds it.
const MaxWhole = 16 << 20

// A Spool is a large payload on its way into the log. Its bytes are in the
// store, but no entry refers to them yet. It belongs to one goroutine until a
// draft passes it to Append.
type Spool struct {
	ledger     *Ledger
	w          store.PayloadWriter
	salt       entry.Salt
	commitment hash.Hash
	size       uint64
	finished   store.LargePayload
	// proposed is set while a commit with the payload can be won. It belongs to
	// the committer until the draft is answered.
	proposed bool
}

// NewSpool begins a large payload. expect is its size in bytes, or 0 if
// unknown. Errors: as Append. The caller must discard the spool, also after
// appending it.
func (l *Ledger) NewSpool(ctx context.Context, expect uint64) (*Spool, error) {
	if err := l.mayAppend(); err != nil {
		return nil, err
	}
	if err := l.checkSpaceFor(expect); err != nil {
		return nil, err
	}
	w, err := l.store.CreatePayload(ctx)
	if err != nil {
		return nil, err
	}
	s := &Spool{ledger: l, w: w}
	_, _, s.salt = entry.NewSalts()
	s.commitment = entry.NewCommitment(s.salt)
	return s, nil
}

// Write adds to the payload. It returns ErrDiskFull rather than use the disk's
// reserve.
func (s *Spool) Write(p []byte) (int, error) {
	if err := s.ledger.checkSpaceFor(uint64(len(p))); err != nil {
		return 0, err
	}
	n, err := s.w.Write(p)
	s.commitment.Write(p[:n])
	s.size += uint64(n)
	if err != nil {
		return n, fmt.Errorf("write a large payload: %w", err)
	}
	return n, nil
}

// Finish makes the payload durable.
func (s *Spool) Finish() (err error) {
	s.finished, err = s.w.Finish()
	return err
}

// Open reads a finished payload from its beginning.
func (s *Spool) Open() (io.ReadCloser, error) { return s.w.Open() }

// Size returns the number of bytes written.
func (s *Spool) Size() uint64 { return s.size }

// Opening returns the payload's random salt and the commitment to the bytes
// written.
func (s *Spool) Opening() (entry.Salt, entry.Hash) {
	return s.salt, entry.Hash(s.commitment.Sum(nil))
}

// Discard deletes the payload unless an entry refers to it, or will if a commit
// whose outcome is unknown is won. Opening the store deletes payloads that no
// entry refers to.
func (s *Spool) Discard() {
	if s.proposed {
		return
	}
	if err := s.w.Discard(); err != nil {
		s.ledger.log.Warn("a large payload that was not recorded could not be deleted; the next start does it", "err", err)
	}
}

// commitTo returns the payload's commitment under another salt.
func (s *Spool) commitTo(salt entry.Salt) (entry.Hash, error) {
	r, err := s.Open()
	if err != nil {
		return entry.Hash{}, err
	}
	defer r.Close()
	h := entry.NewCommitment(salt)
	if _, err := io.Copy(h, r); err != nil {
		return entry.Hash{}, fmt.Errorf("read a large payload: %w", err)
	}
	return entry.Hash(h.Sum(nil)), nil
}

// A PayloadReader is an open payload.
type PayloadReader struct {
	io.ReadCloser
	Size uint64 // bytes
}

// OpenPayload opens the payload of an entry, or returns nil if it was erased.
// The caller must close it. Reading a payload other than the recorded one ends
// with ErrDamaged, not io.EOF.
func (l *Ledger) OpenPayload(ctx context.Context, e *Entry) (*PayloadReader, error) {
	r, err := l.store.OpenPayload(ctx, e.Index)
	if err != nil {
		return nil, fmt.Errorf("payload of entry %d: %w", e.Index, notThere(err))
	}
	if r == nil {
		return nil, nil
	}
	return &PayloadReader{checkedPayload(e.Index, e.Header, r), r.Size}, nil
}

// PayloadErased reports whether the payload of an entry was erased.
func (l *Ledger) PayloadErased(ctx context.Context, e *Entry) (bool, error) {
	if e.payload != nil {
		return false, nil
	}
	info, err := payloadInfo(ctx, l.store, e.Index, &e.Skeleton)
	return info.Erased, err
}

// PayloadSalt returns the salt of the payload of an entry. erased reports that
// the payload was erased with it.
func (l *Ledger) PayloadSalt(ctx context.Context, e *Entry) (salt entry.Salt, erased bool, err error) {
	info, err := payloadInfo(ctx, l.store, e.Index, &e.Skeleton)
	return info.Salt, info.Erased, err
}

// payloadInfo returns the salt and size of the payload of an entry with the
// skeleton.
func payloadInfo(ctx context.Context, s store.Openings, index uint64, sk *entry.Skeleton) (store.PayloadInfo, error) {
	info, err := s.PayloadInfo(ctx, index)
	if err != nil {
		return info, fmt.Errorf("payload of entry %d: %w", index, notThere(err))
	}
	if info.Seal != (entry.Hash{}) && info.Seal != store.InfoSeal(sk.HeaderHash, info.Salt, info.Size) {
		return info, fmt.Errorf("entry %d: the salt of its payload belongs to another entry: %w", index, ErrDamaged)
	}
	return info, nil
}

// wholePayload returns the payload opening with its content, or nil if it was
// erased. Errors: ErrTooLarge.
func (l *Ledger) wholePayload(ctx context.Context, index uint64) (*receipt.PayloadOpening, error) {
	p, err := l.store.Payload(ctx, index)
	if err != nil || p == nil || p.Content != nil {
		return p, err
	}
	r, err := l.store.OpenPayload(ctx, index)
	if err != nil || r == nil {
		return nil, err
	}
	defer r.Close()
	if r.Size > MaxWhole {
		return nil, fmt.Errorf("%d bytes are %w: omit the payload, and read it as a stream", r.Size, ErrTooLarge)
	}
	p.Content = make([]byte, r.Size)
	if _, err := io.ReadFull(r, p.Content); err != nil {
		return nil, err
	}
	return p, nil
}
