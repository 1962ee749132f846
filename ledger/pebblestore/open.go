package pebblestore

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/mark"
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

// Open opens the store in dir, as Engine.Open does.
func Open(dir string, opts store.Options) (*Store, error) { return OpenFS(nil, dir, opts) }

// OpenFS opens the store in a folder of the file system, which is the operating
// system's if it is nil.
func OpenFS(fs vfs.FS, dir string, opts store.Options) (*Store, error) {
	s, err := newStore(fs, dir, opts).open(opts)
	if err != nil {
		return nil, fmt.Errorf("open data folder %s: %w", dir, err)
	}
	return s, nil
}

// OpenReadOnly opens the store in dir, as Engine.OpenReadOnly does.
func OpenReadOnly(dir string, opts store.Options) (*Store, error) {
	return OpenReadOnlyFS(nil, dir, opts)
}

// OpenReadOnlyFS opens the store in a folder of the file system, which is the
// operating system's if it is nil.
func OpenReadOnlyFS(fs vfs.FS, dir string, opts store.Options) (*Store, error) {
	s, err := newStore(fs, dir, opts).openReadOnly(opts)
	if err != nil {
		return nil, fmt.Errorf("open data folder %s for reading: %w", dir, err)
	}
	return s, nil
}

func newStore(fs vfs.FS, dir string, opts store.Options) *Store {
	s := &Store{dir: dir, fs: fs, disk: fs == nil, raw: opts.Raw, log: newLogger(opts.Logger).to, large: map[largeID]*largeFile{}, changed: make(chan struct{}, 1)}
	if s.fs == nil {
		s.fs = ownerFS{vfs.Default}
	}
	if opts.Secret != nil {
		s.secret = *opts.Secret
	}
	return s
}

func (s *Store) open(opts store.Options) (_ *Store, err error) {
	var m *store.Mark
	if !opts.Scratch {
		if err := checkMoved(s.fs, s.dir); err != nil {
			return nil, err
		}
		if m, err = readMark(s.fs, mark.Path(s.dir)); err != nil {
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

func (s *Store) openReadOnly(opts store.Options) (_ *Store, err error) {
	m, err := readMark(s.fs, mark.Path(s.dir))
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
	if err := checkJournals(m, s.fs, s.dir); err != nil {
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
func (s *Store) prove(opts store.Options, m *store.Mark) (treeHead, error) {
	if err := checkJournals(m, s.fs, s.dir); err != nil {
		return treeHead{}, err
	}
	r := newStore(s.fs, s.dir, opts)
	r.disk = s.disk
	r.lock = s.lock
	if err := r.openPebbleReadOnly(opts); err != nil {
		return treeHead{}, err
	}
	var err error
	if opts.Prove != nil {
		err = opts.Prove(r, m)
	}
	r.uses.Wait()
	return r.head, errors.Join(err, r.closeDB())
}

func (s *Store) logMark(err error) {
	if isMissing(err) {
		return
	}
	s.log.Warn("the publish mark can't be used", "err", err)
}

// exists reports whether the folder holds a store. Traces of one that is not
// there are an error.
func (s *Store) exists(m *store.Mark) (bool, error) {
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
		return false, fmt.Errorf("%w: the folder is empty or missing, and %s is the mark of a store", store.ErrDamaged, mark.Path(s.dir))
	}
	return false, nil
}

func (s *Store) takeLock() (err error) {
	if s.lock, err = pebble.LockDirectory(s.dir, s.fs); err != nil && isLocked(err) {
		return store.ErrInUse
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
func (s *Store) openPebbleReadOnly(opts store.Options) error {
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
func (s *Store) openWritable(opts store.Options, m *store.Mark, exists bool, proven treeHead) (err error) {
	p := s.options(opts)
	p.Lock = s.lock
	tracked := &markFS{FS: p.FS, held: exists}
	if !opts.Scratch {
		if s.marker, err = openMarker(s.fs, mark.Path(s.dir), s.firstMark(m)); err != nil {
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
	err := s.closeDB()
	s.db = nil
	return err
}

// closeDB closes the database. What panics on damaged files is an error.
func (s *Store) closeDB() (err error) {
	defer recoverDamage(&err)
	return s.readError(s.db.Close())
}
