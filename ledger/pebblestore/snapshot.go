package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/store"
)

// The publish mark is a consistent cut through a store, also while that is
// being written: the journals up to the marked lengths, and the tables and blob
// files that the MANIFEST names, are the state that the mark's checkpoint was
// published in. Tables, blob files and large payloads never change, and can be
// read after they were deleted once they are open. So a snapshot needs nothing
// of the process that has the store open:
//
//	read    the mark
//	copy    the marked part of each journal, and compare its hash
//	open    every other file
//	check   that the mark's MANIFEST did not grow meanwhile: nothing that it
//	        names was deleted before it was open
//
// If anything changed in between, all of it is done again.

// snapshotAttempts bounds how often a snapshot of a store that is being written
// is begun again.
const snapshotAttempts = 50

// TakeSnapshot takes a snapshot of the store in dir, as Engine.Snapshot does.
// Copies of journals are kept in the folder scratch.
func TakeSnapshot(ctx context.Context, dir, scratch string) (*store.Snapshot, error) {
	if err := checkMoved(vfs.Default, dir); err != nil {
		return nil, fmt.Errorf("snapshot of %s: %w", dir, err)
	}
	var err error
	for range snapshotAttempts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var s *store.Snapshot
		if s, err = snapshot(dir, scratch); err == nil {
			return s, nil
		}
		if !errors.Is(err, errMoved) {
			break
		}
	}
	return nil, fmt.Errorf("snapshot of %s: %w", dir, err)
}

var errMoved = errors.New("the store changed while it was read")

func snapshot(dir, scratch string) (_ *store.Snapshot, err error) {
	before, err := listNames(filepath.Join(dir, largeDir))
	if err != nil {
		return nil, err
	}
	m, err := snapshotMark(dir)
	if err != nil {
		return nil, err
	}
	s := &store.Snapshot{Mark: m}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	names, err := listNames(dir)
	if err != nil {
		return nil, err
	}
	manifest, ok := currentManifest(names)
	if !ok {
		return nil, fmt.Errorf("%w: %w: the file marker.manifest.* is missing", errMoved, store.ErrDamaged)
	}
	if s.Mark, err = onlyManifest(m, manifest); err != nil {
		return nil, err
	}
	for _, j := range s.Mark.Journals {
		if err := copyJournal(s, dir, scratch, j); err != nil {
			return nil, err
		}
	}
	large, err := listNames(filepath.Join(dir, largeDir))
	if err != nil {
		return nil, err
	}
	for _, name := range before {
		if !slices.Contains(large, name) {
			return nil, errMoved // it may have been erased after the mark was read
		}
	}
	for _, name := range large {
		names = append(names, filepath.Join(largeDir, name))
	}
	for _, name := range names {
		if !inSnapshot(name) {
			continue
		}
		if err := openFile(s, dir, name); err != nil {
			return nil, err
		}
	}
	after, err := snapshotMark(dir)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(after.Journals, func(j store.Journal) bool { return j.Name == manifest }); i < 0 || !slices.Contains(s.Mark.Journals, after.Journals[i]) {
		return nil, errMoved
	}
	return s, nil
}

// inSnapshot reports whether the file is copied as it is.
func inSnapshot(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob") || strings.HasPrefix(name, "OPTIONS-") ||
		strings.HasPrefix(name, "marker.") || strings.HasPrefix(name, largeDir+"/")
}

func listNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// snapshotMark reads the mark. It is written in place, so one that is torn may
// be whole a moment later.
func snapshotMark(dir string) (*store.Mark, error) {
	m, err := mark.Read(dir)
	for range 100 {
		if err == nil || !errors.Is(err, mark.ErrTorn) {
			break
		}
		m, err = mark.Read(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrNoMark, err)
	}
	if m.Checkpoint == nil {
		return nil, store.ErrUnpublished
	}
	return m, nil
}

// onlyManifest returns the mark without the MANIFESTs that are not in use.
func onlyManifest(m *store.Mark, manifest string) (*store.Mark, error) {
	out := &store.Mark{Checkpoint: m.Checkpoint}
	found := false
	for _, j := range m.Journals {
		if isManifest(j.Name) && j.Name != manifest {
			continue
		}
		found = found || j.Name == manifest
		out.Journals = append(out.Journals, j)
	}
	if !found {
		return nil, errMoved
	}
	return out, nil
}

func copyJournal(s *store.Snapshot, dir, scratch string, j store.Journal) error {
	src, err := os.Open(filepath.Join(dir, j.Name))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w: %s is missing", errMoved, store.ErrDamaged, j.Name)
	}
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := owner.OpenFile(filepath.Join(scratch, j.Name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	s.Open = append(s.Open, dst)
	hash := xxhash.New()
	n, err := io.Copy(io.MultiWriter(dst, hash), io.LimitReader(src, int64(j.Length)))
	if err != nil {
		return err
	}
	if uint64(n) != j.Length || hash.Sum64() != j.Hash {
		return fmt.Errorf("%w: %w: %s is not what was written", errMoved, store.ErrDamaged, j.Name)
	}
	s.Files = append(s.Files, store.SnapshotFile{Name: j.Name, Size: n, Content: dst})
	return nil
}

func openFile(s *store.Snapshot, dir, name string) error {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return errMoved
	}
	if err != nil {
		return err
	}
	s.Open = append(s.Open, f)
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s.Files = append(s.Files, store.SnapshotFile{Name: name, Size: info.Size(), Modified: info.ModTime(), Content: f})
	return nil
}
