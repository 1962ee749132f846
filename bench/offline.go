package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/engine"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store"
)

// audits measures a full audit of a large log from files, as 'muniment audit
// FOLDER' does it.
func (b *bench) audits() {
	dir := filepath.Join(b.dir, "tiles")
	size, policy := b.tileFolder(dir)
	src, err := audit.NewFolderSource(dir)
	check(err)
	key := entry.StreamKey{1}
	for _, m := range []struct {
		what string
		o    audit.Options
	}{{"full audit from local tiles", audit.Options{}}, {"  and one stream proven complete, all entries its own", audit.Options{StreamKey: &key}}} {
		start := time.Now()
		r, _, err := audit.Run(context.Background(), src, policy, nil, m.o)
		check(err)
		if r.Size != size {
			check(fmt.Errorf("audited %d entries of %d", r.Size, size))
		}
		n := float64(size) / time.Since(start).Seconds()
		row(m.what, rate(n), fmt.Sprintf("goal 500000 /s: %.1f×", n/500_000))
	}
}

// tileFolder makes a large log and writes its files.
func (b *bench) tileFolder(dir string) (uint64, *receipt.TrustPolicy) {
	l := b.open("audited")
	defer l.close()
	ctx := context.Background()
	stream := ledger.NewStream(entry.StreamKey{1})
	h := &entry.Header{Kind: kindname.Attestation}
	for n := uint64(0); n < *million; {
		drafts := make([]ledger.Draft, min(4096, *million-n))
		for i := range drafts {
			d := &drafts[i]
			d.Stream, d.Header, d.Opening.Content, d.Payload.Content = stream, h, []byte("{}"), fmt.Appendf(nil, "%d", n+uint64(i))
			d.LinkSalt, d.Opening.Salt, d.Payload.Salt = entry.NewSalts()
		}
		_, err := l.ledger.Append(ctx, drafts)
		check(err)
		n += uint64(len(drafts))
	}
	p := l.ledger.Published()
	put := func(t tlog.Tile, data []byte) {
		path := filepath.Join(dir, filepath.FromSlash(torchwood.TilePath(t)))
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		check(os.WriteFile(path, data, 0o644))
	}
	for level := -1; ; level++ {
		count := p.Size >> (8 * max(level, 0))
		if count == 0 {
			break
		}
		for n := uint64(0); n*256 < count; n++ {
			w := int(min(256, count-n*256))
			t := tlog.Tile{H: 8, L: level, N: int64(n), W: w}
			if level < 0 {
				data, err := l.ledger.EntryBundle(ctx, n, w)
				check(err)
				put(t, data)
				continue
			}
			hashes, err := p.Tile(ctx, uint8(level), n, w)
			check(err)
			var data []byte
			for i := range hashes {
				data = append(data, hashes[i][:]...)
			}
			put(t, data)
		}
	}
	check(os.WriteFile(filepath.Join(dir, "checkpoint"), p.Checkpoint, 0o644))
	return p.Size, l.policy
}

// deltas measures export and import of a large delta with the program itself,
// and how much memory it takes.
func (b *bench) deltas() {
	bin := filepath.Join(b.dir, "program")
	out, err := exec.Command("go", "build", "-o", bin, "muniment.dev/muniment/cmd/muniment").CombinedOutput()
	if err != nil {
		check(fmt.Errorf("build: %w\n%s", err, out))
	}
	data, replica, file := filepath.Join(b.dir, "data"), filepath.Join(b.dir, "replica"), filepath.Join(b.dir, "large.delta")
	b.program(bin, "init", data, "--origin", "bench.example", "--tenant", "bench")
	b.fillFolder(data)
	took, memory := b.program(bin, "export", "--since", "0", "--data", data, "-o", file)
	info, err := os.Stat(file)
	check(err)
	size := float64(info.Size()) / 1e6
	row(fmt.Sprintf("export a delta of %.0f MB", size), fmt.Sprintf("%.0f MB/s", size/took.Seconds()), fmt.Sprintf("peak memory %d MiB; goal 256 MiB", memory>>20))
	b.program(bin, "replica", "init", replica, "--policy", filepath.Join(data, "policy"), "--tenant", "bench="+filepath.Join(data, "streams", "bench.key"))
	took, memory = b.program(bin, "import", file, "--data", replica)
	row("import it", fmt.Sprintf("%.0f MB/s", size/took.Seconds()), fmt.Sprintf("peak memory %d MiB; goal 256 MiB", memory>>20))
}

// fillFolder puts as much evidence into a data folder as the flag requires, in
// payloads of 16 KiB.
func (b *bench) fillFolder(dir string) {
	ctx := context.Background()
	skey, err := os.ReadFile(filepath.Join(dir, "log.key"))
	check(err)
	signer, err := note.NewSigner(strings.TrimSpace(string(skey)))
	check(err)
	text, err := os.ReadFile(filepath.Join(dir, "streams", "bench.key"))
	check(err)
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	check(err)
	s, err := engine.Open(ctx, engine.InFolder(filepath.Join(dir, "store")), store.Options{})
	check(err)
	l, err := ledger.Open(ctx, ledger.Config{Store: s, Signer: signer, Fatal: check})
	check(err)
	in := &ingest.Ingester{Ledger: l, MaxPayload: 16 << 20}
	who := ingest.Submitter{Tenant: "bench", Identity: "token:bench", Stream: ledger.NewStream(entry.StreamKey(key))}
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			p := make([]byte, 16<<10)
			for n := uint64(0); n < *deltaBytes/8; n += uint64(len(p)) {
				rand.Read(p)
				results, err := in.Append(ctx, who, []ingest.Submission{{Kind: kindname.Attestation, MediaType: "application/octet-stream", Payload: p}})
				check(err)
				check(results[0].Err)
			}
		}()
	}
	wg.Wait()
	l.Close()
	check(s.Close())
}

// program runs the program, and returns how long it took and how much memory at
// most.
func (b *bench) program(bin string, args ...string) (time.Duration, int64) {
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(b.dir, "config"))
	start := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		check(fmt.Errorf("muniment %s: %w\n%s", strings.Join(args, " "), err, out))
	}
	return time.Since(start), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
}
