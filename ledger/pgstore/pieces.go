package pgstore

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"muniment.dev/muniment/ledger/objects"
	"muniment.dev/muniment/ledger/store"
)

// With a bucket, the content of a large payload is in objects of it, each with
// one piece of the content. docs/spec/payload-objects.md specifies names and
// encryption.

// pieceSize is the size of all pieces of a payload but the last.
const pieceSize = 4 << 20

// overhead is the number of bytes by which an object is longer than its piece.
const overhead = 16

// A pieceKey encrypts the pieces of one payload. Without it they are noise, and
// it is erased with the payload's row.
type pieceKey struct {
	aead cipher.AEAD
	id   []byte
}

func newPieceKey(key, id []byte) (*pieceKey, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("the key of a large payload has %d bytes: %w", len(key), store.ErrDamaged)
	}
	aead, err := cipher.NewGCM(block)
	return &pieceKey{aead, id}, err
}

// nonce is unique for the key, which encrypts each piece of one payload once,
// or several times with the same bytes.
func (k *pieceKey) nonce(piece int32) []byte {
	n := make([]byte, 12)
	binary.BigEndian.PutUint32(n[8:], uint32(piece))
	return n
}

func (k *pieceKey) bound() []byte { return append([]byte("muniment/payload-object/v1\n"), k.id...) }

// seal encrypts a piece in place, as far as its capacity allows.
func (k *pieceKey) seal(piece int32, content []byte) []byte {
	return k.aead.Seal(content[:0], k.nonce(piece), content, k.bound())
}

// open decrypts a piece in place.
func (k *pieceKey) open(piece int32, sealed []byte) ([]byte, error) {
	return k.aead.Open(sealed[:0], k.nonce(piece), sealed, k.bound())
}

func pieceName(id []byte, piece int32) string { return fmt.Sprintf("payloads/%x/%d", id, piece) }

// pieceNames returns the names of the first n pieces.
func pieceNames(id []byte, n int32) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = pieceName(id, int32(i))
	}
	return names
}

// pieceCount returns how many pieces a payload has.
func pieceCount(size int64) int32 { return int32(max(1, (size+pieceSize-1)/pieceSize)) }

// errDead is the error of a payload whose key was erased.
var errDead = errors.New("the payload was erased")

// payloadPieces are the objects of a complete payload.
type payloadPieces struct {
	s   *Store
	key *pieceKey
}

// pieces returns the objects of a large payload, or nil if it is in the
// database. Errors: errDead.
func (s *Store) pieces(ctx context.Context, id []byte) (*payloadPieces, error) {
	key, err := value[[]byte](ctx, s, "key of a large payload", `SELECT key FROM $objects WHERE id = $1`, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case key == nil:
		return nil, errDead
	case s.bucket == nil:
		return nil, errNoObjects
	}
	k, err := newPieceKey(key, id)
	return &payloadPieces{s, k}, err
}

// errNoObjects is the error of a server that lacks the log's bucket.
var errNoObjects = errors.New("it is in a bucket: give this server the setting objects that the others have")

// fetch returns a function for a partReader. It returns a piece only if it is
// what was written.
func (p *payloadPieces) fetch(ctx context.Context) func(int32, int) ([]byte, error) {
	return func(piece int32, n int) ([]byte, error) {
		if err := p.s.enter(); err != nil {
			return nil, err
		}
		defer p.s.uses.Done()
		name := pieceName(p.key.id, piece)
		var err error
		for range 2 { // bytes that were damaged on the way are right the second time
			var sealed, content []byte
			if sealed, err = p.s.bucket.Get(ctx, name, int64(n+overhead)); err != nil {
				return nil, damaged(err)
			}
			if content, err = p.key.open(piece, sealed); err == nil {
				return content, nil
			}
		}
		return nil, damaged(fmt.Errorf("%s/%s: %w", p.s.bucket, name, objects.ErrWrong))
	}
}

// damaged adds the remedy to the error of an object that should be there.
func damaged(err error) error {
	if errors.Is(err, objects.ErrMissing) || errors.Is(err, objects.ErrWrong) {
		return fmt.Errorf("%w: restore the object from a copy of the bucket: %w", err, store.ErrDamaged)
	}
	return err
}

// pieceSink writes a payload into the bucket. Before it writes an object, the
// database has a row from which the object is found if no entry names it.
type pieceSink struct {
	w    *payloadWriter
	ctx  context.Context // of the caller: uploads end with it
	raw  []byte
	key  *pieceKey
	room int32 // objects that the row allows
	// recorded is when the row was last changed. A payload whose row is older
	// than abandoned can be deleted.
	recorded time.Time
	sums     []objects.Sum
	last     int64 // bytes in the last object
}

func newPieceSink(ctx context.Context, w *payloadWriter) *pieceSink {
	k := &pieceSink{w: w, ctx: ctx, raw: make([]byte, 32)}
	rand.Read(k.raw) // never fails: see crypto/rand
	k.key, _ = newPieceKey(k.raw, w.id[:])
	return k
}

func (*pieceSink) most() int { return pieceSize }

// errAbandoned is the error of a payload that was taken for abandoned.
var errAbandoned = errors.New("it was abandoned, and is deleted: send the payload again")

// refresh is the age at which a row is recorded again before a further object
// is written. It is far below that of an abandoned payload.
const refresh = time.Hour

// record makes room for an object in the payload's row.
func (k *pieceSink) record(piece int32) error {
	room := k.room
	switch {
	case piece >= room:
		room = max(4, 2*room)
	case time.Since(k.recorded) < refresh:
		return nil
	}
	start := time.Now()
	b := &pgx.Batch{}
	if k.room == 0 {
		b.Queue(k.w.s.sql(`INSERT INTO $objects (id, pieces, writer, written, key) VALUES ($1, $2, $3, now(), $4)`), k.w.id[:], room, k.w.s.server, k.raw)
	} else {
		b.Queue(k.w.s.sql(`UPDATE $objects SET pieces = $2, written = now() WHERE id = $1 AND key IS NOT NULL`), k.w.id[:], room)
	}
	n, err := k.w.write(b)
	if err == nil && n == 0 {
		err = errAbandoned
	}
	if err == nil {
		k.room, k.recorded = room, start
	}
	return err
}

func (k *pieceSink) put(piece int32, content []byte) error {
	if err := k.record(piece); err != nil {
		return err
	}
	sealed := k.key.seal(piece, content)
	sum, err := k.w.s.bucket.Put(k.ctx, pieceName(k.w.id[:], piece), sealed)
	k.sums, k.last = append(k.sums, sum), int64(len(sealed))
	return err
}

// finish implements sink. Each object is read back by its size and checksum
// before the database calls the payload complete.
func (k *pieceSink) finish(parts int32, size uint64) error {
	for i, sum := range k.sums {
		want := int64(pieceSize + overhead)
		if i == len(k.sums)-1 {
			want = k.last
		}
		if err := k.w.s.bucket.Confirm(k.ctx, pieceName(k.w.id[:], int32(i)), want, sum); err != nil {
			return fmt.Errorf("the storage has not kept what it has acknowledged: send the payload again: %w", err)
		}
	}
	b := &pgx.Batch{}
	b.Queue(k.w.s.sql(`UPDATE $objects SET pieces = $2, written = now() WHERE id = $1 AND key IS NOT NULL`), k.w.id[:], parts)
	b.Queue(k.w.s.sql(`INSERT INTO $large (id, size) SELECT id, $2 FROM $objects WHERE id = $1 AND key IS NOT NULL`), k.w.id[:], int64(size))
	n, err := k.w.write(b)
	if err == nil && n == 0 {
		err = errAbandoned
	}
	return err
}

func (k *pieceSink) open(size uint64) io.ReadCloser {
	p := &payloadPieces{k.w.s, k.key}
	return &partReader{fetch: p.fetch(k.w.ctx), most: pieceSize, left: int64(size)}
}

// discardTime bounds the deletion of the objects of a discarded payload. What
// is left is deleted by the sweeper.
const discardTime = 10 * time.Second

func (k *pieceSink) discard() error {
	if k.room == 0 {
		return nil
	}
	b := &pgx.Batch{}
	b.Queue(k.w.s.sql(deleteUnnamed), k.w.id[:])
	b.Queue(k.w.s.sql(`UPDATE $objects SET key = NULL WHERE id = $1 AND key IS NOT NULL AND NOT EXISTS (SELECT FROM $large WHERE id = $1)`), k.w.id[:])
	n, err := k.w.write(b)
	if constraint(err, "payloads_large") {
		return nil // an entry has it
	}
	if err != nil || n == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(k.w.ctx, discardTime)
	defer cancel()
	return k.w.s.deleteObjects(ctx, k.w.id[:], k.room)
}
