package pgstore

import (
	"context"
	"encoding/binary"
	"fmt"

	"muniment.dev/muniment/ledger/store"
)

// A keyFilter is a Bloom filter. Keys are truncated HMACs, so their own bits
// serve as hashes.
type keyFilter struct {
	words []uint64
	all   bool // there are too many keys: any may be there
}

const (
	filterBits   = 10 // for each key: 1 % false positives
	filterHashes = 7
	// maxFilterKeys bounds a filter to 25 MB, and the time of reading its keys.
	maxFilterKeys = 20_000_000
)

// KeyFilter implements store.Store.
func (s *Store) KeyFilter(ctx context.Context) (store.KeyFilter, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	f, err := s.keyFilter(ctx)
	if err != nil {
		return nil, fmt.Errorf("key filter: %w", err)
	}
	return f, nil
}

func (s *Store) keyFilter(ctx context.Context) (*keyFilter, error) {
	n, err := value[int64](ctx, s, "keys", `SELECT count(*) FROM (SELECT FROM $keys LIMIT $1) AS k`, maxFilterKeys+1)
	if err != nil {
		return nil, err
	}
	if n > maxFilterKeys {
		return &keyFilter{all: true}, nil
	}
	f := &keyFilter{words: make([]uint64, n*filterBits/64+1)}
	err = s.each(ctx, `SELECT key, index FROM $keys`, nil, func(key []byte, _ int64) error {
		if len(key) != len(store.Key{}) {
			return fmt.Errorf("a key has %d bytes: %w", len(key), store.ErrDamaged)
		}
		f.add((*store.Key)(key))
		return nil
	})
	return f, err
}

func (f *keyFilter) add(k *store.Key) {
	for bit := range f.bits(k) {
		f.words[bit/64] |= 1 << (bit % 64)
	}
}

// MayHave implements store.KeyFilter.
func (f *keyFilter) MayHave(k *store.Key) bool {
	if f.all {
		return true
	}
	for bit := range f.bits(k) {
		if f.words[bit/64]&(1<<(bit%64)) == 0 {
			return false
		}
	}
	return true
}

// bits yields the bits of a key, by double hashing.
func (f *keyFilter) bits(k *store.Key) func(func(uint64) bool) {
	return func(yield func(uint64) bool) {
		a, b := binary.BigEndian.Uint64(k[:8]), binary.BigEndian.Uint64(k[8:])|1
		for i := range uint64(filterHashes) {
			if !yield((a + i*b) % uint64(64*len(f.words))) {
				return
			}
		}
	}
}
