package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A receipt without the payload's content needs the payload's salt. Pebble
// reads a value whole, so the salt of a payload that is not small is also in a
// row of its own.

const (
	// infoBytes is the size from which on a payload has such a row. Below it,
	// the payload shares a block with others, which is read in any case.
	infoBytes = 32 << 10
	// formatInfo is the first format that has payload infos. A program that
	// does not know them would leave the salt when it erases a payload.
	formatInfo = 7
)

const (
	infoSize     = 2*entry.HashSize + 8
	unsealedInfo = entry.HashSize + 8 // not used: the payload's own row is read
)

// hasInfo reports whether a payload has such a row. The content of a large one
// is elsewhere.
func hasInfo(p *receipt.PayloadOpening) bool { return len(p.Content) >= infoBytes }

func anyInfo(c *store.Commit) bool {
	return slices.ContainsFunc(c.Entries, func(e store.Entry) bool { return hasInfo(&e.Payload) }) ||
		slices.ContainsFunc(c.Leaves, func(l store.Leaf) bool {
			return l.Record != nil && l.Record.Payload != nil && hasInfo(l.Record.Payload)
		})
}

func putInfo(b *pebble.Batch, index uint64, header entry.Hash, p *receipt.PayloadOpening) {
	op := b.SetDeferred(indexKeySize, infoSize)
	putIndexKey(op.Key, infoSpace, index)
	copy(op.Value, p.Salt[:])
	binary.BigEndian.PutUint64(op.Value[entry.HashSize:], uint64(len(p.Content)))
	seal := store.InfoSeal(header, p.Salt, uint64(len(p.Content)))
	copy(op.Value[entry.HashSize+8:], seal[:])
}

func decodeInfo(key, v []byte) (info store.PayloadInfo, err error) {
	if len(v) == unsealedInfo {
		return info, store.ErrNotFound
	}
	if len(v) != infoSize {
		return info, badRow(key, "the value has %d bytes, want %d", len(v), infoSize)
	}
	copy(info.Salt[:], v)
	info.Size = binary.BigEndian.Uint64(v[entry.HashSize:])
	copy(info.Seal[:], v[entry.HashSize+8:])
	return info, nil
}

// PayloadInfo implements store.Store.
func (s *Store) PayloadInfo(ctx context.Context, index uint64) (store.PayloadInfo, error) {
	if err := s.enter(); err != nil {
		return store.PayloadInfo{}, err
	}
	defer s.uses.Done()
	info, err := s.payloadInfo(index)
	if err != nil {
		return store.PayloadInfo{}, fmt.Errorf("payload %d: %w", index, err)
	}
	return info, nil
}

func (s *Store) payloadInfo(index uint64) (info store.PayloadInfo, err error) {
	key := indexKey(infoSpace, index)
	err = s.view(key[:], func(v []byte) (err error) {
		info, err = decodeInfo(key[:], v)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return info, err
	}
	l, err := s.largeRow(index)
	if err == nil {
		return store.PayloadInfo{Salt: l.salt, Size: l.size}, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return info, err
	}
	key = indexKey(payloadSpace, index)
	err = s.view(key[:], func(v []byte) error {
		switch {
		case len(v) == 0:
			info.Erased = true
		case len(v) < entry.HashSize:
			return badRow(key[:], "the value has %d bytes, want at least %d", len(v), entry.HashSize)
		default:
			info = store.PayloadInfo{Salt: entry.Salt(v[:entry.HashSize]), Size: uint64(len(v) - entry.HashSize)}
		}
		return nil
	})
	return info, err
}
