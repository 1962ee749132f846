package pebblestore

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/store"
)

// firstMark returns the mark to begin with. Without one, the MANIFEST in use is
// listed with nothing that it must hold: until Pebble has moved to a new one,
// it is the right one.
func (s *Store) firstMark(m *store.Mark) *store.Mark {
	if m != nil {
		return m
	}
	m = &store.Mark{}
	if names, err := s.fs.List(s.dir); err == nil {
		if name, ok := currentManifest(names); ok {
			m.Journals = append(m.Journals, store.Journal{Name: name, Hash: xxhash.New().Sum64()})
		}
	}
	return m
}

// currentManifest returns the MANIFEST that the newest marker names.
func currentManifest(names []string) (string, bool) {
	var best, manifest string
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "marker.manifest.")
		if !ok {
			continue
		}
		if iter, m, ok := strings.Cut(rest, "."); ok && (best == "" || newer(iter, best)) {
			best, manifest = iter, m
		}
	}
	return manifest, best != ""
}

// checkJournals returns an error unless the files in the folder hold every byte
// that the mark vouches for. A nil mark vouches for none.
func checkJournals(m *store.Mark, fs vfs.FS, dir string) error {
	damage, err := journalDamage(m, fs, dir)
	if err == nil && len(damage) > 0 {
		err = damage[0].Err
	}
	return err
}

// journalDamage returns all that the journals lack.
func journalDamage(m *store.Mark, fs vfs.FS, dir string) (damage []store.FileDamage, err error) {
	if m == nil {
		return nil, nil
	}
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	current, _ := currentManifest(names)
	listed, newest := false, ""
	for _, j := range m.Journals {
		if isManifest(j.Name) {
			listed = listed || j.Name == current
			if newer(j.Name, newest) {
				newest = j.Name
			}
			if j.Name != current {
				continue // Pebble was moving from one to the other
			}
		}
		err := fmt.Errorf("%w: %w: %s is missing", store.ErrStale, store.ErrDamaged, j.Name)
		if slices.Contains(names, j.Name) {
			err = checkJournal(&j, fs, fs.PathJoin(dir, j.Name))
		}
		if err != nil {
			damage = append(damage, store.FileDamage{Name: j.Name, Err: err})
		}
	}
	if newest != "" && !listed && newer(newest, current) {
		damage = append(damage, store.FileDamage{Name: newest, Err: fmt.Errorf("%w: %w: its MANIFEST is %q, and was %q before", store.ErrStale, store.ErrDamaged, current, newest)})
	}
	return damage, nil
}

func checkJournal(j *store.Journal, fs vfs.FS, path string) error {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := xxhash.New()
	n, err := io.Copy(hash, io.LimitReader(f, int64(j.Length)))
	if err != nil {
		return fmt.Errorf("%w: %s: %w", store.ErrDamaged, j.Name, err)
	}
	if uint64(n) < j.Length {
		return fmt.Errorf("%w: %s has %d bytes, and %d were written", store.ErrDamaged, j.Name, n, j.Length)
	}
	if hash.Sum64() != j.Hash {
		return fmt.Errorf("%w: the first %d bytes of %s are not those that were written", store.ErrDamaged, j.Length, j.Name)
	}
	return nil
}
