package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/ledger/pebblestore"
	"muniment.dev/muniment/ledger/store"
)

// A filterIndex has a filter of the keys that were committed, which are behind
// those that were added.
type filterIndex struct {
	store.Index
	mu        sync.Mutex
	committed map[store.Key]bool
	err       error
}

type keySet map[store.Key]bool

func (s keySet) MayHave(k *store.Key) bool { return s[*k] }

func (x *filterIndex) KeyFilter(context.Context) (store.KeyFilter, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := keySet{}
	for k := range x.committed {
		f[k] = true
	}
	return f, x.err
}

func (x *filterIndex) commit(keys ...store.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, k := range keys {
		x.committed[k] = true
	}
}

func testKey(i uint64) (k store.Key) {
	rng := rand.NewChaCha8([32]byte{61, byte(i), byte(i >> 8), byte(i >> 16)})
	binary.BigEndian.PutUint64(k[:], rng.Uint64())
	binary.BigEndian.PutUint64(k[8:], rng.Uint64())
	return k
}

// The filter holds a few layers, whatever the number of keys, and never misses
// one. It is loaded between any two keys, with commits that are one layer
// behind.
func TestFilterIsBounded(t *testing.T) {
	const layer, n = 256, 20 * 256
	x := &filterIndex{committed: map[store.Key]bool{}}
	f := newKeyFilter(x, layer, slog.New(slog.DiscardHandler))
	unknown := testKey(1 << 20)
	if !f.mayHave(unknown) {
		t.Error("a filter that is not loaded excludes a key, which could be in the store")
	}
	rng := rand.New(rand.NewPCG(61, 1))
	most := 0
	for i := range uint64(n) {
		f.add(testKey(i))
		if i >= layer {
			x.commit(testKey(i - layer))
		}
		select {
		case <-f.full:
			f.load(t.Context())
		default:
			if rng.IntN(100) == 0 {
				f.load(t.Context())
			}
		}
		most = max(most, len(f.parts.Load().layers))
		if j := rng.Uint64N(i + 1); !f.mayHave(testKey(j)) {
			t.Fatalf("after %d keys, number %d is not in the filter", i+1, j)
		}
	}
	for i := range uint64(n) {
		if !f.mayHave(testKey(i)) {
			t.Fatalf("key %d is not in the filter", i)
		}
	}
	if most > 3 {
		t.Errorf("the filter had up to %d layers, want at most 3", most)
	}
	if f.mayHave(unknown) {
		t.Error("the filter has a key that was never added")
	}
	x.err = errors.New("damaged")
	f.load(t.Context())
	if !f.mayHave(unknown) {
		t.Error("without the store's filter, a key is excluded")
	}
}

// After commits of other servers, every key may be in the store until the
// store's filter was taken again.
func TestFilterAfterOtherServers(t *testing.T) {
	x := &filterIndex{committed: map[store.Key]bool{}}
	f := newKeyFilter(x, 256, slog.New(slog.DiscardHandler))
	f.load(t.Context())
	theirs, unknown := testKey(1), testKey(2)
	if f.mayHave(theirs) || len(f.behind) > 0 {
		t.Fatal("an empty filter has a key")
	}
	x.commit(theirs)
	f.followed.Add(1)
	if !f.mayHave(theirs) || !f.mayHave(unknown) {
		t.Fatal("a filter that lacks keys of other servers excludes some")
	}
	if len(f.behind) == 0 {
		t.Fatal("the filter does not ask for the keys of other servers")
	}
	f.load(t.Context())
	if !f.mayHave(theirs) || f.mayHave(unknown) {
		t.Error("a filter that was taken again does not have what the store has")
	}
}

// A countingFS counts the bytes that are read from its files.
type countingFS struct {
	vfs.FS
	bytes *atomic.Int64
}

func (fs countingFS) Open(path string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.Open(path, opts...)
	if err != nil {
		return nil, err
	}
	return countingFile{f, fs.bytes}, nil
}

type countingFile struct {
	vfs.File
	bytes *atomic.Int64
}

func (f countingFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.bytes.Add(int64(n))
	return n, err
}

func (f countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.bytes.Add(int64(n))
	return n, err
}

// A rowCounter counts the projections that are read.
type rowCounter struct {
	store.Store
	rows atomic.Int64
}

func (s *rowCounter) Projections(ctx context.Context) iter.Seq2[store.Projection, error] {
	return func(yield func(store.Projection, error) bool) {
		for p, err := range s.Store.Projections(ctx) {
			s.rows.Add(1)
			if !yield(p, err) {
				return
			}
		}
	}
}

// What opening reads does not depend on the size of the log. After a clean stop
// it is the last tiles of the tree. After a crash it is also the write-ahead
// log, which the buffers in memory limit.
func TestOpenReadsNoMoreOfALargeLog(t *testing.T) {
	const (
		buffer = 256 << 10
		row    = 9 << 10 // a tile, and its share of the file's index
	)
	fs := memDisk(true)
	tl := newTestLogOn(t, Config{}, openPebble(t, fs))
	reads := func(fs vfs.FS) int64 {
		t.Helper()
		c := countingFS{fs, new(atomic.Int64)}
		engine, err := pebblestore.OpenFS(c, "data", store.Options{BufferBytes: buffer, CacheBytes: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		s := &rowCounter{Store: engine}
		cfg := tl.cfg
		cfg.Store = s
		l, err := Open(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		n := c.bytes.Load()
		l.Close()
		if err := engine.Close(); err != nil {
			t.Fatal(err)
		}
		if n := s.rows.Load(); n != 0 {
			t.Errorf("opening a log of %d entries read %d keys and postings", l.Published().Size, n)
		}
		return n
	}
	base := int64(0)
	for _, size := range []uint64{512, 8192} {
		for tl.Published().Size < size {
			tl.fill(t, fmt.Sprint(tl.Published().Size), 256)
		}
		image := fs.CrashClone(vfs.CrashCloneCfg{})
		crash := reads(image)
		clean := reads(image)
		tiles := int64(size / store.TileWidth)
		if base == 0 {
			base = clean - tiles*row
		}
		if most := base + 256<<10 + tiles*row; clean > most {
			t.Errorf("opening a log of %d entries read %d bytes, want at most %d", size, clean, most)
		}
		// as journal, to prove the state, and to write; three buffers wait
		if most := clean + 3*5*buffer; crash > most {
			t.Errorf("opening a log of %d entries after a crash read %d bytes, want at most %d", size, crash, most)
		}
	}
	tl.Close()
	if err := tl.cfg.Store.Close(); err != nil {
		t.Fatal(err)
	}
}
