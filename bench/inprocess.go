package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io/fs"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// A log is a ledger on a Pebble store, with one tenant.
type log struct {
	ledger *ledger.Ledger
	store  store.Store
	ingest *ingest.Ingester
	who    ingest.Submitter
	policy *receipt.TrustPolicy
	dir    string
}

func (b *bench) open(name string) *log { return b.openWith(name, store.Options{}) }

func (b *bench) openWith(name string, o store.Options) *log {
	return b.openStore(name, engine.InFolder(filepath.Join(b.dir, name)), o)
}

// openStore creates a log in a store.
func (b *bench) openStore(name, url string, o store.Options) *log {
	skey, vkey, err := note.GenerateKey(rand.Reader, "bench.example")
	check(err)
	signer, err := note.NewSigner(skey)
	check(err)
	l := &log{dir: filepath.Join(b.dir, name)}
	l.store, err = engine.Open(context.Background(), engine.For(url, filepath.Join(l.dir, "store"), name), o)
	check(err)
	l.ledger, err = ledger.Open(context.Background(), ledger.Config{Store: l.store, Signer: signer, Fatal: check, EntryCache: ledger.DefaultEntryCache})
	check(err)
	l.policy, err = receipt.ParseTrustPolicy("bench", []byte(receipt.FormatTrustPolicy(vkey)))
	check(err)
	l.ingest = &ingest.Ingester{Ledger: l.ledger, MaxPayload: 16 << 20}
	l.who = ingest.Submitter{Tenant: "bench", Identity: "token:bench", Stream: ledger.NewStream(entry.StreamKey{1})}
	return l
}

func (l *log) close() {
	l.ledger.Close()
	check(l.store.Close())
}

// noise is what evidence is cut from, so that making it costs little beside
// recording it.
var noise = sync.OnceValue(func() []byte {
	b := make([]byte, 4<<20)
	rand.Read(b)
	return b
})

var made atomic.Uint64

// evidence returns 1 KiB that is like no other and does not compress.
func evidence(rng *mrand.ChaCha8) []byte {
	all := noise()
	at := rng.Uint64() % uint64(len(all)-1024)
	p := append(make([]byte, 0, 1024), all[at:at+1024]...)
	p[0] = 'e' // not what a text in UTF-16 begins with
	binary.BigEndian.PutUint64(p[1:], made.Add(1))
	return p
}

func newRNG() *mrand.ChaCha8 {
	var seed [32]byte
	rand.Read(seed[:])
	return mrand.NewChaCha8(seed)
}

const opaque = "application/octet-stream"

// append records n submissions in one call and returns the receipt of the last.
func (l *log) append(rng *mrand.ChaCha8, n int) []byte {
	subs := make([]ingest.Submission, n)
	for i := range subs {
		subs[i] = ingest.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: evidence(rng)}
	}
	res, err := l.ingest.Append(context.Background(), l.who, subs)
	check(err)
	for i := range res {
		check(res[i].Err)
	}
	return res[n-1].Receipt
}

// during runs f in n goroutines until the time is over, and returns how often
// it ran a second.
func during(n int, d time.Duration, f func(worker int, rng *mrand.ChaCha8)) float64 {
	var count atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	end := start.Add(d)
	for w := range n {
		wg.Go(func() {
			for rng := newRNG(); time.Now().Before(end); {
				f(w, rng)
				count.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(count.Load()) / time.Since(start).Seconds()
}

// oneAppender measures the whole way in but HTTP, from submission to complete,
// durable receipt, of one caller.
func (b *bench) oneAppender() {
	l := b.open("one")
	var s sample
	rng := newRNG()
	for start := time.Now(); time.Since(start) < time.Duration(*seconds)*time.Second/2; {
		t := time.Now()
		l.append(rng, 1)
		s = append(s, time.Since(t))
	}
	row("in process, one appender: receipt", s.String(), fmt.Sprintf("%.1f× one synced Pebble record", s.quantile(0.5).Seconds()/b.limits["pebble"]))
	l.close()
}

// appenders measures the same of n callers at once.
func (b *bench) appenders(n int) {
	l := b.open(fmt.Sprint("appenders-", n))
	noise()
	before := processorTime()
	r := during(n, time.Duration(*seconds)*time.Second, func(_ int, rng *mrand.ChaCha8) { l.append(rng, 1) })
	used := (processorTime() - before) / time.Duration(l.ledger.Published().Size)
	beside := fmt.Sprintf("%s of processor time each", round(used))
	if n == 512 {
		beside = fmt.Sprintf("goal 100,000: %.2f×; ", r/100_000) + beside
	}
	row(fmt.Sprintf("in process, %d appenders of 1 KiB: durable receipts", n), rate(r), beside)
	l.close()
	check(os.RemoveAll(l.dir))
}

// verify measures offline verification.
func (b *bench) verify() {
	l := b.open("verify")
	defer l.close()
	rng := newRNG()
	for range 40 {
		l.append(rng, 1000)
	}
	rec := l.append(rng, 1)
	s := times(2000, func(int) {
		_, err := receipt.Verify(rec, []*receipt.TrustPolicy{l.policy}, receipt.Options{HeaderOnly: true, Tenant: new("bench")})
		check(err)
	})
	row("offline verification of a receipt", s.String(), fmt.Sprintf("goal 100µs: %.2f×; %.1f× one Ed25519 verification", 100e-6/s.quantile(0.5).Seconds(), s.quantile(0.5).Seconds()/b.limits["verify"]))
}

// largeLog fills a log and measures what should not depend on its size.
func (b *bench) largeLog() {
	l := b.open("large")
	rng := newRNG()
	at := func(label string) {
		settle(l.dir)
		d0 := diskBytes(l.dir)
		s := times(300, func(int) { l.append(rng, 1) })
		beside := ""
		if grown := diskBytes(l.dir) - d0; grown > 0 {
			// it does not grow while an old write-ahead log is filled again
			beside = fmt.Sprintf("%d bytes written to disk an append", grown/300)
		}
		row(fmt.Sprintf("at %s entries, one appender: receipt", label), s.String(), beside)
	}
	l.append(rng, 1000)
	for l.ledger.Published().Size < 10_000 {
		l.append(rng, 1000)
	}
	at("10,000")
	start := time.Now()
	for l.ledger.Published().Size < *million {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { r := newRNG(); l.append(r, 1000) })
		}
		wg.Wait()
	}
	n := l.ledger.Published().Size
	row(fmt.Sprintf("in process, batches of 1,000, up to %d entries", n), rate(float64(n-10_000)/time.Since(start).Seconds()), "")
	at(fmt.Sprint(n))

	p := l.ledger.Published()
	ctx := context.Background()
	r := mrand.New(rng)
	proof := func(int) {
		_, err := p.InclusionProof(ctx, r.Uint64N(p.Size), p.Size)
		check(err)
	}
	cold := times(3000, proof)
	warm := times(20000, proof)
	row(fmt.Sprintf("inclusion proof at %d entries, first 3,000", p.Size), cold.String(), fmt.Sprintf("goal 50µs: %.1f×", 50e-6/cold.quantile(0.5).Seconds()))
	row(fmt.Sprintf("inclusion proof at %d entries, tiles in memory", p.Size), warm.String(), fmt.Sprintf("goal 50µs: %.1f×", 50e-6/warm.quantile(0.5).Seconds()))
	pages := times(300, func(int) {
		_, err := l.ledger.List(ctx, l.who.Stream, ledger.Query{Filter: ledger.Filter{Kind: kindname.Attestation}, Limit: 100})
		check(err)
	})
	row("a page of 100 entries by kind", pages.String(), "")

	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	rss := residentBytes()
	row(fmt.Sprintf("memory at %d entries: resident, of which Go heap", p.Size), fmt.Sprintf("%d, %d MiB", rss>>20, m.HeapAlloc>>20), fmt.Sprintf("goal 512 MiB: %.2f×", 512/float64(rss>>20)))
	l.close() // flushes; what is on disk then is what stays
	n = l.ledger.Published().Size
	start = time.Now()
	b.open("large").close()
	row(fmt.Sprintf("open and close the log again, %d entries", n), round(time.Since(start)).String(), "")
	kinds := diskBytesByKind(l.dir)
	per := float64(kinds[".sst"]+kinds[".blob"])/float64(n) - 1024
	row(fmt.Sprintf("disk an entry beyond its payload, %d entries", n), fmt.Sprintf("%.0f bytes", per), fmt.Sprintf("goal 400: %.2f×; tables %d MiB, blobs %d MiB, and %d MiB of write-ahead log for the whole store",
		400/per, kinds[".sst"]>>20, kinds[".blob"]>>20, kinds[".log"]>>20))
}

// settle waits until flushes and compactions have ended.
func settle(dir string) {
	for last, same := int64(-1), 0; same < 10; time.Sleep(100 * time.Millisecond) {
		now := diskBytes(dir)
		if same++; now != last {
			last, same = now, 0
		}
	}
}

func diskBytes(dir string) int64 {
	var n int64
	for _, size := range diskBytesByKind(dir) {
		n += size
	}
	return n
}

// diskBytesByKind returns what the files below a folder take, by the ending of
// their names.
func diskBytesByKind(dir string) map[string]int64 {
	n := map[string]int64{}
	check(filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) { // a compaction deleted it
				return nil
			}
			return err
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			n[filepath.Ext(info.Name())] += info.Size()
		}
		return nil
	}))
	return n
}

// residentBytes reads this process's resident set from /proc.
func residentBytes() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	check(err)
	var size, resident int64
	_, err = fmt.Sscan(string(data), &size, &resident)
	check(err)
	return resident * int64(os.Getpagesize())
}

// processorTime returns what this process has used of all cores.
func processorTime() time.Duration {
	var u syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
