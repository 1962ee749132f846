package pebblestore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A workload makes commits like those of a busy log: one tenant, headers of 600
// bytes, and payloads of 1 KiB that don't compress. All its noise comes from
// one generator, and each commit reuses the memory of the one before, so that a
// benchmark measures the store.
type workload struct {
	rng    *rand.ChaCha8
	c      store.Commit
	stream store.StreamHead
	leaves []entry.Hash
}

const (
	payloadBytes = 1 << 10
	headerBytes  = 600
)

func newWorkload(batch int) *workload {
	w := &workload{rng: rand.NewChaCha8([32]byte{1})}
	w.read(w.stream.StreamID[:])
	w.c.Entries = make([]store.Entry, batch)
	for i := range w.c.Entries {
		w.c.Entries[i].Payload.Content = make([]byte, payloadBytes)
	}
	return w
}

func (w *workload) read(b []byte) { w.rng.Read(b) }

func (w *workload) hash() (h entry.Hash) {
	w.read(h[:])
	return h
}

// header returns the header of a typical attestation from a CI job.
func (w *workload) header() []byte {
	commitment, subject := w.hash(), w.hash()
	return fmt.Appendf(nil, `{"origin":"log.example.com/2026","tenant":"acme-payments","kind":"attestation",`+
		`"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","subjects":[{"name":"registry.example.com/acme/payments-api",`+
		`"digest":{"sha256":"%s"}}],"predicateType":"https://slsa.dev/provenance/v1","signers":[{"identity":`+
		`"https://github.com/acme/payments-api/.github/workflows/release.yml@refs/heads/main","issuer":`+
		`"https://token.actions.githubusercontent.com"}],"submitter":"ci@acme-payments","verification":{"result":"unverified"},`+
		`"payload":{"commitment":"%s","size":1024}}`, hex.EncodeToString(subject[:]), commitment.Base64())
}

// next fills the commit with new entries: a key and three terms for each, one
// of which all entries have.
func (w *workload) next() *store.Commit {
	c := &w.c
	c.From += uint64(len(c.Entries))
	if w.stream.Next == 0 {
		c.From = 0
	}
	c.Root = w.hash()
	c.Keys, c.Postings, c.Tiles = c.Keys[:0], c.Postings[:0], c.Tiles[:0]
	for i := range c.Entries {
		e, at := &c.Entries[i], c.From+uint64(i)
		header := w.header()
		e.Skeleton = entry.Skeleton{
			Tag: w.hash(), LinkSalt: entry.Salt(w.hash()), StreamID: w.stream.StreamID, Seq: w.stream.Next, Prev: w.stream.Last,
			Time: 1_700_000_000_000 + at/50, HeaderHash: w.hash(),
		}
		e.Header = receipt.HeaderOpening{Salt: entry.Salt(w.hash()), Content: header}
		e.Payload.Salt = entry.Salt(w.hash())
		w.read(e.Payload.Content)
		w.stream.Next++
		w.stream.Last = w.hash()
		c.Keys = append(c.Keys, store.KeyAt{Key: store.Key(w.stream.Last[:]), Index: at})
		c.Postings = append(c.Postings, store.PostingAt{Term: store.Term{1}, Index: at},
			store.PostingAt{Term: w.term("repository", 500), Index: at}, store.PostingAt{Term: store.Term(e.Header.Salt[:16]), Index: at})
		w.leaves = append(w.leaves, w.stream.Last)
		if len(w.leaves) == store.TileWidth {
			c.Tiles = append(c.Tiles, store.Tile{Index: at / store.TileWidth, Hashes: store.TileNodes(w.leaves)})
			w.leaves = make([]entry.Hash, 0, store.TileWidth)
		}
	}
	c.Heads = append(c.Heads[:0], w.stream)
	c.Checkpoint = nil
	if c.From > 0 {
		c.Checkpoint = &store.Checkpoint{Size: c.From, Signed: []byte(strings.Repeat("x", 250))}
	}
	return c
}

func (w *workload) term(what string, of uint64) store.Term {
	h := sha256.Sum256(strconv.AppendUint([]byte(what), w.rng.Uint64()%of, 10))
	return store.Term(h[:16])
}

func benchOpen(b testing.TB, dir string) *Store {
	b.Helper()
	s, err := Open(dir, store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkCommit(b *testing.B) {
	for _, batch := range []int{1, 64, 512, 2048} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) {
			s := benchOpen(b, b.TempDir())
			defer s.Close()
			// Making entries costs more than committing them, so the same noise
			// is used again under new keys.
			const distinct = 8
			var commits []*store.Commit
			for range distinct {
				commits = append(commits, newWorkload(batch).next())
			}
			w := newWorkload(1)
			var at uint64
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				c := commits[i%distinct]
				renumber(c, at, w)
				at += uint64(batch)
				if err := s.Commit(context.Background(), c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(at)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/commit")
		})
	}
}

// renumber moves the commit to another place of the log.
func renumber(c *store.Commit, from uint64, w *workload) {
	for i := range c.Keys {
		w.read(c.Keys[i].Key[:])
		c.Keys[i].Index += from - c.From
	}
	for i := range c.Postings {
		if i%3 == 2 {
			w.read(c.Postings[i].Term[:])
		}
		c.Postings[i].Index += from - c.From
	}
	c.Tiles = c.Tiles[:0]
	for i := (from + store.TileWidth - 1) / store.TileWidth; (i+1)*store.TileWidth <= from+uint64(len(c.Entries)); i++ {
		c.Tiles = append(c.Tiles, store.Tile{Index: i, Hashes: fullTile})
	}
	c.From = from
}

var fullTile = make([]entry.Hash, store.TileHashes)

// BenchmarkRead reads from a log of 200,000 entries.
func BenchmarkRead(b *testing.B) {
	s := benchOpen(b, b.TempDir())
	defer s.Close()
	w := newWorkload(512)
	var keys []store.Key
	const commits = 400
	for range commits {
		c := w.next()
		keys = append(keys, c.Keys[0].Key)
		if err := s.Commit(context.Background(), c); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	const size = commits * 512
	rng := rand.New(rand.NewPCG(1, 1))
	ctx := context.Background()
	for _, read := range []struct {
		name string
		read func() error
	}{
		{"Tile", func() error { _, err := s.Tile(ctx, 0, rng.Uint64N(size/256)); return err }},
		{"Skeleton", func() error { i := rng.Uint64N(size); _, err := s.Skeletons(ctx, i, i+1); return err }},
		{"Skeletons256", func() error { i := rng.Uint64N(size - 256); _, err := s.Skeletons(ctx, i, i+256); return err }},
		{"Header", func() error { _, err := s.Header(ctx, rng.Uint64N(size)); return err }},
		{"Payload", func() error { _, err := s.Payload(ctx, rng.Uint64N(size)); return err }},
		{"LookupFound", func() error { _, err := s.Lookup(ctx, keys[rng.IntN(len(keys))]); return err }},
		{"LookupMissing", func() error { s.Lookup(ctx, store.Key(binaryNoise(rng))); return nil }},
		{"Postings", func() error {
			p, err := s.Postings(ctx, store.Term{1})
			if err != nil {
				return err
			}
			defer p.Close()
			_, _, err = p.SeekGE(rng.Uint64N(size))
			return err
		}},
	} {
		b.Run(read.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := read.read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func binaryNoise(rng *rand.Rand) (k [16]byte) {
	for i := range k {
		k[i] = byte(rng.Uint32())
	}
	return k
}

// TestDiskSize measures what an entry takes on disk, beyond its payload. It
// takes a while, so it runs when asked for:
//
//	PEBBLESTORE_MEASURE=200000 go test -run TestDiskSize -v ./ledger/pebblestore
func TestDiskSize(t *testing.T) {
	entries, err := strconv.Atoi(os.Getenv("PEBBLESTORE_MEASURE"))
	if err != nil {
		t.Skip("set PEBBLESTORE_MEASURE to a number of entries")
	}
	for _, batch := range []int{512, 8} {
		dir := t.TempDir()
		s := benchOpen(t, dir)
		w := newWorkload(batch)
		n := 0
		for ; n < entries; n += batch {
			if err := s.Commit(context.Background(), w.next()); err != nil {
				t.Fatal(err)
			}
		}
		report := func(when string) {
			m := s.db.Metrics()
			var tables int64
			for _, l := range m.Levels {
				tables += l.TablesSize
			}
			per := func(size int64) float64 { return float64(size) / float64(n) }
			t.Logf("batches of %d, %s: %.0f bytes/entry beyond the payload (tables %.0f, blobs %.0f)",
				batch, when, per(tables+int64(m.BlobFiles.LiveSize))-payloadBytes, per(tables), per(int64(m.BlobFiles.LiveSize))-payloadBytes)
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
		report("flushed")
		if err := s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, true); err != nil {
			t.Fatal(err)
		}
		report("compacted")
		if testing.Verbose() && batch == 512 {
			t.Log(s.db.Metrics())
		}
		mustClose(t, s)
	}
}
