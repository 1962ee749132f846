// Package wholefile writes files whole or not at all, in folders that other
// users can write to.
//
// A file is written under a unique name and then renamed. Neither parallel
// writers nor the leftovers of a killed one interfere, and the first write into
// a folder removes these leftovers. Links are replaced, not written through,
// and links out of the folder are not followed.
package wholefile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"muniment.dev/muniment/internal/interrupt"
	"muniment.dev/muniment/internal/owner"
)

const prefix, suffix = ".muniment-", ".part"

// unique returns a name that cannot be guessed.
func unique() string { return rand.Text() }

// Temporary reports whether a file name marks an unfinished file.
func Temporary(name string) bool {
	return strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix)
}

// ErrExists is wrapped by the errors of Create for a name that is taken.
var ErrExists = fs.ErrExist

// Replace writes a file, and replaces an existing one.
func Replace(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	return ReplaceWith(root, name, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// ReplaceWith is Replace with content written by a function.
func ReplaceWith(root *os.Root, name string, perm fs.FileMode, write func(io.Writer) error) error {
	return whole(root, name, perm, func(f *os.File) error { return write(f) }, root.Rename, nil)
}

// ReplaceOwned is Replace in a data folder: if root writes the file, it gets
// the owner of the folder.
func ReplaceOwned(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	folder, err := root.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	return whole(root, name, perm, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	}, root.Rename, folder)
}

// Create writes a new file. If it exists, or another writer creates it first,
// the error wraps ErrExists.
func Create(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	return create(root, name, perm, func(f *os.File) error {
		_, err := f.Write(data)
		return err
	}, nil)
}

func create(root *os.Root, name string, perm fs.FileMode, write func(*os.File) error, folder fs.FileInfo) error {
	return whole(root, name, perm, write, func(tmp, name string) error {
		err := root.Link(tmp, name)
		switch {
		case err == nil:
			return root.Remove(tmp)
		case errors.Is(err, fs.ErrExist):
			return err
		}
		// Not every file system has hard links.
		if _, serr := root.Lstat(name); serr == nil {
			return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
		}
		return root.Rename(tmp, name)
	}, folder)
}

// whole writes and syncs a temporary file beside the name, and then finishes
// it. If a folder is given, the file gets its owner.
func whole(root *os.Root, name string, perm fs.FileMode, write func(*os.File) error, finish func(tmp, name string) error, folder fs.FileInfo) error {
	sweepOnce(root, filepath.Dir(name))
	f, tmp, err := createTemporary(root, filepath.Dir(name), perm)
	if err != nil {
		return err
	}
	defer f.Close() // and unlock it, unless it is closed below
	if folder != nil {
		err = owner.KeepInfo(f, folder)
	}
	if err == nil {
		err = write(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if runtime.GOOS == "windows" { // which renames no open file
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = finish(tmp, name)
	}
	if err != nil {
		_ = root.Remove(tmp) // the first error counts
	}
	return err
}

// SyncDir makes the names in a folder durable.
func SyncDir(root *os.Root, name string) error {
	if runtime.GOOS == "windows" {
		return nil // folders cannot be synced there
	}
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// SyncPath is SyncDir for a path.
func SyncPath(path string) error {
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	return errors.Join(SyncDir(root, "."), root.Close())
}

// in calls do with the folder of a path, which may be reached through links,
// and the name in it.
func in(path string, do func(root *os.Root, name string) error) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	err = do(root, filepath.Base(path))
	if c, ok := err.(*contentError); ok {
		return c.error
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// A contentError is the error of a function that writes content. It is returned
// unwrapped: the path of the file is not its cause.
type contentError struct{ error }

func content(err error) error {
	if err == nil {
		return nil
	}
	return &contentError{err}
}

// ReplacePath is Replace for a path.
func ReplacePath(path string, data []byte, perm fs.FileMode) error {
	return in(path, func(root *os.Root, name string) error { return Replace(root, name, data, perm) })
}

// CreatePath is Create for a path.
func CreatePath(path string, data []byte, perm fs.FileMode) error {
	return in(path, func(root *os.Root, name string) error { return Create(root, name, data, perm) })
}

// CreateOwnedPath is CreatePath in a data folder: if root writes the file, it
// gets the owner of the folder.
func CreateOwnedPath(path string, data []byte, perm fs.FileMode) error {
	return in(path, func(root *os.Root, name string) error {
		folder, err := root.Stat(".")
		if err != nil {
			return err
		}
		return create(root, name, perm, func(f *os.File) error {
			_, err := f.Write(data)
			return err
		}, folder)
	})
}

// CreateFile is CreatePath with content written by a function, which can also
// read the file. If it fails, no file is created.
func CreateFile(path string, perm fs.FileMode, write func(*os.File) error) error {
	return in(path, func(root *os.Root, name string) error {
		return create(root, name, perm, func(f *os.File) error { return content(write(f)) }, nil)
	})
}

// ReplaceOwnedPath is ReplaceOwned for a path.
func ReplaceOwnedPath(path string, data []byte, perm fs.FileMode) error {
	return in(path, func(root *os.Root, name string) error { return ReplaceOwned(root, name, data, perm) })
}

// SaveState is ReplaceOwnedPath for a file that a later run relies on: it also
// syncs the folder.
func SaveState(path string, data []byte, perm fs.FileMode) error {
	return in(path, func(root *os.Root, name string) error {
		if err := ReplaceOwned(root, name, data, perm); err != nil {
			return err
		}
		return SyncDir(root, ".")
	})
}

// Output writes a result to a path given by the user. It replaces a file or
// link. It writes to a device, a named pipe, or a path in /dev or /proc such as
// /dev/stdout, because these can't be replaced.
func Output(path string, perm fs.FileMode, write func(io.Writer) error) error {
	special, err := isSpecial(path)
	if err != nil {
		return err
	}
	if !special {
		return in(path, func(root *os.Root, name string) error {
			return ReplaceWith(root, name, perm, func(w io.Writer) error { return content(write(w)) })
		})
	}
	f, err := interrupt.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// isSpecial reports whether a path can be written to but not replaced. A link
// outside of /dev and /proc can always be replaced, whatever its target.
func isSpecial(path string) (bool, error) {
	folder, err := filepath.Abs(filepath.Dir(path))
	if err == nil {
		folder, err = filepath.EvalSymlinks(folder)
	}
	if err != nil {
		return false, err
	}
	if folder == "/dev" || strings.HasPrefix(folder, "/proc/") {
		return true, nil
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.IsDir():
		return false, &fs.PathError{Op: "write", Path: path, Err: syscall.EISDIR}
	}
	return !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0, nil
}
