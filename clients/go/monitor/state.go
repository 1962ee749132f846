package monitor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/wholefile"
)

// A state is the monitor's state for one log. It is stored in one file, so that
// its parts are always consistent.
type state struct {
	Version   int          `json:"version"`
	Grown     time.Time    `json:"grown"` // when the log reached its current size
	Audit     *audit.State `json:"audit,omitempty"`
	Read      time.Time    `json:"read"`            // when the log was last read, or first tried
	Unread    bool         `json:"unread,omitzero"` // an alert has been raised since
	NextIndex uint64       `json:"nextIndex"`       // of the tenant's entries, over the API
	NextSeq   uint64       `json:"nextSeq"`
	Alerts    []Alert      `json:"alerts"` // the newest maxAlerts

	streamNext uint64 // of this round's audit
}

const (
	stateVersion = 1
	maxAlerts    = 1000
	maxAlertSize = 2 << 20 // with the two checkpoints of a fork, or the evidence of a stream
	maxAlertsSum = 8 << 20
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
		return nil, fmt.Errorf("%s: %w; restore it from a backup, or remove it to start over, which cannot detect an earlier fork", path, err)
	}
	if st.Version != stateVersion {
		return nil, fmt.Errorf("%w: %s has version %d, but this program reads version %d", audit.ErrState, path, st.Version, stateVersion)
	}
	return st, nil
}

// save writes the state atomically.
func (st *state) save(dir, name string) error {
	data, err := json.Marshal(st)
	if err != nil {
		return err
	}
	if len(data) >= maxStateSize {
		return fmt.Errorf("save the state of %s: %d bytes exceed the limit of %d", name, len(data), maxStateSize)
	}
	if err := wholefile.SaveState(statePath(dir, name), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("save the state of %s: %w", name, err)
	}
	return nil
}

// merge adds new alerts and returns them. It also returns the number of
// undelivered alerts that it dropped to keep within the limits.
func (st *state) merge(alerts []Alert) (found []Alert, dropped int) {
	known := map[string]bool{}
	for _, a := range st.Alerts {
		known[a.Key] = true
	}
	for _, a := range alerts {
		if !known[a.Key] {
			known[a.Key] = true
			found = append(found, a)
		}
	}
	st.Alerts = append(st.Alerts, found...)
	return found, st.trim()
}

// trim drops alerts until both limits hold: first delivered ones, then the
// least severe, and of these the oldest.
func (st *state) trim() (dropped int) {
	sizes, sum := make([]int, len(st.Alerts)), 0
	order := make([]int, len(st.Alerts)) // the order in which to drop them
	for i := range st.Alerts {
		sizes[i] = st.Alerts[i].size()
		sum += sizes[i]
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int {
		a, b := &st.Alerts[x], &st.Alerts[y]
		if a.Delivered != b.Delivered {
			if a.Delivered {
				return -1
			}
			return 1
		}
		return rank(b.Kind) - rank(a.Kind)
	})
	drop := map[int]bool{}
	for _, i := range order {
		if len(st.Alerts)-len(drop) <= maxAlerts && sum <= maxAlertsSum {
			break
		}
		drop[i] = true
		sum -= sizes[i]
		if !st.Alerts[i].Delivered {
			dropped++
		}
	}
	if len(drop) == 0 {
		return 0
	}
	kept := st.Alerts[:0:0]
	for i, a := range st.Alerts {
		if !drop[i] {
			kept = append(kept, a)
		}
	}
	st.Alerts = kept
	return dropped
}

// undelivered returns the undelivered alerts, the most severe first.
func (st *state) undelivered() (out []*Alert) {
	for i := range st.Alerts {
		if !st.Alerts[i].Delivered {
			out = append(out, &st.Alerts[i])
		}
	}
	slices.SortStableFunc(out, func(a, b *Alert) int { return rank(a.Kind) - rank(b.Kind) })
	return out
}

// bounded returns the alert with its stream report shortened to the size limit.
// An audit returns the whole report.
func (a Alert) bounded() Alert {
	if a.Stream == nil {
		return a
	}
	r := *a.Stream
	r.Missing = r.Missing[:min(len(r.Missing), audit.MaxFindings)]
	for a.Stream = &r; len(r.Doubled) > 0 && a.size() > maxAlertSize; {
		r.Doubled = r.Doubled[:len(r.Doubled)/2]
	}
	return a
}

// size returns the number of bytes of the alert in the state.
func (a *Alert) size() int {
	data, err := json.Marshal(a)
	if err != nil {
		return maxAlertsSum // cannot be stored
	}
	return len(data) + 1
}

func short(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:8])
}
