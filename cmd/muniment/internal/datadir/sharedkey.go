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

// sealCopy makes a copy of a log use the folder's key, which it makes if there
// is none. Only a shared store uses it.
func sealCopy(folder string, o *store.Options) error {
	k := StoreKind{Shared: "a copy"}
	if _, err := k.makeSharedKey(folder); err != nil {
		return err
	}
	return k.useSharedKey(folder, o)
}

// makeSharedKey makes the key for a folder of an earlier program, which has
// none, and reports whether it has.
func (k StoreKind) makeSharedKey(folder string) (made bool, err error) {
	path := filepath.Join(folder, SharedKeyFile)
	if k.Shared == "" {
		return false, nil
	}
	if _, err := seal.Load(path); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return true, WriteNew(path, seal.Generate(), 0o600)
}

// useSharedKey makes a shared store use the folder's key, if there is one.
func (k StoreKind) useSharedKey(folder string, o *store.Options) error {
	if k.Shared == "" {
		return nil
	}
	key, err := seal.Load(filepath.Join(folder, SharedKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		o.Sealer = key
	}
	return err
}

// adviseSealed adds the remedy to store.ErrSealed.
func adviseSealed(err error) error {
	return fmt.Errorf("%w: copy %s from the data folder of another server of the log", err, SharedKeyFile)
}
