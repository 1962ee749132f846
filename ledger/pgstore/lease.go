package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"muniment.dev/muniment/ledger/store"
)

var (
	_ store.Leases     = (*Store)(nil)
	_ store.Timekeeper = (*Store)(nil)
)

// Lease implements store.Leases.
func (s *Store) Lease(ctx context.Context) (l store.Lease, err error) {
	if err := s.enter(); err != nil {
		return l, err
	}
	defer s.uses.Done()
	var holder []byte
	if err := s.pool.QueryRow(ctx, s.sql(`SELECT beat, holder, url FROM $lease`)).Scan(&l.Beat, &holder, &l.URL); err != nil {
		return l, fmt.Errorf("lease: %w", err)
	}
	copy(l.Holder[:], holder)
	return l, nil
}

// TakeLease implements store.Leases. It does not wait for a disk: a lease that
// a failover loses is taken again.
func (s *Store) TakeLease(ctx context.Context, beat uint64, l store.Lease) (bool, error) {
	if err := s.enterWrite(); err != nil {
		return false, err
	}
	defer s.uses.Done()
	n, err := s.withoutWait(ctx, `UPDATE $lease SET beat = beat + 1, holder = $2, url = $3 WHERE beat = $1`, int64(beat), l.Holder[:], l.URL)
	if err != nil {
		return false, fmt.Errorf("lease: %w", err)
	}
	return n == 1, nil
}

// withoutWait executes a statement whose answer does not wait for the disk, so
// it takes no longer than a read. It returns the number of rows that changed.
// The transaction is sent at once, in one round trip. If it fails, it stays
// open, and the pool closes its connection.
func (s *Store) withoutWait(ctx context.Context, statement string, args ...any) (rows int64, err error) {
	b := &pgx.Batch{}
	b.Queue(`BEGIN`)
	b.Queue(`SET LOCAL synchronous_commit = off`)
	b.Queue(s.sql(statement), args...).Exec(func(tag pgconn.CommandTag) error {
		rows = tag.RowsAffected()
		return nil
	})
	b.Queue(`COMMIT`)
	return rows, s.pool.SendBatch(ctx, b).Close()
}

// Time implements store.Timekeeper.
func (s *Store) Time(ctx context.Context) (time.Time, error) {
	return one[time.Time](ctx, s, "clock of the database", `SELECT clock_timestamp()`)
}
