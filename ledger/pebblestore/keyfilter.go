package pebblestore

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/block/blockkind"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/store"
)

// filterPolicy makes the Bloom filter of each table.
const filterPolicy = bloom.FilterPolicy(10) // bits per row: 1 % false positives

// maxFilterBytes is the memory of one key filter: about fifty million keys.
var maxFilterBytes = 64 << 20 // a variable for tests

// A keyFilter holds copies of the Bloom filters of all tables with
// deduplication keys. Pebble itself does not use those of the last level to
// read single rows. They cost one read per table, and erased keys leave the
// disk with their tables.
type keyFilter struct {
	levels [][]tableFilter // tables of a level do not overlap, and are sorted
}

// A tableFilter is the filter of the rows in a table.
type tableFilter struct {
	smallest, largest []byte // keys of rows
	bits              []byte // nil: not known, so any row may be there
}

// KeyFilter implements store.Store. It flushes what is only in memory, because
// only tables have filters.
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

func (s *Store) keyFilter(ctx context.Context) (f *keyFilter, err error) {
	if s.readOnly { // and has rows in memory that it must not flush
		any := tableFilter{smallest: []byte{keySpace}, largest: []byte{keySpace + 1}}
		return &keyFilter{levels: [][]tableFilter{{any}}}, nil
	}
	if err := s.db.Flush(); err != nil {
		return nil, s.readError(err)
	}
	for range 10 {
		var missing bool
		if f, missing, err = s.tableFilters(ctx); err != nil || !missing {
			break
		}
		// A compaction replaced the table meanwhile, or it is lost.
	}
	return f, err
}

// tableFilters returns the filters of the present tables. Keys of missing ones
// are in the filter.
func (s *Store) tableFilters(ctx context.Context) (_ *keyFilter, missing bool, err error) {
	defer recoverDamage(&err)
	levels, err := s.db.SSTables()
	if err != nil {
		return nil, false, s.readError(err)
	}
	f, left := &keyFilter{}, maxFilterBytes
	for level, tables := range levels {
		var filters []tableFilter
		for i := range tables {
			t := tableFilter{smallest: tables[i].Smallest.UserKey, largest: tables[i].Largest.UserKey}
			if bytes.Compare(t.smallest, []byte{keySpace + 1}) >= 0 || bytes.Compare(t.largest, []byte{keySpace}) < 0 {
				continue
			}
			t.bits, err = s.readFilter(ctx, fmt.Sprintf("%06d.sst", tables[i].BackingSSTNum), left)
			if oserror.IsNotExist(err) {
				missing = true
			} else if err != nil {
				return nil, false, err
			}
			left -= len(t.bits)
			filters = append(filters, t)
			if level == 0 { // whose tables overlap
				f.levels, filters = append(f.levels, filters), nil
			}
		}
		if len(filters) > 0 {
			f.levels = append(f.levels, filters)
		}
	}
	return f, missing, nil
}

// readFilter returns a table's filter, or nil if it is larger than limit,
// damaged, or not there.
func (s *Store) readFilter(ctx context.Context, name string, limit int) ([]byte, error) {
	file, err := s.fs.Open(s.fs.PathJoin(s.dir, name), vfs.RandomReadsOption)
	if err != nil {
		return nil, err
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return nil, err
	}
	defer readable.Close()
	r, err := sstable.NewReader(ctx, readable, sstable.ReaderOptions{})
	if err != nil {
		return nil, nil
	}
	layout, err := r.Layout()
	if err != nil || len(layout.Filter) != 1 || layout.Filter[0].Length > uint64(limit) {
		return nil, nil
	}
	h, err := r.BlockReader().Read(ctx, block.NoReadEnv, nil, layout.Filter[0].Handle, blockkind.Filter, func(*block.Metadata, []byte) error { return nil })
	if err != nil {
		return nil, nil
	}
	defer h.Release()
	return slices.Clone(h.BlockData()), nil
}

// MayHave implements store.KeyFilter.
func (f *keyFilter) MayHave(k *store.Key) bool {
	var row [keyKeySize]byte
	putKeyKey(row[:], k)
	for _, tables := range f.levels {
		i, _ := slices.BinarySearchFunc(tables, row[:], func(t tableFilter, row []byte) int { return bytes.Compare(t.largest, row) })
		if i < len(tables) && tables[i].mayHave(row[:]) {
			return true
		}
	}
	return false
}

func (t *tableFilter) mayHave(row []byte) bool {
	return bytes.Compare(t.smallest, row) <= 0 && (t.bits == nil || filterPolicy.MayContain(pebble.TableFilter, t.bits, row))
}
