package pgstore

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// server is the PostgreSQL of all tests that need no standby. Its data is in
// memory, so that the fsync that the engine requires takes no time.
var server *postgresrig.Rig

func TestMain(m *testing.M) {
	storetest.Sequences = 4 // each commit is a dozen statements
	os.Exit(func() int {
		var err error
		if server, err = postgresrig.Start(context.Background(), postgresrig.Config{Settings: map[string]string{"fsync": "on"}}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer server.Stop()
		return m.Run()
	}())
}

var places atomic.Int64

// newLocation returns the location of a log that does not exist.
func newLocation(*testing.T) string {
	return fmt.Sprintf("//postgres@127.0.0.1:%s/postgres?sslmode=disable&single_node=true&server=test&schema=log_%d", server.Port, places.Add(1))
}

func newDisk(raw bool) func(t *testing.T) storetest.Disk {
	return func(t *testing.T) storetest.Disk {
		location := newLocation(t)
		return func() (store.Store, error) {
			return Engine{}.Open(context.Background(), location, store.Options{Raw: raw})
		}
	}
}

func TestStore(t *testing.T) {
	soak.WithoutRace(t)
	storetest.Run(t, newDisk(false))
}

func TestRawStore(t *testing.T) {
	soak.WithoutRace(t)
	storetest.RunRaw(t, newDisk(true))
}

func TestEngine(t *testing.T) { storetest.RunSharedEngine(t, Engine{}, newLocation) }
