package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"

	"muniment.dev/muniment/ledger/store"
)

// An erasedBatch is what a batch of erasures leaves to be done when it is
// durable.
type erasedBatch struct {
	files   []largeID // to be deleted
	rows    int64     // rows e that are new
	seen    map[uint64]bool
	residue residue
}

// A residue is the keys of rows that were overwritten or deleted, whose old
// values may still lie in Pebble's files.
type residue struct {
	keys [][]byte
	all  bool // there are others, not known any more
}

// Erase implements store.Store.
func (s *Store) Erase(ctx context.Context, erasures []store.Erasure) error {
	end, err := s.beginWrite()
	if err != nil {
		return err
	}
	defer end()
	if err := store.CheckErasures(erasures, s.head.size); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	e, err := s.putErasures(b, erasures)
	if err != nil {
		return fmt.Errorf("erase: %w", err)
	}
	if err := s.apply(b); err != nil {
		s.failed = true
		return fmt.Errorf("erase: %w", err)
	}
	s.erased(e)
	return nil
}

// erased does what a durable batch of erasures has left to do. The writing lock
// is held.
func (s *Store) erased(e *erasedBatch) {
	if e == nil {
		return
	}
	s.unpurged.Add(e.rows)
	s.residue.keys = append(s.residue.keys, e.residue.keys...)
	for _, id := range e.files {
		if err := s.fs.Remove(s.largePath(id)); err != nil && !oserror.IsNotExist(err) {
			s.log.Error("an erased payload's file could not be deleted; the next purge or start does it", "err", err)
		}
	}
}

// putErasures adds the erasures to the batch. Several may be of one row.
func (s *Store) putErasures(b *pebble.Batch, erasures []store.Erasure) (*erasedBatch, error) {
	if len(erasures) == 0 {
		return nil, nil
	}
	e := &erasedBatch{seen: map[uint64]bool{}}
	headers := map[uint64]bool{}
	postings := map[store.Term]map[uint64]bool{}
	for i := range erasures {
		er := &erasures[i]
		if !e.seen[er.Index] {
			e.seen[er.Index] = true
			if err := s.putErasedPayload(b, e, er.Index); err != nil {
				return nil, fmt.Errorf("payload %d: %w", er.Index, err)
			}
		}
		if er.Header {
			headers[er.Index] = true
		}
		for j := range er.Keys {
			if err := s.putForgottenKey(b, e, &er.Keys[j], er.Index); err != nil {
				return nil, err
			}
		}
		for _, t := range er.Terms {
			if postings[t] == nil {
				postings[t] = map[uint64]bool{}
			}
			postings[t][er.Index] = true
		}
	}
	if err := s.putErasedHeaders(b, e, headers); err != nil {
		return nil, err
	}
	for t, indexes := range postings {
		if err := s.putWithoutPostings(b, e, t, indexes); err != nil {
			return nil, fmt.Errorf("postings of %x: %w", t, err)
		}
	}
	return e, nil
}

func (e *erasedBatch) touch(key []byte) { e.residue.keys = append(e.residue.keys, slices.Clone(key)) }

func (s *Store) putErasedPayload(b *pebble.Batch, e *erasedBatch, index uint64) error {
	l, err := s.largeRow(index)
	switch {
	case err == nil:
		key := indexKey(largeSpace, index)
		e.files = append(e.files, l.id)
		e.touch(key[:])
		if err := b.Delete(key[:], nil); err != nil {
			return err
		}
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	key := indexKey(infoSpace, index)
	e.touch(key[:])
	if err := b.Delete(key[:], nil); err != nil {
		return err
	}
	key = indexKey(factsSpace, index)
	e.touch(key[:])
	if err := b.Delete(key[:], nil); err != nil {
		return err
	}
	key = indexKey(payloadSpace, index)
	e.touch(key[:])
	if err := b.Set(key[:], nil, nil); err != nil {
		return err
	}
	key = indexKey(unpurgedSpace, index)
	if _, err := s.get(key[:]); errors.Is(err, store.ErrNotFound) {
		e.rows++
	} else if err != nil {
		return err
	}
	return b.Set(key[:], nil, nil)
}

func (s *Store) putForgottenKey(b *pebble.Batch, e *erasedBatch, k *store.Key, index uint64) error {
	var key [keyKeySize]byte
	putKeyKey(key[:], k)
	v, err := s.get(key[:])
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	at, err := decodeIndex(key[:], v)
	if err != nil || at != index { // or it is filed under a later entry by now
		return err
	}
	e.touch(key[:])
	return b.Delete(key[:], nil)
}

func (s *Store) putErasedHeaders(b *pebble.Batch, e *erasedBatch, indexes map[uint64]bool) error {
	if len(indexes) == 0 {
		return nil
	}
	it, err := s.iterator(context.Background(), headerSpace)
	if err != nil {
		return err
	}
	defer it.Close()
	rows := map[uint64]map[uint64]bool{} // by first index
	for index := range indexes {
		if _, err := valueAt(it, seekRun(it, headerSpace, index)); err != nil {
			return fmt.Errorf("header %d: %w", index, err)
		}
		first, err := firstIndex(it.Key())
		if err != nil {
			return err
		}
		if rows[first] == nil {
			rows[first] = map[uint64]bool{}
		}
		rows[first][index] = true
	}
	for first, in := range rows {
		key := indexKey(headerSpace, first)
		v, err := s.get(key[:])
		if err != nil {
			return err
		}
		if v, err = eraseHeaders(key[:], v, in); err != nil {
			return err
		}
		e.touch(key[:])
		if err := b.Set(key[:], v, nil); err != nil {
			return err
		}
	}
	return nil
}

// putWithoutPostings takes the indexes out of a term's rows.
func (s *Store) putWithoutPostings(b *pebble.Batch, e *erasedBatch, t store.Term, indexes map[uint64]bool) error {
	var lower, upper [postingKeySize]byte
	putPostingKey(lower[:], &t, 0)
	putPostingKey(upper[:], &t, ^uint64(0)) // no entry has this index
	it, err := s.iteratorOn(context.Background(), lower[:], upper[:])
	if err != nil {
		return err
	}
	defer it.Close()
	done := map[uint64]bool{} // first indexes of rows
	for index := range indexes {
		var at [postingKeySize]byte
		putPostingKey(at[:], &t, index+1)
		if !it.SeekLT(at[:]) {
			if err := it.Error(); err != nil {
				return err
			}
			continue
		}
		first := binary.BigEndian.Uint64(it.Key()[termPrefixSize:])
		if done[first] {
			continue
		}
		done[first] = true
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		row, err := decodePostings(nil, it.Key(), v)
		if err != nil {
			return err
		}
		left := make([]store.PostingAt, 0, len(row))
		for _, i := range row {
			if !indexes[i] {
				left = append(left, store.PostingAt{Term: t, Index: i})
			}
		}
		if len(left) == len(row) {
			continue
		}
		e.touch(it.Key())
		if err := b.Delete(it.Key(), nil); err != nil {
			return err
		}
		if len(left) > 0 {
			putPostingRow(b, left)
		}
	}
	return nil
}
