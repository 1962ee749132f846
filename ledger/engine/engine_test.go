package engine_test

import (
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// locations has a way to make a location for each engine of the table.
var locations = map[string]func(t *testing.T) string{
	"pebble": func(t *testing.T) string { return filepath.Join(t.TempDir(), "a store: 100%?#") },
	"memory": func(t *testing.T) string { return t.Name() },
	"postgres": func(t *testing.T) string {
		r := postgresrig.ForTest(t, postgresrig.Config{Settings: map[string]string{"fsync": "on"}})
		return strings.TrimPrefix(engine.For(r.URL(postgresrig.User)+"&single_node=true", filepath.Join(t.TempDir(), "store"), "test"), "postgres:")
	},
}

// Every engine of the table keeps the promises about opening. Those about open
// stores are tested in the engine's package.
func TestOpening(t *testing.T) {
	for _, scheme := range engine.Schemes() {
		newLocation := locations[scheme]
		if newLocation == nil {
			t.Errorf("the engine %s is not tested", scheme)
			continue
		}
		run := storetest.RunEngine
		if engine.Shared(scheme + ":") {
			run = storetest.RunSharedEngine
		}
		t.Run(scheme, func(t *testing.T) {
			run(t, engine.At(scheme), newLocation)
			storetest.RunMover(t, engine.At(scheme).(store.Mover), newLocation)
		})
	}
}

func TestUnknownURL(t *testing.T) {
	for _, url := range []string{"", "pebble", "pebble:", "/data/store", "PEBBLE:/data", "mysql://user:secret@host/db"} {
		_, err := engine.Open(t.Context(), url, store.Options{})
		if err == nil || !strings.Contains(err.Error(), "pebble") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got the error %v", url, err)
		}
	}
}
