package execute

import (
	"encoding/json"
	"errors"
	"fmt"
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
	rowQuarantine = "quarantine/" // reason, by type
)

// A Store keeps the state of an executor. One process has it open at a time.
type Store struct {
	db *pebble.DB

	// fault, if not nil, is called before and after each write. For tests.
	fault func(done bool)
}

// OpenStore opens the store in a folder, or creates it.
func OpenStore(dir string, fs vfs.FS) (*Store, error) {
	db, err := pebble.Open(dir, &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatValueSeparation, Logger: silent{}, MemTableSize: 256 << 10})
	if err != nil {
		return nil, fmt.Errorf("open the state of the executor: %w", err)
	}
	s := &Store{db: db}
	if err := s.checkFormat(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the state of the executor: %w", err), db.Close())
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
		return false, err
	}
	defer closer.Close()
	if err := json.Unmarshal(value, to); err != nil {
		return false, fmt.Errorf("row %s: %w", row, err)
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
		return fmt.Errorf("write the state of the executor: %w", err)
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
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte(rowIncident), UpperBound: []byte("incident0")})
	if err != nil {
		return nil, err
	}
	for it.First(); it.Valid(); it.Next() {
		var i Incident
		if err := json.Unmarshal(it.Value(), &i); err != nil {
			return nil, errors.Join(fmt.Errorf("row %s: %w", it.Key(), err), it.Close())
		}
		if i.State != Closed || !i.recorded() {
			ids = append(ids, i.ID)
		}
	}
	return ids, it.Close()
}

// Kill switches all steps but undo off, or on again.
func (s *Store) Kill(on bool) error {
	if !on {
		return s.write(map[string]any{rowKill: nil})
	}
	return s.write(map[string]any{rowKill: true})
}

func (s *Store) killed() (on bool, err error) {
	_, err = s.get(rowKill, &on)
	return on, err
}

// Quarantine stops all steps but undo against a type of incident. An empty
// reason releases it.
func (s *Store) Quarantine(of, reason string) error {
	if reason == "" {
		return s.write(map[string]any{rowQuarantine + of: nil})
	}
	return s.write(map[string]any{rowQuarantine + of: reason})
}

func (s *Store) quarantined(of string) (reason string, err error) {
	_, err = s.get(rowQuarantine+of, &reason)
	return reason, err
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
