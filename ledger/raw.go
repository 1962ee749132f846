package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// A raw log has leaves in a format of others instead of streams, headers and
// payloads. Its data is permanently public. Otherwise it is a log like any
// other, with the same write path. The store determines which kind a log is.

var (
	// ErrLeafSize reports that leaf data is empty or too long for an entry
	// bundle.
	ErrLeafSize = fmt.Errorf("leaf data must have 1 to %d bytes", store.MaxLeafSize)

	errRaw    = errors.New("this log holds raw leaves, not entries of streams")
	errNotRaw = errors.New("this log holds entries of streams, not raw leaves")
)

// A LeafResult is the result of appending a raw leaf.
type LeafResult struct {
	Index     uint64
	Duplicate bool       // recorded before, at Index
	Published *Published // a state that contains the leaf
}

// AppendLeaf records a raw leaf and returns when it is durable and published.
// The same data is recorded once. Errors: ErrLeafSize, and as Append.
func (l *Ledger) AppendLeaf(ctx context.Context, data []byte) (*LeafResult, error) {
	if f := l.failure.Load(); f != nil {
		return nil, *f
	}
	if l.replica {
		return nil, ErrReplica
	}
	if !l.raw {
		return nil, errNotRaw
	}
	if l.readOnly {
		return nil, l.held()
	}
	if err := checkLeaf(data); err != nil {
		return nil, err
	}
	g := newGroup(1)
	p := &g.entries[0]
	p.leaf, p.key = data, l.ids.leafKey(data)
	if err := l.record(ctx, g); err != nil {
		return nil, err
	}
	if p.existing {
		same, err := l.sameLeaf(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("compare with entry %d: %w", p.index, err)
		}
		if !same {
			// a collision, expected once in 2⁶⁴ leaves
			return nil, fmt.Errorf("entry %d has the deduplication key of other data", p.index)
		}
	}
	return &LeafResult{Index: p.index, Duplicate: p.existing, Published: g.published}, nil
}

func checkLeaf(data []byte) error {
	if len(data) == 0 || len(data) > store.MaxLeafSize {
		return fmt.Errorf("%w, these are %d", ErrLeafSize, len(data))
	}
	return nil
}

func (l *Ledger) sameLeaf(ctx context.Context, p *pending) (bool, error) {
	leaves, err := l.store.Leaves(ctx, p.index, p.index+1)
	if err != nil {
		return false, err
	}
	return bytes.Equal(leaves[0], p.leaf), nil
}

// placeLeaf appends a raw leaf to the log.
func (l *Ledger) placeLeaf(c *store.Commit, p *pending, now uint64) {
	if err := checkLeaf(p.leaf); err != nil {
		// a bug: it could never be served
		panic("ledger: a leaf got into the queue unchecked: " + err.Error())
	}
	p.index = c.From + uint64(c.Len())
	l.tip.append(entry.LeafHash(p.leaf), now)
	c.Leaves = append(c.Leaves, store.Leaf{Data: p.leaf, Time: now})
	l.fileKey(c, p)
}
