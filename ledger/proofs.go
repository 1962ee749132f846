package ledger

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/transparency-dev/merkle/proof"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

var emptyRoot = entry.Hash(sha256.Sum256(nil)) // RFC 6962, section 2.1

// InclusionProof returns the RFC 6962 inclusion proof of an entry in the tree
// of a size up to the published one, from the leaf's sibling up. Errors:
// ErrOutOfRange.
func (p *Published) InclusionProof(ctx context.Context, index, size uint64) ([]entry.Hash, error) {
	if size > p.Size {
		return nil, WrongField(FieldTreeSize, "%d is %w, which has %d entries", size, ErrOutOfRange, p.Size)
	}
	if index >= size {
		return nil, WrongField(FieldIndex, "%d is %w: the tree of size %d ends at index %d", index, ErrOutOfRange, size, int64(size)-1)
	}
	n, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, err
	}
	return p.prove(ctx, n)
}

// ConsistencyProof returns the RFC 6962 consistency proof between two trees,
// from ≤ to ≤ the published size. It is empty when they are the same or from is
// 0. Errors: ErrOutOfRange.
func (p *Published) ConsistencyProof(ctx context.Context, from, to uint64) ([]entry.Hash, error) {
	if to > p.Size {
		return nil, WrongField(FieldToSize, "%d is %w, which has %d entries", to, ErrOutOfRange, p.Size)
	}
	if from > to {
		return nil, WrongField(FieldFromSize, "%d is %w of the tree of size %d", from, ErrOutOfRange, to)
	}
	n, err := proof.Consistency(from, to)
	if err != nil {
		return nil, err
	}
	return p.prove(ctx, n)
}

// RootOf returns the root of the tree of a size up to the published one.
// Errors: ErrOutOfRange.
func (p *Published) RootOf(ctx context.Context, size uint64) (entry.Hash, error) {
	if size > p.Size {
		return entry.Hash{}, fmt.Errorf("size %d is %w, which has %d entries", size, ErrOutOfRange, p.Size)
	}
	return p.rootOf(ctx, size)
}

func (p *Published) prove(ctx context.Context, n proof.Nodes) ([]entry.Hash, error) {
	nodes, err := p.proveNodes(ctx, n)
	if err != nil {
		return nil, err
	}
	path := make([]entry.Hash, len(nodes))
	for i := range nodes {
		path[i] = entry.Hash(nodes[i])
	}
	return path, nil
}

func (p *Published) proveNodes(ctx context.Context, n proof.Nodes) ([][]byte, error) {
	nodes, err := p.nodes(ctx, n.IDs)
	if err != nil {
		return nil, err
	}
	return n.Rehash(nodes, hashChildren)
}

// hashChildren is rfc6962.DefaultHasher.HashChildren with one allocation
// instead of four.
func hashChildren(left, right []byte) []byte {
	h := entry.NodeHash((*entry.Hash)(left), (*entry.Hash)(right))
	return h[:]
}

// receipt encodes r with the proof for the entry in the tree of the signed
// checkpoint.
func (p *Published) receipt(ctx context.Context, index, size uint64, tail *receipt.ProofTail, r *receipt.Receipt) ([]byte, error) {
	n, err := proof.Inclusion(index, size)
	if err != nil {
		return nil, err
	}
	path, err := p.proveNodes(ctx, n)
	if err != nil {
		return nil, err
	}
	return r.AppendJSONWithProof(nil, index, path, tail)
}
