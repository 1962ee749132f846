package offload

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/bucketrig"
	"muniment.dev/muniment/internal/peers/link"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/objects"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
	"muniment.dev/muniment/ledger/store/memstore"
)

// A guarded store fails the test when leaves or tiles are read from it while it
// is closed.
type guarded struct {
	*memstore.Store
	t      *testing.T
	closed atomic.Bool
}

func (g *guarded) read(what string) {
	if g.closed.Load() {
		g.t.Errorf("the store is asked for %s", what)
	}
}

func (g *guarded) Tile(ctx context.Context, level uint8, index uint64) ([]entry.Hash, error) {
	g.read(fmt.Sprintf("tile %d of level %d", index, level))
	return g.Store.Tile(ctx, level, index)
}

func (g *guarded) Skeletons(ctx context.Context, from, to uint64) ([]entry.Skeleton, error) {
	g.read(fmt.Sprintf("skeletons %d to %d", from, to))
	return g.Store.Skeletons(ctx, from, to)
}

// A testLog is a log of streams in memory.
type testLog struct {
	*ledger.Ledger
	t      *testing.T
	vkey   string
	store  *guarded
	stream *ledger.Stream
}

func newLog(t *testing.T) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{t: t, vkey: vkey, store: &guarded{Store: memstore.New(), t: t}, stream: ledger.NewStream(sha256.Sum256([]byte("acme")))}
	l.Ledger, err = ledger.Open(t.Context(), ledger.Config{Store: l.store, Signer: signer, TileCache: 1, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// grow appends entries until the log has the size.
func (l *testLog) grow(size uint64) {
	l.t.Helper()
	h := &entry.Header{Origin: "log.example", Tenant: "acme", Kind: "attestation", MediaType: "text/plain", Submitter: "token:acme", Verification: entry.Verification{Result: entry.Unverified}}
	for l.Published().Size < size {
		first := l.Published().Size
		drafts := make([]ledger.Draft, min(4096, size-first))
		for i := range drafts {
			drafts[i] = ledger.Draft{Stream: l.stream, Header: h, Payload: receipt.PayloadOpening{Content: fmt.Appendf(nil, "filler %d", first+uint64(i))}}
			drafts[i].Opening.Content = []byte("{}")
		}
		if _, err := l.Append(context.Background(), drafts); err != nil {
			l.t.Fatal(err)
		}
	}
}

func always() bool { return true }

// A place is a part of a bucket that everybody can read.
type place struct {
	t      *testing.T
	rig    *bucketrig.Rig
	prefix string
}

var places atomic.Int32

func newPlace(t *testing.T, rig *bucketrig.Rig) *place {
	t.Helper()
	return &place{t, rig, fmt.Sprint("public/", places.Add(1))}
}

func (p *place) copier(l *testLog, cfg Config) *Copier {
	p.t.Helper()
	return p.copierAt(l, p.rig.Address, cfg)
}

func (p *place) copierAt(l *testLog, address string, cfg Config) *Copier {
	p.t.Helper()
	cfg.Ledger = l.Ledger
	c, err := Open(p.t.Context(), p.rig.URLAt(address, p.prefix), cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// get reads an object as everybody can.
func (p *place) get(path string) (*http.Response, []byte) {
	p.t.Helper()
	res, err := http.Get(p.rig.Public(p.prefix) + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res, body
}

// verify has Tessera's fsck read the whole log from the bucket.
func (p *place) verify(l *testLog, size uint64) {
	p.t.Helper()
	key := filepath.Join(p.t.TempDir(), "log.pub")
	if err := os.WriteFile(key, []byte(l.vkey+"\n"), 0o666); err != nil {
		p.t.Fatal(err)
	}
	out, err := exec.CommandContext(p.t.Context(), peers.Path(p.t, "fsck"), "--storage_url="+p.rig.Public(p.prefix), "--public_key="+key, "--ui=false").CombinedOutput()
	root, rootErr := l.Published().RootOf(context.Background(), size)
	if want := fmt.Sprintf("Successfully fsck'd log with size %d and root %s", size, root.Base64()); err != nil || rootErr != nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "failed") {
		p.t.Fatalf("fsck does not print %q: %v\n%s", want, err, out)
	}
}

func (p *place) files() int {
	p.t.Helper()
	all, err := p.rig.Files(p.prefix)
	if err != nil {
		p.t.Fatal(err)
	}
	return len(all)
}

// TestFiles compares the files that are written with those that a client needs.
func TestFiles(t *testing.T) {
	need := func(n uint64) map[string]bool {
		all := map[string]bool{}
		for level := uint8(0); n>>(8*level) > 0; level++ {
			for at := uint64(0); at < n>>(8*level); at += 256 {
				f := file{level: level, index: at / 256, width: int(min(256, n>>(8*level)-at))}
				all[f.path()] = true
				if level == 0 {
					f.bundle = true
					all[f.path()] = true
				}
			}
		}
		return all
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		there, size := map[string]bool{}, uint64(0)
		for range 5 {
			next := size + 1 + r.Uint64N([]uint64{3, 300, 3 * 65536}[r.IntN(3)])
			wanted := need(next)
			for f := range files(size, next) {
				if there[f.path()] || !wanted[f.path()] {
					t.Fatalf("from %d to %d: %s is written, and was there or is not needed", size, next, f.path())
				}
				there[f.path()] = true
			}
			for path := range wanted {
				if !there[path] {
					t.Fatalf("from %d to %d: %s is missing", size, next, path)
				}
			}
			size = next
		}
	}
}

func TestCopier(t *testing.T) {
	rig := bucketrig.ForTest(t)
	if err := rig.Publish(t.Context(), "public"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		run  func(*testing.T, *place)
	}{
		{"Grows", testGrows}, {"Killed", testKilled}, {"Two", testTwo}, {"Outage", testOutage}, {"Foreign", testForeign},
		{"Reads", testReads}, {"Closed", testClosed}, {"Steps", testSteps}, {"Requests", testRequests},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newPlace(t, rig)) })
	}
}

// testGrows has a stock client verify the log from the bucket alone.
func testGrows(t *testing.T, p *place) {
	l := newLog(t)
	c := p.copier(l, Config{})
	if err := c.round(t.Context(), always); err != nil || p.files() != 0 {
		t.Fatalf("an empty log: %d files, %v", p.files(), err)
	}
	for _, size := range []uint64{1, 2, 255, 256, 257, 1000, 2048} {
		l.grow(size)
		if err := c.round(t.Context(), always); err != nil {
			t.Fatal(err)
		}
		if s := c.Status(); s.Size != size || s.Behind != 0 {
			t.Errorf("size %d: status %+v", size, s)
		}
		l.store.closed.Store(true)
		p.verify(l, size)
		l.store.closed.Store(false)
	}
	for path, want := range map[string][2]string{
		"checkpoint":             {"text/plain; charset=utf-8", "public, max-age=5"},
		"tile/0/000":             {"application/octet-stream", "public, max-age=31536000, immutable"},
		"tile/entries/003.p/232": {"application/octet-stream", "public, max-age=31536000, immutable"},
	} {
		res, _ := p.get(path)
		if h := res.Header; res.StatusCode != 200 || h.Get("Content-Type") != want[0] || h.Get("Cache-Control") != want[1] {
			t.Errorf("%s: status %d, %v", path, res.StatusCode, h)
		}
	}
	if _, signed := p.get("checkpoint"); !bytes.Equal(signed, l.Published().Checkpoint) {
		t.Errorf("the checkpoint is\n%s", signed)
	}
	before := p.files()
	if err := c.round(t.Context(), always); err != nil || p.files() != before {
		t.Errorf("nothing is new, and there are %d files instead of %d: %v", p.files(), before, err)
	}
}

// testKilled interrupts a Copier after the files and before the checkpoint.
func testKilled(t *testing.T, p *place) {
	l := newLog(t)
	l.grow(300)
	if err := p.copier(l, Config{}).round(t.Context(), always); err != nil {
		t.Fatal(err)
	}
	l.grow(900)
	if err := p.copier(l, Config{}).writeFiles(t.Context(), 300, 900); err != nil {
		t.Fatal(err)
	}
	p.verify(l, 300)
	l.grow(901)
	if err := p.copier(l, Config{}).round(t.Context(), always); err != nil {
		t.Fatal(err)
	}
	p.verify(l, 901)
}

// testTwo runs two Copiers while the log grows. The checkpoint never goes back.
func testTwo(t *testing.T, p *place) {
	l := newLog(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range 2 {
		c := p.copier(l, Config{})
		running.Go(func() {
			for ctx.Err() == nil {
				if err := c.round(ctx, always); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	last := uint64(0)
	look := func() {
		res, signed := p.get("checkpoint")
		if res.StatusCode != 200 {
			return
		}
		c, err := receipt.ParseCheckpointUnverified(signed)
		if err != nil || c.Size < last {
			t.Fatalf("the checkpoint is %+v after one of size %d: %v", c, last, err)
		}
		last = c.Size
	}
	for size := uint64(1); size < 1500; size += 37 {
		l.grow(size)
		look()
	}
	for last < l.Published().Size && !t.Failed() {
		look()
	}
	cancel()
	running.Wait()
	p.verify(l, last)
}

// testOutage cuts the connection to the bucket.
func testOutage(t *testing.T, p *place) {
	l := newLog(t)
	l.grow(600)
	k, err := link.New(p.rig.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	c := p.copierAt(l, k.Address(), Config{})
	if err := c.round(t.Context(), always); err != nil {
		t.Fatal(err)
	}
	k.Cut()
	l.grow(700)
	err = c.round(t.Context(), always)
	c.note(err)
	if s := c.Status(); !errors.Is(err, store.ErrUnavailable) || s.Size != 600 || s.Behind != 100 || s.Err == "" || s.Failures[Unavailable] != 1 {
		t.Errorf("during the outage: %v, status %+v", err, s)
	}
	// It is read from the store meanwhile, and asked for once.
	for index := range uint64(2) {
		if _, err := l.EntryBundleFrom(t.Context(), c, index, 256); err != nil {
			t.Error(err)
		}
	}
	if c.pause.Load() == 0 {
		t.Error("the bucket is asked again at once")
	}
	// A bucket that is away does not keep a server from starting.
	other := p.copierAt(l, k.Address(), Config{})
	k.Join()
	if err := other.round(t.Context(), always); err != nil {
		t.Fatal(err)
	}
	err = c.round(t.Context(), always)
	c.note(err)
	if s := c.Status(); err != nil || s.Size != 700 || s.Err != "" {
		t.Errorf("after the outage: %v, status %+v", err, s)
	}
	p.verify(l, 700)
}

// testForeign has other bytes in the places of files.
func testForeign(t *testing.T, p *place) {
	ctx := t.Context()
	l := newLog(t)
	l.grow(300)
	bucket, err := objects.Open(ctx, p.rig.URL(p.prefix))
	if err != nil {
		t.Fatal(err)
	}
	put := func(path string, content []byte) {
		if _, err := bucket.Put(ctx, path, content); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what, want string) {
		t.Helper()
		c := p.copier(l, Config{})
		err := c.round(ctx, always)
		c.note(err)
		if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), want) || c.Status().Failures[Foreign] != 1 {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	good, err := l.EntryBundle(ctx, 0, 256)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[100] ^= 1
	put("tile/entries/000", bad)
	refused("another bundle", "tile/entries/000")
	if res, _ := p.get("checkpoint"); res.StatusCode == 200 {
		t.Error("a checkpoint is written whose files are damaged")
	}
	if _, now := p.get("tile/entries/000"); !bytes.Equal(now, bad) {
		t.Error("what is not the log's was overwritten")
	}
	put("tile/entries/000", good)
	for what, signed := range map[string]string{
		"no checkpoint": "hello", "too long": strings.Repeat("x", receipt.MaxCheckpointSize+1),
		"another log":     string(sign(t, "other.example", 5, entry.Hash{})),
		"a larger log":    string(sign(t, "log.example", 301, entry.Hash{})),
		"a forked log":    string(sign(t, "log.example", 200, entry.Hash{1})),
		"an empty fork":   string(sign(t, "log.example", 0, entry.Hash{1})),
		"a forked latest": string(sign(t, "log.example", 300, entry.Hash{1})),
	} {
		put("checkpoint", []byte(signed))
		refused(what, "checkpoint")
		if _, now := p.get("checkpoint"); string(now) != signed {
			t.Errorf("%s was overwritten", what)
		}
	}
	if err := bucket.Delete(ctx, "checkpoint"); err != nil {
		t.Fatal(err)
	}
	if err := p.copier(l, Config{}).round(ctx, always); err != nil {
		t.Fatal(err)
	}
	p.verify(l, 300)
}

// sign returns a checkpoint that is signed with a key of its own.
func sign(t *testing.T, origin string, size uint64, root entry.Hash) []byte {
	t.Helper()
	skey, _, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := receipt.Checkpoint{Origin: origin, Size: size, Root: root}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// testReads serves full files from the bucket, and those that are damaged there
// from the store.
func testReads(t *testing.T, p *place) {
	ctx := t.Context()
	l := newLog(t)
	l.grow(256*256 + 600)
	c := p.copier(l, Config{})
	if err := c.round(ctx, always); err != nil {
		t.Fatal(err)
	}
	l.store.closed.Store(true)
	full := func() {
		t.Helper()
		for _, index := range []uint64{0, 1, 100, 255, 256, 257} {
			data, err := l.EntryBundleFrom(ctx, c, index, 256)
			if err != nil || len(data) != 256*67 {
				t.Errorf("bundle %d: %d bytes, %v", index, len(data), err)
			}
			if _, err := l.Published().TileFrom(ctx, c, 0, index, 256); err != nil {
				t.Error(err)
			}
		}
		if _, err := l.Published().TileFrom(ctx, c, 1, 0, 256); err != nil {
			t.Error(err)
		}
	}
	full()
	l.store.closed.Store(false)
	if n := c.Status().Failures[Foreign]; n != 0 {
		t.Errorf("%d files are damaged", n)
	}

	bucket, err := objects.Open(ctx, p.rig.URL(p.prefix))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"tile/0/000", "tile/1/000", "tile/entries/001", "tile/entries/100"} {
		_, content := p.get(path)
		content[len(content)/2] ^= 1
		if path == "tile/entries/100" {
			content = content[:1000]
		}
		if _, err := bucket.Put(ctx, path, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := bucket.Delete(ctx, "tile/entries/255"); err != nil {
		t.Fatal(err)
	}
	full()
	if n := c.Status().Failures[Foreign]; n < 4 {
		t.Errorf("%d damaged files are counted", n)
	}
	// The limits of the copy: nothing beyond it is asked for.
	before := c.Status().Failures[Foreign]
	for _, f := range []file{{level: 0, index: 258}, {level: 1, index: 1}, {level: 2}, {level: 8}, {level: 63}, {bundle: true, index: 258}, {bundle: true, index: 1 << 60}} {
		if _, err := c.read(ctx, f, 1); !errors.Is(err, ledger.ErrNotCopied) {
			t.Errorf("%+v: %v", f, err)
		}
	}
	if c.Status().Failures[Foreign] != before {
		t.Error("files that nobody has written count as damaged")
	}
}

// testClosed writes nothing of a log that is not public, or that another server
// writes.
func testClosed(t *testing.T, p *place) {
	l := newLog(t)
	l.grow(10)
	idle := true
	c := p.copier(l, Config{Idle: func() bool { return idle }})
	for _, public := range []bool{true, false} {
		if err := c.round(t.Context(), func() bool { return public }); err != nil || p.files() != 0 {
			t.Fatalf("%d files, %v", p.files(), err)
		}
		idle = false
	}
	if err := c.round(t.Context(), always); err != nil || p.files() != 3 {
		t.Fatalf("%d files, %v", p.files(), err)
	}
	idle = true
	l.grow(20)
	if err := c.round(t.Context(), always); err != nil || c.Status().Behind != 10 {
		t.Fatalf("status %+v, %v", c.Status(), err)
	}
}

// testSteps catches up in steps, and continues after each.
func testSteps(t *testing.T, p *place) {
	l := newLog(t)
	for size := uint64(1); size < 3200; size += 90 {
		l.grow(size)
	}
	there := uint64(0)
	for n := range 4 {
		c := p.copier(l, Config{})
		c.step = 1000
		f, err := c.look(t.Context())
		if err != nil || f.size != there {
			t.Fatalf("the bucket has %+v, want size %d: %v", f, there, err)
		}
		if _, err := c.extend(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if there = c.size.Load(); there > uint64(n+1)*1090 {
			t.Fatalf("step %d ends at %d", n, there)
		}
	}
	if there != l.Published().Size {
		t.Errorf("the copy has %d entries", there)
	}
}

// testRequests counts requests. The costs in docs/scale-out.md are these
// numbers times the price.
func testRequests(t *testing.T, p *place) {
	var mu sync.Mutex
	counts := map[string]int{}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		mu.Lock()
		counts[r.In.Method]++
		mu.Unlock()
		r.SetURL(&url.URL{Scheme: "http", Host: p.rig.Address})
		r.Out.Host = r.In.Host // which is signed
	}})
	t.Cleanup(proxy.Close)
	l := newLog(t)
	c := p.copierAt(l, proxy.Listener.Addr().String(), Config{})
	expect := func(what string, want map[string]int) {
		t.Helper()
		if err := c.round(t.Context(), always); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if !maps.Equal(counts, want) {
			t.Errorf("%s: requests %v, want %v", what, counts, want)
		}
		counts = map[string]int{}
	}
	expect("an empty log", map[string]int{"HEAD": 1, "GET": 1}) // HEAD of the bucket
	l.grow(1024)
	full := 2 * 1024 / 256
	// and the partial tile of level 1
	expect("full files", map[string]int{"PUT": full + 1 + 1, "HEAD": full + 1, "GET": 1})
	l.grow(1024 + 10)
	expect("a checkpoint", map[string]int{"PUT": 3, "HEAD": 2, "GET": 1})
	l.grow(1024 + 300)
	expect("a checkpoint after a tile", map[string]int{"PUT": 6, "HEAD": 5, "GET": 1})
	expect("nothing new", map[string]int{"GET": 1})

	bytes := int64(0)
	all, err := p.rig.Files(p.prefix + "/tile/entries")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		if info, err := os.Stat(path); err == nil && !strings.Contains(path, ".p") {
			bytes += info.Size()
		}
	}
	if want := int64(1024+256) * 67; bytes != want {
		t.Errorf("full bundles have %d bytes, want %d", bytes, want)
	}
}
