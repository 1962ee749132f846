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
	o, err := s.payload(ctx, index, true)
	if o == nil {
		return nil, err
	}
	r := &store.PayloadReader{ReadCloser: io.NopCloser(bytes.NewReader(o.content)), Salt: entry.Salt(o.salt), Size: uint64(o.size)}
	if o.large == nil {
		return r, nil
	}
	p, err := s.pieces(ctx, o.large)
	switch {
	case errors.Is(err, errDead):
		return nil, nil // it was erased meanwhile
	case err != nil:
		return nil, fmt.Errorf("payload of entry %d: %w", index, err)
	case p != nil:
		r.ReadCloser = &partReader{fetch: p.fetch(ctx), most: pieceSize, left: o.size}
	default:
		r.ReadCloser = s.readParts(ctx, o.large, o.size)
	}
	return r, nil
}

// A partReader reads a large payload.
type partReader struct {
	// fetch returns a part, which must have n bytes.
	fetch  func(part int32, n int) ([]byte, error)
	most   int64 // bytes of each part but the last
	left   int64 // bytes that were not fetched
	part   int32
	buffer []byte
	closed bool
}

// readParts returns a reader of a payload in the database.
func (s *Store) readParts(ctx context.Context, id []byte, size int64) *partReader {
	return &partReader{most: partSize, left: size, fetch: func(part int32, n int) ([]byte, error) {
		content, err := one[[]byte](ctx, s, fmt.Sprintf("part %d of a large payload", part), `SELECT content FROM $large_parts WHERE id = $1 AND part = $2`, id, part)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil, fmt.Errorf("part %d of a large payload is missing: %w", part, store.ErrDamaged)
		case err != nil:
			return nil, err
		case len(content) != n:
			return nil, fmt.Errorf("part %d of a large payload has %d bytes: %w", part, len(content), store.ErrDamaged)
		}
		return content, nil
	}}
}

func (r *partReader) Read(p []byte) (int, error) {
	switch {
	case r.closed:
		return 0, errors.New("the payload is closed")
	case len(r.buffer) == 0 && r.left == 0:
		return 0, io.EOF
	case len(r.buffer) == 0:
		n := min(r.left, r.most)
		content, err := r.fetch(r.part, int(n))
		if err != nil {
			return 0, err
		}
		r.buffer, r.left, r.part = content, r.left-n, r.part+1
	}
	n := copy(p, r.buffer)
	r.buffer = r.buffer[n:]
	return n, nil
}

func (r *partReader) Close() error {
	r.closed, r.buffer = true, nil
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
		WHERE p.large IS NOT NULL AND NOT EXISTS (SELECT FROM $objects o WHERE o.id = p.large) GROUP BY p.index, p.size HAVING coalesce(sum(length(q.content)), 0) <> p.size ORDER BY p.index LIMIT 1`)).Scan(&index, &size, &there)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return s.checkObjects(ctx)
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
	if s.bucket != nil {
		w.sink = newPieceSink(ctx, w)
	} else {
		w.sink = partSink{w}
	}
	return w, nil
}

// payloadWriter implements store.PayloadWriter.
type payloadWriter struct {
	ctx  context.Context
	s    *Store
	id   [16]byte
	sink sink

	mu       sync.Mutex // guards what follows; Discard may come from anywhere
	buffer   []byte
	part     int32
	size     uint64
	finished bool // nothing can be written
	complete bool
	gone     bool
}

// A sink is where the content of a large payload is written.
type sink interface {
	// most is the size of all parts but the last.
	most() int
	// put writes a part. It may change the content.
	put(part int32, content []byte) error
	// finish makes the payload complete, after which a commit can name it.
	finish(parts int32, size uint64) error
	// open reads a complete payload.
	open(size uint64) io.ReadCloser
	// discard deletes the payload unless an entry has it.
	discard() error
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
		n := min(len(p), w.sink.most()-len(w.buffer))
		w.buffer, p, written = append(w.buffer, p[:n]...), p[n:], written+n
		if len(w.buffer) == w.sink.most() {
			if err := w.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// flush writes the part that is complete. After an error, the payload can only
// be discarded.
func (w *payloadWriter) flush() error {
	size := len(w.buffer)
	if err := w.sink.put(w.part, w.buffer); err != nil {
		w.finished = true
		return fmt.Errorf("write a large payload: %w", err)
	}
	w.size, w.part, w.buffer = w.size+uint64(size), w.part+1, w.buffer[:0]
	return nil
}

// write sends statements, unless the store is closed, and returns how many rows
// the last has changed.
func (w *payloadWriter) write(b *pgx.Batch) (int64, error) {
	if err := w.s.enterWrite(); err != nil {
		return 0, err
	}
	defer w.s.uses.Done()
	return w.s.sendCounted(w.ctx, b)
}

func (w *payloadWriter) Finish() (store.LargePayload, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.finished {
		return store.LargePayload{}, errFinished
	}
	if len(w.buffer) > 0 || w.part == 0 {
		if err := w.flush(); err != nil {
			return store.LargePayload{}, err
		}
	}
	if err := w.sink.finish(w.part, w.size); err != nil {
		w.finished = true
		return store.LargePayload{}, fmt.Errorf("finish a large payload: %w", err)
	}
	w.finished, w.complete, w.buffer = true, true, nil
	return store.LargePayload{ID: w.id, Size: w.size}, nil
}

func (w *payloadWriter) Open() (io.ReadCloser, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.complete || w.gone {
		return nil, errors.New("the payload is not finished, or was discarded")
	}
	return w.sink.open(w.size), nil
}

func (w *payloadWriter) Discard() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return nil
	}
	w.finished, w.buffer = true, nil
	if err := w.sink.discard(); err != nil {
		return fmt.Errorf("discard a large payload: %w", err)
	}
	w.gone = true
	return nil
}

// partSink writes a payload into the database.
type partSink struct{ w *payloadWriter }

func (partSink) most() int { return partSize }

func (k partSink) put(part int32, content []byte) error {
	b := &pgx.Batch{}
	b.Queue(k.w.s.sql(`INSERT INTO $large_parts (id, part, writer, written, content) VALUES ($1, $2, $3, now(), $4)`), k.w.id[:], part, k.w.s.server, notNull(content))
	_, err := k.w.write(b)
	return err
}

func (k partSink) finish(_ int32, size uint64) error {
	b := &pgx.Batch{}
	b.Queue(k.w.s.sql(`INSERT INTO $large (id, size) VALUES ($1, $2)`), k.w.id[:], int64(size))
	_, err := k.w.write(b)
	return err
}

func (k partSink) open(size uint64) io.ReadCloser {
	return k.w.s.readParts(k.w.ctx, k.w.id[:], int64(size))
}

// discard implements sink. The foreign key refuses to delete a payload that a
// commit takes over meanwhile.
func (k partSink) discard() error {
	b := &pgx.Batch{}
	b.Queue(k.w.s.sql(deleteUnnamed), k.w.id[:])
	b.Queue(k.w.s.sql(`DELETE FROM $large_parts WHERE id = $1 AND NOT EXISTS (SELECT FROM $large WHERE id = $1)`), k.w.id[:])
	_, err := k.w.write(b)
	if constraint(err, "payloads_large") {
		return nil
	}
	return err
}

// deleteUnnamed makes a payload incomplete unless an entry has it.
const deleteUnnamed = `DELETE FROM $large WHERE id = $1 AND NOT EXISTS (SELECT FROM $payloads WHERE large = $1)`

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
	s.queueAbandonedObjects(b, s.server)
	b.Queue(s.sql(`DELETE FROM $markers WHERE changed < now() - $1::interval`), abandoned)
	if err := s.send(ctx, b); err != nil && !constraint(err, "payloads_large") {
		return fmt.Errorf("delete abandoned payloads: %w", err)
	}
	return nil
}

// notNull returns content that is not NULL in the database.
func notNull(content []byte) []byte {
	if content == nil {
		return []byte{}
	}
	return content
}
