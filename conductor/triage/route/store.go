package route

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/conductor/triage/correlate"
)

// format is the version of the rows.
const format = "1"

// The rows of the router's state.
const (
	rowFormat   = "format"
	rowHorizon  = "horizon"
	rowAlert    = "alert/"    // by the hash of the identity
	rowIncident = "incident/" // by identifier
	rowNumber   = "number/"   // of the latest incident, by its identifier without the number
)

// A store keeps the alerts and the incidents of a router. One process has it
// open at a time.
type store struct {
	db *pebble.DB
}

// A row is one to write. A nil value deletes it.
type row struct {
	key   string
	value any
}

func openStore(dir string, fs vfs.FS) (*store, error) {
	db, err := pebble.Open(dir, &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatValueSeparation, Logger: silent{}, MemTableSize: 16 << 20})
	if err != nil {
		return nil, fmt.Errorf("open the state of the router: %w", err)
	}
	s := &store{db}
	var version string
	found, err := s.get(rowFormat, &version)
	switch {
	case err == nil && !found:
		err = s.write(nil, nil, time.Time{}, []row{{rowFormat, format}})
	case err == nil && version != format:
		err = fmt.Errorf("version %q: only version %s is supported", version, format)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the state of the router: %w", err), db.Close())
	}
	return s, nil
}

// silent discards the log of Pebble, whose errors are those of its calls.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("state of the router: "+format, args...))
}

// Close closes the store.
func (s *store) Close() error { return s.db.Close() }

func (s *store) get(key string, to any) (bool, error) {
	value, closer, err := s.db.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer closer.Close()
	if err := json.Unmarshal(value, to); err != nil {
		return false, fmt.Errorf("row %s: %w", key, err)
	}
	return true, nil
}

// each calls read with each row below a prefix, which ends with a slash.
func (s *store) each(prefix string, read func(key string, value []byte) error) error {
	upper := []byte(prefix)
	upper[len(upper)-1]++
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: upper})
	if err != nil {
		return err
	}
	for it.First(); it.Valid(); it.Next() {
		if err := read(string(it.Key()[len(prefix):]), it.Value()); err != nil {
			return errors.Join(fmt.Errorf("row %s: %w", it.Key(), err), it.Close())
		}
	}
	return it.Close()
}

// write writes alerts and further rows in one synced batch.
func (s *store) write(changed []*correlate.Alert, dropped []string, horizon time.Time, more []row) error {
	b := s.db.NewBatch()
	defer b.Close()
	for _, a := range changed {
		if err := set(b, alertKey(a.Identity()), a.Record()); err != nil {
			return err
		}
	}
	for _, identity := range dropped {
		if err := b.Delete([]byte(alertKey(identity)), nil); err != nil {
			return err
		}
	}
	if len(dropped) > 0 {
		more = append(more, row{rowHorizon, horizon})
	}
	for _, r := range more {
		if r.value == nil {
			if err := b.Delete([]byte(r.key), nil); err != nil {
				return err
			}
			continue
		}
		if err := set(b, r.key, r.value); err != nil {
			return err
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("write the state of the router: %w", err)
	}
	return nil
}

func set(b *pebble.Batch, key string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return b.Set([]byte(key), text, nil)
}

// alertKey returns the key of an alert. Identities can be longer than keys
// should be.
func alertKey(identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return rowAlert + hex.EncodeToString(sum[:16])
}
