package datadir

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/store"
)

// At returns the kind of the log's store at a URL: pebble: and the folder of
// the embedded store in the data folder, or postgres: and a database.
func (k StoreKind) At(folder, url string) (StoreKind, error) {
	path, embedded := strings.CutPrefix(url, "pebble:")
	switch {
	case embedded && samePath(path, filepath.Join(folder, k.Name)):
		k.Shared = ""
	case embedded:
		return k, fmt.Errorf("the embedded store of the data folder %s is %s", folder, engine.InFolder(filepath.Join(folder, k.Name)))
	case engine.Shared(url):
		k.Shared = url
	default:
		// the URL may contain a password
		return k, fmt.Errorf("the URL of a store must be %s or postgres://USER@HOST/DATABASE", engine.InFolder(filepath.Join(folder, k.Name)))
	}
	return k, nil
}

// Plain returns the URL of the store without what is particular to a server.
func (k StoreKind) Plain(folder string) string {
	switch {
	case k.Shared == "":
		return k.URL(folder)
	case k.Objects != "":
		return engine.WithObjects(k.Shared, k.Objects)
	}
	return k.Shared
}

// samePath reports whether two paths are the same, whose last elements need not
// exist.
func samePath(a, b string) bool {
	real := func(path string) string {
		path, err := filepath.Abs(path)
		if err != nil {
			return ""
		}
		dir, name := filepath.Split(path)
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return ""
		}
		return filepath.Join(dir, name)
	}
	return real(a) != "" && real(a) == real(b)
}

// OpenMoved opens the store of a stopped log that is to be moved. Unlike
// OpenStoreReadOnly, it refuses one that is older than an anchor.
func OpenMoved(ctx context.Context, folder string, k StoreKind, log *slog.Logger) (store.Store, *store.Mark, error) {
	s, m, err := OpenStoreReadOnly(ctx, folder, k, log)
	switch {
	case errors.Is(err, store.ErrInUse):
		return nil, nil, fmt.Errorf("%w: stop the server that runs on it", err)
	case err != nil:
		return nil, nil, AdviseStart(err)
	}
	if err := k.prove(ctx, filepath.Join(folder, k.Name), s, m); err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, m, nil
}

// adviseMoved adds the remedies to the error of opening a store whose log was
// moved.
func (k StoreKind) adviseMoved(folder string, err error) error {
	plain := engine.InFolder(filepath.Join(folder, k.Name))
	setting := "set store: in " + filepath.Join(folder, ConfigFile) + " to that store"
	if k.Shared != "" {
		plain = "URL"
		setting = "remove store: from " + filepath.Join(folder, ConfigFile) + ", or set it to that store"
	}
	return fmt.Errorf("%w\nTo serve it, %s. If muniment store copy was interrupted, run it again.\nTo continue here instead, if nothing was recorded there: muniment store reopen %s --data %s", err, setting, plain, folder)
}

// DeleteMoved is the command that deletes the embedded store of a log that was
// moved.
func DeleteMoved(folder string) string {
	path := filepath.Join(folder, StoreDir)
	return "rm -r " + path + string(os.PathSeparator) + "* " + path + ".moved"
}
