package ledger

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/pebblestore"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// A log of any size can be closed and opened again. It is the same log, and
// continues like one that was never closed.
func TestReopenAtAnySize(t *testing.T) {
	soak.WithoutRace(t)
	rapid.Check(t, func(rt *rapid.T) {
		tl := newTestLog(t, Config{})
		defer tl.Close()
		tenants := []*testTenant{acme, globex}
		for step := range rapid.IntRange(1, 3).Draw(rt, "steps") {
			n := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(200, 300), rapid.SampledFrom([]int{255, 256, 257, 511, 512, 513})).Draw(rt, "entries")
			var drafts []Draft
			for i := range n {
				drafts = append(drafts, tenants[i*7/5%2].draft(fmt.Sprint(step, " ", i)))
			}
			if _, err := tl.Append(context.Background(), drafts); err != nil {
				rt.Fatal(err)
			}
			before := tl.Published()
			tl.restart(t)
			after := tl.Published()
			if after.Size != before.Size || after.Root != before.Root || after.Time != before.Time || string(after.Checkpoint) != string(before.Checkpoint) {
				rt.Fatalf("reopened at size %d: root %s, time %d, before %d, %s, %d", after.Size, after.Root, after.Time, before.Size, before.Root, before.Time)
			}
			tl.mustAppend(t, acme.draft(fmt.Sprint("after step ", step)))
			p := tl.Published()
			path, err := p.ConsistencyProof(context.Background(), before.Size, p.Size)
			if err != nil {
				rt.Fatal(err)
			}
			if err := receipt.VerifyConsistency(before.Size, p.Size, before.Root, p.Root, path); err != nil {
				rt.Fatal(err)
			}
		}
		checkLogSample(t, tl, max(1, tl.Published().Size/8), tenants...)
	})
}

// A damagedStore returns some rows with one bit changed.
type damagedStore struct {
	store.Store
	skeleton int64 // of this index; -1: none
	tile     int64 // of level 0 and this index
	root     bool
}

func (s *damagedStore) Follow(ctx context.Context, from uint64) (*store.State, error) {
	st, err := s.Store.Follow(ctx, 0)
	if err == nil && s.root {
		st.Root[7] ^= 1
	}
	return st, err
}

func (s *damagedStore) Skeletons(ctx context.Context, from, to uint64) ([]entry.Skeleton, error) {
	sk, err := s.Store.Skeletons(ctx, from, to)
	if i := uint64(s.skeleton); err == nil && i >= from && i < to {
		sk[i-from].LinkSalt[3] ^= 0x80
	}
	return sk, err
}

func (s *damagedStore) Tile(ctx context.Context, level uint8, index uint64) ([]entry.Hash, error) {
	hashes, err := s.Store.Tile(ctx, level, index)
	if err == nil && level == 0 && index == uint64(s.tile) {
		hashes[100][5] ^= 2
	}
	return hashes, err
}

func TestDamagedStoreIsRefused(t *testing.T) {
	tl := newTestLog(t, Config{})
	tl.fill(t, "entry", 600)
	tl.Close()
	sound := tl.store
	for name, s := range map[string]*damagedStore{
		"last skeleton":     {skeleton: 599, tile: -1},
		"skeleton":          {skeleton: 512, tile: -1},
		"first full tile":   {skeleton: -1, tile: 0},
		"last full tile":    {skeleton: -1, tile: 1},
		"root of tree head": {skeleton: -1, tile: -1, root: true},
	} {
		s.Store = sound
		cfg := tl.cfg
		cfg.Store = s
		l, err := Open(context.Background(), cfg)
		if err == nil {
			l.Close()
			t.Errorf("%s damaged: the log was opened", name)
		} else if !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s damaged: got error %v", name, err)
		}
	}
	tl.open(t, sound)
	checkLogSample(t, tl, 60, acme)
}

// memDisk is a disk in memory for the embedded engine.
func memDisk(crashable bool) *vfs.MemFS {
	fs := vfs.NewMem()
	if crashable {
		fs = vfs.NewCrashableMem()
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	return fs
}

func openPebble(t testing.TB, fs vfs.FS) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.OpenFS(fs, "data", store.Options{BufferBytes: 256 << 10, CacheBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openFolder opens a new store in a folder of the disk.
func openFolder(t testing.TB) store.Store {
	t.Helper()
	s, err := engine.Open(t.Context(), engine.InFolder(filepath.Join(t.TempDir(), "data")), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// The same submissions, in batches of other sizes and on other engines, make
// logs of the same entries, whatever their order.
func TestSameSubmissionsOtherBatches(t *testing.T) {
	engines := map[string]func(t *testing.T) store.Store{
		"memstore": func(*testing.T) store.Store { return memstore.New() },
		"pebblestore": func(t *testing.T) store.Store {
			s := openPebble(t, memDisk(false))
			t.Cleanup(func() { s.Close() })
			return s
		},
		"pebblestore on disk": func(t *testing.T) store.Store {
			return openFolder(t)
		},
	}
	tenants := []*testTenant{acme, globex, newTestTenant("initech")}
	const submissions, distinct = 600, 450
	submission := func(i int) Draft {
		i = i * i % distinct // some come again
		if i%5 == 0 {
			return tenants[i%3].event(fmt.Sprint("key ", i/7), fmt.Sprint("event ", i/7))
		}
		return tenants[i%3].draft(fmt.Sprint("evidence ", i/2), func(h *entry.Header) {
			if i%3 == 0 {
				provenance(h)
			}
		})
	}
	want := ""
	for name, engine := range engines {
		for _, batch := range []int{1, 7, 4096} {
			for _, callers := range []int{1, 8} {
				if name == "pebblestore on disk" && batch != 7 {
					continue // it is slow
				}
				t.Run(fmt.Sprintf("%s, batches of %d, %d callers", name, batch, callers), func(t *testing.T) {
					tl := newTestLogOn(t, Config{MaxBatchEntries: batch}, engine(t))
					t.Cleanup(func() { tl.Close() }) // before the engine
					var pending []<-chan answer
					for i := range submissions {
						pending = append(pending, tl.appendLater(submission(i)))
						if len(pending) == callers {
							for _, c := range pending {
								if a := <-c; a.err != nil || a.results[0].Err != nil {
									t.Fatal(a)
								}
							}
							pending = nil
						}
					}
					checkLogSample(t, tl, 29, tenants...)
					if got := contents(t, tl, tenants); want == "" {
						want = got
					} else if got != want {
						t.Errorf("the log holds\n%s\nand not\n%s", got, want)
					}
				})
			}
		}
	}
}

// contents lists the payloads of each tenant, sorted.
func contents(t *testing.T, tl *testLog, tenants []*testTenant) string {
	t.Helper()
	var lines []string
	for _, tt := range tenants {
		for _, i := range listIndexes(t, tl.Ledger, tt.stream, Query{Limit: 100}) {
			p, err := readPayload(context.Background(), tl.Ledger, tt.stream, i)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, tt.name+" "+string(p.Content))
		}
	}
	return sortedLines(lines)
}
