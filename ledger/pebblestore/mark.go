package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/store"
)

// Pebble treats the first invalid record of a MANIFEST, and of the last
// write-ahead log, as its end. That is right for what was being written when
// the power failed, and loses data for what was synced long ago. Only the
// publish mark distinguishes the two. It never runs ahead of the store: every
// byte that it vouches for was synced before.

// readMark returns the mark, or an error that is mark.ErrTorn or
// oserror.IsNotExist.
func readMark(fs vfs.FS, path string) (*store.Mark, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mark.MaxSize))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	m, err := mark.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// A marker keeps a publish mark up to date.
type marker struct {
	fs   vfs.FS
	path string
	f    vfs.File

	mu         sync.Mutex // guards what follows, and writing to f
	checkpoint []byte
	journals   map[string]*journal // by name
	manifest   string              // the newest
	buffer     []byte
}

// A journal is the synced part of a file that is being written, or was when the
// store was opened.
type journal struct {
	store.Journal
	syncs int
}

// openMarker opens the mark's file, and makes it if it is missing, with the
// content of m.
func openMarker(fs vfs.FS, path string, m *store.Mark) (*marker, error) {
	k := &marker{fs: fs, path: path, checkpoint: m.Checkpoint, journals: map[string]*journal{}}
	for _, j := range m.Journals {
		k.journals[j.Name] = &journal{Journal: j}
	}
	var err error
	if k.f, err = fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified); err != nil {
		return nil, fmt.Errorf("open the publish mark: %w", err)
	}
	dir, err := fs.OpenDir(fs.PathDir(path))
	if err == nil {
		err = errors.Join(k.write(), k.f.Sync(), dir.Sync(), dir.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write the publish mark: %w", err), k.f.Close())
	}
	return k, nil
}

func (k *marker) close() error { return errors.Join(k.write(), k.f.Sync(), k.f.Close()) }

// publish records the checkpoint as published.
func (k *marker) publish(signed []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.checkpoint = signed
	return k.writeLocked()
}

func (k *marker) write() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.writeLocked()
}

func (k *marker) writeLocked() error {
	m := store.Mark{Checkpoint: k.checkpoint}
	for _, j := range k.journals {
		m.Journals = append(m.Journals, j.Journal)
	}
	slices.SortFunc(m.Journals, func(a, b store.Journal) int { return strings.Compare(a.Name, b.Name) })
	k.buffer = append(k.buffer[:0], mark.Marshal(&m)...)
	if _, err := k.f.WriteAt(k.buffer, 0); err != nil {
		return fmt.Errorf("write the publish mark %s: %w", k.path, err)
	}
	return nil
}

// synced records that the first bytes of a journal are durable.
func (k *marker) synced(j store.Journal) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.journals[j.Name]
	if e == nil {
		e = &journal{}
		k.journals[j.Name] = e
	}
	if e.syncs > 0 && j.Length < e.Length {
		return nil // a later sync has returned before
	}
	e.Journal = j
	e.syncs++
	if !isManifest(j.Name) {
		return nil // the commit is marked when it is published
	}
	if newer(j.Name, k.manifest) {
		k.manifest = j.Name
	}
	// The first sync of a new MANIFEST comes before Pebble moves to it, and the
	// second after that.
	if j.Name == k.manifest && e.syncs > 1 {
		for name := range k.journals {
			if isManifest(name) && newer(j.Name, name) {
				delete(k.journals, name)
			}
		}
	}
	return k.writeLocked()
}

// drop removes a write-ahead log from the mark, durably: it is about to be
// deleted.
func (k *marker) drop(name string) error {
	k.mu.Lock()
	_, ok := k.journals[name]
	delete(k.journals, name)
	var err error
	if ok {
		err = k.writeLocked()
	}
	k.mu.Unlock()
	if !ok || err != nil {
		return err
	}
	return k.f.Sync()
}

// newer reports whether the number in the first name is larger.
func newer(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a > b }

// isMissing reports whether the error is that of a file that does not exist.
func isMissing(err error) bool { return oserror.IsNotExist(err) }
