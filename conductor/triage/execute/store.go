package execute

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// format is the version of the rows.
const format = "1"

// The rows of a store. Targets and types follow the prefixes.
const (
	rowFormat     = "format"
	rowKill       = "kill"
	rowIncident   = "incident/"
	rowUsed       = "used/"       // times of actions on a target; "used/" alone: all
	rowOpened     = "opened"      // times of incidents
	rowQuarantine = "quarantine/" // by type
	rowCursor     = "cursor"      // of the requests that were read
)

// KillFile is the name of the file beside the folder of the store that switches
// all steps but undo off while it exists.
const KillFile = "kill"

// ErrState is wrapped by errors of the state. An executor that cannot read or
// write it must stop.
var ErrState = errors.New("state of the executor")

// A Store keeps the state of an executor. One process has it open at a time.
type Store struct {
	db   *pebble.DB
	fs   vfs.FS
	kill string // path of the file

	// fault, if not nil, is called before and after each write. For tests.
	fault func(done bool)
}

// OpenStore opens the store in a folder, or creates it.
func OpenStore(dir string, fs vfs.FS) (*Store, error) {
	db, err := pebble.Open(dir, &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatValueSeparation, Logger: silent{}, MemTableSize: 256 << 10})
	if err != nil {
		return nil, fmt.Errorf("open the %w: %w", ErrState, err)
	}
	s := &Store{db: db, fs: fs, kill: fs.PathJoin(fs.PathDir(dir), KillFile)}
	if err := s.checkFormat(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the %w: %w", ErrState, err), db.Close())
	}
	return s, nil
}

// checkFormat refuses rows of another version.
func (s *Store) checkFormat() error {
	var version string
	found, err := s.get(rowFormat, &version)
	switch {
	case err != nil:
		return err
	case !found:
		return s.write(map[string]any{rowFormat: format})
	case version != format:
		return fmt.Errorf("version %q: only version %s is supported", version, format)
	}
	return nil
}

// silent discards the log of Pebble, whose errors are those of its calls.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("state of the executor: "+format, args...))
}

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

// get reads a row, and reports whether it exists.
func (s *Store) get(row string, to any) (bool, error) {
	value, closer, err := s.db.Get([]byte(row))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w: row %s: %w", ErrState, row, err)
	}
	defer closer.Close()
	if err := json.Unmarshal(value, to); err != nil {
		return false, fmt.Errorf("%w: row %s: %w", ErrState, row, err)
	}
	return true, nil
}

// write writes rows in one synced batch. A nil value deletes its row.
func (s *Store) write(rows map[string]any) error {
	if s.fault != nil {
		s.fault(false)
		defer s.fault(true)
	}
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
		return fmt.Errorf("write the %w: %w", ErrState, err)
	}
	return nil
}

// Incident returns an incident, or nil.
func (s *Store) Incident(id string) (*Incident, error) {
	var i Incident
	found, err := s.get(rowIncident+id, &i)
	if err != nil || !found {
		return nil, err
	}
	return &i, nil
}

// Active returns the IDs of the incidents that are not closed, or whose entries
// are not all recorded.
func (s *Store) Active() (ids []string, err error) {
	err = s.each(rowIncident, func(_ string, value []byte) error {
		var i Incident
		if err := json.Unmarshal(value, &i); err != nil {
			return err
		}
		if i.State != Closed || !i.recorded() {
			ids = append(ids, i.ID)
		}
		return nil
	})
	return ids, err
}

// each calls a function with the rows that begin with a prefix, which ends with
// a slash. The value is valid until it returns.
func (s *Store) each(prefix string, do func(row string, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: []byte(strings.TrimSuffix(prefix, "/") + "0")})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	for it.First(); it.Valid(); it.Next() {
		if err := do(string(it.Key()), it.Value()); err != nil {
			return errors.Join(fmt.Errorf("%w: row %s: %w", ErrState, it.Key(), err), it.Close())
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	return nil
}

// prune removes the incidents that were closed before a time, and the times of
// budgets that do not count any more.
func (s *Store) prune(closed, used time.Time) error {
	rows := map[string]any{}
	err := s.each(rowIncident, func(row string, value []byte) error {
		var i Incident
		if err := json.Unmarshal(value, &i); err != nil {
			return err
		}
		if i.State == Closed && i.recorded() && i.Ended.Before(closed) {
			rows[row] = nil
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = s.each(rowUsed, func(row string, value []byte) error {
		var times []time.Time
		if err := json.Unmarshal(value, &times); err != nil {
			return err
		}
		if len(times) > 0 && times[len(times)-1].Before(used) {
			rows[row] = nil
		}
		return nil
	})
	if err != nil || len(rows) == 0 {
		return err
	}
	return s.write(rows)
}

// Kill switches all steps but undo off, or on again. Persons do so by requests.
func (s *Store) Kill(on bool) error {
	if !on {
		return s.write(map[string]any{rowKill: nil})
	}
	return s.write(map[string]any{rowKill: true})
}

// killed reports whether the kill switch is on. A file that cannot be looked
// for counts as one that exists.
func (s *Store) killed() (on bool, err error) {
	if _, err := s.fs.Stat(s.kill); !errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	_, err = s.get(rowKill, &on)
	return on, err
}

// quarantine returns the quarantine of a type, or nil.
func (s *Store) quarantine(of string) (*Quarantine, error) {
	var q Quarantine
	found, err := s.get(rowQuarantine+of, &q)
	if err != nil || !found {
		return nil, err
	}
	return &q, nil
}

// Quarantines returns the quarantines by type.
func (s *Store) Quarantines() (map[string]Quarantine, error) {
	all := map[string]Quarantine{}
	err := s.each(rowQuarantine, func(row string, value []byte) error {
		var q Quarantine
		if err := json.Unmarshal(value, &q); err != nil {
			return err
		}
		all[strings.TrimPrefix(row, rowQuarantine)] = q
		return nil
	})
	return all, err
}

// maxTimes is the number of times that a row has. Budgets are at most 1,000.
const maxTimes = 1000

// times returns the times of a row since one.
func (s *Store) times(row string, since time.Time) (recent []time.Time, err error) {
	var all []time.Time
	if _, err := s.get(row, &all); err != nil {
		return nil, err
	}
	for _, at := range all {
		if at.After(since) {
			recent = append(recent, at)
		}
	}
	return recent, nil
}

// used returns the times of a row with one more. Those older than a day are
// dropped, because no budget is longer.
func (s *Store) used(row string, now time.Time) ([]time.Time, error) {
	times, err := s.times(row, now.Add(-24*time.Hour))
	if err != nil {
		return nil, err
	}
	times = append(times, now)
	return times[max(0, len(times)-maxTimes):], nil
}
