package pebblestore

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/storetest"
)

// TestCrash pulls the plug before and after syncs of a store that commits,
// flushes and compacts, keeps none, half or all of what was not synced, and
// opens what is left. Every commit that had returned must be there in full; the
// one that had not may be there, also in full.
func TestCrash(t *testing.T) {
	soak.WithoutRace(t)
	testCrash(t, false, storetest.NewSource(1), storetest.NewModel)
}

func TestCrashOfRawLog(t *testing.T) {
	soak.WithoutRace(t)
	testCrash(t, true, storetest.NewRawSource(1), storetest.NewRawModel)
}

func testCrash(t *testing.T, raw bool, src *storetest.Source, newModel func() *storetest.Model) {
	ctx := context.Background()
	const commits = 70
	var all []*store.Commit
	for i := range commits {
		n := 1 + i%3
		switch i % 25 {
		case 5:
			n = 40
		case 10:
			n = 100 // larger than the table in memory
		}
		all = append(all, src.Next(n))
	}
	p := newPlug(t, 3)
	s, err := OpenFS(p.fs, "data", store.Options{BufferBytes: 32 << 10, Raw: raw, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	secret := s.secret
	p.check = func(fs vfs.FS, returned, begun int64) error {
		return checkCrashed(fs, raw, func(st *store.State, s *Store) error {
			m := newModel()
			n := 0
			for ; n < commits && all[n].From < st.Size; n++ {
				m.Commit(all[n])
			}
			if int64(n) < returned || int64(n) > begun {
				return fmt.Errorf("%d commits survived; %d had returned, %d had begun", n, returned, begun)
			}
			if st.Secret != secret {
				return fmt.Errorf("the secret changed")
			}
			if err := m.CheckState(st); err != nil {
				return err
			}
			if err := m.Check(ctx, s); err != nil {
				return err
			}
			if n == commits { // and the log goes on
				return nil
			}
			return s.Commit(ctx, all[n])
		})
	}
	p.arm()
	for _, c := range all {
		p.begun.Add(1)
		if err := s.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
		p.returned.Add(1)
	}
	p.finish()
	mustClose(t, s)
	p.report(200)
}

// TestCrashWhileReplacing checks that a crash leaves either the old projections
// or the new ones.
func TestCrashWhileReplacing(t *testing.T) {
	soak.WithoutRace(t)
	ctx := context.Background()
	p := newPlug(t, 2)
	s, err := OpenFS(p.fs, "data", store.Options{BufferBytes: 32 << 10, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	src, before, after := storetest.NewSource(2), storetest.NewModel(), storetest.NewModel()
	for range 3 {
		c := src.Next(60)
		if err := s.Commit(ctx, c); err != nil {
			t.Fatal(err)
		}
		before.Commit(c)
		after.Commit(c)
	}
	projections := before.Projections()
	rand.New(rand.NewPCG(2, 2)).Shuffle(len(projections), func(i, j int) { projections[i], projections[j] = projections[j], projections[i] })
	projections = projections[:len(projections)/2]
	heads := []store.StreamHead{{Next: 7}}
	after.ReplaceProjections(projections, heads)

	p.check = func(fs vfs.FS, returned, begun int64) error {
		return checkCrashed(fs, false, func(st *store.State, s *Store) error {
			m := before
			if stored, err := s.StreamHeads(context.Background()); err != nil {
				return err
			} else if len(stored) == 1 {
				m = after
			} else if returned > 0 {
				return fmt.Errorf("the new projections are lost")
			}
			if err := m.CheckState(st); err != nil {
				return err
			}
			return m.Check(ctx, s)
		})
	}
	chunkBytes = 4 << 10
	defer func() { chunkBytes = 1 << 20 }()
	p.arm()
	p.begun.Add(1)
	if err := s.ReplaceProjections(ctx, func(yield func(store.Projection, error) bool) {
		for i := range projections {
			if !yield(projections[i], nil) {
				return
			}
		}
	}, heads); err != nil {
		t.Fatal(err)
	}
	p.returned.Add(1)
	if err := s.db.Flush(); err != nil { // a few more places to crash
		t.Fatal(err)
	}
	p.finish()
	mustClose(t, s)
	p.report(20)
}

// TestCrashWhileErasing pulls the plug while large payloads are written,
// entries are committed that erase earlier ones, and what was erased is purged.
// A commit must be there with its large payloads and its erasures, or not at
// all; no file may be left over; and the purge that was cut off can be made
// again.
func TestCrashWhileErasing(t *testing.T) {
	soak.WithoutRace(t)
	ctx := context.Background()
	const commits = 24
	p := newPlug(t, 3)
	s, err := OpenFS(p.fs, "data", store.Options{BufferBytes: 32 << 10, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	src := storetest.NewSource(3)
	var mu sync.Mutex // guards all
	var all []*store.Commit
	var undecided atomic.Int64 // survivors with a large payload that had not returned
	p.check = func(fs vfs.FS, returned, begun int64) error {
		return checkCrashed(fs, false, func(st *store.State, s *Store) error {
			m := storetest.NewModel()
			m.AnyUnpurged = true
			mu.Lock()
			begunCommits := slices.Clone(all)
			mu.Unlock()
			n := 0
			for ; n < len(begunCommits) && begunCommits[n].From < st.Size; n++ {
				m.Commit(begunCommits[n])
			}
			if int64(n) < returned || int64(n) > begun {
				return fmt.Errorf("%d commits survived; %d had returned, %d had begun", n, returned, begun)
			}
			if err := m.CheckState(st); err != nil {
				return err
			}
			if err := m.Check(ctx, s); err != nil {
				return err
			}
			if int64(n) > returned {
				for range begunCommits[n-1].LargePayloads() {
					undecided.Add(1)
				}
			}
			files, err := fs.List("data/" + largeDir)
			if err != nil && !oserror.IsNotExist(err) {
				return err
			}
			if len(files) != m.Large() {
				return fmt.Errorf("%d large payloads have %d files", m.Large(), len(files))
			}
			if err := s.Purge(ctx); err != nil {
				return err
			}
			m.AnyUnpurged = false
			m.Purge()
			return m.Check(ctx, s)
		})
	}
	p.arm()
	m := storetest.NewModel()
	for i := range commits {
		c := src.Next(1 + i%5)
		if err := storetest.Spool(ctx, s, c, func(j int) bool { return j%3 == 0 }); err != nil {
			t.Fatal(err)
		}
		if i > 2 {
			c.Erase = []store.Erasure{m.Erasure(uint64(i*7)%m.Size(), i%2 == 0), m.Erasure(uint64(i*3)%m.Size(), i%3 == 0)}
		}
		m.Commit(storetest.Clone(c))
		mu.Lock()
		all = append(all, c)
		mu.Unlock()
		p.begun.Add(1)
		if err := s.Commit(ctx, storetest.Unspooled(c)); err != nil {
			t.Fatal(err)
		}
		p.returned.Add(1)
		if i%6 == 5 {
			if err := s.Purge(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.finish()
	mustClose(t, s)
	p.report(100)
	if undecided.Load() == 0 && !testing.Short() {
		t.Error("no commit with a large payload survived without having returned")
	}
}

// checkCrashed opens the store as the crash left it.
func checkCrashed(fs vfs.FS, raw bool, check func(*store.State, *Store) error) error {
	s, err := OpenFS(fs, "data", store.Options{Raw: raw, BufferBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer s.Close()
	st, err := s.Follow(context.Background(), 0)
	if err != nil {
		return err
	}
	return check(st, s)
}

// A plug is pulled at syncs: it clones the disk as a loss of power at that
// moment would leave it, and has the clones checked.
type plug struct {
	t     *testing.T
	mem   *vfs.MemFS
	fs    vfs.FS
	every int // of the places at which a crash is possible, take one in so many
	check func(fs vfs.FS, returned, begun int64) error

	begun, returned atomic.Int64 // commits

	// held while a file is reused, and while the disk is cloned: see
	// syncHookFS.ReuseForWrite
	reuse sync.Mutex

	armed   atomic.Bool
	mu      sync.Mutex // guards what follows
	rng     *rand.Rand
	places  int
	crashes int
	clones  chan func() error
	done    sync.WaitGroup
}

func newPlug(t *testing.T, every int) *plug {
	seed := soak.Seed(t)
	p := &plug{t: t, mem: vfs.NewCrashableMem(), every: every, rng: rand.New(rand.NewPCG(1+seed, 2)), clones: make(chan func() error, 4)}
	if testing.Short() {
		p.every *= 12
	}
	if soak.Full() {
		p.every = 1
	}
	p.fs = syncHookFS{p.mem, p.pull, &p.reuse}
	return p
}

func (p *plug) arm() {
	for range 2 {
		p.done.Go(func() {
			for check := range p.clones {
				if err := check(); err != nil {
					p.t.Error(err)
				}
			}
		})
	}
	p.armed.Store(true)
}

// report logs how many crashes were checked. Fewer than the given number are a
// failure, except in make check.
func (p *plug) report(least int) {
	p.t.Helper()
	if p.crashes == 0 || p.crashes < least && !testing.Short() {
		p.t.Errorf("only %d crashes", p.crashes)
	}
	p.t.Logf("%d crashes at %d places of seed %d; in full: %d", p.crashes, p.places, soak.Seed(p.t), 3*p.places)
}

// finish waits for the checks of all clones.
func (p *plug) finish() {
	p.armed.Store(false)
	p.mu.Lock() // a pull that is under way has sent all its clones
	close(p.clones)
	p.clones = nil
	p.mu.Unlock()
	p.done.Wait()
}

func (p *plug) pull(place string) {
	if !p.armed.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.places++
	if p.clones == nil || p.places%p.every != 0 {
		return
	}
	for _, percent := range []int{0, 50, 100} {
		returned := p.returned.Load() // before the crash
		p.reuse.Lock()
		clone := p.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: p.rng})
		p.reuse.Unlock()
		begun := p.begun.Load() // after it
		p.crashes++
		crash := p.crashes
		p.clones <- func() error {
			if err := p.check(clone, returned, begun); err != nil {
				return fmt.Errorf("crash %d, %s, with %d%% of what was not synced: %w", crash, place, percent, err)
			}
			return nil
		}
	}
}

// A syncHookFS calls the hook before and after each sync of a file or folder.
type syncHookFS struct {
	vfs.FS
	hook  func(place string)
	reuse *sync.Mutex
}

func (fs syncHookFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &syncHookFile{f, fs.PathBase(name), fs.hook}, nil
}

func (fs syncHookFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, c)
	return fs.wrap(name, f, err)
}

func (fs syncHookFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.OpenReadWrite(name, c, opts...)
	return fs.wrap(name, f, err)
}

func (fs syncHookFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	return fs.wrap(name, f, err)
}

// ReuseForWrite takes turns with the cloning of the disk. Pebble's MemFS takes
// its read lock twice here, and a clone that waits for the lock in between
// would be waited for in turn.
func (fs syncHookFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	fs.reuse.Lock()
	defer fs.reuse.Unlock()
	f, err := fs.FS.ReuseForWrite(oldname, newname, c)
	return fs.wrap(newname, f, err)
}

type syncHookFile struct {
	vfs.File
	name string
	hook func(place string)
}

func (f *syncHookFile) Sync() error {
	f.hook("before the sync of " + f.name)
	err := f.File.Sync()
	f.hook("after the sync of " + f.name)
	return err
}

func (f *syncHookFile) SyncData() error {
	f.hook("before the data sync of " + f.name)
	err := f.File.SyncData()
	f.hook("after the data sync of " + f.name)
	return err
}

func (f *syncHookFile) SyncTo(length int64) (bool, error) {
	f.hook("before the partial sync of " + f.name)
	full, err := f.File.SyncTo(length)
	f.hook("after the partial sync of " + f.name)
	return full, err
}
