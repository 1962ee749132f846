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

// Everything read from the store is checked against the published tree before
// it is served. Pebble's checksums detect damage on the disk. These checks also
// detect intact rows in the wrong place.

// ErrDamaged is the error of a read whose data is damaged.
var ErrDamaged = store.ErrDamaged

// ErrUnavailable is the error of a read or write of a large payload whose
// storage does not answer. It may succeed later.
var ErrUnavailable = store.ErrUnavailable

// ErrNoAnswer is the error of a read from a database that does not answer. It
// may succeed later.
var ErrNoAnswer = store.ErrNoAnswer

// ErrIndexDamaged is the error of opening a log whose index cannot be read. The
// entries are not affected.
var ErrIndexDamaged = errors.New("the index is damaged")

// checkSkeleton returns an error unless the skeleton matches its leaf.
func (l *Ledger) checkSkeleton(ctx context.Context, p *Published, index uint64, sk *entry.Skeleton) error {
	leaf, err := l.LeafHash(ctx, p, index)
	if err != nil {
		return err
	}
	if sk.LeafHash(l.origin) != leaf {
		return fmt.Errorf("entry %d: its skeleton does not match its leaf: %w", index, ErrDamaged)
	}
	return nil
}

// checkHeader returns an error unless the header matches its skeleton. A nil
// header was erased.
func checkHeader(index uint64, sk *entry.Skeleton, h *receipt.HeaderOpening) error {
	if h != nil && entry.HeaderHash(h.Salt, h.Content) != sk.HeaderHash {
		return fmt.Errorf("entry %d: its header does not match its skeleton: %w", index, ErrDamaged)
	}
	return nil
}

// checkPayload returns an error unless the payload is the one that the entry's
// header commits to.
func checkPayload(e *Entry, p *receipt.PayloadOpening) error {
	if e.Header == nil || p == nil {
		return nil
	}
	if entry.Commitment(p.Salt, p.Content) != e.Header.Payload.Commitment {
		return damagedPayload(e.Index)
	}
	return nil
}

func damagedPayload(index uint64) error {
	return fmt.Errorf("entry %d: its payload does not match its header: %w", index, ErrDamaged)
}

// checkedPayload returns a reader of the payload that ends with an error unless
// the header commits to what was read. A nil header was erased.
func checkedPayload(index uint64, h *entry.Header, r *store.PayloadReader) io.ReadCloser {
	if h == nil {
		return r.ReadCloser
	}
	return &payloadReader{ReadCloser: r.ReadCloser, index: index, left: r.Size, want: h.Payload.Commitment, commitment: entry.NewCommitment(r.Salt)}
}

type payloadReader struct {
	io.ReadCloser
	index      uint64
	left       uint64 // bytes
	want       entry.Hash
	commitment hash.Hash
}

// Read returns the last bytes only if the whole payload is correct, because a
// reader that knows the size may not read to io.EOF.
func (r *payloadReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.commitment.Write(p[:n])
	if uint64(n) > r.left || err == io.EOF && uint64(n) < r.left {
		return 0, damagedPayload(r.index)
	}
	r.left -= uint64(n)
	if r.left == 0 && entry.Hash(r.commitment.Sum(nil)) != r.want {
		return 0, damagedPayload(r.index)
	}
	return n, err
}

// checkLeaves returns an error unless the data matches the leaves from first
// on. All must be in one tile.
func (p *Published) checkLeaves(ctx context.Context, first uint64, data [][]byte) error {
	at := int(first % store.TileWidth)
	hashes, err := p.Tile(ctx, 0, first/store.TileWidth, at+len(data))
	if err != nil {
		return err
	}
	for i := range data {
		if entry.LeafHash(data[i]) != hashes[at+i] {
			return fmt.Errorf("entry %d: its data does not match its leaf: %w", first+uint64(i), ErrDamaged)
		}
	}
	return nil
}

// An Inspection is the state of a store that Inspect has read.
type Inspection struct {
	Size uint64 // of the log, or of the last checkpoint of a replica
	Root entry.Hash
	// RootAt returns the root of the tree of a size up to Size.
	RootAt func(ctx context.Context, size uint64) (entry.Hash, error)
}

// Inspect loads the log's tree, without writing to the store. It checks the
// tree against the store's tree head or, for a replica, its last checkpoint. If
// tiles are damaged, it computes the tree from all leaves. The error is
// ErrDamaged if these do not lead to the root either. A raw log needs no
// origin.
func Inspect(ctx context.Context, s store.Log, origin string, replica bool) (*Inspection, error) {
	st, err := s.Follow(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("load the log: %w", err)
	}
	if replica {
		if st.Root, st.Size, err = replicaHead(ctx, s, st.Size); err != nil {
			return nil, err
		}
	}
	log := entry.HashOrigin(origin)
	t, err := loadTree(ctx, s, st, log)
	if st.Size > 0 && (err != nil || t.root() != st.Root) {
		if in := inspectLeaves(ctx, s, st, log); in != nil {
			return in, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("load the tree: %w", notThere(err))
	}
	p := &Published{Size: st.Size, Root: t.root(), edges: t.edges, tiles: newTileCache(s, 64)}
	if st.Size > 0 && p.Root != st.Root {
		return nil, wrongRoot(p.Root, st.Root)
	}
	return &Inspection{Size: p.Size, Root: p.Root, RootAt: func(ctx context.Context, size uint64) (entry.Hash, error) {
		root, err := p.RootOf(ctx, size)
		return root, notThere(err)
	}}, nil
}

// inspectLeaves is Inspect without the tiles. It returns nil unless the leaves
// lead to the root.
func inspectLeaves(ctx context.Context, s store.Log, st *store.State, log entry.OriginHash) *Inspection {
	rootAt := func(ctx context.Context, size uint64) (entry.Hash, error) {
		if size > st.Size {
			return entry.Hash{}, fmt.Errorf("size %d is %w, which has %d entries", size, ErrOutOfRange, st.Size)
		}
		t, err := leafTree(ctx, s, &store.State{Raw: st.Raw, Size: size}, log, nil)
		if err != nil {
			return entry.Hash{}, notThere(err)
		}
		return t.root(), nil
	}
	if root, err := rootAt(ctx, st.Size); err != nil || root != st.Root {
		return nil
	}
	return &Inspection{Size: st.Size, Root: st.Root, RootAt: rootAt}
}

func replicaHead(ctx context.Context, s store.Log, limit uint64) (entry.Hash, uint64, error) {
	signed, size, err := lastCheckpoint(ctx, s, limit)
	if err != nil || size == 0 {
		return entry.Hash{}, 0, err
	}
	c, err := receipt.ParseCheckpointUnverified(signed)
	if err != nil {
		return entry.Hash{}, 0, fmt.Errorf("checkpoint of size %d: %w: %w", size, ErrDamaged, err)
	}
	return c.Root, c.Size, nil
}

// notThere turns ErrNotFound into ErrDamaged, for reads of rows that must
// exist.
func notThere(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// CheckIndex returns an error with the remedy unless the rows of the index that
// opening a log writes by can be read: stream heads, and the postings of
// erasures. It writes nothing. Opening reads the deduplication keys only once,
// because there is one for each entry.
func CheckIndex(ctx context.Context, s store.Index, replica bool) error {
	streams, err := s.StreamHeads(ctx)
	if err != nil {
		return indexDamage(err, replica)
	}
	for _, h := range streams {
		if err := readPostings(ctx, s, term(h.StreamID, kindField, ErasureKind)); err != nil {
			return indexDamage(err, replica)
		}
	}
	return nil
}

func readPostings(ctx context.Context, s store.Index, t store.Term) error {
	list, err := s.Postings(ctx, t)
	if err != nil {
		return err
	}
	ok := true
	for at := uint64(0); ok && err == nil; at++ {
		at, ok, err = list.SeekGE(at)
	}
	return errors.Join(err, list.Close())
}

// indexDamage adds the remedy to the error of an index row that cannot be read.
// The index of a replica cannot be rebuilt, because its deduplication keys
// depend on a secret of the log.
func indexDamage(err error, replica bool) error {
	switch {
	case !errors.Is(err, ErrDamaged):
		return err
	case replica:
		return fmt.Errorf("%w: %w: import the log's deltas into a new folder", ErrIndexDamaged, err)
	}
	return fmt.Errorf("%w: %w: rebuild it with muniment reindex", ErrIndexDamaged, err)
}

func wrongRoot(entries, head entry.Hash) error {
	return fmt.Errorf("load the tree: the stored entries have the root %s, and the tree head has %s: %w", entries.Base64(), head.Base64(), ErrDamaged)
}
