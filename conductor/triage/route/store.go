package route

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/rows"
)

// The rows of the router's state.
const (
	rowHorizon  = "horizon"
	rowAlert    = "alert/"    // by the hash of the identity
	rowIncident = "incident/" // by identifier
	rowNumber   = "number/"   // of the latest incident, by its identifier without the number
)

// errState is wrapped by errors of the state.
var errState = errors.New("state of the router")

// A store keeps the alerts and the incidents of a router. One process has it
// open at a time.
type store struct{ *rows.Store }

// A row is one to write. A nil value deletes it.
type row struct {
	key   string
	value any
}

func openStore(dir string, fs vfs.FS) (*store, error) {
	s, err := rows.Open(dir, fs, errState, 16<<20)
	return &store{s}, err
}

// write writes alerts and further rows in one synced batch.
func (s *store) write(changed []*correlate.Alert, dropped []string, horizon time.Time, more []row) error {
	if len(dropped) > 0 {
		more = append(more, row{rowHorizon, horizon})
	}
	return s.Write(func(yield func(string, any) bool) {
		for _, a := range changed {
			if !yield(alertKey(a.Identity()), a.Record()) {
				return
			}
		}
		for _, identity := range dropped {
			if !yield(alertKey(identity), nil) {
				return
			}
		}
		for _, r := range more {
			if !yield(r.key, r.value) {
				return
			}
		}
	})
}

// alertKey returns the key of an alert. Identities can be longer than keys
// should be.
func alertKey(identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return rowAlert + hex.EncodeToString(sum[:16])
}
