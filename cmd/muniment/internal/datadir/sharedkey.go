package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"muniment.dev/muniment/internal/seal"
	"muniment.dev/muniment/ledger/store"
)

// SharedKeyFile is the name of the file with the key that encrypts what the
// servers of a log keep in their database.
const SharedKeyFile = "shared.key"

// SharedKey returns the key of what the servers of the log keep in their
// database.
func (d *Dir) SharedKey() (*seal.Key, error) {
	return seal.Load(filepath.Join(d.Path, SharedKeyFile))
}

// makeSharedKey makes the key for a folder of an earlier program, which has
// none, and reports whether it has.
func makeSharedKey(folder string) (made bool, err error) {
	path := filepath.Join(folder, SharedKeyFile)
	if _, err := seal.Load(path); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, WriteNew(path, seal.Generate(), 0o600)
}

// useSharedKey makes a shared store use the folder's key, if there is one.
// Other stores ignore it.
func useSharedKey(folder string, o *store.Options) error {
	key, err := seal.Load(filepath.Join(folder, SharedKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		o.Sealer = key
	}
	return err
}

// AdviseSealed adds the remedy to the error of what another key has sealed.
func AdviseSealed(err error) error {
	return fmt.Errorf("%w: copy %s from the data folder of another server of the log", err, SharedKeyFile)
}
