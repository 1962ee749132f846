package pebblestore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// Large payloads are files of their own: the payload's bytes and nothing else,
// under a random name in the folder large. A file is synced, and its name in
// the folder too, before the commit that names it. A file that no row names is
// left over from a crash, or was erased, and is deleted when the store is
// opened.
const largeDir = "large"

// bytesPerSync keeps the last sync of a large payload short.
const bytesPerSync = 16 << 20

type largeID [16]byte

// A largeFile is a large payload that no commit has named yet. It implements
// store.PayloadWriter.
type largeFile struct {
	s        *Store
	id       largeID
	f        vfs.File // nil when finished or discarded
	size     uint64
	finished bool
	err      error // of an earlier write
	scratch  []byte
}

func (s *Store) largePath(id largeID) string {
	return s.fs.PathJoin(s.dir, largeDir, hex.EncodeToString(id[:]))
}

// CreatePayload implements store.Store.
func (s *Store) CreatePayload(ctx context.Context) (store.PayloadWriter, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	if s.readOnly {
		return nil, store.ErrReadOnly
	}
	w := &largeFile{s: s}
	rand.Read(w.id[:]) // never fails: see crypto/rand
	if err := s.makeLargeDir(); err != nil {
		return nil, fmt.Errorf("create a large payload: %w", err)
	}
	s.largeMu.Lock() // before the file is there: a sweep must know whose it is
	s.large[w.id] = w
	s.largeMu.Unlock()
	f, err := s.fs.Create(s.largePath(w.id), vfs.WriteCategoryUnspecified)
	if err != nil {
		w.forget()
		return nil, fmt.Errorf("create a large payload: %w", err)
	}
	w.f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{NoSyncOnClose: true, BytesPerSync: bytesPerSync})
	return w, nil
}

// makeLargeDir makes the folder, durably, if it is not there.
func (s *Store) makeLargeDir() error {
	dir := s.fs.PathJoin(s.dir, largeDir)
	if _, err := s.fs.Stat(dir); err == nil || !oserror.IsNotExist(err) {
		return err
	}
	if err := s.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return s.syncDir(s.dir)
}

func (s *Store) syncDir(path string) error {
	d, err := s.fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (w *largeFile) Write(p []byte) (int, error) {
	if w.f == nil {
		return 0, errors.New("the large payload is finished or discarded")
	}
	if w.err != nil {
		return 0, w.err
	}
	// a vfs.File may change what it is given, an io.Writer may not
	w.scratch = append(w.scratch[:0], p...)
	n, err := w.f.Write(w.scratch)
	w.size += uint64(n)
	w.err = err
	return n, err
}

// Finish implements store.PayloadWriter.
func (w *largeFile) Finish() (store.LargePayload, error) {
	if w.f == nil || w.err != nil {
		return store.LargePayload{}, errors.Join(errors.New("the large payload can't be finished"), w.err)
	}
	err := errors.Join(w.f.Sync(), w.f.Close())
	w.f, w.scratch = nil, nil
	if err == nil {
		err = w.s.syncDir(w.s.fs.PathJoin(w.s.dir, largeDir))
	}
	if err != nil {
		return store.LargePayload{}, fmt.Errorf("finish a large payload: %w", err)
	}
	w.s.largeMu.Lock()
	defer w.s.largeMu.Unlock()
	w.finished = true
	return store.LargePayload{ID: w.id, Size: w.size}, nil
}

// Open implements store.PayloadWriter.
func (w *largeFile) Open() (io.ReadCloser, error) {
	return w.s.fs.Open(w.s.largePath(w.id), vfs.SequentialReadsOption)
}

// Discard implements store.PayloadWriter.
func (w *largeFile) Discard() error {
	if !w.forget() {
		return nil // a commit has it, or it is discarded
	}
	var err error
	if w.f != nil {
		err = w.f.Close()
		w.f = nil
	}
	return errors.Join(err, w.s.fs.Remove(w.s.largePath(w.id)))
}

// forget reports whether the payload still had no owner.
func (w *largeFile) forget() bool {
	w.s.largeMu.Lock()
	defer w.s.largeMu.Unlock()
	_, ok := w.s.large[w.id]
	delete(w.s.large, w.id)
	return ok
}

// takeLarge hands the commit's large payloads over to it, or returns an error
// and leaves them. The writing lock is held.
func (s *Store) takeLarge(b *pebble.Batch, c *store.Commit) error {
	s.largeMu.Lock()
	defer s.largeMu.Unlock()
	any := false
	for index, l := range c.LargePayloads() {
		any = true
		if w := s.large[l.ID]; w == nil || !w.finished || w.size != l.Size {
			return fmt.Errorf("entry %d: its large payload %x of %d bytes was not finished", index, l.ID, l.Size)
		}
	}
	if !any {
		return nil
	}
	for _, l := range c.LargePayloads() {
		delete(s.large, l.ID)
	}
	return s.raiseFormat(b, formatLarge)
}

// formatLarge is the first format that has large payloads.
const formatLarge = 6

const largeRowSize = entry.HashSize + len(largeID{}) + 8

type largeRow struct {
	salt entry.Salt
	id   largeID
	size uint64
}

func putLargeRow(v []byte, salt entry.Salt, l *store.LargePayload) {
	copy(v, salt[:])
	copy(v[entry.HashSize:], l.ID[:])
	binary.BigEndian.PutUint64(v[entry.HashSize+len(l.ID):], l.Size)
}

func decodeLargeRow(key, v []byte) (r largeRow, err error) {
	if len(v) != largeRowSize {
		return r, badRow(key, "the value has %d bytes, want %d", len(v), largeRowSize)
	}
	v = v[copy(r.salt[:], v):]
	v = v[copy(r.id[:], v):]
	r.size = binary.BigEndian.Uint64(v)
	return r, nil
}

// largeRow returns the row of a large payload, or ErrNotFound.
func (s *Store) largeRow(index uint64) (r largeRow, err error) {
	key := indexKey(largeSpace, index)
	err = s.view(key[:], func(v []byte) (err error) {
		r, err = decodeLargeRow(key[:], v)
		return err
	})
	return r, err
}

// OpenPayload implements store.Store.
func (s *Store) OpenPayload(ctx context.Context, index uint64) (*store.PayloadReader, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.uses.Done()
	r, err := s.openPayload(index)
	if err != nil {
		return nil, fmt.Errorf("payload %d: %w", index, err)
	}
	return r, nil
}

func (s *Store) openPayload(index uint64) (*store.PayloadReader, error) {
	for again := false; ; again = true {
		l, err := s.largeRow(index)
		if errors.Is(err, store.ErrNotFound) {
			return s.openSmall(index)
		}
		if err != nil {
			return nil, err
		}
		f, err := s.fs.Open(s.largePath(l.id), vfs.SequentialReadsOption)
		if oserror.IsNotExist(err) && !again {
			continue // it was erased between the row and the file
		}
		if err != nil {
			return nil, s.readError(err)
		}
		info, err := f.Stat()
		if err == nil && uint64(info.Size()) != l.size {
			err = fmt.Errorf("%w: the file %x of a large payload has %d bytes, want %d", store.ErrDamaged, l.id, info.Size(), l.size)
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return &store.PayloadReader{ReadCloser: f, Salt: l.salt, Size: l.size}, nil
	}
}

func (s *Store) openSmall(index uint64) (*store.PayloadReader, error) {
	key := indexKey(payloadSpace, index)
	var p *receipt.PayloadOpening
	if err := s.view(key[:], func(v []byte) (err error) {
		p, err = decodePayload(key[:], v)
		return err
	}); err != nil || p == nil {
		return nil, err
	}
	return &store.PayloadReader{ReadCloser: io.NopCloser(bytes.NewReader(p.Content)), Salt: p.Salt, Size: uint64(len(p.Content))}, nil
}

// namedLarge returns the names of the files that rows name.
func (s *Store) namedLarge(ctx context.Context) (map[string]bool, error) {
	named := map[string]bool{}
	it, err := s.iterator(ctx, largeSpace)
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		r, err := decodeLargeRow(it.Key(), v)
		if err != nil {
			return nil, err
		}
		named[hex.EncodeToString(r.id[:])] = true
	}
	return named, it.Error()
}

// sweepLarge deletes the files that no row names and no caller is writing. No
// commit may run meanwhile.
func (s *Store) sweepLarge() error {
	dir := s.fs.PathJoin(s.dir, largeDir)
	files, err := s.fs.List(dir)
	if oserror.IsNotExist(err) || err == nil && len(files) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("large payloads: %w", err)
	}
	named, err := s.namedLarge(context.Background())
	if err != nil {
		return err
	}
	s.largeMu.Lock()
	for id := range s.large {
		named[hex.EncodeToString(id[:])] = true
	}
	s.largeMu.Unlock()
	swept := false
	for _, name := range files {
		if id, err := hex.DecodeString(name); err != nil || len(id) != len(largeID{}) || named[name] {
			continue // not ours, or in use
		}
		if err := s.fs.Remove(s.fs.PathJoin(dir, name)); err != nil && !oserror.IsNotExist(err) {
			return fmt.Errorf("large payloads: %w", err)
		}
		swept = true
	}
	if swept {
		return s.syncDir(dir)
	}
	return nil
}

// CheckLarge implements store.Store.
func (s *Store) CheckLarge(ctx context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.uses.Done()
	it, err := s.iterator(ctx, largeSpace)
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		r, err := decodeLargeRow(it.Key(), v)
		if err != nil {
			return err
		}
		info, err := s.fs.Stat(s.largePath(r.id))
		if err != nil || uint64(info.Size()) != r.size {
			return fmt.Errorf("%w: the file %x of a large payload is missing, or has not %d bytes", store.ErrDamaged, r.id, r.size)
		}
	}
	return it.Error()
}
