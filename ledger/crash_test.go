package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/pebblestore"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A witnessed receipt is one that a caller received and verified.
type witnessed struct {
	draft Draft
	*receipt.Statement
}

// A crashRecorder clones the disk as a loss of power would leave it, and
// records the answers that callers and readers had received by then.
type crashRecorder struct {
	fs     *vfs.MemFS
	rng    *rand.Rand
	chance float64

	mu     sync.Mutex
	acked  []witnessed
	ledger *Ledger
	images []crashImage
}

type crashImage struct {
	op     string
	fs     *vfs.MemFS
	acked  []witnessed
	states []*Published
}

// before is called ahead of every operation on the disk.
func (r *crashRecorder) before(op errorfs.Op) error {
	sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
	if !sync && op.Kind != errorfs.OpRename && op.Kind != errorfs.OpCreate && op.Kind != errorfs.OpRemove {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.images) == 60 || r.rng.Float64() > r.chance {
		return nil
	}
	// First what is known, then the disk: what was acknowledged before must be
	// on it.
	image := crashImage{op: fmt.Sprint(op.Kind, " ", op.Path), acked: append([]witnessed(nil), r.acked...)}
	if r.ledger != nil {
		image.states = append(image.states, r.ledger.Published())
	}
	image.fs = r.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.rng.IntN(3) * 50, RNG: r.rng})
	r.images = append(r.images, image)
	return nil
}

// Power is lost at many moments of a log under load. Whatever a caller holds a
// receipt of is in the log that is opened afterwards, and that log continues
// every tree that anybody was shown.
func TestCrash(t *testing.T) {
	r := &crashRecorder{fs: memDisk(true), rng: rand.New(rand.NewPCG(1, 2)), chance: 0.15}
	engine, err := pebblestore.OpenFS(errorfs.Wrap(r.fs, errorfs.InjectorFunc(r.before)), "data", store.Options{BufferBytes: 64 << 10, CacheBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	tl := newTestLogOn(t, Config{MaxBatchEntries: 16}, engine)
	r.mu.Lock()
	r.ledger = tl.Ledger
	r.mu.Unlock()
	tenants := []*testTenant{acme, globex}
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := range 60 {
				// every other worker sends the same
				d := tenants[w%2].draft(fmt.Sprintf("%d of %d: %s", i, w%3, string(make([]byte, 2000*(i%3)))))
				res, err := tl.Append(context.Background(), []Draft{d})
				if err != nil {
					t.Error(err)
					return
				}
				s, err := receipt.Verify(res[0].Receipt, []*receipt.TrustPolicy{tl.policy}, receipt.Options{Payload: d.Payload.Content, StreamKey: &d.Stream.Key})
				if err != nil {
					t.Error(err)
					return
				}
				r.mu.Lock()
				r.acked = append(r.acked, witnessed{d, s})
				r.mu.Unlock()
			}
		})
	}
	wg.Wait()
	checkLogSample(t, tl, 17, tenants...)
	tl.Close()
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.images) < 20 {
		t.Fatalf("only %d crashes were simulated", len(r.images))
	}
	acked := 0
	for i, image := range r.images {
		checkCrash(t, tl, i, image, tenants)
		acked += len(image.acked)
	}
	t.Logf("%d crashes, %d receipts checked", len(r.images), acked)
}

func checkCrash(t *testing.T, crashed *testLog, n int, image crashImage, tenants []*testTenant) {
	t.Helper()
	ctx := context.Background()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("crash %d, before %s: %s", n, image.op, fmt.Sprintf(format, args...))
	}
	image.fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	engine := openPebble(t, image.fs)
	defer engine.Close()
	tl := &testLog{cfg: crashed.cfg, clock: crashed.clock, hooks: &hooks{}, policy: crashed.policy}
	tl.open(t, engine)
	defer func() { tl.Close() }()
	check := func() {
		t.Helper()
		p := tl.Published()
		continues := func(size uint64, root entry.Hash) {
			t.Helper()
			path, err := p.ConsistencyProof(ctx, size, p.Size)
			if err != nil {
				fail("the tree of size %d was shown: %v", size, err)
			}
			if err := receipt.VerifyConsistency(size, p.Size, root, p.Root, path); err != nil {
				fail("the log has forked: %v", err)
			}
		}
		for _, s := range image.states {
			continues(s.Size, s.Root)
		}
		for _, w := range image.acked {
			if leaf, err := tl.LeafHash(ctx, p, w.Index); err != nil || leaf != w.LeafHash {
				fail("entry %d was acknowledged, and now its leaf is %s, %v, not %s", w.Index, leaf, err, w.LeafHash)
			}
			continues(w.Size, w.Root)
		}
	}
	check()
	if len(image.acked) > 0 {
		last := image.acked[len(image.acked)-1]
		if r := tl.mustAppend(t, last.draft)[0]; !r.Duplicate || r.Index != last.Index {
			fail("acknowledged evidence, submitted again: %+v", r)
		}
	}
	tl.mustAppend(t, acme.draft("after the crash"), globex.draft("after the crash"))
	check()
	checkLogSample(t, tl, 23, tenants...)
}
