// Package owner creates files and folders in data folders and keeps them owned
// by the service's account.
//
// Otherwise, an administrator running a command as root would leave files that
// the service cannot read. Processes other than root create files as usual. The
// owner is only set on open files that this process has created, never by path:
// the account could have placed a link to another file there.
package owner

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Root reports whether the process is root and therefore preserves owners.
func Root() bool { return os.Geteuid() == 0 }

// Keep sets the owner of a newly created file to that of its folder.
func Keep(f *os.File) error { return KeepLike(f, filepath.Dir(f.Name())) }

// KeepLike sets the owner of a newly created file to that of a folder.
func KeepLike(f *os.File, folder string) error {
	if !Root() {
		return nil
	}
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	return KeepInfo(f, info)
}

// KeepInfo is KeepLike with the result of Stat for the folder.
func KeepInfo(f *os.File, folder fs.FileInfo) error {
	if !Root() {
		return nil
	}
	return KeepFd(f.Fd(), folder)
}

// KeepFd is KeepInfo for a file descriptor.
func KeepFd(fd uintptr, folder fs.FileInfo) error {
	if !Root() {
		return nil
	}
	return chownLike(fd, folder)
}

// OpenFile is os.OpenFile. A file that it creates gets the owner of its folder.
func OpenFile(path string, flag int, perm fs.FileMode) (*os.File, error) {
	if flag&os.O_CREATE == 0 || !Root() {
		return os.OpenFile(path, flag, perm)
	}
	f, err := os.OpenFile(path, flag|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) && flag&os.O_EXCL == 0 {
		return os.OpenFile(path, flag, perm) // it already has an owner, or is a link
	}
	return keep(f, err)
}

// CreateTemp is os.CreateTemp. The file gets the owner of its folder.
func CreateTemp(dir, pattern string) (*os.File, error) { return keep(os.CreateTemp(dir, pattern)) }

// MkdirTemp is os.MkdirTemp. The folder gets the owner of its parent.
func MkdirTemp(dir, pattern string) (string, error) { return mkdirTemp(dir, pattern, dir) }

func mkdirTemp(dir, pattern, like string) (string, error) {
	path, err := os.MkdirTemp(dir, pattern)
	if err != nil || !Root() {
		return path, err
	}
	f, err := os.OpenFile(path, openFolder, 0)
	if err == nil {
		err = errors.Join(KeepLike(f, like), f.Close())
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, nil
}

// MkdirTempLike creates a temporary folder beside the folder that it will
// replace. It gets the owner of that folder or, if that is missing, of the
// parent.
func MkdirTempLike(path, pattern string) (string, error) {
	like, dir := path, filepath.Dir(path)
	if _, err := os.Stat(path); err != nil {
		like = dir
	}
	return mkdirTemp(dir, pattern, like)
}

// Touch creates an empty file, so that code outside of this package then opens
// a file with the right owner. It does nothing if the file exists or the
// process is not root.
func Touch(path string) error {
	if !Root() {
		return nil
	}
	f, err := OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return f.Close()
}

func keep(f *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	if err := Keep(f); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

// MkdirAll is os.MkdirAll. Each folder that it creates gets the owner of its
// parent.
func MkdirAll(path string, perm fs.FileMode) error {
	path = filepath.Clean(path)
	if _, err := os.Stat(path); err == nil || !Root() || !errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(path, perm)
	}
	parent := filepath.Dir(path)
	if err := MkdirAll(parent, perm); err != nil {
		return err
	}
	root, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	defer root.Close()
	return mkdirIn(root, filepath.Base(path), perm)
}

// MkdirAllIn is MkdirAll below a folder.
func MkdirAllIn(root *os.Root, path string, perm fs.FileMode) error {
	path = filepath.Clean(path)
	if _, err := root.Stat(path); err == nil || !Root() || !errors.Is(err, fs.ErrNotExist) {
		return root.MkdirAll(path, perm)
	}
	if err := MkdirAllIn(root, filepath.Dir(path), perm); err != nil {
		return err
	}
	return mkdirIn(root, path, perm)
}

// mkdirIn creates a folder in an existing one, whose owner it gets. It does
// nothing if the folder exists.
func mkdirIn(root *os.Root, name string, perm fs.FileMode) error {
	parent, err := root.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	// A folder with an unguessable name cannot be replaced.
	tmp := filepath.Join(filepath.Dir(name), ".muniment-"+rand.Text()+".part")
	if err := root.Mkdir(tmp, perm); err != nil {
		return err
	}
	f, err := root.OpenFile(tmp, openFolder, 0)
	if err == nil {
		err = errors.Join(KeepInfo(f, parent), f.Close())
	}
	if err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		err = errors.Join(err, root.Remove(tmp))
		if info, serr := root.Stat(name); serr == nil && info.IsDir() {
			return nil // another process created it first
		}
	}
	return err
}
