package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"connectrpc.com/connect"
	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	killAppends = 10_000
	killWriters = 48
)

// TestKill kills a real server with SIGKILL in the middle of 10,000 appends, 8
// times on the same data folder (20 times in make soak). After each restart
// every entry that was acknowledged, in this round or an earlier one, must be
// in the log at its index, and the log must continue the one that the receipts
// were issued from.
func TestKill(t *testing.T) {
	soak.WithoutRace(t)
	bin := plainProgram(t)
	data := filepath.Join(t.TempDir(), "data")
	if code := run(t.Context(), []string{"init", data, "--origin", "kill.example", "--tenant", "acme"}, nil, io.Discard, os.Stderr); code != 0 {
		t.Fatalf("init: exit code %d", code)
	}
	token, err := os.ReadFile(filepath.Join(data, "tokens", "acme.token"))
	if err != nil {
		t.Fatal(err)
	}
	policies, err := datadir.LoadPolicies([]string{filepath.Join(data, "policy")})
	if err != nil {
		t.Fatal(err)
	}
	k := &killTest{t: t, policy: policies[0], acked: map[uint64]entry.Hash{}, rng: rand.New(rand.NewPCG(1+soak.Seed(t), 2))}
	for round := range soak.Length(t, "kills", 8, 20) {
		p, err := startProcess(t.Context(), bin, "--data", data)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		client, err := muniment.New(muniment.Options{Server: p.url, Token: strings.TrimSpace(string(token)), HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: killWriters}}})
		if err != nil {
			t.Fatal(err)
		}
		k.check(client, p.url)
		after := 100 + k.rng.IntN(killAppends*6/10)
		before := len(k.acked)
		k.appendUntilKilled(client, p, round, after)
		t.Logf("round %d: killed after %d acknowledged appends, %d in all", round, len(k.acked)-before, len(k.acked))
	}
	p, err := startProcess(t.Context(), bin, "--data", data)
	if err != nil {
		t.Fatal(err)
	}
	client, err := muniment.New(muniment.Options{Server: p.url, Token: strings.TrimSpace(string(token))})
	if err != nil {
		t.Fatal(err)
	}
	k.check(client, p.url)
	if code := run(t.Context(), []string{"audit", p.url, "--policy", filepath.Join(data, "policy"), "--stream-key", filepath.Join(data, "streams", "acme.key")}, nil, io.Discard, os.Stderr); code != 0 {
		t.Errorf("audit: exit code %d", code)
	}
	if err := p.stop(os.Interrupt); err != nil {
		t.Errorf("stop: %v\n%s", err, p.log)
	}
}

type killTest struct {
	t      *testing.T
	policy *receipt.TrustPolicy
	rng    *rand.Rand

	mu     sync.Mutex
	acked  map[uint64]entry.Hash // index → leaf hash of every acknowledged entry
	latest []byte                // receipt with the largest tree seen
	size   uint64
}

// appendUntilKilled appends from many goroutines and kills the server when the
// given number is acknowledged.
func (k *killTest) appendUntilKilled(client *muniment.Client, p *process, round, after int) {
	var next, acked atomic.Int64
	var wg sync.WaitGroup
	for range killWriters {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > killAppends {
					return
				}
				r, err := client.Append(context.Background(), muniment.Submission{Kind: "attestation", MediaType: "text/plain",
					Payload: fmt.Appendf(nil, "round %d, entry %d, %s", round, n, strings.Repeat("x", int(n%1500)))})
				if err != nil {
					return // killed
				}
				k.keep(r)
				if acked.Add(1) == int64(after) {
					if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
						k.t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := p.cmd.Wait(); err == nil {
		k.t.Errorf("round %d: the server ended by itself", round)
	}
	if int(acked.Load()) < after || acked.Load() == killAppends {
		k.t.Fatalf("round %d: %d appends were acknowledged; the server should have been killed after %d\n%s", round, acked.Load(), after, p.log)
	}
}

func (k *killTest) keep(r muniment.Result) {
	rec, err := receipt.Parse(r.Receipt)
	if err != nil {
		k.t.Error(err)
		return
	}
	proof, err := receipt.ParseProof(string(rec.Proof))
	if err != nil {
		k.t.Error(err)
		return
	}
	cp, err := receipt.ParseCheckpointUnverified(proof.Checkpoint)
	if err != nil {
		k.t.Error(err)
		return
	}
	sk := entry.Skeleton{Tag: rec.Tag, LinkSalt: rec.Link.Salt, StreamID: rec.Link.StreamID, Seq: rec.Link.Seq, Prev: rec.Link.Prev, Time: rec.Time,
		HeaderHash: entry.HeaderHash(rec.Header.Salt, rec.Header.Content)}
	leaf := sk.LeafHash(entry.HashOrigin(cp.Origin))
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.acked[r.Index]; ok {
		k.t.Errorf("entry %d was acknowledged twice, %s and %s", r.Index, old, leaf)
	}
	k.acked[r.Index] = leaf
	if cp.Size > k.size {
		k.size, k.latest = cp.Size, r.Receipt
	}
}

// check compares all acknowledged entries with the present log.
func (k *killTest) check(client *muniment.Client, url string) {
	t := k.t
	t.Helper()
	res, err := client.GetCheckpoint(t.Context(), connect.NewRequest(&munimentv1.GetCheckpointRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	cp, _, err := k.policy.VerifyCheckpoint(res.Msg.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	if k.latest == nil {
		return
	}
	if cp.Size < k.size {
		t.Fatalf("the log has %d entries; a receipt was issued at size %d", cp.Size, k.size)
	}
	s, err := receipt.Verify(k.latest, []*receipt.TrustPolicy{k.policy}, receipt.Options{HeaderOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	cons, err := client.GetConsistencyProof(t.Context(), connect.NewRequest(&munimentv1.GetConsistencyProofRequest{FromSize: s.Size, ToSize: cp.Size}))
	if err != nil {
		t.Fatal(err)
	}
	var path []entry.Hash
	for _, h := range cons.Msg.Hashes {
		path = append(path, entry.Hash(h))
	}
	if err := receipt.VerifyConsistency(s.Size, cp.Size, s.Root, cp.Root, path); err != nil {
		t.Fatalf("the log was forked by the crash: %v", err)
	}
	leaves := fetchLeaves(t, url, cp.Size)
	for index, want := range k.acked {
		if index >= cp.Size || leaves[index] != want {
			t.Fatalf("the acknowledged entry %d is lost or changed", index)
		}
	}
}

// fetchLeaves reads all leaf hashes from the level 0 tiles.
func fetchLeaves(t *testing.T, url string, size uint64) []entry.Hash {
	t.Helper()
	fetcher, err := torchwood.NewTileFetcher(url + "/tlog/")
	if err != nil {
		t.Fatal(err)
	}
	var tiles []tlog.Tile
	for n := uint64(0); n*256 < size; n++ {
		tiles = append(tiles, tlog.Tile{H: torchwood.TileHeight, L: 0, N: int64(n), W: int(min(256, size-n*256))})
	}
	data, err := fetcher.ReadTiles(t.Context(), tiles)
	if err != nil {
		t.Fatal(err)
	}
	var leaves []entry.Hash
	for _, d := range data {
		for len(d) > 0 {
			leaves = append(leaves, entry.Hash(d[:32]))
			d = d[32:]
		}
	}
	return leaves
}
