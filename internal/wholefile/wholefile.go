// Package wholefile writes files whole or not at all, into folders that others
// may write to as well.
//
// A file is written under a name of its own and then renamed. Parallel writers
// and leftovers of a killed one do not get in the way, links are replaced and
// not written through, and links to elsewhere are not followed.
package wholefile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"muniment.dev/muniment/internal/owner"
)

const prefix, suffix = ".muniment-", ".part"

// Temporary reports whether a file name is that of an unfinished file.
func Temporary(name string) bool {
	return strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix)
}

// ErrExists is wrapped by the errors of Create for a name that is taken.
var ErrExists = fs.ErrExist

// Replace writes a file, in place of what has the name.
func Replace(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	return ReplaceWith(root, name, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// ReplaceWith is Replace with the content that write writes.
func ReplaceWith(root *os.Root, name string, perm fs.FileMode, write func(io.Writer) error) error {
	return whole(root, name, perm, write, root.Rename, nil)
}

// ReplaceOwned is Replace in a data folder: written by root, the file gets the
// owner of its folder.
func ReplaceOwned(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	folder, err := root.Stat(filepath.Dir(name))
	if err != nil {
		return err
	}
	return whole(root, name, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}, root.Rename, folder)
}

// Create writes a file that does not exist yet. If two writers create the same
// one, one of them gets an error that wraps ErrExists.
func Create(root *os.Root, name string, data []byte, perm fs.FileMode) error {
	return whole(root, name, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}, func(tmp, name string) error {
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
	}, nil)
}

// whole writes a temporary file beside the name, durably, and then finishes it.
// Where a folder is given, the file gets its owner.
func whole(root *os.Root, name string, perm fs.FileMode, write func(io.Writer) error, finish func(tmp, name string) error, folder fs.FileInfo) error {
	tmp := filepath.Join(filepath.Dir(name), prefix+rand.Text()+suffix)
	f, err := root.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm) // less the umask
	if err != nil {
		return err
	}
	if folder != nil {
		err = owner.KeepInfo(f, folder)
	}
	if err == nil {
		err = write(f)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
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
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReplacePath is Replace for a path that the user has named. The folder may be
// reached through links, and the file itself is replaced.
func ReplacePath(path string, data []byte, perm fs.FileMode) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer root.Close()
	if err := Replace(root, filepath.Base(path), data, perm); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
