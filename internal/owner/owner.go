// Package owner makes the files and folders of data folders, so that they stay
// the property of the account that the service runs as.
//
// An administrator who runs a command as root would otherwise leave files that
// the service can't read. A process that is not root makes its files as always.
// Owners are set on open files that this process has made, and never by path:
// the account could put a link to another file there.
package owner

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Root reports whether owners are kept: the process is root.
func Root() bool { return os.Geteuid() == 0 }

// Keep gives a file that the process has just made the owner of its folder.
func Keep(f *os.File) error { return KeepLike(f, filepath.Dir(f.Name())) }

// KeepLike gives a file that the process has just made the owner of a folder.
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

// KeepInfo is KeepLike for a folder that was looked at.
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

// OpenFile is os.OpenFile. A file that it makes gets the owner of its folder.
func OpenFile(path string, flag int, perm fs.FileMode) (*os.File, error) {
	if flag&os.O_CREATE == 0 || !Root() {
		return os.OpenFile(path, flag, perm)
	}
	f, err := os.OpenFile(path, flag|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) && flag&os.O_EXCL == 0 {
		return os.OpenFile(path, flag, perm) // which has an owner, or is a link
	}
	return keep(f, err)
}

// CreateTemp is os.CreateTemp. The file gets the owner of its folder.
func CreateTemp(dir, pattern string) (*os.File, error) { return keep(os.CreateTemp(dir, pattern)) }

// MkdirTemp is os.MkdirTemp. The folder gets the owner of the one that it is
// made in.
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

// MkdirTempLike makes a temporary folder that is to take the place of another,
// beside it. It gets the owner of that, or, if that is missing, of the folder
// around both.
func MkdirTempLike(path, pattern string) (string, error) {
	like, dir := path, filepath.Dir(path)
	if _, err := os.Stat(path); err != nil {
		like = dir
	}
	return mkdirTemp(dir, pattern, like)
}

// Touch makes an empty file for others to open, unless it exists. It does
// nothing unless the process is root.
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

// MkdirAll is os.MkdirAll. The folders that it makes get the owner of the
// folder that they are made in.
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

// mkdirIn makes a folder, unless it exists, in one that exists. It gets the
// owner of the latter.
func mkdirIn(root *os.Root, name string, perm fs.FileMode) error {
	parent, err := root.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	// Under a name that is not to be guessed, nothing takes its place.
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
			return nil // another process was first
		}
	}
	return err
}
