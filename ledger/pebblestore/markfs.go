package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/store"
)

func isManifest(name string) bool { return strings.HasPrefix(name, "MANIFEST-") }
func isLog(name string) bool      { return strings.HasSuffix(name, ".log") }
func isJournal(name string) bool  { return isManifest(name) || isLog(name) }

// A markFS is the file system that a writable Pebble gets. It follows the
// journals for the publish mark, and holds back deletions until the store is
// known to be whole.
type markFS struct {
	vfs.FS
	marker *marker

	mu   sync.Mutex
	held bool
	gone []string // paths to delete when held ends
}

// Create implements vfs.FS.
func (fs *markFS) Create(path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(path, c)
	if err != nil {
		return nil, err
	}
	return fs.follow(path, f), nil
}

// ReuseForWrite implements vfs.FS. Purge deletes write-ahead logs that Pebble
// keeps in order to write over them.
func (fs *markFS) ReuseForWrite(oldpath, newpath string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if _, err := fs.FS.Stat(oldpath); oserror.IsNotExist(err) {
		return fs.Create(newpath, c)
	}
	if err := fs.drop(fs.PathBase(oldpath)); err != nil {
		return nil, err
	}
	f, err := fs.FS.ReuseForWrite(oldpath, newpath, c)
	if err != nil {
		return nil, err
	}
	return fs.follow(newpath, f), nil
}

// Remove implements vfs.FS.
func (fs *markFS) Remove(path string) error {
	fs.mu.Lock()
	if fs.held {
		fs.gone = append(fs.gone, path)
		fs.mu.Unlock()
		return nil
	}
	fs.mu.Unlock()
	if err := fs.drop(fs.PathBase(path)); err != nil {
		return err
	}
	return fs.FS.Remove(path)
}

// drop takes a write-ahead log out of the mark before it goes.
func (fs *markFS) drop(name string) error {
	if fs.marker == nil || !isLog(name) {
		return nil
	}
	return fs.marker.drop(name)
}

// release makes the deletions that were held back.
func (fs *markFS) release() error {
	fs.mu.Lock()
	fs.held = false
	gone := fs.gone
	fs.gone = nil
	fs.mu.Unlock()
	var errs []error
	for _, path := range gone {
		if err := fs.Remove(path); err != nil && !oserror.IsNotExist(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Unwrap implements vfs.FS.
func (fs *markFS) Unwrap() vfs.FS { return fs.FS }

func (fs *markFS) follow(path string, f vfs.File) vfs.File {
	name := fs.PathBase(path)
	if fs.marker == nil || !isJournal(name) {
		return f
	}
	return &journalFile{File: f, name: name, marker: fs.marker, hash: xxhash.New()}
}

// A journalFile is a journal that is being written, from its beginning.
type journalFile struct {
	vfs.File
	name   string
	marker *marker

	mu     sync.Mutex
	length uint64
	hash   *xxhash.Digest
}

// Write implements vfs.File.
func (f *journalFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := *f.hash
	f.hash.Write(p) // before the write, which may change p
	n, err := f.File.Write(p)
	if err != nil {
		*f.hash = before // what follows is not synced: Pebble gives up
		return n, err
	}
	f.length += uint64(n)
	return n, nil
}

// Sync implements vfs.File.
func (f *journalFile) Sync() error { return f.sync(f.File.Sync) }

// SyncData implements vfs.File.
func (f *journalFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *journalFile) sync(sync func() error) error {
	f.mu.Lock()
	j := store.Journal{Name: f.name, Length: f.length, Hash: f.hash.Sum64()}
	f.mu.Unlock()
	if err := sync(); err != nil {
		return err
	}
	return f.marker.synced(j)
}

var errReadOnlyFS = errors.New("the store is open for reading only")

// A readOnlyFS refuses everything that changes a file.
type readOnlyFS struct{ vfs.FS }

func (readOnlyFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errReadOnlyFS }
func (readOnlyFS) Link(string, string) error                              { return errReadOnlyFS }
func (readOnlyFS) Remove(string) error                                    { return errReadOnlyFS }
func (readOnlyFS) RemoveAll(string) error                                 { return errReadOnlyFS }
func (readOnlyFS) Rename(string, string) error                            { return errReadOnlyFS }
func (readOnlyFS) Lock(string) (io.Closer, error)                         { return nil, errReadOnlyFS }
func (readOnlyFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errReadOnlyFS
}
func (readOnlyFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errReadOnlyFS
}

// Unwrap implements vfs.FS.
func (fs readOnlyFS) Unwrap() vfs.FS { return fs.FS }

// A blobFS checks a blob file when Pebble opens it. Pebble 2.1 panics if the
// file's footer or index is damaged, also in the background, and returns every
// other error.
type blobFS struct{ vfs.FS }

// Open implements vfs.FS.
func (fs blobFS) Open(path string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(path, opts...)
	if err != nil || !strings.HasSuffix(path, ".blob") {
		return f, err
	}
	if err := fs.check(path); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s: %v", store.ErrDamaged, path, err), f.Close())
	}
	return f, nil
}

func (fs blobFS) check(path string) error {
	f, err := fs.FS.Open(path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r, err := blob.NewFileReader(context.Background(), readable, blob.FileReaderOptions{})
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return r.Close()
}

// Unwrap implements vfs.FS.
func (fs blobFS) Unwrap() vfs.FS { return fs.FS }
