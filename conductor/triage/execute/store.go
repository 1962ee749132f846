package execute

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/conductor/triage/rows"
)

// The rows of a store. Targets and types follow the prefixes.
const (
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
	rows *rows.Store
	fs   vfs.FS
	kill string // path of the file

	// fault, if not nil, is called before and after each write. For tests.
	fault func(done bool)
}

// OpenStore opens the store in a folder, or creates it.
func OpenStore(dir string, fs vfs.FS) (*Store, error) {
	db, err := rows.Open(dir, fs, ErrState, 256<<10)
	if err != nil {
		return nil, err
	}
	return &Store{rows: db, fs: fs, kill: fs.PathJoin(fs.PathDir(dir), KillFile)}, nil
}

// Close closes the store.
func (s *Store) Close() error { return s.rows.Close() }

// write writes rows in one synced batch. A nil value deletes its row.
func (s *Store) write(all map[string]any) error {
	if s.fault != nil {
		s.fault(false)
		defer s.fault(true)
	}
	return s.rows.Write(maps.All(all))
}

// Incident returns an incident, or nil.
func (s *Store) Incident(id string) (*Incident, error) {
	var i Incident
	found, err := s.rows.Get(rowIncident+id, &i)
	if err != nil || !found {
		return nil, err
	}
	return &i, nil
}

// Active returns the IDs of the incidents that are not closed, or whose entries
// are not all recorded.
func (s *Store) Active() (ids []string, err error) {
	err = s.rows.Each(rowIncident, func(_ string, value []byte) error {
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

// prune removes the incidents that were closed before a time, and the times of
// budgets that do not count any more.
func (s *Store) prune(closed, used time.Time) error {
	old := map[string]any{}
	err := s.rows.Each(rowIncident, func(row string, value []byte) error {
		var i Incident
		if err := json.Unmarshal(value, &i); err != nil {
			return err
		}
		if i.State == Closed && i.recorded() && i.Ended.Before(closed) || i.State == Following && i.Opened.Before(closed) {
			old[row] = nil
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = s.rows.Each(rowUsed, func(row string, value []byte) error {
		var times []time.Time
		if err := json.Unmarshal(value, &times); err != nil {
			return err
		}
		if len(times) > 0 && times[len(times)-1].Before(used) {
			old[row] = nil
		}
		return nil
	})
	if err != nil || len(old) == 0 {
		return err
	}
	return s.write(old)
}

// Kill switches all steps but undo off, or on again. Persons do so by requests.
func (s *Store) Kill(on bool) error {
	if !on {
		return s.write(map[string]any{rowKill: nil})
	}
	return s.write(map[string]any{rowKill: true})
}

// Killed reports whether the kill switch is on. A file that cannot be looked
// for counts as one that exists.
func (s *Store) Killed() (on bool, err error) {
	if _, err := s.fs.Stat(s.kill); !errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	_, err = s.rows.Get(rowKill, &on)
	return on, err
}

// quarantine returns the quarantine of a type, or nil.
func (s *Store) quarantine(of string) (*Quarantine, error) {
	var q Quarantine
	found, err := s.rows.Get(rowQuarantine+of, &q)
	if err != nil || !found {
		return nil, err
	}
	return &q, nil
}

// Quarantines returns the quarantines by type.
func (s *Store) Quarantines() (map[string]Quarantine, error) {
	all := map[string]Quarantine{}
	err := s.rows.Each(rowQuarantine, func(row string, value []byte) error {
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
	if _, err := s.rows.Get(row, &all); err != nil {
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
