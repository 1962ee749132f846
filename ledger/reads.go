package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// Published returns the latest published state. All parts of one answer must
// come from one such state.
func (l *Ledger) Published() *Published { return l.published.Load() }

// Origin returns the log's name, the first line of its checkpoints.
func (l *Ledger) Origin() string { return l.cfg.Signer.Name() }

// LeafHashOf returns the leaf hash of an entry of the log.
func (l *Ledger) LeafHashOf(sk *entry.Skeleton) entry.Hash { return sk.LeafHash(l.origin) }

// An Entry is a published entry of a stream, without its payload. It matches
// its leaf.
type Entry struct {
	Index    uint64
	Skeleton entry.Skeleton
	Header   *entry.Header          // parsed from Opening.Content; nil: erased
	Opening  *receipt.HeaderOpening // header bytes and their salt; nil: erased

	payload *receipt.PayloadOpening // if it was read along; nil: ask the store
}

// Entry returns an entry of the stream. Errors: ErrOutOfRange; ErrNotFound,
// also for an entry of another stream.
func (l *Ledger) Entry(ctx context.Context, s *Stream, index uint64) (*Entry, error) {
	e, err := l.openingsAt(ctx, l.Published(), s, index, store.OpeningsOf)
	if err != nil {
		return nil, err
	}
	return e, e.parse()
}

func (l *Ledger) entryAt(ctx context.Context, p *Published, s *Stream, index uint64) (*Entry, error) {
	e, err := l.openingAt(ctx, p, s, index)
	if err != nil {
		return nil, err
	}
	return e, e.parse()
}

// parse sets Header from Opening.
func (e *Entry) parse() (err error) {
	e.Header, err = parseHeader(e.Index, e.Opening)
	return err
}

// parseHeader returns the header that was opened, or nil if it was erased.
func parseHeader(index uint64, opening *receipt.HeaderOpening) (*entry.Header, error) {
	if opening == nil {
		return nil, nil
	}
	h, err := entry.ParseHeader(opening.Content)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", index, err)
	}
	return h, nil
}

// openingAt is entryAt without parsing the header, which takes as long as
// making a receipt. A nil stream means any.
func (l *Ledger) openingAt(ctx context.Context, p *Published, s *Stream, index uint64) (*Entry, error) {
	return l.openingsAt(ctx, p, s, index, headerOnly)
}

// A readOpenings reads the header of an entry, and perhaps its payload, as
// store.OpeningsOf does.
type readOpenings func(context.Context, store.Openings, uint64) (*receipt.HeaderOpening, *receipt.PayloadOpening, error)

func headerOnly(ctx context.Context, s store.Openings, index uint64) (*receipt.HeaderOpening, *receipt.PayloadOpening, error) {
	h, err := s.Header(ctx, index)
	return h, nil, err
}

// openingsAt is openingAt with the function that reads the openings.
func (l *Ledger) openingsAt(ctx context.Context, p *Published, s *Stream, index uint64, read readOpenings) (*Entry, error) {
	if index >= p.Size {
		return nil, WrongField(FieldIndex, "%d is %w, which has %d entries", index, ErrOutOfRange, p.Size)
	}
	sk, err := l.store.Skeletons(ctx, index, index+1)
	if err != nil && !(l.replica && errors.Is(err, store.ErrNotFound)) {
		// a replica has records of some streams only
		return nil, fmt.Errorf("entry %d: %w", index, notThere(err))
	}
	if err != nil || s != nil && sk[0].StreamID != s.ID {
		return nil, WrongField(FieldIndex, "%w as %d in this tenant's stream", ErrNotFound, index)
	}
	e := &Entry{Index: index, Skeleton: sk[0]}
	if err := l.checkSkeleton(ctx, p, index, &e.Skeleton); err != nil {
		return nil, err
	}
	if e.Opening, e.payload, err = read(ctx, l.store, index); err != nil {
		return nil, fmt.Errorf("header of entry %d: %w", index, notThere(err))
	}
	return e, checkHeader(index, &e.Skeleton, e.Opening)
}

// Payload returns the payload of an entry, or nil if it was erased. Errors:
// ErrTooLarge.
func (l *Ledger) Payload(ctx context.Context, e *Entry) (*receipt.PayloadOpening, error) {
	if e.payload != nil {
		return e.payload, checkPayload(e, e.payload)
	}
	p, err := l.wholePayload(ctx, e.Index)
	if err != nil {
		return nil, fmt.Errorf("payload of entry %d: %w", e.Index, notThere(err))
	}
	return p, checkPayload(e, p)
}

// ReceiptOptions specify a receipt.
type ReceiptOptions struct {
	Size         uint64 // of a published checkpoint; 0: the latest
	Witnessed    bool   // the checkpoint must be a witnessed one
	Shared       bool   // for third parties
	EmbedPayload bool
}

// Receipt returns a receipt for an entry of the stream. Errors: as Entry;
// ErrNoCheckpoint, whose message names the next published size; ErrErased; and
// for a witnessed checkpoint ErrNoQuorum and ErrNotWitnessed.
func (l *Ledger) Receipt(ctx context.Context, s *Stream, index uint64, o ReceiptOptions) ([]byte, error) {
	w := l.witnessed.Load() // before the published state, which is never older
	p := l.Published()
	e, err := l.openingAt(ctx, p, s, index)
	if err != nil {
		return nil, err
	}
	size, tail, err := l.checkpointAt(ctx, p, w, o)
	if err != nil {
		return nil, err
	}
	if index >= size {
		if o.Witnessed && o.Size == 0 {
			return nil, fmt.Errorf("entry %d is %w; the latest witnessed checkpoint has size %d", index, ErrNotWitnessed, size)
		}
		return nil, WrongField(FieldIndex, "%d is %w of size %d", index, ErrOutOfRange, size)
	}
	r, err := l.opening(ctx, e, o)
	if err != nil {
		return nil, err
	}
	return p.receipt(ctx, index, size, tail, r)
}

// opening returns the receipt of the entry without its proof.
func (l *Ledger) opening(ctx context.Context, e *Entry, o ReceiptOptions) (*receipt.Receipt, error) {
	payload, err := l.payloadOpening(ctx, e, o.EmbedPayload)
	if err != nil {
		return nil, err
	}
	r := &receipt.Receipt{Tag: e.Skeleton.Tag, Time: e.Skeleton.Time, Header: e.Opening, HeaderHash: e.Skeleton.HeaderHash, Payload: payload}
	switch {
	case o.Shared && (e.Opening == nil || payload == nil):
		return nil, fmt.Errorf("entry %d can't be shared: its payload is %w", e.Index, ErrErased)
	case o.EmbedPayload && payload == nil:
		return nil, fmt.Errorf("the payload of entry %d is %w", e.Index, ErrErased)
	case o.Shared:
		r.Form, r.LinkHash = receipt.Shared, e.Skeleton.Link()
	case e.Opening == nil:
		r.Form, r.Payload = receipt.HeaderErased, nil
	case payload == nil:
		r.Form = receipt.PayloadErased
	case o.EmbedPayload:
		r.Form = receipt.Full
	default:
		r.Form = receipt.Detached
	}
	if !o.Shared {
		r.Link = &receipt.LinkOpening{Salt: e.Skeleton.LinkSalt, StreamID: e.Skeleton.StreamID, Seq: e.Skeleton.Seq, Prev: e.Skeleton.Prev}
	}
	return r, nil
}

// payloadOpening returns the payload's salt, and if requested its content. It
// returns nil if the payload was erased.
func (l *Ledger) payloadOpening(ctx context.Context, e *Entry, content bool) (*receipt.PayloadOpening, error) {
	if !content {
		info, err := payloadInfo(ctx, l.store, e.Index, &e.Skeleton)
		if err != nil || info.Erased {
			return nil, err
		}
		return &receipt.PayloadOpening{Salt: info.Salt}, nil
	}
	if err := e.parse(); err != nil {
		return nil, err
	}
	return l.Payload(ctx, e)
}

// checkpointAt returns the checkpoint that the options specify. If a version
// with cosignatures that meet the quorum exists, it returns that one.
func (l *Ledger) checkpointAt(ctx context.Context, p *Published, w *Witnessed, o ReceiptOptions) (uint64, *receipt.ProofTail, error) {
	if o.Witnessed && l.cfg.Quorum == nil {
		return 0, nil, WrongField(FieldWitnessed, "%w", ErrNoQuorum)
	}
	size := o.Size
	switch {
	case size == 0 && o.Witnessed && w == nil:
		return 0, nil, fmt.Errorf("no checkpoint is witnessed: %w", ErrNotWitnessed)
	case size == 0 && o.Witnessed:
		size = w.Size
	case size == 0:
		size = p.Size
	case size > p.Size:
		return 0, nil, WrongField(FieldTreeSize, "%d is %w, which has %d entries", size, ErrOutOfRange, p.Size)
	}
	if w != nil && w.Size == size {
		return size, &w.tail, nil
	}
	if size == p.Size && !o.Witnessed {
		return size, &p.tail, nil
	}
	find := l.store.Cosigned
	if l.replica && o.Witnessed {
		find = l.store.Checkpoint // imported with the required cosignatures
	}
	tail, next, err := tailAt(ctx, find, size)
	if tail != nil || err != nil {
		return size, tail, err
	}
	if o.Witnessed {
		return 0, nil, WrongField(FieldTreeSize, "the checkpoint of size %d is %w%s", size, ErrNotWitnessed, nextOne(next))
	}
	if tail, next, err = tailAt(ctx, l.store.Checkpoint, size); tail != nil || err != nil {
		return size, tail, err
	}
	if next == 0 { // the latest may not be in the store yet
		next = p.Size
	}
	return 0, nil, WrongField(FieldTreeSize, "%w (%d)%s", ErrNoCheckpoint, size, nextOne(min(next, p.Size)))
}

// SignedCheckpoint returns the signed checkpoint of a published size, with
// cosignatures that meet the quorum, if the log has one. Size 0 is the latest.
// Errors: ErrNoCheckpoint or ErrNotWitnessed, whose message names the next size
// that has one; ErrOutOfRange.
func (l *Ledger) SignedCheckpoint(ctx context.Context, size uint64) ([]byte, error) {
	w := l.witnessed.Load() // before the published state, which is never older
	_, tail, err := l.checkpointAt(ctx, l.Published(), w, ReceiptOptions{Size: size, Witnessed: l.RequiresWitness()})
	if err != nil {
		return nil, err
	}
	return tail.Checkpoint(), nil
}

// tailAt returns the tail of the stored checkpoint of the size. If there is
// none, it returns the next larger size that is stored, or 0.
func tailAt(ctx context.Context, find func(context.Context, uint64) (*store.Checkpoint, error), size uint64) (*receipt.ProofTail, uint64, error) {
	cp, err := find(ctx, size)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, fmt.Errorf("checkpoint of size %d: %w", size, err)
	case cp.Size != size:
		return nil, cp.Size, nil
	}
	tail := receipt.NewProofTail(cp.Signed)
	return &tail, size, nil
}

func nextOne(size uint64) string {
	if size == 0 {
		return ""
	}
	return fmt.Sprintf("; the next one is %d", size)
}

// LeafHash returns the leaf hash of a published entry, which is public. Errors:
// ErrOutOfRange.
func (l *Ledger) LeafHash(ctx context.Context, p *Published, index uint64) (entry.Hash, error) {
	if index >= p.Size {
		return entry.Hash{}, WrongField(FieldIndex, "%d is %w, which has %d entries", index, ErrOutOfRange, p.Size)
	}
	hashes, err := p.Tile(ctx, 0, index/store.TileWidth, int(index%store.TileWidth)+1)
	if err != nil {
		return entry.Hash{}, err
	}
	return hashes[index%store.TileWidth], nil
}

// EntryBundle returns the first width entries of a bundle in the encoding of
// C2SP tlog-tiles, 1 ≤ width ≤ 256. Errors: ErrOutOfRange if the published log
// has fewer.
func (l *Ledger) EntryBundle(ctx context.Context, index uint64, width int) ([]byte, error) {
	p := l.Published()
	if index > p.Size/store.TileWidth || index*store.TileWidth+uint64(width) > p.Size {
		return nil, fmt.Errorf("entry bundle %d with %d entries: %w of size %d", index, width, ErrOutOfRange, p.Size)
	}
	from := index * store.TileWidth
	leaves, err := leafData(ctx, l.store, l.raw, l.origin, from, from+uint64(width))
	if err != nil {
		return nil, fmt.Errorf("entry bundle %d: %w", index, notThere(err))
	}
	if err := p.checkLeaves(ctx, from, leaves); err != nil {
		return nil, err
	}
	size := 2 * len(leaves)
	for _, data := range leaves {
		size += len(data)
	}
	out := make([]byte, 0, size)
	for _, data := range leaves {
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
		out = append(out, data...)
	}
	return out, nil
}

// leafData returns the data of the leaves from ≤ index < to.
func leafData(ctx context.Context, s store.Log, raw bool, log entry.OriginHash, from, to uint64) ([][]byte, error) {
	if raw {
		return s.Leaves(ctx, from, to)
	}
	sk, err := s.Skeletons(ctx, from, to)
	if err != nil {
		return nil, err
	}
	leaves := make([][]byte, len(sk))
	for i := range sk {
		data := sk[i].LeafData(log)
		leaves[i] = data[:]
	}
	return leaves, nil
}

// A StreamHead is the published end of a stream.
type StreamHead struct {
	Entries   uint64 // in the stream
	LastIndex uint64 // not set when Entries is 0
	LastLeaf  entry.Hash
}

// StreamHead returns the end of the stream in the published state p.
func (l *Ledger) StreamHead(ctx context.Context, p *Published, s *Stream) (StreamHead, error) {
	list, err := l.store.Postings(ctx, streamTerm(s.ID))
	if err != nil {
		return StreamHead{}, err
	}
	defer list.Close()
	if p.Size == 0 {
		return StreamHead{}, nil
	}
	index, ok, err := list.SeekLE(p.Size - 1)
	if err != nil || !ok {
		return StreamHead{}, err
	}
	sk, err := l.store.Skeletons(ctx, index, index+1)
	if err != nil {
		return StreamHead{}, fmt.Errorf("entry %d: %w", index, err)
	}
	return StreamHead{Entries: sk[0].Seq + 1, LastIndex: index, LastLeaf: sk[0].LeafHash(l.origin)}, nil
}
