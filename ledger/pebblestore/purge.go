package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/errors/oserror"

	"muniment.dev/muniment/ledger/store"
)

// How erased bytes leave the disk. An erasure overwrites or deletes rows, and
// Pebble then hides their old values, but keeps them: in the write-ahead log,
// which it writes over only later; in tables, until these are compacted; in
// blob files, until these are rewritten. Purge brings all of that about now.
// The rows e say what is left to do after a crash.

// maxRanges is up to how many compactions of single keys are made; above, there
// is one for each keyspace.
const maxRanges = 256

// Unpurged implements store.Store.
func (s *Store) Unpurged() int { return int(s.unpurged.Load()) }

// loadUnpurged counts the erasures whose bytes may still be there, of a process
// that ended before it had purged them.
func (s *Store) loadUnpurged() error {
	rows, err := s.unpurgedRows()
	s.unpurged.Store(int64(len(rows)))
	s.residue.all = len(rows) > 0
	return err
}

func (s *Store) unpurgedRows() (keys [][]byte, err error) {
	it, err := s.iterator(context.Background(), unpurgedSpace)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		keys = append(keys, bytes.Clone(it.Key()))
	}
	return keys, it.Error()
}

// Purge implements store.Store.
func (s *Store) Purge(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.uses.Done()
	s.purging.Lock()
	defer s.purging.Unlock()
	if err := s.purge(ctx); err != nil {
		return fmt.Errorf("purge what was erased: %w", err)
	}
	return nil
}

func (s *Store) purge(ctx context.Context) error {
	if s.readOnly {
		return store.ErrReadOnly
	}
	s.writing.Lock()
	rows, err := s.unpurgedRows()
	todo := s.residue
	s.residue = residue{}
	s.writing.Unlock()
	if err == nil && len(rows) == 0 {
		return nil
	}
	if err == nil {
		err = s.clear(ctx, todo)
	}
	if err != nil { // all of it is to be done again
		s.writing.Lock()
		s.residue.keys = append(s.residue.keys, todo.keys...)
		s.residue.all = s.residue.all || todo.all
		s.writing.Unlock()
		return err
	}
	return s.forgetUnpurged(rows)
}

// clear returns when the old values of the rows are nowhere on the disk.
func (s *Store) clear(ctx context.Context, todo residue) error {
	s.clearing.Store(true)
	defer s.clearing.Store(false)
	if err := s.db.Flush(); err != nil {
		return err
	}
	for _, r := range todo.ranges() {
		if err := s.db.Compact(ctx, r[0], r[1], false); err != nil {
			return err
		}
	}
	if err := s.dropLogs(); err != nil {
		return err
	}
	return s.awaitFiles(ctx)
}

// ranges returns the keys from ≤ key ≤ to that must be compacted.
func (r *residue) ranges() (ranges [][2][]byte) {
	if r.all || len(r.keys) > maxRanges {
		for _, space := range []byte{factsSpace, largeSpace, headerSpace, keySpace, payloadSpace, infoSpace, postingSpace} {
			ranges = append(ranges, [2][]byte{{space}, {space + 1}})
		}
		return ranges
	}
	slices.SortFunc(r.keys, bytes.Compare)
	for _, k := range slices.CompactFunc(r.keys, bytes.Equal) {
		ranges = append(ranges, [2][]byte{k, append(bytes.Clone(k), 0)})
	}
	return ranges
}

// dropLogs deletes the write-ahead logs whose content is in tables. Pebble
// would keep some of them and write over them in time. No write may come
// between, so that the newest log is known.
func (s *Store) dropLogs() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.mayWrite(); err != nil {
		return err
	}
	// The first flush ends the newest log, which may be an old one that is
	// being written over; its successor may be another. Once all these are
	// deleted, the second flush begins one that is new.
	for range 2 {
		if err := s.db.Flush(); err != nil {
			return err
		}
		names, err := s.fs.List(s.dir)
		if err != nil {
			return err
		}
		var logs []string
		for _, name := range names {
			if strings.HasSuffix(name, ".log") {
				logs = append(logs, name)
			}
		}
		// their names are numbers
		slices.SortFunc(logs, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
		for _, name := range logs[:max(0, len(logs)-1)] {
			if err := s.files.Remove(s.fs.PathJoin(s.dir, name)); err != nil && !oserror.IsNotExist(err) {
				return err
			}
		}
	}
	if err := s.sweepLarge(); err != nil {
		return err
	}
	return s.syncDir(s.dir)
}

// awaitFiles waits until no blob file has values that no row refers to, and all
// files that Pebble has replaced are deleted.
func (s *Store) awaitFiles(ctx context.Context) error {
	// Pebble reports most, but not all, changes to the answer
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		m := s.db.Metrics()
		if m.BlobFiles.ValueSize == m.BlobFiles.ReferencedValueSize && m.BlobFiles.ZombieCount+m.BlobFiles.ObsoleteCount == 0 &&
			m.Table.ZombieCount+m.Table.ObsoleteCount == 0 {
			return nil
		}
		select {
		case <-s.changed:
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) forgetUnpurged(rows [][]byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.mayWrite(); err != nil {
		return err
	}
	if len(s.residue.keys) > 0 {
		// something was erased meanwhile, maybe of the same entries; the next
		// Purge sees to all of them
		return nil
	}
	b := s.db.NewBatch()
	defer b.Close()
	for _, key := range rows {
		if err := b.Delete(key, nil); err != nil {
			return err
		}
	}
	if err := s.apply(b); err != nil {
		s.failed = true
		return err
	}
	s.unpurged.Add(-int64(len(rows)))
	return nil
}
