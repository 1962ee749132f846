package pebblestore

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// An openedFS records which files were opened.
type openedFS struct {
	vfs.FS
	mu    sync.Mutex
	names map[string]bool
}

// Open implements vfs.FS.
func (fs *openedFS) Open(path string, opts ...vfs.OpenOption) (vfs.File, error) {
	fs.mu.Lock()
	fs.names[fs.PathBase(path)] = true
	fs.mu.Unlock()
	return fs.FS.Open(path, opts...)
}

func (fs *openedFS) has(name string) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.names[name]
}

// Unwrap implements vfs.FS.
func (fs *openedFS) Unwrap() vfs.FS { return fs.FS }
