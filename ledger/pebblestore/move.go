package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/store"
)

var _ store.Mover = Engine{}

// lockFile is the file by which Pebble locks a folder.
const lockFile = "LOCK"

// movedPath returns the path of the file that is there once the log of the
// store in dir was moved to another store, whose name it contains.
func movedPath(dir string) string { return strings.TrimRight(dir, "/") + ".moved" }

// stageOf returns the folder of a copy before it is put in place of dir.
// Backups leave out files whose name begins with a dot.
func stageOf(dir string) string {
	dir = filepath.Clean(dir)
	return filepath.Join(filepath.Dir(dir), ".copy-"+filepath.Base(dir))
}

// checkMoved returns store.ErrMoved if the log was moved to another store.
func checkMoved(fs vfs.FS, dir string) error {
	name, moved, err := movedTo(fs, dir)
	if err == nil && moved {
		return fmt.Errorf("%w: %s", store.ErrMoved, name)
	}
	return err
}

// movedTo returns the name of the store to which the log was moved, if it was.
func movedTo(fs vfs.FS, dir string) (name string, moved bool, err error) {
	f, err := fs.Open(movedPath(dir))
	if isMissing(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mark.MaxSize))
	return strings.TrimSpace(string(text)), err == nil, err
}

// Stage implements store.Mover.
func (Engine) Stage(_ context.Context, dir string) (string, error) {
	return stageOf(dir), checkFree(dir)
}

// checkFree returns an error unless the folder is missing, or has nothing but
// a lock, as the folder of a server whose store is elsewhere.
func checkFree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, iofs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 1 || entries[0].Name() != lockFile {
		if err := checkMoved(vfs.Default, dir); errors.Is(err, store.ErrMoved) {
			return fmt.Errorf("%s: %w, and %w: delete this folder and %s first", dir, store.ErrExists, err, movedPath(dir))
		}
		return fmt.Errorf("%s: %w", dir, store.ErrExists)
	}
	return whileLocked(dir, func() error { return nil })
}

// whileLocked calls f with the folder locked, if it exists.
func whileLocked(dir string, f func() error) error {
	if _, err := os.Stat(dir); errors.Is(err, iofs.ErrNotExist) {
		return f()
	}
	lock, err := pebble.LockDirectory(dir, ownerFS{vfs.Default})
	if err != nil && isLocked(err) {
		return fmt.Errorf("%s: %w", dir, store.ErrInUse)
	}
	if err != nil {
		return err
	}
	return errors.Join(f(), lock.Close())
}

// Discard implements store.Mover.
func (Engine) Discard(_ context.Context, dir string) error {
	stage := stageOf(dir)
	err := whileLocked(stage, func() error { return os.RemoveAll(stage) })
	if err == nil {
		err = removeIfThere(mark.Path(stage))
	}
	if err != nil {
		return fmt.Errorf("delete the copy in %s: %w", stage, err)
	}
	return nil
}

// Install implements store.Mover. The mark comes first: without the folder
// that it is for, no store is opened.
func (Engine) Install(_ context.Context, dir string) error {
	dir = filepath.Clean(dir)
	stage := stageOf(dir)
	if err := checkFree(dir); err != nil {
		return err
	}
	if _, err := os.Stat(stage); err != nil {
		return fmt.Errorf("put the copy in place: %w", err)
	}
	err := os.Rename(mark.Path(stage), mark.Path(dir))
	if errors.Is(err, iofs.ErrNotExist) { // Install was interrupted
		err = nil
	}
	if err == nil {
		err = errors.Join(removeIfThere(movedPath(dir)), removeIfThere(filepath.Join(dir, lockFile)), removeIfThere(dir))
	}
	if err == nil {
		err = errors.Join(os.Rename(stage, dir), syncFolderOf(dir))
	}
	if err != nil {
		return fmt.Errorf("put the copy in place: %w", err)
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	return nil
}

// Retire implements store.Mover. The lock of the open store keeps others from
// appending, so the log has the size. That the file is there counts, whatever
// it contains.
func (Engine) Retire(_ context.Context, dir string, _ uint64, name string) error {
	was, moved, err := movedTo(vfs.Default, dir)
	switch {
	case err != nil:
		return fmt.Errorf("end the log that was copied: %w", err)
	case moved && was != "" && was != name: // empty: its writing was interrupted
		return fmt.Errorf("end the log that was copied: %w: %s", store.ErrMoved, was)
	}
	f, err := ownerFS{vfs.Default}.Create(movedPath(dir), vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = io.WriteString(f, name+"\n")
		err = errors.Join(err, f.Sync(), f.Close(), syncFolderOf(dir))
	}
	if err != nil {
		return fmt.Errorf("end the log that was copied: %w", err)
	}
	return nil
}

// Revive implements store.Mover.
func (Engine) Revive(_ context.Context, dir string) error {
	return errors.Join(removeIfThere(movedPath(dir)), syncFolderOf(dir))
}

// syncFolderOf makes the names of files beside dir durable.
func syncFolderOf(dir string) error {
	f, err := vfs.Default.OpenDir(filepath.Dir(filepath.Clean(dir)))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Name implements store.Mover.
func (Engine) Name(dir string) string {
	if absolute, err := filepath.Abs(dir); err == nil {
		dir = absolute
	}
	return "pebble:" + dir
}
