package pgstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/store"
)

// partSize is the size of all parts of a large payload but the last.
const partSize = 1 << 20

// OpenPayload implements store.Store. A large payload is read part by part. It
// can be read to its end after it was erased, until Purge deletes its parts.
func (s *Store) OpenPayload(ctx context.Context, index uint64) (*store.PayloadReader, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	o, err := s.opening(ctx, "payload", `SELECT salt, content, large, size `+payloadQuery, index)
	if o == nil {
		return nil, err
	}
	r := &store.PayloadReader{ReadCloser: io.NopCloser(bytes.NewReader(o.content)), Salt: entry.Salt(o.salt), Size: uint64(o.size)}
	if o.large != nil {
		r.ReadCloser = &partReader{ctx: ctx, s: s, id: o.large, left: o.size}
	}
	return r, nil
}

// A partReader reads a large payload.
type partReader struct {
	ctx    context.Context
	s      *Store
	id     []byte
	left   int64 // bytes that were not read from the database
	part   int32
	buffer []byte
	closed bool
}

func (r *partReader) Read(p []byte) (int, error) {
	switch {
	case r.closed:
		return 0, errors.New("the payload is closed")
	case len(r.buffer) == 0 && r.left == 0:
		return 0, io.EOF
	case len(r.buffer) == 0:
		content, err := one[[]byte](r.ctx, r.s, fmt.Sprintf("part %d of a large payload", r.part), `SELECT content FROM $large_parts WHERE id = $1 AND part = $2`, r.id, r.part)
		if errors.Is(err, store.ErrNotFound) {
			return 0, fmt.Errorf("part %d of a large payload is missing: %w", r.part, store.ErrDamaged)
		}
		if err != nil {
			return 0, err
		}
		if n := int64(len(content)); n != min(r.left, partSize) {
			return 0, fmt.Errorf("part %d of a large payload has %d bytes: %w", r.part, n, store.ErrDamaged)
		}
		r.buffer, r.left, r.part = content, r.left-int64(len(content)), r.part+1
	}
	n := copy(p, r.buffer)
	r.buffer = r.buffer[n:]
	return n, nil
}

func (r *partReader) Close() error {
	r.closed = true
	return nil
}

// CheckLarge implements store.Store.
func (s *Store) CheckLarge(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.uses.Done()
	var index, size, there int64
	err := s.pool.QueryRow(ctx, s.sql(`SELECT p.index, p.size, coalesce(sum(length(q.content)), 0)::bigint AS there FROM $payloads p LEFT JOIN $large_parts q ON q.id = p.large
		WHERE p.large IS NOT NULL GROUP BY p.index, p.size HAVING coalesce(sum(length(q.content)), 0) <> p.size ORDER BY p.index LIMIT 1`)).Scan(&index, &size, &there)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("check the large payloads: %w", err)
	}
	return fmt.Errorf("the payload of entry %d has %d bytes of %d: %w", index, there, size, store.ErrDamaged)
}

// CreatePayload implements store.Store.
func (s *Store) CreatePayload(ctx context.Context) (store.PayloadWriter, error) {
	if err := s.enterWrite(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	w := &payloadWriter{ctx: context.WithoutCancel(ctx), s: s}
	rand.Read(w.id[:]) // never fails: see crypto/rand
	return w, nil
}

// payloadWriter implements store.PayloadWriter.
type payloadWriter struct {
	ctx context.Context
	s   *Store
	id  [16]byte

	mu       sync.Mutex // guards what follows; Discard may come from anywhere
	buffer   []byte
	part     int32
	size     uint64
	finished bool
	gone     bool
}

var errFinished = errors.New("the payload is finished")

func (w *payloadWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.finished {
		return 0, errFinished
	}
	written := 0
	for len(p) > 0 {
		n := min(len(p), partSize-len(w.buffer))
		w.buffer, p, written = append(w.buffer, p[:n]...), p[n:], written+n
		if len(w.buffer) == partSize {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// flush writes the part that is complete.
func (w *payloadWriter) flush() error {
	b := &pgx.Batch{}
	b.Queue(w.s.sql(`INSERT INTO $large_parts (id, part, writer, written, content) VALUES ($1, $2, $3, now(), $4)`), w.id[:], w.part, w.s.server, w.buffer)
	if err := w.write(b); err != nil {
		return fmt.Errorf("write a large payload: %w", err)
	}
	w.size, w.part, w.buffer = w.size+uint64(len(w.buffer)), w.part+1, w.buffer[:0]
	return nil
}

// write sends statements, unless the store is closed.
func (w *payloadWriter) write(b *pgx.Batch) error {
	if err := w.s.enterWrite(); err != nil {
		return err
	}
	defer w.s.uses.Done()
	return w.s.send(w.ctx, b)
}

func (w *payloadWriter) Finish() (store.LargePayload, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.finished {
		return store.LargePayload{}, errFinished
	}
	if len(w.buffer) > 0 {
		if err := w.flush(); err != nil {
			return store.LargePayload{}, err
		}
	}
	b := &pgx.Batch{}
	b.Queue(w.s.sql(`INSERT INTO $large (id, size) VALUES ($1, $2)`), w.id[:], int64(w.size))
	if err := w.write(b); err != nil {
		return store.LargePayload{}, fmt.Errorf("finish a large payload: %w", err)
	}
	w.finished, w.buffer = true, nil
	return store.LargePayload{ID: w.id, Size: w.size}, nil
}

func (w *payloadWriter) Open() (io.ReadCloser, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.finished || w.gone {
		return nil, errors.New("the payload is not finished, or was discarded")
	}
	return &partReader{ctx: w.ctx, s: w.s, id: w.id[:], left: int64(w.size)}, nil
}

// Discard deletes the payload unless an entry has it. The foreign key refuses
// to delete a payload that a commit takes over meanwhile.
func (w *payloadWriter) Discard() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return nil
	}
	w.finished, w.buffer = true, nil
	b := &pgx.Batch{}
	b.Queue(w.s.sql(`DELETE FROM $large WHERE id = $1 AND NOT EXISTS (SELECT FROM $payloads WHERE large = $1)`), w.id[:])
	b.Queue(w.s.sql(`DELETE FROM $large_parts WHERE id = $1 AND NOT EXISTS (SELECT FROM $large WHERE id = $1)`), w.id[:])
	err := w.write(b)
	if constraint(err, "payloads_large") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("discard a large payload: %w", err)
	}
	w.gone = true
	return nil
}

// abandoned is the age at which parts of a large payload that no entry has are
// deleted, whichever server has written them.
const abandoned = "1 day"

// dropAbandoned deletes what an earlier process of this server has written, and
// no entry has, and what any server has left behind long ago.
func (s *Store) dropAbandoned(ctx context.Context) error {
	b := &pgx.Batch{}
	const which = `SELECT DISTINCT id FROM $large_parts q WHERE (writer = $1 OR written < now() - $2::interval) AND NOT EXISTS (SELECT FROM $payloads p WHERE p.large = q.id)`
	b.Queue(s.sql(`DELETE FROM $large WHERE id IN (`+which+`)`), s.server, abandoned)
	b.Queue(s.sql(`DELETE FROM $large_parts WHERE id IN (`+which+`) AND NOT EXISTS (SELECT FROM $large l WHERE l.id = $large_parts.id)`), s.server, abandoned)
	b.Queue(s.sql(`DELETE FROM $markers WHERE changed < now() - $1::interval`), abandoned)
	if err := s.send(ctx, b); err != nil && !constraint(err, "payloads_large") {
		return fmt.Errorf("delete abandoned payloads: %w", err)
	}
	return nil
}
