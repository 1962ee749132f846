package pebblestore

import (
	"errors"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/internal/owner"
)

// An ownerFS makes files with the owner of their folder when the process is
// root, so that commands of an administrator leave a store that the service can
// open.
type ownerFS struct{ vfs.FS }

// Create implements vfs.FS.
func (o ownerFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := o.FS.Create(name, category)
	if err != nil || !owner.Root() {
		return f, err
	}
	if err := keepOwner(f, o.FS.PathDir(name)); err != nil {
		return nil, errors.Join(err, f.Close(), o.FS.Remove(name))
	}
	return f, nil
}

// OpenReadWrite implements vfs.FS.
func (o ownerFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := owner.Touch(name); err != nil {
		return nil, err
	}
	return o.FS.OpenReadWrite(name, category, opts...)
}

// Lock implements vfs.FS.
func (o ownerFS) Lock(name string) (io.Closer, error) {
	if err := owner.Touch(name); err != nil {
		return nil, err
	}
	return o.FS.Lock(name)
}

// MkdirAll implements vfs.FS.
func (o ownerFS) MkdirAll(dir string, perm os.FileMode) error {
	if !owner.Root() {
		return o.FS.MkdirAll(dir, perm)
	}
	return owner.MkdirAll(dir, perm)
}

// Unwrap implements vfs.FS.
func (o ownerFS) Unwrap() vfs.FS { return o.FS }

func keepOwner(f vfs.File, folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	return owner.KeepFd(f.Fd(), info)
}
