package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

const testOrigin = "ledger.example/log"

// testKey makes a signer that is the same each time, and the policy that trusts
// it.
func testKey(t testing.TB, name, seed string) (note.Signer, *receipt.TrustPolicy) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(&seedReader{seed: seed}, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	p, err := receipt.ParseTrustPolicy("test", []byte(receipt.FormatTrustPolicy(vkey)))
	if err != nil {
		t.Fatal(err)
	}
	return s, p
}

type seedReader struct {
	seed string
	n    byte
}

func (r *seedReader) Read(b []byte) (int, error) {
	for i := range b {
		h := sha256.Sum256(append([]byte(r.seed), r.n))
		b[i], r.n = h[0], r.n+1
	}
	return len(b), nil
}

// A testLog is a tree made by golang.org/x/mod/sumdb/tlog, which shares no code
// with this package or package receipt.
type testLog struct {
	leaves [][]byte
	stored []tlog.Hash
}

func (l *testLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = l.stored[x]
	}
	return out, nil
}

func (l *testLog) add(leaf []byte) {
	h, err := tlog.StoredHashes(int64(len(l.leaves)), leaf, l)
	if err != nil {
		panic(err)
	}
	l.leaves = append(l.leaves, leaf)
	l.stored = append(l.stored, h...)
}

// noise adds n entries of other tenants.
func (l *testLog) noise(n int, label string) {
	for range n {
		l.add(noiseLeaf(label, len(l.leaves)))
	}
}

func noiseLeaf(label string, i int) []byte {
	seed := binary.BigEndian.AppendUint64([]byte(label), uint64(i))
	d := entry.LeafData(sha256.Sum256(seed), sha256.Sum256(append(seed, 'e')))
	return d[:]
}

var tenantKey = entry.StreamKey(sha256.Sum256([]byte("tenant")))

// entry adds the entry of the tenant with the sequence number.
func (l *testLog) entry(seq uint64) {
	l.add(tenantLeaf(seq, "first"))
}

func tenantLeaf(seq uint64, label string) []byte {
	s := entry.Skeleton{
		Tag:        tenantKey.Tag(seq),
		LinkSalt:   sha256.Sum256([]byte(label)),
		StreamID:   tenantKey.StreamID(),
		Seq:        seq,
		Prev:       sha256.Sum256([]byte("prev")),
		Time:       1_700_000_000_000 + seq,
		HeaderHash: sha256.Sum256([]byte("header")),
	}
	d := s.LeafData(entry.HashOrigin(testOrigin))
	return d[:]
}

// prefix returns another log that begins with the first n entries.
func (l *testLog) prefix(n int) *testLog {
	return &testLog{
		leaves: append([][]byte(nil), l.leaves[:n]...),
		stored: append([]tlog.Hash(nil), l.stored[:tlog.StoredHashIndex(0, int64(n))]...),
	}
}

func (l *testLog) root(t testing.TB, size int) entry.Hash {
	t.Helper()
	if size == 0 {
		return sha256.Sum256(nil)
	}
	h, err := tlog.TreeHash(int64(size), l)
	if err != nil {
		t.Fatal(err)
	}
	return entry.Hash(h)
}

// tile returns the tile that an honest server has at the path for a tree of the
// size, or nil.
func (l *testLog) tile(size int, path string) []byte {
	t, err := torchwood.ParseTilePath(path)
	if err != nil {
		return nil
	}
	level := max(t.L, 0)
	if n := uint64(size) >> (8 * level); uint64(t.N)*tileWidth+uint64(t.W) > n {
		return nil
	}
	if t.L >= 0 {
		data, err := tlog.ReadTileData(t, l)
		if err != nil {
			panic(err)
		}
		return data
	}
	var data []byte
	for _, leaf := range l.leaves[t.N*tileWidth:][:t.W] {
		if data, err = torchwood.AppendTileEntry(data, leaf); err != nil {
			panic(err)
		}
	}
	return data
}

// A testServer serves a log at one size, with the changes that a test makes. It
// is a Source and an http.Handler.
type testServer struct {
	t      testing.TB
	log    *testLog
	size   int
	signer note.Signer
	origin string

	checkpoint func(honest []byte) []byte            // nil: as it is
	change     map[string]func(honest []byte) []byte // by path; nil as a result: there is nothing
	fail       func(ctx context.Context, path string) error

	mu    sync.Mutex
	asked []string // paths, in order
}

func newServer(t testing.TB, log *testLog, size int) (*testServer, *receipt.TrustPolicy) {
	t.Helper()
	signer, policy := testKey(t, testOrigin, "log")
	return &testServer{t: t, log: log, size: size, signer: signer, origin: testOrigin, change: map[string]func([]byte) []byte{}}, policy
}

func (s *testServer) signed() []byte {
	signed, err := receipt.Checkpoint{Origin: s.origin, Size: uint64(s.size), Root: s.log.root(s.t, s.size)}.Sign(s.signer)
	if err != nil {
		s.t.Error(err)
	}
	return signed
}

func (s *testServer) ReadEndpoint(ctx context.Context, path string, limit int64) ([]byte, error) {
	s.mu.Lock()
	s.asked = append(s.asked, path)
	s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.fail != nil {
		if err := s.fail(ctx, path); err != nil {
			return nil, err
		}
	}
	var data []byte
	if path == "checkpoint" {
		data = s.signed()
		if s.checkpoint != nil {
			data = s.checkpoint(data)
		}
	} else {
		data = s.log.tile(s.size, path)
		if f := s.change[path]; f != nil {
			data = f(bytes.Clone(data))
		}
	}
	if data == nil {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return data[:min(int64(len(data)), limit+1)], nil
}

func (s *testServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/tlog/")
	data, err := s.ReadEndpoint(r.Context(), path, math.MaxInt64-1)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Write(data)
}

// http serves the log on a socket and returns a source that reads from there.
func (s *testServer) http() *HTTPSource {
	s.t.Helper()
	server := httptest.NewServer(s)
	s.t.Cleanup(server.Close)
	src, err := NewHTTPSource(server.URL+"/tlog", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	src.pause = func(int) time.Duration { return 0 }
	return src
}

// paths returns all files of the tree that an audit from the first entry reads.
func (s *testServer) paths() []string {
	var out []string
	for l := -1; ; l++ {
		n := uint64(s.size) >> (8 * max(l, 0))
		if n == 0 {
			return out
		}
		for i := uint64(0); i < n; i += tileWidth {
			out = append(out, torchwood.TilePath(tlog.Tile{H: torchwood.TileHeight, L: l, N: int64(i / tileWidth), W: int(min(tileWidth, n-i))}))
		}
	}
}

// flip returns a change that flips a bit of the byte at i; a negative i counts
// from the end.
func flip(i int) func([]byte) []byte {
	return func(b []byte) []byte {
		if i < 0 {
			i += len(b)
		}
		b[i] ^= 0x10
		return b
	}
}

func missing([]byte) []byte { return nil }

// memory is a Source that only looks up files in memory.
type memory map[string][]byte

func (m memory) ReadEndpoint(_ context.Context, path string, _ int64) ([]byte, error) {
	if data, ok := m[path]; ok {
		return data, nil
	}
	return nil, fs.ErrNotExist
}
