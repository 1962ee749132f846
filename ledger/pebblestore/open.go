package pebblestore

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/store"
)

// Opening changes no file until the state is proven.
//
//	lock      another process can't change the folder meanwhile
//	mark      the journals hold every byte that the publish mark vouches for
//	read      Pebble opens the folder on a file system that refuses to write
//	prove     Options.Prove compares the state with published checkpoints
//	write     Pebble opens the folder again; deletions are held back
//	compare   it shows the same state, and the deletions are made
//
// An error before the step write leaves every file as it was. One after it
// leaves every file that was there.

// ErrStale is the error of a store that is older than its publish mark. Nothing
// in it was changed.
var ErrStale = errors.New("the store is older than its publish mark")

// Open opens the store in dir, and makes folder and store if they don't exist.
// The error is ErrInUse if the folder is open already, store.ErrDamaged or
// ErrStale if the store lacks something that was written, or that of
// Options.Prove.
func Open(dir string, opts Options) (*Store, error) {
	s, err := newStore(dir, opts).open(opts)
	if err != nil {
		return nil, fmt.Errorf("open data folder %s: %w", dir, err)
	}
	return s, nil
}

// OpenReadOnly opens a store that exists, and changes no file. Its writes
// return store.ErrReadOnly. Otherwise it is as Open.
func OpenReadOnly(dir string, opts Options) (*Store, error) {
	s, err := newStore(dir, opts).openReadOnly(opts)
	if err != nil {
		return nil, fmt.Errorf("open data folder %s for reading: %w", dir, err)
	}
	return s, nil
}

// ReadMark returns the publish mark of the store in dir, or nil if it is
// missing or torn.
func ReadMark(dir string) (*Mark, error) { return readMark(vfs.Default, MarkPath(dir)) }

func newStore(dir string, opts Options) *Store {
	s := &Store{dir: dir, fs: opts.FS, raw: opts.Raw, log: newLogger(opts.Logger).to, large: map[largeID]*largeFile{}, changed: make(chan struct{}, 1)}
	if s.fs == nil {
		s.fs = ownerFS{vfs.Default}
	}
	return s
}

func (s *Store) open(opts Options) (_ *Store, err error) {
	var m *Mark
	if !opts.Scratch {
		if m, err = readMark(s.fs, MarkPath(s.dir)); err != nil {
			s.logMark(err)
		}
	}
	exists, err := s.exists(m)
	if err != nil {
		return nil, err
	}
	if exists && opts.Scratch {
		return nil, errors.New("it is not empty")
	}
	if !exists {
		if opts.Prove != nil {
			if err := opts.Prove(nil, m); err != nil {
				return nil, err
			}
		}
		if err := s.fs.MkdirAll(s.dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.lock.Close())
		}
	}()
	var proven treeHead
	if exists {
		if proven, err = s.prove(opts, m); err != nil {
			return nil, err
		}
	}
	if err := s.openWritable(opts, m, exists, proven); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) openReadOnly(opts Options) (_ *Store, err error) {
	m, err := readMark(s.fs, MarkPath(s.dir))
	if err != nil {
		s.logMark(err)
	}
	exists, err := s.exists(m)
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, fmt.Errorf("there is no store: %w", store.ErrNotFound)
	}
	if err := s.takeLock(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := m.checkJournals(s.fs, s.dir); err != nil {
		return nil, err
	}
	if err := s.openPebbleReadOnly(opts); err != nil {
		return nil, err
	}
	if opts.Prove != nil {
		return s, opts.Prove(s, m)
	}
	return s, nil
}

// prove returns the state of the folder when it is proven to be whole, and
// changes nothing.
func (s *Store) prove(opts Options, m *Mark) (treeHead, error) {
	if err := m.checkJournals(s.fs, s.dir); err != nil {
		return treeHead{}, err
	}
	r := newStore(s.dir, opts)
	r.lock = s.lock
	if err := r.openPebbleReadOnly(opts); err != nil {
		return treeHead{}, err
	}
	var err error
	if opts.Prove != nil {
		err = opts.Prove(r, m)
	}
	r.uses.Wait()
	return r.head, errors.Join(err, s.readError(r.db.Close()))
}

func (s *Store) logMark(err error) {
	if isMissing(err) {
		return
	}
	s.log.Warn("the publish mark can't be used", "err", err)
}

// exists reports whether the folder holds a store. Traces of one that is not
// there are an error.
func (s *Store) exists(m *Mark) (bool, error) {
	names, err := s.fs.List(s.dir)
	if err != nil && !isMissing(err) {
		return false, err
	}
	var traces string
	for _, name := range names {
		if strings.HasPrefix(name, "marker.manifest.") {
			return true, nil
		}
		if isLog(name) || strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob") || name == largeDir {
			traces = name
		}
	}
	if traces != "" {
		return false, fmt.Errorf("%w: it holds %s, but its file marker.manifest.* is missing", store.ErrDamaged, traces)
	}
	if m != nil && (len(m.Checkpoint) > 0 || len(m.Journals) > 0) {
		return false, fmt.Errorf("%w: the folder is empty or missing, and %s is the mark of a store", store.ErrDamaged, MarkPath(s.dir))
	}
	return false, nil
}

func (s *Store) takeLock() (err error) {
	if s.lock, err = pebble.LockDirectory(s.dir, s.fs); err != nil && isLocked(err) {
		return ErrInUse
	}
	return err
}

// isLocked distinguishes a failure to lock the folder from one to create the
// lock file. Pebble has no sentinel for either.
func isLocked(err error) bool {
	if path := (*iofs.PathError)(nil); errors.As(err, &path) {
		return false
	}
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "lock held by current process")
}

// openPebbleReadOnly opens the database on a file system that refuses to write.
func (s *Store) openPebbleReadOnly(opts Options) error {
	s.readOnly = true
	p := s.options(opts)
	p.FS = readOnlyFS{p.FS}
	p.ReadOnly = true
	p.Lock = s.lock
	if err := s.openPebble(p); err != nil {
		return err
	}
	blobs := s.checkBlobs()
	if blobs != nil && s.lenient {
		s.tolerated = append(s.tolerated, blobs)
		blobs = nil
	}
	if err := errors.Join(blobs, s.loadMeta()); err != nil {
		return errors.Join(err, s.closePebble())
	}
	return nil
}

// checkBlobs returns an error if blob files are missing. Pebble looks for
// tables only.
func (s *Store) checkBlobs() error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	var count, size uint64
	for _, name := range names {
		if !strings.HasSuffix(name, ".blob") {
			continue
		}
		info, err := s.fs.Stat(s.fs.PathJoin(s.dir, name))
		if err != nil {
			return err
		}
		count++
		size += uint64(info.Size())
	}
	if m := s.db.Metrics().BlobFiles; count < m.LiveCount || size < m.LiveSize {
		return fmt.Errorf("%w: it has %d blob files of %d bytes, and needs %d of %d bytes", store.ErrDamaged, count, size, m.LiveCount, m.LiveSize)
	}
	return nil
}

// openWritable opens the database, and goes on only if it shows the proven
// state.
func (s *Store) openWritable(opts Options, m *Mark, exists bool, proven treeHead) (err error) {
	p := s.options(opts)
	p.Lock = s.lock
	tracked := &markFS{FS: p.FS, held: exists}
	if !opts.Scratch {
		if s.marker, err = openMarker(s.fs, MarkPath(s.dir), s.firstMark(m)); err != nil {
			return err
		}
		tracked.marker = s.marker
	}
	s.files, p.FS = tracked, tracked
	defer func() {
		if err != nil && s.marker != nil {
			err = errors.Join(err, s.marker.f.Close())
		}
	}()
	if err := s.openPebble(p); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closePebble())
		}
	}()
	if err := s.loadMeta(); err != nil {
		return err
	}
	if exists && s.head != proven {
		return fmt.Errorf("%w: it was read twice, and had %d entries and then %d: check the disk and memory", store.ErrDamaged, proven.size, s.head.size)
	}
	if err := tracked.release(); err != nil {
		return err
	}
	if err := s.finishReplacement(); err != nil {
		return err
	}
	if err := s.sweepLarge(); err != nil {
		return err
	}
	return s.loadUnpurged()
}

// openPebble opens the database. What panics on damaged files is an error.
func (s *Store) openPebble(p *pebble.Options) (err error) {
	defer recoverDamage(&err)
	s.db, err = pebble.Open(s.dir, p)
	if err = s.readError(err); err == nil || errors.As(err, new(syscall.Errno)) || errors.Is(err, store.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrDamaged, err) // Pebble marks only some of these
}

func (s *Store) closePebble() error {
	db := s.db
	s.db = nil
	return s.readError(db.Close())
}

// firstMark returns the mark to begin with. Without one, the MANIFEST in use is
// listed with nothing that it must hold: until Pebble has moved to a new one,
// it is the right one.
func (s *Store) firstMark(m *Mark) *Mark {
	if m != nil {
		return m
	}
	m = &Mark{}
	if names, err := s.fs.List(s.dir); err == nil {
		if name, ok := currentManifest(names); ok {
			m.Journals = append(m.Journals, Journal{Name: name, Hash: xxhash.New().Sum64()})
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
func (m *Mark) checkJournals(fs vfs.FS, dir string) error {
	damage, err := m.journalDamage(fs, dir)
	if err == nil && len(damage) > 0 {
		err = damage[0].Err
	}
	return err
}

// journalDamage returns all that the journals lack.
func (m *Mark) journalDamage(fs vfs.FS, dir string) (damage []FileDamage, err error) {
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
		err := fmt.Errorf("%w: %w: %s is missing", ErrStale, store.ErrDamaged, j.Name)
		if slices.Contains(names, j.Name) {
			err = j.check(fs, fs.PathJoin(dir, j.Name))
		}
		if err != nil {
			damage = append(damage, FileDamage{j.Name, err})
		}
	}
	if newest != "" && !listed && newer(newest, current) {
		damage = append(damage, FileDamage{newest, fmt.Errorf("%w: %w: its MANIFEST is %q, and was %q before", ErrStale, store.ErrDamaged, current, newest)})
	}
	return damage, nil
}

func (j *Journal) check(fs vfs.FS, path string) error {
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
