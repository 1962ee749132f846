package rekor_test

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/ledger"
)

// fill records signed entries until the log has the size, and returns the
// canonical bodies of those.
func fill(t *testing.T, l *testLog, size uint64) [][]byte {
	t.Helper()
	key := ecdsaKey(elliptic.P256())
	var bodies [][]byte
	for i := l.ledger.Published().Size; i < size; i++ {
		bodies = append(bodies, send(t, "POST", l.url+"/api/v2/log/entries", sign(key, crypto.SHA256, p256, fmt.Sprint("entry ", i)).String()).entry(t).CanonicalizedBody)
	}
	return bodies
}

// Tessera's fsck and torchwood's client, which share no code with this project,
// read the whole log from Rekor's paths and verify it.
func TestStockReadersFindTheLogSound(t *testing.T) {
	l := newLog(t)
	key := filepath.Join(t.TempDir(), "log.pub")
	if err := os.WriteFile(key, []byte(l.vkey+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	var bodies [][]byte
	for _, size := range []uint64{1, 255, 256, 300} {
		bodies = append(bodies, fill(t, l, size)...)
		out, err := exec.CommandContext(t.Context(), peers.Path(t, "fsck"), "--storage_url="+l.url+"/api/v2/", "--public_key="+key, "--ui=false").CombinedOutput()
		if want := fmt.Sprintf("Successfully fsck'd log with size %d and root %s", size, l.ledger.Published().Root.Base64()); err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("fsck does not say %q: %v\n%s", want, err, out)
		}
	}
	readWithTorchwood(t, l, bodies)
}

func readWithTorchwood(t *testing.T, l *testLog, bodies [][]byte) {
	t.Helper()
	fetcher, err := torchwood.NewTileFetcher(l.url + "/api/v2")
	if err != nil {
		t.Fatal(err)
	}
	client, err := torchwood.NewClient(fetcher)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := fetcher.ReadEndpoint(context.Background(), "checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	policy, err := torchwood.ParsePolicy([]byte("log " + l.vkey + "\nquorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	cp, _, err := torchwood.VerifyCheckpoint(signed, policy)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, entry := range client.AllEntries(context.Background(), tlog.Tree{N: cp.N, Hash: cp.Hash}, 0) {
		if i != int64(n) || string(entry) != string(bodies[n]) {
			t.Fatalf("entry %d is\n%s\nwant\n%s", i, entry, bodies[n])
		}
		n++
	}
	if err := client.Err(); err != nil || n != len(bodies) {
		t.Fatalf("read %d of %d entries: %v", n, len(bodies), err)
	}
}

// Tiles are served at Rekor's paths and no others.
func TestTilePaths(t *testing.T) {
	l := newLog(t)
	fill(t, l, 3)
	for path, want := range map[string]int{
		"/api/v2/checkpoint": 200, "/api/v2/tile/0/000.p/3": 200, "/api/v2/tile/entries/000.p/3": 200, "/api/v2/tile/entries/000.p/1": 200,
		"/api/v2/tile/0/000": 404, "/api/v2/tile/0/000.p/4": 404, "/api/v2/tile/entries/001.p/1": 404, "/api/v2/tile/9/000.p/1": 404, "/api/v2/tile/0/0.p/3": 404,
		"/api/v2/tile/": 404, "/checkpoint": 404, "/tile/0/000.p/3": 404, "/api/v1/timestamp": 404, "/metrics": 404,
	} {
		res, err := http.Get(l.url + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, res.StatusCode, want)
		}
		if cached := strings.Contains(res.Header.Get("Cache-Control"), "immutable"); cached != (want == 200 && strings.Contains(path, "tile")) {
			t.Errorf("%s: Cache-Control: %s", path, res.Header.Get("Cache-Control"))
		}
	}
}

// A log that is shutting down refuses requests, and gives no details.
func TestAppendAfterClose(t *testing.T) {
	l := newLog(t)
	l.ledger.Close()
	a := send(t, "POST", l.url+"/api/v2/log/entries", sign(ecdsaKey(elliptic.P256()), crypto.SHA256, p256, "a").String())
	if a.status != http.StatusServiceUnavailable || strings.Contains(string(a.body), ledger.ErrClosed.Error()) {
		t.Errorf("got %s", a)
	}
}
