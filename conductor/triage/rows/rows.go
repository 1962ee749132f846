// Package rows keeps values as JSON under keys, in a folder. The router and the
// executor of triage keep their states in it.
package rows

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The row of the version of the rows, and the version.
const (
	rowFormat = "format"
	format    = "1"
)

// A Store has rows. One process has it open at a time.
type Store struct {
	db    *pebble.DB
	state error
}

// Open opens the store in a folder, or creates it. All errors of the store wrap
// state, whose text names it. Buffer is how much is kept in memory before it is
// moved to its place, in bytes.
func Open(dir string, fs vfs.FS, state error, buffer uint64) (*Store, error) {
	db, err := pebble.Open(dir, &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatValueSeparation, Logger: silent{state}, MemTableSize: buffer})
	if err != nil {
		return nil, fmt.Errorf("open the %w: %w", state, err)
	}
	s := &Store{db, state}
	if err := s.checkFormat(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the %w: %w", state, err), db.Close())
	}
	return s, nil
}

// checkFormat refuses rows of another version.
func (s *Store) checkFormat() error {
	var version string
	found, err := s.Get(rowFormat, &version)
	switch {
	case err != nil:
		return err
	case !found:
		return s.Write(func(yield func(string, any) bool) { yield(rowFormat, format) })
	case version != format:
		return fmt.Errorf("version %q: only version %s is supported", version, format)
	}
	return nil
}

// silent discards the log of Pebble, whose errors are those of its calls.
type silent struct{ state error }

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (s silent) Fatalf(text string, args ...any) {
	panic(fmt.Sprintf("%v: %s", s.state, fmt.Sprintf(text, args...)))
}

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

// Get reads a row, and reports whether it exists.
func (s *Store) Get(row string, to any) (bool, error) {
	value, closer, err := s.db.Get([]byte(row))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w: row %s: %w", s.state, row, err)
	}
	defer closer.Close()
	if err := json.Unmarshal(value, to); err != nil {
		return false, fmt.Errorf("%w: row %s: %w", s.state, row, err)
	}
	return true, nil
}

// Each calls a function with the rows that begin with a prefix, which ends with
// a slash. The value is valid until it returns.
func (s *Store) Each(prefix string, do func(row string, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: []byte(strings.TrimSuffix(prefix, "/") + "0")})
	if err != nil {
		return fmt.Errorf("%w: %w", s.state, err)
	}
	for it.First(); it.Valid(); it.Next() {
		if err := do(string(it.Key()), it.Value()); err != nil {
			return errors.Join(fmt.Errorf("%w: row %s: %w", s.state, it.Key(), err), it.Close())
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("%w: %w", s.state, err)
	}
	return nil
}

// Write writes rows in one synced batch. A nil value deletes its row.
func (s *Store) Write(rows iter.Seq2[string, any]) error {
	b := s.db.NewBatch()
	defer b.Close()
	for row, value := range rows {
		if value == nil {
			if err := b.Delete([]byte(row), nil); err != nil {
				return err
			}
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if err := b.Set([]byte(row), text, nil); err != nil {
			return err
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("write the %w: %w", s.state, err)
	}
	return nil
}
