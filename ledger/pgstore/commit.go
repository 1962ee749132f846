package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, c *store.Commit) error {
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.uses.Done()
	s.writing.Lock()
	defer s.writing.Unlock()
	if c.From > math.MaxInt64 {
		return fmt.Errorf("commit at %d: %w", c.From, store.ErrLost)
	}
	if err := s.checkCommit(c); err != nil {
		// A commit whose place is taken is lost, whatever else is wrong.
		if outcome := s.resolve(ctx, c); !errors.Is(outcome, errNext) {
			return outcome
		}
		return err
	}
	changes, err := s.changes(ctx, s.pool, c.Erase)
	switch {
	case errors.Is(err, store.ErrNoAnswer), ctx.Err() != nil:
		return fmt.Errorf("commit at %d: %w: %w", c.From, store.ErrUndecided, err)
	case err != nil:
		return fmt.Errorf("commit at %d: read what it erases: %w", c.From, err)
	}
	err = s.send(ctx, s.batch(c, changes))
	switch {
	case err == nil:
		s.confirmedTo(c.From + uint64(c.Len()))
		return nil
	case constraint(err, "commits_pkey"), constraint(err, "commits_size_key"), constraint(err, "commits_follow"):
		return s.resolve(ctx, c)
	case constraint(err, "commits_moved"):
		return fmt.Errorf("commit at %d: %w", c.From, store.ErrMoved)
	case constraint(err, "commits_durable"):
		return fmt.Errorf("commit at %d: %w: %w", c.From, store.ErrUndecided, cmp.Or(checkDurable(ctx, s.pool, s.location), err))
	case changedMeanwhile(err):
		return fmt.Errorf("commit at %d: %w: %w", c.From, store.ErrUndecided, err)
	case constraint(err, "payloads_large"), constraint(err, "payloads_large_key"):
		return fmt.Errorf("commit at %d: a large payload was not finished, or belongs to another entry", c.From)
	}
	if definite(err) && !again(err) {
		return fmt.Errorf("commit at %d: %w", c.From, err)
	}
	return fmt.Errorf("commit at %d: %w: %w", c.From, store.ErrUndecided, err)
}

func (s *Store) checkCommit(c *store.Commit) error {
	if c.Len() == 0 {
		return fmt.Errorf("commit at %d: no entries", c.From)
	}
	if err := c.CheckKind(s.raw); err != nil {
		return err
	}
	return store.CheckErasures(c.Erase, c.From)
}

// errNext is the error of resolve for the place after the last commit.
var errNext = fmt.Errorf("nothing is there yet: %w", store.ErrUndecided)

// resolve returns the outcome of a commit whose place is taken, or lies beyond
// the end of the log. What it reads counts only when the standby has it: on a
// primary whose wait for the standby was cancelled, rows are visible that a
// failover loses.
func (s *Store) resolve(ctx context.Context, c *store.Commit) error {
	var id []byte
	var size int64
	err := s.pool.QueryRow(ctx, s.sql(`SELECT (SELECT id FROM $commits WHERE first = $1), coalesce((SELECT max(size) FROM $commits), 0)`), int64(c.From)).Scan(&id, &size)
	if err != nil {
		return fmt.Errorf("commit at %d: %w: %w", c.From, store.ErrUndecided, err)
	}
	if id == nil && size == int64(c.From) {
		return fmt.Errorf("commit at %d: %w", c.From, errNext)
	}
	if err := s.confirm(ctx); err != nil {
		return fmt.Errorf("commit at %d: %w: %w", c.From, store.ErrUndecided, err)
	}
	if string(id) == string(c.ID[:]) && c.ID != [16]byte{} {
		return nil // it was proposed again
	}
	return fmt.Errorf("commit at %d: %w", c.From, store.ErrLost)
}

// confirm returns nil when everything that was visible before the call is as
// durable as the database promises.
func (s *Store) confirm(ctx context.Context) error {
	b := &pgx.Batch{}
	b.Queue(s.sql(`INSERT INTO $markers (writer, n, changed) VALUES ($1, 1, now())
		ON CONFLICT (writer) DO UPDATE SET n = $markers.n + 1, changed = now()`), s.writer[:])
	return s.send(ctx, b)
}

// errUnconfirmed is the error of a COMMIT that the standby did not acknowledge.
var errUnconfirmed = errors.New("the database has not confirmed the transaction")

// send sends statements as one transaction.
func (s *Store) send(ctx context.Context, b *pgx.Batch) error {
	return s.transact(ctx, func(conn *pgxpool.Conn) error { return conn.SendBatch(ctx, b).Close() })
}

// sendCounted is send, and returns how many rows the last statement has
// changed.
func (s *Store) sendCounted(ctx context.Context, b *pgx.Batch) (rows int64, err error) {
	err = s.transact(ctx, func(conn *pgxpool.Conn) error {
		results := conn.SendBatch(ctx, b)
		for range b.Len() {
			tag, err := results.Exec()
			if err != nil {
				_ = results.Close() // the same error
				return err
			}
			rows = tag.RowsAffected()
		}
		return results.Close()
	})
	return rows, err
}

// transact runs a transaction on a connection, and returns errUnconfirmed if
// the database warns about it.
func (s *Store) transact(ctx context.Context, do func(*pgxpool.Conn) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	data := conn.Conn().PgConn().CustomData()
	delete(data, warned)
	if err := do(conn); err != nil {
		return err
	}
	if w, ok := data[warned]; ok {
		return fmt.Errorf("%w: %v", errUnconfirmed, w)
	}
	return nil
}

// definite reports whether the error means that the transaction was not
// committed. The server reports everything that goes wrong before a commit as
// an error, and what goes wrong after it in another way.
func definite(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.SeverityUnlocalized == "ERROR"
}

// again reports whether the transaction can succeed if it is sent again.
func again(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return true
	}
	switch pg.Code[:2] {
	case "40", // deadlock or conflict of transactions
		"53", // disk full, out of memory, too many connections
		"55", // a lock is not available
		"57", // cancelled, or shutting down
		"58": // an error of the system
		return true
	}
	return pg.Code == "25006" // a standby, which another server will replace
}

func constraint(err error, name string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.ConstraintName == name
}

// batch returns the statements of a commit.
func (s *Store) batch(c *store.Commit, changes []runChange) *pgx.Batch {
	b := &pgx.Batch{}
	var follows *int64
	if first := int64(c.From); first > 0 {
		follows = &first
	}
	b.Queue(s.sql(`INSERT INTO $commits (first, size, follows, id, root, time, packed, durable) SELECT $1::bigint, $2::bigint, $3::bigint, $4::bytea, $5::bytea, $6::bigint, true, `+s.durable()),
		int64(c.From), int64(c.From)+int64(c.Len()), follows, c.ID[:], c.Root[:], int64(c.Time()))
	s.queueErasures(b, c.Erase, changes)
	s.queueEntries(b, c)
	if n := len(c.Tiles); n > 0 {
		levels, indexes, hashes := make([]int16, n), make([]int64, n), make([][]byte, n)
		for i, t := range c.Tiles {
			levels[i], indexes[i], hashes[i] = int16(t.Level), int64(t.Index), bytes.Join(entry.ByteSlices(t.Hashes), nil)
		}
		b.Queue(s.sql(`INSERT INTO $tiles (level, index, hashes) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])`), levels, indexes, hashes)
	}
	if cp := c.Checkpoint; cp != nil {
		b.Queue(s.sql(`INSERT INTO $checkpoints (size, signed) VALUES ($1, $2) ON CONFLICT (size) DO UPDATE SET signed = excluded.signed`), int64(cp.Size), cp.Signed)
	}
	if n := len(c.Older); n > 0 {
		sizes, signed := make([]int64, n), make([][]byte, n)
		for i := range c.Older {
			sizes[i], signed[i] = int64(c.Older[i].Size), c.Older[i].Signed
		}
		b.Queue(s.sql(`INSERT INTO $checkpoints (size, signed) SELECT * FROM unnest($1::bigint[], $2::bytea[])`), sizes, signed)
	}
	s.queueProjections(b, c.Keys, nil, c.Facts)
	s.queueLists(b, c.Postings)
	s.queueHeads(b, c.Heads)
	return b
}

// openings are the rows with the entries of a commit.
type openings struct {
	skeletonFirsts                            []int64
	skeletonRuns                              [][]byte
	next                                      uint64 // index after the last skeleton
	runs                                      []*run
	headers, payloads                         []int64 // with rows of their own
	headerSalts, headerTexts                  [][]byte
	payloadSalts, payloadContents, largeNames [][]byte
	payloadSizes                              []int64
}

func (o *openings) add(index uint64, skeleton *entry.Skeleton, h *receipt.HeaderOpening, p *receipt.PayloadOpening, l *store.LargePayload) {
	last := len(o.skeletonRuns) - 1
	if last < 0 || index != o.next || len(o.skeletonRuns[last]) == skeletonsInRun*skeletonSize {
		o.skeletonFirsts, o.skeletonRuns = append(o.skeletonFirsts, int64(index)), append(o.skeletonRuns, nil)
		last++
	}
	o.skeletonRuns[last], o.next = append(o.skeletonRuns[last], encodeSkeleton(skeleton)...), index+1
	header, payload := o.header(index, h), o.payload(index, p, l)
	if n := len(o.runs); n == 0 || !o.runs[n-1].fits(index, header, payload) {
		o.runs = append(o.runs, newRun(index))
	}
	o.runs[len(o.runs)-1].add(header, payload)
}

// header returns the slot of a header. It is nil if there is no header, or if
// that is too long and has a row of its own.
func (o *openings) header(index uint64, h *receipt.HeaderOpening) []byte {
	if h == nil {
		return nil
	}
	if slotSize(h.Content) <= maxSlot {
		return newSlot(headerColumn, index, &h.Salt, h.Content)
	}
	o.headers, o.headerSalts, o.headerTexts = append(o.headers, int64(index)), append(o.headerSalts, h.Salt[:]), append(o.headerTexts, h.Content)
	return nil
}

// payload is header for a payload.
func (o *openings) payload(index uint64, p *receipt.PayloadOpening, l *store.LargePayload) []byte {
	if p == nil {
		return nil
	}
	if l == nil && slotSize(p.Content) <= maxSlot {
		return newSlot(payloadColumn, index, &p.Salt, p.Content)
	}
	content, size, name := p.Content, int64(len(p.Content)), []byte(nil)
	if l != nil {
		content, size, name = nil, int64(l.Size), l.ID[:]
	}
	o.payloads, o.payloadSalts, o.payloadSizes = append(o.payloads, int64(index)), append(o.payloadSalts, p.Salt[:]), append(o.payloadSizes, size)
	o.payloadContents, o.largeNames = append(o.payloadContents, content), append(o.largeNames, name)
	return nil
}

func (s *Store) queueEntries(b *pgx.Batch, c *store.Commit) {
	var o openings
	for i := range c.Entries {
		e := &c.Entries[i]
		header, payload := &e.Header, &e.Payload
		if e.NoHeader {
			header = nil
		}
		if e.NoPayload {
			payload = nil
		}
		o.add(c.From+uint64(i), &e.Skeleton, header, payload, e.Large)
	}
	var indexes []int64
	var leaves [][]byte
	for i := range c.Leaves {
		l := &c.Leaves[i]
		index := c.From + uint64(i)
		indexes, leaves = append(indexes, int64(index)), append(leaves, l.Data)
		if r := l.Record; r != nil {
			o.add(index, &r.Skeleton, r.Header, r.Payload, r.Large)
		}
	}
	if len(leaves) > 0 {
		b.Queue(s.sql(`INSERT INTO $leaves (index, data) SELECT * FROM unnest($1::bigint[], $2::bytea[])`), indexes, leaves)
	}
	s.queueOpenings(b, &o)
}

func (s *Store) queueOpenings(b *pgx.Batch, o *openings) {
	if n := len(o.runs); n > 0 {
		b.Queue(s.sql(`INSERT INTO $skeleton_runs (first, content) SELECT * FROM unnest($1::bigint[], $2::bytea[])`), o.skeletonFirsts, o.skeletonRuns)
		firsts, entries, headers, payloads := make([]int64, n), make([]int16, n), make([][]byte, n), make([][]byte, n)
		for i, r := range o.runs {
			firsts[i], entries[i], headers[i], payloads[i] = int64(r.first), int16(len(r.headers.slots)), r.headers.encode(), r.payloads.encode()
		}
		b.Queue(s.sql(`INSERT INTO $opening_runs (first, entries, headers, payloads) SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bytea[], $4::bytea[])`),
			firsts, entries, headers, payloads)
	}
	if len(o.headers) > 0 {
		b.Queue(s.sql(`INSERT INTO $headers (index, salt, content) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[])`), o.headers, o.headerSalts, o.headerTexts)
	}
	if len(o.payloads) > 0 {
		b.Queue(s.sql(`INSERT INTO $payloads (index, salt, size, content, large) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bytea[])`),
			o.payloads, o.payloadSalts, o.payloadSizes, o.payloadContents, o.largeNames)
	}
}

const skeletonSize = 5*entry.HashSize + 16

func encodeSkeleton(k *entry.Skeleton) []byte {
	b := make([]byte, 0, skeletonSize)
	b = append(b, k.Tag[:]...)
	b = append(b, k.LinkSalt[:]...)
	b = append(b, k.StreamID[:]...)
	b = binary.BigEndian.AppendUint64(b, k.Seq)
	b = append(b, k.Prev[:]...)
	b = binary.BigEndian.AppendUint64(b, k.Time)
	return append(b, k.HeaderHash[:]...)
}

func decodeSkeleton(b []byte) (k entry.Skeleton, err error) {
	if len(b) != skeletonSize {
		return k, fmt.Errorf("a skeleton has %d bytes: %w", len(b), store.ErrDamaged)
	}
	take := func(to []byte) { b = b[copy(to, b):] }
	var seq, time [8]byte
	take(k.Tag[:])
	take(k.LinkSalt[:])
	take(k.StreamID[:])
	take(seq[:])
	take(k.Prev[:])
	take(time[:])
	take(k.HeaderHash[:])
	k.Seq, k.Time = binary.BigEndian.Uint64(seq[:]), binary.BigEndian.Uint64(time[:])
	return k, nil
}
