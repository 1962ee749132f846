package pebblestore

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// When a block's checksum is wrong, Pebble tries every bit of it, which takes a
// good part of a second. A block with hundreds of entries would be tried for
// each of them. So the file system remembers damaged blocks, and refuses to
// read them again.

// An openedFS records which files were opened, and which of their blocks are
// damaged.
type openedFS struct {
	vfs.FS
	mu    sync.Mutex
	names map[string]bool
	bad   map[blockAt]bool
}

type blockAt struct {
	name   string
	offset int64
}

// Open implements vfs.FS.
func (fs *openedFS) Open(path string, opts ...vfs.OpenOption) (vfs.File, error) {
	name := fs.PathBase(path)
	fs.mu.Lock()
	fs.names[name] = true
	fs.mu.Unlock()
	f, err := fs.FS.Open(path, opts...)
	if err != nil {
		return nil, err
	}
	return &openedFile{f, fs, name}, nil
}

func (fs *openedFS) has(name string) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.names[name]
}

// Unwrap implements vfs.FS.
func (fs *openedFS) Unwrap() vfs.FS { return fs.FS }

// badBlock matches Pebble's error of a block with a wrong checksum.
var badBlock = regexp.MustCompile(`file ([0-9]+): block ([0-9]+)/[0-9]+: `)

// learn remembers the damaged block that an error is about.
func (fs *openedFS) learn(err error) {
	if err == nil {
		return
	}
	m := badBlock.FindStringSubmatch(err.Error())
	if m == nil {
		return
	}
	offset, perr := strconv.ParseInt(m[2], 10, 64)
	if perr != nil {
		return
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, suffix := range []string{".sst", ".blob"} { // a number is that of one file
		fs.bad[blockAt{m[1] + suffix, offset}] = true
	}
}

type openedFile struct {
	vfs.File
	fs   *openedFS
	name string
}

// ReadAt implements vfs.File.
func (f *openedFile) ReadAt(p []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	bad := f.fs.bad[blockAt{f.name, offset}]
	f.fs.mu.Unlock()
	if bad {
		return 0, fmt.Errorf("%w: block %d of %s has a wrong checksum", store.ErrDamaged, offset, f.name)
	}
	return f.File.ReadAt(p, offset)
}

// An examinedStore remembers damaged blocks.
type examinedStore struct {
	*Store
	fs *openedFS
}

// Tile implements store.Store.
func (s examinedStore) Tile(ctx context.Context, level uint8, index uint64) ([]entry.Hash, error) {
	v, err := s.Store.Tile(ctx, level, index)
	s.fs.learn(err)
	return v, err
}

// Skeletons implements store.Store.
func (s examinedStore) Skeletons(ctx context.Context, from, to uint64) ([]entry.Skeleton, error) {
	v, err := s.Store.Skeletons(ctx, from, to)
	s.fs.learn(err)
	return v, err
}

// Leaves implements store.Store.
func (s examinedStore) Leaves(ctx context.Context, from, to uint64) ([][]byte, error) {
	v, err := s.Store.Leaves(ctx, from, to)
	s.fs.learn(err)
	return v, err
}

// Header implements store.Store.
func (s examinedStore) Header(ctx context.Context, index uint64) (*receipt.HeaderOpening, error) {
	v, err := s.Store.Header(ctx, index)
	s.fs.learn(err)
	return v, err
}

// OpenPayload implements store.Store.
func (s examinedStore) OpenPayload(ctx context.Context, index uint64) (*store.PayloadReader, error) {
	v, err := s.Store.OpenPayload(ctx, index)
	s.fs.learn(err)
	return v, err
}
