package datadir

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
	"muniment.dev/muniment/ledger/store"
)

// AnchorSuffix is the suffix of the log's own anchor, which lies beside its
// store and publish mark.
const AnchorSuffix = ".anchor"

// A StoreKind describes a store of a data folder.
type StoreKind struct {
	Name    string // of its folder
	Origin  string // of its log
	Replica bool
	Small   bool     // use small caches and tables, as commands do
	Anchors []string // paths of anchors outside the data folder
}

// LogStore returns the store of the log.
func (d *Dir) LogStore() StoreKind {
	k := StoreKind{Name: StoreDir, Origin: d.Config.Origin}
	for _, a := range d.Config.Anchors {
		if path, err := d.Outside(a); err == nil { // serve reports those that can't be used
			k.Anchors = append(k.Anchors, path)
		}
	}
	return k
}

// ReplicaStore returns the store of a replica.
func (d *Dir) ReplicaStore() StoreKind {
	// Small tables keep an import of many gigabytes in little memory.
	return StoreKind{Name: StoreDir, Origin: d.Config.Origin, Replica: true, Small: true}
}

// RekorStore returns the store of the Rekor log, whose origin is the name of
// its key.
func RekorStore(origin string) StoreKind { return StoreKind{Name: RekorStoreDir, Origin: origin} }

// OpenStore opens a store, and is the only way for a command to do so. If the
// store is older than its publish mark or an anchor, it changes nothing and
// returns an error.
func OpenStore(ctx context.Context, folder string, k StoreKind, log *slog.Logger) (*pebblestore.Store, error) {
	o := k.Options(log)
	dir := filepath.Join(folder, k.Name)
	o.Prove = func(s *pebblestore.Store, m *pebblestore.Mark) error { return k.prove(ctx, dir, s, m) }
	s, err := pebblestore.Open(dir, o)
	if err != nil && !errors.Is(err, pebblestore.ErrInUse) {
		return nil, fmt.Errorf("%w\nNo file was changed by a refusal. Restore the newest backup of the data folder: see \"A store that is refused\" in docs/operator.md", err)
	}
	return s, err
}

// OpenStoreReadOnly opens a store that its publish mark proves whole. An anchor
// may be ahead of it. It changes no file.
func OpenStoreReadOnly(ctx context.Context, folder string, k StoreKind, log *slog.Logger) (s *pebblestore.Store, mark *pebblestore.Mark, err error) {
	o := k.Options(log)
	dir := filepath.Join(folder, k.Name)
	o.Prove = func(s *pebblestore.Store, m *pebblestore.Mark) error {
		if m == nil {
			return fmt.Errorf("%w: %s is missing or torn", pebblestore.ErrNoMark, pebblestore.MarkPath(dir))
		}
		if m.Checkpoint == nil {
			return pebblestore.ErrUnpublished
		}
		mark = m
		err := k.prove(ctx, dir, s, m)
		if errors.As(err, new(*RolledBackError)) {
			return nil
		}
		return err
	}
	s, err = pebblestore.OpenReadOnly(dir, o)
	return s, mark, err
}

// AdviseStart adds the remedy to the error of OpenStoreReadOnly for a store
// without a usable publish mark.
func AdviseStart(err error) error {
	for _, is := range []error{pebblestore.ErrNoMark, pebblestore.ErrUnpublished, store.ErrNotFound} {
		if errors.Is(err, is) {
			return fmt.Errorf("%w: start the server once, which writes it", err)
		}
	}
	return err
}

// Options returns the options to open the store with.
func (k StoreKind) Options(log *slog.Logger) pebblestore.Options {
	o := pebblestore.Options{Logger: log, Raw: k.Replica || k.Name == RekorStoreDir}
	if k.Small {
		o.CacheBytes, o.MemTableBytes = 16<<20, 8<<20
	} else if k.Name == RekorStoreDir {
		o.CacheBytes, o.MemTableBytes = 16<<20, 16<<20
	}
	return o
}

// prove returns an error unless the store is at least as new as its publish
// mark and its anchors.
func (k StoreKind) prove(ctx context.Context, dir string, s *pebblestore.Store, m *pebblestore.Mark) error {
	state := anchor.State{Origin: k.Origin, Root: func(context.Context, uint64) (entry.Hash, error) {
		return entry.Hash{}, errors.New("there is no store")
	}}
	if s != nil {
		i, err := ledger.Inspect(ctx, s, k.Origin, k.Replica)
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
		return &RolledBackError{err}
	}
	if err != nil {
		return err
	}
	if m == nil && !found {
		return fmt.Errorf("cannot establish that the store is the newest: %s and %s are missing or torn: write the log's latest signed checkpoint to the latter",
			pebblestore.MarkPath(dir), dir+AnchorSuffix)
	}
	return nil
}

// checkAnchors compares all anchors with the state, and reports whether the
// store's own exists.
func (k StoreKind) checkAnchors(ctx context.Context, dir string, state anchor.State) (found bool, err error) {
	found, err = anchor.Check(ctx, dir+AnchorSuffix, state)
	for _, path := range k.Anchors {
		_, e := anchor.Check(ctx, path, state)
		err = errors.Join(err, e)
	}
	return found, err
}

// StoreKinds returns the stores of the folder. Each has a publish mark, and
// exists unless nothing was written to it yet.
func (d *Dir) StoreKinds() []StoreKind {
	kind := d.LogStore()
	if d.Replica != nil {
		kind = d.ReplicaStore()
	}
	kind.Anchors = nil
	kinds := []StoreKind{kind}
	if signer, _, err := LoadRekorKeys(d.Path); err == nil {
		kind := RekorStore(signer.Name())
		_, noStore := os.Stat(filepath.Join(d.Path, kind.Name))
		if noStore == nil || kind.Unpublished(d.Path) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// Unpublished reports whether the store's publish mark proves that no
// checkpoint of it was published.
func (k StoreKind) Unpublished(folder string) bool {
	m, err := pebblestore.ReadMark(filepath.Join(folder, k.Name))
	return err == nil && m.Checkpoint == nil
}

// A RolledBackError is the error for a store that its publish mark proves whole
// and that is older than an anchor.
type RolledBackError struct{ err error }

func (e *RolledBackError) Error() string { return e.err.Error() }

func (e *RolledBackError) Unwrap() error { return e.err }
