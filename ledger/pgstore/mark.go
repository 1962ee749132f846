package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/store"
)

// marks keeps the publish mark, in a file of the server if it has one, and
// otherwise in the database. Only a file proves that the database is as new as
// what the server has published.
type marks struct {
	s    *Store
	file *mark.Writer // nil: none
	lock io.Closer    // of the mark's folder, or nil

	mu   sync.Mutex // guards what follows, and writing to file
	size uint64     // of the checkpoint that was written last
}

// readMark returns the publish mark, or nil if there is none, or it is torn.
func (s *Store) readMark(ctx context.Context) (*store.Mark, error) {
	if s.location.mark != "" {
		m, err := mark.Read(s.location.mark)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, mark.ErrTorn) {
			return nil, nil
		}
		return m, err
	}
	var signed []byte
	err := s.pool.QueryRow(ctx, s.sql(`SELECT signed FROM $published`)).Scan(&signed)
	if errors.Is(err, pgx.ErrNoRows) {
		return &store.Mark{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("publish mark: %w", err)
	}
	return &store.Mark{Checkpoint: signed}, nil
}

// open opens the file of the mark for writing. If m is nil, it is missing or
// torn, and is made.
func (k *marks) open(m *store.Mark) error {
	dir := k.s.location.mark
	if dir == "" {
		return nil
	}
	if m == nil {
		if err := mark.Create(dir); err != nil {
			return err
		}
	}
	f, err := mark.OpenWriter(dir)
	k.file = f
	return err
}

func (k *marks) write(c *store.Checkpoint) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.Size < k.size {
		return nil
	}
	k.size = c.Size
	if k.file != nil {
		return k.file.Publish(c.Signed)
	}
	_, err := k.s.withoutWait(context.Background(), `INSERT INTO $published (size, signed) VALUES ($1, $2)
		ON CONFLICT (one) DO UPDATE SET size = excluded.size, signed = excluded.signed WHERE $published.size <= excluded.size`, int64(c.Size), c.Signed)
	return err
}

func (k *marks) close() error {
	if k == nil {
		return nil
	}
	var err error
	if k.file != nil {
		err = k.file.Close()
	}
	if k.lock != nil {
		err = errors.Join(err, k.lock.Close())
	}
	return err
}

// lockFolder makes the process the only one that uses the folder of the mark.
func (k *marks) lockFolder() error {
	dir := k.s.location.mark
	if dir == "" {
		return nil
	}
	if err := owner.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, "LOCK")
	if err := owner.Touch(path); err != nil {
		return err
	}
	lock, err := vfs.Default.Lock(path)
	if err != nil {
		return fmt.Errorf("%w (%w)", store.ErrInUse, err)
	}
	k.lock = lock
	return nil
}
