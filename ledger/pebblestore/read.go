package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// get returns a copy of the value, or ErrNotFound.
func (s *Store) get(key []byte) ([]byte, error) {
	var out []byte
	err := s.view(key, func(v []byte) error {
		out = bytes.Clone(v)
		return nil
	})
	return out, err
}

// view calls f with the value, which is valid until f returns, or returns
// ErrNotFound.
func (s *Store) view(key []byte, f func(v []byte) error) error {
	v, closer, err := s.getRow(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return store.ErrNotFound
	}
	if err != nil {
		return s.readError(err)
	}
	err = f(v)
	return errors.Join(err, s.readError(closer.Close()))
}

func (s *Store) getRow(key []byte) (v []byte, closer io.Closer, err error) {
	defer recoverDamage(&err)
	return s.db.Get(key)
}

// An iterator goes over rows. Its errors are those of readError. Pebble panics
// if a blob file is missing: that is an error, too.
type iterator struct {
	*pebble.Iterator
	store    *Store
	panicked *error
}

// First, Last, Next, SeekGE and SeekLT move the iterator.
func (it iterator) First() bool { return it.move(it.Iterator.First) }
func (it iterator) Last() bool  { return it.move(it.Iterator.Last) }
func (it iterator) Next() bool  { return it.move(it.Iterator.Next) }
func (it iterator) SeekGE(key []byte) bool {
	return it.move(func() bool { return it.Iterator.SeekGE(key) })
}
func (it iterator) SeekLT(key []byte) bool {
	return it.move(func() bool { return it.Iterator.SeekLT(key) })
}

func (it iterator) move(f func() bool) bool {
	defer recoverDamage(it.panicked)
	return *it.panicked == nil && f()
}

// Error returns the error that ended the iteration.
func (it iterator) Error() error {
	return errors.Join(*it.panicked, it.store.readError(it.Iterator.Error()))
}

// ValueAndErr returns the value of the row.
func (it iterator) ValueAndErr() (v []byte, err error) {
	defer recoverDamage(&err)
	v, err = it.Iterator.ValueAndErr()
	return v, it.store.readError(err)
}

// Close closes the iterator.
func (it iterator) Close() error { return it.store.readError(it.Iterator.Close()) }

// recoverDamage makes a panic of Pebble an error.
func recoverDamage(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", store.ErrDamaged, r)
	}
}

// readError returns the error of a read: one that is store.ErrDamaged if a file
// is damaged or missing.
func (s *Store) readError(err error) error {
	// Pebble joins the error with one that carries details, whose text is for
	// programs.
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		err = info.Details
	}
	if err == nil || errors.Is(err, store.ErrDamaged) {
		return err
	}
	if pebble.IsCorruptionError(err) {
		s.bad.learn(err) // Pebble does not report damaged blob files
	}
	if pebble.IsCorruptionError(err) || oserror.IsNotExist(err) {
		return fmt.Errorf("%w: %w", store.ErrDamaged, err)
	}
	return err
}

// iterator opens one on the rows of a keyspace.
func (s *Store) iterator(ctx context.Context, space byte) (iterator, error) {
	return s.iteratorOn(ctx, []byte{space}, []byte{space + 1})
}

// iteratorOn opens one on the rows from lower, without upper.
func (s *Store) iteratorOn(ctx context.Context, lower, upper []byte) (iterator, error) {
	it, err := s.db.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	return iterator{it, s, new(error)}, s.readError(err)
}

// seekRun moves to the last row that begins at or before the index.
func seekRun(it iterator, space byte, index uint64) bool {
	if index == math.MaxUint64 {
		return it.Last()
	}
	k := indexKey(space, index+1)
	return it.SeekLT(k[:])
}

// Tile implements store.Store.
func (s *Store) Tile(ctx context.Context, level uint8, index uint64) (hashes []entry.Hash, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	var key [tileKeySize]byte
	putTileKey(key[:], level, index)
	err = s.view(key[:], func(v []byte) (err error) {
		hashes, err = decodeTile(key[:], v)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tile %d of level %d: %w", index, level, err)
	}
	return hashes, nil
}

// Skeletons implements store.Store.
func (s *Store) Skeletons(ctx context.Context, from, to uint64) ([]entry.Skeleton, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	if from >= to {
		return nil, nil
	}
	out, err := s.skeletons(ctx, from, to)
	if err != nil {
		return nil, fmt.Errorf("skeletons %d to %d: %w", from, to, err)
	}
	return out, nil
}

func (s *Store) skeletons(ctx context.Context, from, to uint64) ([]entry.Skeleton, error) {
	it, err := s.iterator(ctx, skeletonSpace)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	// the range may be a mistake and go far beyond the end
	out := make([]entry.Skeleton, 0, min(to-from, 4096))
	next := from
	for ok := seekRun(it, skeletonSpace, from); ok && next < to; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		first, r, err := decodeSkeletonRun(it.Key(), v)
		if err != nil {
			return nil, err
		}
		end := first + uint64(r.len())
		if first > next || end <= next {
			return nil, store.ErrNotFound
		}
		for ; next < min(end, to); next++ {
			out = append(out, r.at(int(next-first)))
		}
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	if next < to {
		return nil, store.ErrNotFound
	}
	return out, nil
}

// Leaves implements store.Store.
func (s *Store) Leaves(ctx context.Context, from, to uint64) ([][]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	if from >= to {
		return nil, nil
	}
	out, err := s.leaves(ctx, from, to)
	if err != nil {
		return nil, fmt.Errorf("leaves %d to %d: %w", from, to, err)
	}
	return out, nil
}

func (s *Store) leaves(ctx context.Context, from, to uint64) ([][]byte, error) {
	it, err := s.iterator(ctx, leafSpace)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	// the range may be a mistake and go far beyond the end
	out := make([][]byte, 0, min(to-from, 4096))
	next := from
	for ok := seekRun(it, leafSpace, from); ok && next < to; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		first, run, err := decodeLeafRun(it.Key(), v)
		if err != nil {
			return nil, err
		}
		end := first + uint64(len(run))
		if first > next || end <= next {
			return nil, store.ErrNotFound
		}
		for ; next < min(end, to); next++ {
			out = append(out, bytes.Clone(run[next-first]))
		}
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	if next < to {
		return nil, store.ErrNotFound
	}
	return out, nil
}

// Header implements store.Store.
func (s *Store) Header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	h, err := s.header(ctx, index)
	if err != nil {
		return nil, fmt.Errorf("header %d: %w", index, err)
	}
	return h, nil
}

func (s *Store) header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error) {
	it, err := s.iterator(ctx, headerSpace)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	v, err := valueAt(it, seekRun(it, headerSpace, index))
	if err != nil {
		return nil, err
	}
	h, ok, err := decodeHeader(it.Key(), v, index)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, store.ErrNotFound
	}
	return h, nil
}

// valueAt returns the value that a seek has found, or ErrNotFound.
func valueAt(it iterator, found bool) ([]byte, error) {
	if found {
		return it.ValueAndErr()
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	return nil, store.ErrNotFound
}

// Payload implements store.Store.
func (s *Store) Payload(ctx context.Context, index uint64) (p *receipt.PayloadOpening, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	key := indexKey(payloadSpace, index)
	err = s.view(key[:], func(v []byte) (err error) {
		p, err = decodePayload(key[:], v)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		var l largeRow
		if l, err = s.largeRow(index); err == nil {
			p = &receipt.PayloadOpening{Salt: l.salt}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("payload %d: %w", index, err)
	}
	return p, nil
}

// Facts implements store.Store.
func (s *Store) Facts(ctx context.Context, index uint64) ([]byte, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	key := indexKey(factsSpace, index)
	facts, err := s.get(key[:])
	if err != nil {
		return nil, fmt.Errorf("facts of entry %d: %w", index, err)
	}
	return facts, nil
}

// Checkpoint implements store.Store.
func (s *Store) Checkpoint(ctx context.Context, minSize uint64) (*store.Checkpoint, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	c, err := s.checkpoint(ctx, checkpointSpace, atLeast(checkpointSpace, minSize))
	if err != nil {
		return nil, fmt.Errorf("checkpoint of size %d or more: %w", minSize, err)
	}
	return c, nil
}

// Cosigned implements store.Store.
func (s *Store) Cosigned(ctx context.Context, minSize uint64) (*store.Checkpoint, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	c, err := s.checkpoint(ctx, cosignedSpace, atLeast(cosignedSpace, minSize))
	if err != nil {
		return nil, fmt.Errorf("cosigned checkpoint of size %d or more: %w", minSize, err)
	}
	return c, nil
}

// LastCosigned implements store.Store.
func (s *Store) LastCosigned(ctx context.Context) (*store.Checkpoint, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	c, err := s.checkpoint(ctx, cosignedSpace, (iterator).Last)
	if err != nil {
		return nil, fmt.Errorf("last cosigned checkpoint: %w", err)
	}
	return c, nil
}

func atLeast(space byte, minSize uint64) func(iterator) bool {
	return func(it iterator) bool {
		key := indexKey(space, minSize)
		return it.SeekGE(key[:])
	}
}

func (s *Store) checkpoint(ctx context.Context, space byte, seek func(iterator) bool) (*store.Checkpoint, error) {
	it, err := s.iterator(ctx, space)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	v, err := valueAt(it, seek(it))
	if err != nil {
		return nil, err
	}
	size, err := firstIndex(it.Key())
	if err != nil {
		return nil, err
	}
	return &store.Checkpoint{Size: size, Signed: bytes.Clone(v)}, nil
}

// Lookup implements store.Store.
func (s *Store) Lookup(ctx context.Context, k store.Key) (index uint64, err error) {
	if err := s.enter(); err != nil {
		return 0, err
	}
	defer s.uses.Done()
	var key [keyKeySize]byte
	putKeyKey(key[:], &k)
	err = s.view(key[:], func(v []byte) (err error) {
		index, err = decodeIndex(key[:], v)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("key %x: %w", k, err)
	}
	return index, nil
}
