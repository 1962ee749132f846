package pgstore

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/ledger/store"
)

// TestLease makes servers compete for the lease. One of them wins each beat.
func TestLease(t *testing.T) {
	location := newLocation(t)
	servers := []*Store{openAt(t, location), openAt(t, location), openAt(t, location)}
	for round := range 20 {
		before, err := servers[round%3].Lease(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if before.Beat != uint64(round) {
			t.Fatalf("round %d: the lease is at beat %d", round, before.Beat)
		}
		var won atomic.Int64
		var winner atomic.Value
		var wg sync.WaitGroup
		for i, s := range servers {
			wg.Go(func() {
				l := store.Lease{Holder: [16]byte{byte(i + 1)}, URL: string(rune('a' + i))}
				taken, err := s.TakeLease(context.Background(), before.Beat, l)
				if err != nil {
					t.Error(err)
				}
				if taken {
					won.Add(1)
					l.Beat = before.Beat + 1
					winner.Store(l)
				}
			})
		}
		wg.Wait()
		after, err := servers[(round+1)%3].Lease(t.Context())
		if err != nil || won.Load() != 1 || after != winner.Load() {
			t.Fatalf("round %d: %d have won, the winner %v, and the lease is %v (error %v)", round, won.Load(), winner.Load(), after, err)
		}
	}
}

// TestMigration opens a log that has the first version of the schema, by
// several servers at once.
func TestMigration(t *testing.T) {
	location := newLocation(t)
	l, err := parseLocation(location)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := l.pool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for _, statement := range []string{
		"CREATE SCHEMA " + l.schema, "SET search_path TO " + l.schema + ";" + schema1,
		l.sql(`INSERT INTO $log (version, raw, secret) VALUES (1, false, decode(repeat('07', 32), 'hex'))`),
	} {
		if _, err := pool.Exec(t.Context(), statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			s, err := Engine{}.Open(context.Background(), location, store.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if _, err := s.(*Store).Lease(context.Background()); err != nil {
				t.Error(err)
			}
			if st, err := s.Follow(context.Background(), 0); err != nil || st.Secret[31] != 7 {
				t.Errorf("the log has another secret, or none (error %v)", err)
			}
		})
	}
	wg.Wait()
	if _, err := pool.Exec(t.Context(), l.sql(`UPDATE $log SET version = version + 1`)); err != nil {
		t.Fatal(err)
	}
	if _, err := (Engine{}).Open(t.Context(), location, store.Options{}); err == nil || !strings.Contains(err.Error(), "or a newer one") {
		t.Errorf("an older program opened a newer schema (error %v)", err)
	}
}
