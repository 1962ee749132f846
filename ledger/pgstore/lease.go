package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/ledger/store"
)

var _ store.Leases = (*Store)(nil)

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
func (s *Store) TakeLease(ctx context.Context, beat uint64, l store.Lease) (taken bool, err error) {
	if err := s.enterWrite(); err != nil {
		return false, err
	}
	defer s.uses.Done()
	err = s.withoutWait(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, s.sql(`UPDATE $lease SET beat = beat + 1, holder = $2, url = $3 WHERE beat = $1`), int64(beat), l.Holder[:], l.URL)
		taken = tag.RowsAffected() == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("lease: %w", err)
	}
	return taken, nil
}

// withoutWait runs a transaction whose answer does not wait for the disk, so
// it takes no longer than a read.
func (s *Store) withoutWait(ctx context.Context, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL synchronous_commit = off`); err != nil {
			return err
		}
		return do(tx)
	})
}
