package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"muniment.dev/muniment/ledger/store"
)

// chunkBytes is the size of the batches in which projections are replaced.
var chunkBytes = 1 << 20 // a variable for tests

// projectionSpaces are the keyspaces of projections.
var projectionSpaces = []byte{factsSpace, headSpace, keySpace, postingSpace}

// Projections implements store.Store. It shows the projections as they are when
// the loop begins.
func (s *Store) Projections(ctx context.Context) iter.Seq2[store.Projection, error] {
	return func(yield func(store.Projection, error) bool) {
		if err := s.projections(ctx, yield); err != nil {
			yield(store.Projection{}, fmt.Errorf("projections: %w", err))
		}
	}
}

// projections returns nil when the loop was left.
func (s *Store) projections(ctx context.Context, yield func(store.Projection, error) bool) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.uses.Done()
	it, err := s.iteratorOn(ctx, []byte{keySpace}, []byte{postingSpace + 1})
	if err != nil {
		return err
	}
	defer it.Close()
	facts, err := s.iterator(ctx, factsSpace)
	if err != nil {
		return err
	}
	defer facts.Close()
	for ok := it.First(); ok && it.Key()[0] == keySpace; ok = it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := decodeKeyRow(it)
		if err != nil {
			return err
		}
		if !yield(store.Projection{Key: &k}, nil) {
			return nil
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	var indexes []uint64
	for ok := it.SeekGE([]byte{postingSpace}); ok; ok = it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if indexes, err = decodePostings(indexes[:0], it.Key(), v); err != nil {
			return err
		}
		term := store.Term(it.Key()[1:])
		for _, i := range indexes {
			if !yield(store.Projection{Posting: &store.PostingAt{Term: term, Index: i}}, nil) {
				return nil
			}
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	for ok := facts.First(); ok; ok = facts.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		index, err := firstIndex(facts.Key())
		if err != nil {
			return err
		}
		v, err := facts.ValueAndErr()
		if err != nil {
			return err
		}
		if !yield(store.Projection{Facts: &store.FactsAt{Index: index, Facts: v}}, nil) {
			return nil
		}
	}
	return facts.Error()
}

func decodeKeyRow(it iterator) (k store.KeyAt, err error) {
	key := it.Key()
	if len(key) != keyKeySize {
		return k, badRow(key, "the key has %d bytes, want %d", len(key), keyKeySize)
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return k, err
	}
	k.Key = store.Key(key[1:])
	k.Index, err = decodeIndex(key, v)
	return k, err
}

// ReplaceProjections implements store.Store. It promises more: after an error
// from p, and after a crash, the projections are all the old ones or all the
// new ones.
//
// The new ones are first staged under keys that no reader uses, with one row
// for each posting, which sorts them. Then a marker is synced. From then on,
// the next Open finishes the replacement after a crash.
func (s *Store) ReplaceProjections(ctx context.Context, p iter.Seq2[store.Projection, error], heads []store.StreamHead) error {
	end, err := s.beginWrite()
	if err != nil {
		return err
	}
	defer end()
	damaged, err := s.unreadableSpaces(ctx)
	if err != nil {
		return fmt.Errorf("replace projections: %w", err)
	}
	if err := s.stage(ctx, p, heads); err != nil {
		err = errors.Join(err, s.dropStaged())
		return fmt.Errorf("replace projections: %w", err)
	}
	err = s.excise(ctx, damaged)
	if err == nil {
		err = s.finishReplacement()
	}
	if err == nil && len(damaged) > 0 { // rewrites the remains of the tables
		err = s.db.Compact(ctx, []byte{0}, []byte{stagingSpace + 1}, false)
	}
	if err != nil {
		s.failed = true
		return fmt.Errorf("replace projections: %w", err)
	}
	return s.mark()
}

// unreadableSpaces returns the keyspaces of projections that cannot be read. It
// returns ErrDamaged if the damage extends to other rows, which cannot be
// rebuilt.
func (s *Store) unreadableSpaces(ctx context.Context) (damaged []pebble.KeyRange, err error) {
	for _, space := range projectionSpaces {
		err := s.readSpace(ctx, space)
		if err == nil {
			continue
		}
		if !errors.Is(err, store.ErrDamaged) {
			return nil, err
		}
		span := pebble.KeyRange{Start: []byte{space}, End: []byte{space + 1}}
		if err := s.canExcise(ctx, span); err != nil {
			return nil, fmt.Errorf("%w: rows other than the index are damaged too: restore a backup", err)
		}
		damaged = append(damaged, span)
	}
	return damaged, nil
}

// excise cuts the spans out of their tables. Pebble cannot compact a table with
// a damaged block, and would stop all writes in the end.
func (s *Store) excise(ctx context.Context, spans []pebble.KeyRange) error {
	for _, span := range spans {
		if err := s.readError(s.db.Excise(ctx, span)); err != nil {
			return err
		}
	}
	return nil
}

// canExcise returns an error unless the rows on both sides of the span can be
// read. Excise ignores such an error, and drops the rest of the table.
func (s *Store) canExcise(ctx context.Context, span pebble.KeyRange) error {
	it, err := s.iteratorOn(ctx, nil, nil)
	if err != nil {
		return err
	}
	defer it.Close()
	it.SeekLT(span.Start)
	if err := it.Error(); err != nil {
		return err
	}
	it.SeekGE(span.End)
	return it.Error()
}

// readSpace reads all rows of a keyspace.
func (s *Store) readSpace(ctx context.Context, space byte) error {
	it, err := s.iterator(ctx, space)
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if _, err := it.ValueAndErr(); err != nil {
			return err
		}
	}
	return it.Error()
}

// ReplaceTiles implements store.Store.
func (s *Store) ReplaceTiles(ctx context.Context, tiles []store.Tile) error {
	end, err := s.beginWrite()
	if err != nil {
		return err
	}
	defer end()
	for i := range tiles {
		if n := len(tiles[i].Hashes); n != store.TileHashes {
			return fmt.Errorf("replace tiles: tile %d of level %d has %d hashes", tiles[i].Index, tiles[i].Level, n)
		}
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := s.raiseFormat(b, formatTiles); err != nil {
		return fmt.Errorf("replace tiles: %w", err)
	}
	putTiles(b, tiles)
	if err := s.apply(b); err != nil {
		s.failed = true
		return fmt.Errorf("replace tiles: %w", err)
	}
	return nil
}

func (s *Store) stage(ctx context.Context, p iter.Seq2[store.Projection, error], heads []store.StreamHead) error {
	w := writer{db: s.db}
	defer w.close()
	w.deleteSpace(stagingSpace)
	for v, err := range p {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		switch {
		case v.Key != nil:
			op := w.set(1+keyKeySize, uvarintSize(v.Key.Index))
			op.Key[0] = stagingSpace
			putKeyKey(op.Key[1:], &v.Key.Key)
			binary.PutUvarint(op.Value, v.Key.Index)
		case v.Posting != nil:
			op := w.set(1+postingKeySize, 0)
			op.Key[0] = stagingSpace
			putPostingKey(op.Key[1:], &v.Posting.Term, v.Posting.Index)
		case v.Facts != nil:
			if err := s.raiseFormatNow(formatFacts); err != nil {
				return err
			}
			op := w.set(1+indexKeySize, len(v.Facts.Facts))
			op.Key[0] = stagingSpace
			putIndexKey(op.Key[1:], factsSpace, v.Facts.Index)
			copy(op.Value, v.Facts.Facts)
		}
		if err := w.flush(chunkBytes, pebble.NoSync); err != nil {
			return err
		}
	}
	for i := range heads {
		op := w.set(1+headKeySize, streamHeadSize)
		op.Key[0] = stagingSpace
		putHeadKey(op.Key[1:], &heads[i].StreamID)
		putStreamHead(op.Value, &heads[i])
		if err := w.flush(chunkBytes, pebble.NoSync); err != nil {
			return err
		}
	}
	op := w.set(len(replaceKey), 0)
	copy(op.Key, replaceKey)
	return w.flush(0, pebble.Sync)
}

// finishReplacement moves what is staged to its place if the marker is there,
// and drops it if not. It can be cut off at any point and begin again.
func (s *Store) finishReplacement() error {
	_, err := s.get(replaceKey)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return s.dropStaged()
	case err != nil:
		return err
	}
	// shows what is staged, also when it has been deleted below
	it, err := s.iterator(context.Background(), stagingSpace)
	if err != nil {
		return err
	}
	defer it.Close()
	w := writer{db: s.db}
	defer w.close()
	for _, space := range projectionSpaces {
		w.deleteSpace(space)
	}
	var row []store.PostingAt // the row of postings that is being gathered
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		key := it.Key()[1:]
		if len(key) == 0 || key[0] == postingSpace && len(key) != postingKeySize {
			return badRow(it.Key(), "the key has %d bytes", len(it.Key()))
		}
		if key[0] == postingSpace {
			p := store.PostingAt{Term: store.Term(key[1:termPrefixSize]), Index: binary.BigEndian.Uint64(key[termPrefixSize:])}
			if len(row) == maxPostings || len(row) > 0 && row[0].Term != p.Term {
				putPostingRow(w.batch(), row)
				row = row[:0]
			}
			row = append(row, p)
		} else {
			op := w.set(len(key), len(v))
			copy(op.Key, key)
			copy(op.Value, v)
		}
		if err := w.flush(chunkBytes, pebble.NoSync); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	if len(row) > 0 {
		putPostingRow(w.batch(), row)
	}
	w.deleteSpace(stagingSpace)
	w.keep(w.batch().Delete(replaceKey, nil))
	return w.flush(0, pebble.Sync)
}

func (s *Store) dropStaged() error {
	it, err := s.iterator(context.Background(), stagingSpace)
	if err != nil {
		return err
	}
	staged := it.First()
	if err := it.Close(); err != nil || !staged {
		return err
	}
	w := writer{db: s.db}
	defer w.close()
	w.deleteSpace(stagingSpace)
	return w.flush(0, pebble.NoSync) // if it is lost, the next Open does it
}

// A writer writes more than fits into memory, batch by batch. The first error
// is kept for the next flush.
type writer struct {
	db  *pebble.DB
	b   *pebble.Batch
	err error
}

func (w *writer) batch() *pebble.Batch {
	if w.b == nil {
		w.b = w.db.NewBatch()
	}
	return w.b
}

func (w *writer) set(keySize, valueSize int) *pebble.DeferredBatchOp {
	return w.batch().SetDeferred(keySize, valueSize)
}

func (w *writer) deleteSpace(space byte) {
	w.keep(w.batch().DeleteRange([]byte{space}, []byte{space + 1}, nil))
}

func (w *writer) keep(err error) {
	if w.err == nil {
		w.err = err
	}
}

// flush writes the batch if it is at least that large.
func (w *writer) flush(atLeast int, opts *pebble.WriteOptions) error {
	if w.err != nil || w.batch().Len() < atLeast {
		return w.err
	}
	w.keep(w.db.Apply(w.b, opts))
	w.close()
	return w.err
}

func (w *writer) close() {
	if w.b != nil {
		w.keep(w.b.Close())
		w.b = nil
	}
}
