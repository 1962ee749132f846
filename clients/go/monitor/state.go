package monitor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"github.com/go-json-experiment/json"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/internal/bounded"
)

// A state is what the monitor knows of one log. It is one file, so that it is always of one moment.
type state struct {
	Version   int          `json:"version"`
	Grown     time.Time    `json:"grown"` // when the log was first seen as large as it is
	Audit     *audit.State `json:"audit,omitempty"`
	NextIndex uint64       `json:"nextIndex"` // of the tenant's entries, over the API
	NextSeq   uint64       `json:"nextSeq"`
	Alerts    []Alert      `json:"alerts"` // the newest maxAlerts

	streamNext uint64 // of this round's audit
}

const (
	stateVersion = 1
	maxAlerts    = 1000
	maxStateSize = 16 << 20
)

func statePath(dir, name string) string { return filepath.Join(dir, name+".json") }

func loadState(dir, name string) (*state, error) {
	path := statePath(dir, name)
	data, err := bounded.ReadFile(path, maxStateSize)
	if errors.Is(err, fs.ErrNotExist) {
		return &state{Version: stateVersion}, nil
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", audit.ErrState, err)
	}
	st := &state{}
	if err := json.Unmarshal(data, st, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%s: %w; restore it from a backup, or remove it to begin anew (a fork before then is not noticed)", path, err)
	}
	if st.Version != stateVersion {
		return nil, fmt.Errorf("%w: %s is of version %d, this program reads version %d", audit.ErrState, path, st.Version, stateVersion)
	}
	return st, nil
}

// save writes the state so that after a crash the file is there as it was or as it is now.
func (st *state) save(dir, name string) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+name+"-*") // readable by its owner only
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), statePath(dir, name))
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("keep the state of %s: %w", name, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// merge adds what was not known, and returns it.
func (st *state) merge(standing []Alert) (found []Alert) {
	known := map[string]bool{}
	for _, a := range st.Alerts {
		known[a.Key] = true
	}
	for _, a := range standing {
		if !known[a.Key] {
			known[a.Key] = true
			found = append(found, a)
		}
	}
	st.Alerts = append(st.Alerts, found...)
	if n := len(st.Alerts); n > maxAlerts {
		st.Alerts = st.Alerts[n-maxAlerts:]
	}
	return found
}

func short(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:8])
}
