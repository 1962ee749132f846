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
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/store"
)

// AnchorSuffix is the suffix of the log's own anchor, which lies beside its
// store and publish mark.
const AnchorSuffix = ".anchor"

// A StoreKind describes a store of a data folder.
type StoreKind struct {
	Name    string // of its folder
	Shared  string // URL of the store that several servers share, or ""
	Objects string // URL of the bucket for its large payloads, or ""
	Origin  string // of its log
	Replica bool
	Small   bool     // use small caches and tables, as commands do
	Reindex bool     // the index may be damaged, because it will be rebuilt
	Anchors []string // paths of anchors outside the data folder
	// Checkpoints are further checkpoints that the store is compared with, as
	// with anchors.
	Checkpoints []Checkpoint
}

// A Checkpoint is a signed checkpoint from outside the data folder.
type Checkpoint struct {
	Source string // for errors
	Signed []byte
}

// LogStore returns the store of the log.
func (d *Dir) LogStore() StoreKind {
	k := StoreKind{Name: StoreDir, Shared: d.Config.Store, Objects: d.Config.Objects, Origin: d.Config.Origin}
	for _, a := range d.Config.Anchors {
		if path, err := d.Outside(a); err == nil { // serve reports those that can't be used
			k.Anchors = append(k.Anchors, path)
		}
	}
	return k
}

// ReplicaStore returns the store of a replica.
func (d *Dir) ReplicaStore() StoreKind { return ReplicaOf(d.Config.Origin) }

// ReplicaOf returns the store of a replica of the log with the origin.
func ReplicaOf(origin string) StoreKind {
	// Small tables bound the memory of an import of many gigabytes.
	return StoreKind{Name: StoreDir, Origin: origin, Replica: true, Small: true}
}

// RekorStore returns the store of the Rekor log, whose origin is the name of
// its key.
func RekorStore(origin string) StoreKind { return StoreKind{Name: RekorStoreDir, Origin: origin} }

// OpenStore opens a store. Commands open stores in no other way. If the store
// is older than its publish mark or an anchor, or its index is damaged, it
// changes nothing and returns an error.
func OpenStore(ctx context.Context, folder string, k StoreKind, log *slog.Logger) (store.Store, error) {
	o := k.Options(log)
	dir := filepath.Join(folder, k.Name)
	o.Prove = func(s store.Store, m *store.Mark) error {
		if err := k.prove(ctx, dir, s, m); err != nil || s == nil || k.Reindex {
			return err
		}
		return ledger.CheckIndex(ctx, s, k.Replica)
	}
	made := false
	if k.Shared != "" {
		var err error
		if made, err = makeSharedKey(folder); err != nil {
			return nil, err
		}
		if err := useSharedKey(folder, &o); err != nil {
			return nil, err
		}
	}
	s, err := engine.Open(ctx, k.URL(folder), o)
	if errors.Is(err, store.ErrSealed) {
		if made {
			err = errors.Join(err, os.Remove(filepath.Join(folder, SharedKeyFile)))
		}
		return nil, AdviseSealed(err)
	}
	if errors.Is(err, store.ErrInUse) {
		return nil, fmt.Errorf("%w: stop the server that runs on it", err)
	}
	if errors.Is(err, store.ErrMoved) {
		return nil, k.adviseMoved(folder, err)
	}
	if err != nil && !errors.Is(err, ledger.ErrIndexDamaged) {
		return nil, fmt.Errorf("%w\nNo file was changed by a refusal. Restore the newest backup of the data folder: see \"A store that is refused\" in docs/operator.md", err)
	}
	return s, err
}

// OpenCopy opens a copy that is being made of a log with the secret, at a URL
// where no server looks for a store. It returns the publish mark of a copy that
// was begun before, or nil.
func OpenCopy(ctx context.Context, folder, url string, k StoreKind, secret *[32]byte, log *slog.Logger) (s store.Store, begun *store.Mark, err error) {
	o := k.Options(log)
	o.Secret = secret
	o.Prove = func(_ store.Store, m *store.Mark) error {
		begun = m
		return nil
	}
	if _, err := makeSharedKey(folder); err != nil {
		return nil, nil, err
	}
	if err := useSharedKey(folder, &o); err != nil {
		return nil, nil, err
	}
	s, err = engine.Open(ctx, url, o)
	return s, begun, err
}

// OpenStoreReadOnly opens a store that its publish mark proves whole. An anchor
// may be ahead of it. It changes no file.
func OpenStoreReadOnly(ctx context.Context, folder string, k StoreKind, log *slog.Logger) (s store.Store, published *store.Mark, err error) {
	o := k.Options(log)
	dir := filepath.Join(folder, k.Name)
	o.Prove = func(s store.Store, m *store.Mark) error {
		if m == nil {
			return fmt.Errorf("%w: %s is missing or torn", store.ErrNoMark, mark.Path(dir))
		}
		if m.Checkpoint == nil {
			return store.ErrUnpublished
		}
		published = m
		err := k.prove(ctx, dir, s, m)
		if errors.As(err, new(*RolledBackError)) {
			return nil
		}
		return err
	}
	if k.Shared != "" {
		if err := useSharedKey(folder, &o); err != nil {
			return nil, nil, err
		}
	}
	if s, err = engine.OpenReadOnly(ctx, k.URL(folder), o); errors.Is(err, store.ErrSealed) {
		err = AdviseSealed(err)
	}
	return s, published, err
}

// AdviseStart adds the remedy to the error of OpenStoreReadOnly for a store
// without a usable publish mark.
func AdviseStart(err error) error {
	for _, is := range []error{store.ErrNoMark, store.ErrUnpublished, store.ErrNotFound} {
		if errors.Is(err, is) {
			return fmt.Errorf("%w: start the server once, which writes it", err)
		}
	}
	return err
}

// URL returns the URL of the store in a data folder.
func (k StoreKind) URL(folder string) string {
	path := filepath.Join(folder, k.Name)
	if k.Shared == "" {
		return engine.InFolder(path)
	}
	host, _ := os.Hostname() // without it, the path alone is the name
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	url := engine.For(k.Shared, path, host+":"+path)
	if k.Objects != "" {
		url = engine.WithObjects(url, k.Objects)
	}
	return url
}

// Options returns the options to open the store with.
func (k StoreKind) Options(log *slog.Logger) store.Options {
	o := store.Options{Logger: log, Raw: k.Replica || k.Name == RekorStoreDir}
	if k.Small {
		o.CacheBytes, o.BufferBytes = 16<<20, 8<<20
	} else if k.Name == RekorStoreDir {
		o.CacheBytes, o.BufferBytes = 16<<20, 16<<20
	}
	return o
}

// prove returns an error unless the store is at least as new as its publish
// mark and its anchors.
func (k StoreKind) prove(ctx context.Context, dir string, s store.Store, m *store.Mark) error {
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
		if err := anchor.Compare(ctx, mark.Path(dir), m.Checkpoint, state); err != nil {
			return fmt.Errorf("%w: %w", store.ErrStale, err)
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
			mark.Path(dir), dir+AnchorSuffix)
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
	for _, c := range k.Checkpoints {
		err = errors.Join(err, anchor.Compare(ctx, c.Source, c.Signed, state))
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
	m, err := mark.Read(filepath.Join(folder, k.Name))
	return err == nil && m.Checkpoint == nil
}

// A RolledBackError is the error for a store that its publish mark proves whole
// and that is older than an anchor.
type RolledBackError struct{ err error }

func (e *RolledBackError) Error() string { return e.err.Error() }

func (e *RolledBackError) Unwrap() error { return e.err }
