package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/pebblestore"
)

// anchorSuffix is that of the log's own anchor, beside its store and its
// publish mark.
const anchorSuffix = ".anchor"

// A storeKind is a store of the data folder.
type storeKind struct {
	name    string // in the folder
	origin  string
	replica bool
	small   bool     // caches and tables, for commands
	anchors []string // paths, elsewhere
}

func (d *dataDir) logStore() storeKind {
	k := storeKind{name: storeDir, origin: d.config.Origin}
	for _, a := range d.config.Anchors {
		if path, err := d.outside(a); err == nil { // serve reports those that can't be used
			k.anchors = append(k.anchors, path)
		}
	}
	return k
}

func (d *dataDir) replicaStore() storeKind {
	// Small tables keep an import of many gigabytes in little memory.
	return storeKind{name: storeDir, origin: d.config.Origin, replica: true, small: true}
}

// rekorStore returns the store of the Rekor log, whose origin is the name of
// its key.
func rekorStore(origin string) storeKind { return storeKind{name: rekorStoreDir, origin: origin} }

// openStore is the only way for a command to open a store that exists. The
// store is at least as new as its publish mark and its anchor, or nothing is
// changed.
func openStore(ctx context.Context, folder string, k storeKind, log *slog.Logger) (*pebblestore.Store, error) {
	o := k.options(log)
	dir := filepath.Join(folder, k.name)
	o.Prove = func(s *pebblestore.Store, m *pebblestore.Mark) error { return k.prove(ctx, dir, s, m) }
	s, err := pebblestore.Open(dir, o)
	if err != nil && !errors.Is(err, pebblestore.ErrInUse) {
		return nil, fmt.Errorf("%w\nNo file was changed by a refusal. Restore the newest backup of the data folder: see \"A store that is refused\" in docs/operator.md", err)
	}
	return s, err
}

// openStoreReadOnly opens a store that its publish mark proves whole, and that
// an anchor may be ahead of. It changes no file.
func openStoreReadOnly(ctx context.Context, folder string, k storeKind, log *slog.Logger) (s *pebblestore.Store, mark *pebblestore.Mark, err error) {
	o := k.options(log)
	dir := filepath.Join(folder, k.name)
	o.Prove = func(s *pebblestore.Store, m *pebblestore.Mark) error {
		if m == nil || m.Checkpoint == nil {
			return fmt.Errorf("%s is missing or torn: nothing proves that the store is whole", pebblestore.MarkPath(dir))
		}
		mark = m
		err := k.prove(ctx, dir, s, m)
		if errors.As(err, new(*rolledBackError)) {
			return nil
		}
		return err
	}
	s, err = pebblestore.OpenReadOnly(dir, o)
	return s, mark, err
}

// options returns the options of the store.
func (k storeKind) options(log *slog.Logger) pebblestore.Options {
	o := pebblestore.Options{Logger: log, Raw: k.replica || k.name == rekorStoreDir}
	if k.small {
		o.CacheBytes, o.MemTableBytes = 16<<20, 8<<20
	} else if k.name == rekorStoreDir {
		o.CacheBytes, o.MemTableBytes = 16<<20, 16<<20
	}
	return o
}

// prove returns an error unless the store is at least as new as its publish
// mark and its anchor.
func (k storeKind) prove(ctx context.Context, dir string, s *pebblestore.Store, m *pebblestore.Mark) error {
	state := anchor.State{Origin: k.origin, Root: func(context.Context, uint64) (entry.Hash, error) {
		return entry.Hash{}, errors.New("there is no store")
	}}
	if s != nil {
		i, err := ledger.Inspect(ctx, s, k.origin, k.replica)
		if err != nil {
			return err
		}
		state.Size, state.Root = i.Size, i.RootAt
	}
	if m != nil && m.Checkpoint != nil {
		if err := anchor.Compare(ctx, pebblestore.MarkPath(dir), m.Checkpoint, state); err != nil {
			return fmt.Errorf("%w: %w", pebblestore.ErrStale, err)
		}
	}
	found, err := k.checkAnchors(ctx, dir, state)
	if errors.Is(err, anchor.ErrAhead) && m != nil && m.Checkpoint != nil && !errors.Is(err, anchor.ErrInconsistent) {
		return &rolledBackError{err}
	}
	if err != nil {
		return err
	}
	if m == nil && !found {
		return fmt.Errorf("cannot establish that the store is the newest: %s and %s are missing or torn: write the log's latest signed checkpoint to the latter",
			pebblestore.MarkPath(dir), dir+anchorSuffix)
	}
	return nil
}

// checkAnchors compares all anchors with the state, and reports whether the
// store's own exists.
func (k storeKind) checkAnchors(ctx context.Context, dir string, state anchor.State) (found bool, err error) {
	found, err = anchor.Check(ctx, dir+anchorSuffix, state)
	for _, path := range k.anchors {
		_, e := anchor.Check(ctx, path, state)
		err = errors.Join(err, e)
	}
	return found, err
}

// storeKinds returns the stores of the folder that exist.
func (d *dataDir) storeKinds() []storeKind {
	kind := d.logStore()
	if d.replica != nil {
		kind = d.replicaStore()
	}
	kind.anchors = nil
	kinds := []storeKind{kind}
	if signer, _, err := loadRekorKeys(d.path); err == nil {
		if _, err := os.Stat(filepath.Join(d.path, rekorStoreDir)); err == nil {
			kinds = append(kinds, rekorStore(signer.Name()))
		}
	}
	return kinds
}

// A rolledBackError is the error of a store that its publish mark proves whole,
// and that is older than an anchor.
type rolledBackError struct{ err error }

func (e *rolledBackError) Error() string { return e.err.Error() }

func (e *rolledBackError) Unwrap() error { return e.err }
