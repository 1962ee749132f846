package pgstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/ledger/store"
)

// sweepEvery is how often objects are deleted that no entry names.
const sweepEvery = time.Hour

// A sweeper deletes objects in the background.
type sweeper struct {
	cancel context.CancelFunc // nil: it was not started
	done   sync.WaitGroup
}

// startSweeper begins to sweep at once.
func (s *Store) startSweeper() {
	if s.bucket == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.sweeper.cancel = cancel
	s.sweeper.done.Go(func() {
		defer crash.Report()
		again := time.NewTicker(sweepEvery)
		defer again.Stop()
		for {
			if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("objects that no entry names could not be deleted", "err", err, "retry", sweepEvery)
			}
			select {
			case <-again.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

func (w *sweeper) stop() {
	if w.cancel != nil {
		w.cancel()
		w.done.Wait()
	}
}

// sweep deletes the objects of payloads that were erased or abandoned.
func (s *Store) sweep(ctx context.Context) error {
	b := &pgx.Batch{}
	s.queueAbandonedObjects(b, "")
	if err := s.send(ctx, b); err != nil && !constraint(err, "payloads_large") {
		return err
	}
	return s.sweepObjects(ctx)
}

// queueAbandonedObjects makes payloads dead that no entry names: those of an
// earlier process of the writer, and any whose row is unchanged for a day. The
// foreign key of payloads fails the transaction if a commit takes one over
// meanwhile, and a writer that is not dead finds its row changed.
func (s *Store) queueAbandonedObjects(b *pgx.Batch, writer string) {
	b.Queue(s.sql(`UPDATE $objects SET key = NULL WHERE key IS NOT NULL AND (writer = $1 OR written < now() - $2::interval)
		AND NOT EXISTS (SELECT FROM $payloads p WHERE p.large = $objects.id)`), writer, abandoned)
	b.Queue(s.sql(`DELETE FROM $large WHERE id IN (SELECT id FROM $objects WHERE key IS NULL)`))
}

// sweepObjects deletes the objects of dead payloads. A write that was under way
// may arrive after the deletion, so those of the last day are deleted again
// when they are older.
func (s *Store) sweepObjects(ctx context.Context) error {
	type dead struct {
		id     []byte
		pieces int32
	}
	for {
		rows, err := s.pool.Query(ctx, s.sql(`SELECT id, pieces FROM $objects WHERE key IS NULL AND (deleted IS NULL OR written < now() - $1::interval) LIMIT 100`), abandoned)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d dead, err error) {
			err = row.Scan(&d.id, &d.pieces)
			return d, err
		})
		if err != nil || len(found) == 0 {
			return err
		}
		if s.bucket == nil {
			return fmt.Errorf("objects of erased payloads are to be deleted: %w", errNoObjects)
		}
		for _, d := range found {
			if err := s.deleteObjects(ctx, d.id, d.pieces); err != nil {
				return err
			}
		}
	}
}

// deleteObjects deletes the objects of a dead payload, and notes that.
func (s *Store) deleteObjects(ctx context.Context, id []byte, pieces int32) error {
	if err := s.bucket.Delete(ctx, pieceNames(id, pieces)...); err != nil {
		return err
	}
	b := &pgx.Batch{}
	b.Queue(s.sql(`DELETE FROM $objects WHERE id = $1 AND key IS NULL AND written < now() - $2::interval`), id, abandoned)
	b.Queue(s.sql(`UPDATE $objects SET deleted = now() WHERE id = $1 AND key IS NULL`), id)
	return s.send(ctx, b)
}

// checkTime bounds the wait for the bucket when a log is opened.
const checkTime = 10 * time.Second

// checkBucket returns an error if the storage refuses the bucket. If it does
// not answer, the server can start: only large payloads need it.
func (s *Store) checkBucket(ctx context.Context) error {
	if s.bucket == nil {
		return nil
	}
	limited, cancel := context.WithTimeoutCause(ctx, checkTime, store.ErrUnavailable)
	defer cancel()
	err := s.bucket.Check(limited)
	if errors.Is(err, store.ErrUnavailable) {
		s.log.Warn("the bucket of large payloads does not answer", "err", err)
		return nil
	}
	return err
}

// checkObjects returns an error unless all objects of large payloads are there
// in their full size.
func (s *Store) checkObjects(ctx context.Context) error {
	type named struct {
		index, size int64
		id          []byte
	}
	for next := int64(0); ; {
		rows, err := s.pool.Query(ctx, s.sql(`SELECT p.index, p.size, p.large FROM $payloads p JOIN $objects o ON o.id = p.large WHERE p.index >= $1 ORDER BY p.index LIMIT 1000`), next)
		if err != nil {
			return fmt.Errorf("check the large payloads: %w", err)
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n named, err error) {
			err = row.Scan(&n.index, &n.size, &n.id)
			return n, err
		})
		if err != nil {
			return fmt.Errorf("check the large payloads: %w", err)
		}
		if len(found) == 0 {
			return nil
		}
		if s.bucket == nil {
			return fmt.Errorf("the payload of entry %d: %w", found[0].index, errNoObjects)
		}
		for _, n := range found {
			if err := s.checkPieces(ctx, n.id, n.size); err != nil {
				return fmt.Errorf("the payload of entry %d: %w", n.index, damaged(err))
			}
			next = n.index + 1
		}
	}
}

func (s *Store) checkPieces(ctx context.Context, id []byte, size int64) error {
	for piece := range pieceCount(size) {
		n := min(pieceSize, size-int64(piece)*pieceSize)
		if err := s.bucket.CheckSize(ctx, pieceName(id, piece), n+overhead); err != nil {
			return err
		}
	}
	return nil
}
