package mirror_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/api/tiles"
	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/clients/go/mirror"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store/memstore"
)

// A testLog is a real log, served over HTTP, that a test can make misbehave.
type testLog struct {
	*ledger.Ledger
	t      *testing.T
	signer note.Signer
	vkey   string
	policy *receipt.TrustPolicy
	stream *ledger.Stream
	url    string

	mu     sync.Mutex
	change func(path string, body []byte) []byte // nil as a result: not found
	asked  map[string]int
}

const origin = "ledger.test/log"

func newLog(t *testing.T, keys [2]string) *testLog {
	t.Helper()
	skey, vkey := keys[0], keys[1]
	l := &testLog{t: t, vkey: vkey, stream: ledger.NewStream(sha256.Sum256([]byte("acme"))), asked: map[string]int{}}
	var err error
	if l.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	if l.policy, err = receipt.ParseTrustPolicy("test", []byte(receipt.FormatTrustPolicy(vkey))); err != nil {
		t.Fatal(err)
	}
	if l.Ledger, err = ledger.Open(t.Context(), ledger.Config{Store: memstore.New(), Signer: l.signer, Fatal: func(err error) { t.Error(err) }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	h := http.StripPrefix("/tlog/", &tiles.Handler{Ledger: l.Ledger, Logger: slog.New(slog.DiscardHandler), Public: true})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		path, body := strings.TrimPrefix(r.URL.Path, "/tlog/"), rec.Body.Bytes()
		l.mu.Lock()
		l.asked[path]++
		change := l.change
		l.mu.Unlock()
		if change != nil && rec.Code == 200 {
			if body = change(path, body); body == nil {
				http.NotFound(w, r)
				return
			}
		}
		w.WriteHeader(rec.Code)
		w.Write(body)
	}))
	t.Cleanup(server.Close)
	l.url = server.URL + "/tlog/"
	return l
}

func newKeys(t *testing.T) [2]string {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	return [2]string{skey, vkey}
}

func (l *testLog) fill(n int, name string) {
	l.t.Helper()
	h := &entry.Header{Origin: origin, Tenant: "acme", Kind: "attestation", MediaType: "text/plain", Submitter: "token:acme", Verification: entry.Verification{Result: entry.Unverified}}
	for done := 0; done < n; {
		drafts := make([]ledger.Draft, min(4096, n-done))
		for i := range drafts {
			drafts[i] = ledger.Draft{Stream: l.stream, Header: h, Payload: receipt.PayloadOpening{Content: fmt.Appendf(nil, "%s %d", name, done+i)}}
			drafts[i].Opening.Content = []byte("{}")
		}
		if _, err := l.Append(l.t.Context(), drafts); err != nil {
			l.t.Fatal(err)
		}
		done += len(drafts)
	}
}

func (l *testLog) lie(f func(path string, body []byte) []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.change = f
}

func (l *testLog) source() audit.Source {
	l.t.Helper()
	src, err := audit.NewHTTPSource(l.url, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return src
}

func (l *testLog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.asked)
}

func (l *testLog) requests(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[path]
}

// contents returns a hash of all files in a folder.
func contents(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(h, "%s %x\n", path, sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// checkCopy audits the folder and its HTTP server with the auditor and with
// Tessera's fsck.
func checkCopy(t *testing.T, l *testLog, dir string, size uint64) {
	t.Helper()
	local, err := audit.NewFolderSource(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := audit.Run(t.Context(), local, l.policy, nil, audit.Options{StreamKey: &l.stream.Key})
	if err != nil || r.Size != size || r.Stream.Next != size {
		t.Fatalf("audit of the folder: %v, %+v", err, r)
	}
	server := httptest.NewServer(mirror.Handler(dir, origin))
	defer server.Close()
	key := filepath.Join(t.TempDir(), "log.pub")
	if err := os.WriteFile(key, []byte(l.vkey), 0o666); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(origin))
	for _, prefix := range []string{"/tlog/", "/" + hex.EncodeToString(sum[:]) + "/"} {
		out, err := exec.CommandContext(t.Context(), peers.Path(t, "fsck"), "--storage_url="+server.URL+prefix, "--public_key="+key, "--ui=false").CombinedOutput()
		if err != nil || !strings.Contains(string(out), fmt.Sprintf("Successfully fsck'd log with size %d", size)) {
			t.Fatalf("fsck of the mirror: %v\n%s", err, out)
		}
	}
}

func TestUpdates(t *testing.T) {
	l := newLog(t, newKeys(t))
	dir := t.TempDir()
	var size uint64
	for _, next := range []uint64{1, 200, 256, 300, 1000, 66_000} {
		l.fill(int(next-size), fmt.Sprint("to ", next))
		r, err := mirror.Update(t.Context(), l.source(), l.policy, dir, mirror.Options{})
		if err != nil || r.From != size || r.Size != next {
			t.Fatalf("%+v, %v", r, err)
		}
		size = next
		checkCopy(t, l, dir, size)
	}
	for path, n := range l.asked {
		if strings.HasPrefix(path, "tile/entries/") && !strings.Contains(path, ".p/") && n > 1 {
			t.Errorf("asked %d times for %s", n, path)
		}
	}
	// A partial tile whose tile is now full is served from the full one.
	server := httptest.NewServer(mirror.Handler(dir, origin))
	defer server.Close()
	for path, status := range map[string]int{"tile/0/000.p/7": 200, "tile/entries/000.p/7": 200, "tile/0/999": 404, "tile/0/../checkpoint": 404, ".mirror-x": 404, "": 404} {
		res, err := http.Get(server.URL + "/tlog/" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != status && !(strings.Contains(path, "..") && res.StatusCode == 200 && bytes.HasPrefix(body, []byte(origin))) {
			t.Errorf("GET %s: %d", path, res.StatusCode)
		}
		if strings.HasPrefix(path, "tile/0/000.p") && len(body) != 7*32 || strings.HasPrefix(path, "tile/entries") && len(body) != 7*67 {
			t.Errorf("GET %s: %d bytes", path, len(body))
		}
	}
}

// Wrong data from a source causes an error that names it and leaves the copy
// unchanged. An honest source can then complete the copy.
func TestBadSources(t *testing.T) {
	keys := newKeys(t)
	l := newLog(t, keys)
	dir := t.TempDir()
	l.fill(700, "first")
	if _, err := mirror.Update(t.Context(), l.source(), l.policy, dir, mirror.Options{}); err != nil {
		t.Fatal(err)
	}
	l.fill(900, "second")
	before := contents(t, dir)
	edit := func(path string, f func([]byte) []byte) func(string, []byte) []byte {
		return func(p string, body []byte) []byte {
			if p == path {
				return f(body)
			}
			return body
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 4; return b }
	truncate := func(b []byte) []byte { return b[:len(b)-7] }
	for _, tc := range []struct {
		name string
		lie  func(string, []byte) []byte
		want error
	}{
		{"a changed tile", edit("tile/0/003", flip), audit.ErrTileMismatch},
		{"a truncated tile", edit("tile/0/003", truncate), audit.ErrMalformed},
		{"an empty tile", edit("tile/0/004", func([]byte) []byte { return []byte{} }), audit.ErrMalformed},
		{"a longer tile", edit("tile/0/004", func(b []byte) []byte { return append(b, make([]byte, 32)...) }), audit.ErrMalformed},
		{"a changed tile above", edit("tile/1/000.p/6", flip), audit.ErrTileMismatch},
		{"a changed partial tile", edit("tile/0/006.p/64", flip), audit.ErrTileMismatch},
		{"a missing tile", edit("tile/0/005", func([]byte) []byte { return nil }), audit.ErrUnavailable},
		{"a changed checkpoint", edit("checkpoint", flip), audit.ErrCheckpoint},
		{"an old checkpoint", edit("checkpoint", func([]byte) []byte { return checkpointAt(t, l, 500) }), audit.ErrTruncated},
		{"a checkpoint of another tree of the size", edit("checkpoint", func([]byte) []byte {
			signed, _ := receipt.Checkpoint{Origin: origin, Size: 700, Root: entry.Hash{1}}.Sign(l.signer)
			return signed
		}), audit.ErrForked},
	} {
		l.lie(tc.lie)
		_, err := mirror.Update(t.Context(), l.source(), l.policy, dir, mirror.Options{})
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if contents(t, dir) != before {
			t.Fatalf("%s: the folder has changed", tc.name)
		}
	}
	// A bundle that does not match its tile is not stored. Others, which are
	// proven, may be.
	for name, f := range map[string]func([]byte) []byte{"changed": flip, "truncated": truncate} {
		l.lie(edit("tile/entries/004", f))
		_, err := mirror.Update(t.Context(), l.source(), l.policy, dir, mirror.Options{})
		if !errors.Is(err, audit.ErrLeafMismatch) && !errors.Is(err, audit.ErrMalformed) {
			t.Errorf("a %s bundle: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "tile/entries/004")); err == nil {
			t.Errorf("a %s bundle was stored", name)
		}
		checkCopy(t, l, dir, 700)
	}
	// Another history under the same key.
	fork := newLog(t, keys)
	fork.fill(2000, "fork")
	_, err := mirror.Update(t.Context(), fork.source(), l.policy, dir, mirror.Options{})
	var conflict *audit.Conflict
	if !errors.Is(err, audit.ErrForked) || !errors.As(err, &conflict) || conflict.Kept == "" || conflict.Offered == "" {
		t.Errorf("a fork: %v", err)
	}
	checkCopy(t, l, dir, 700)

	l.lie(nil)
	if _, err := mirror.Update(t.Context(), l.source(), l.policy, dir, mirror.Options{}); err != nil {
		t.Fatal(err)
	}
	checkCopy(t, l, dir, 1600)
}

func checkpointAt(t *testing.T, l *testLog, size uint64) []byte {
	t.Helper()
	root, err := l.Published().RootOf(t.Context(), size)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := receipt.Checkpoint{Origin: origin, Size: size, Root: root}.Sign(l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// An interrupted update resumes where it stopped.
func TestInterrupted(t *testing.T) {
	defer mirror.ShortBatches()()
	l := newLog(t, newKeys(t))
	l.fill(2500, "all") // three batches of four tiles
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	l.lie(func(path string, body []byte) []byte {
		if path == "tile/entries/006" { // of the second
			cancel()
			<-ctx.Done()
		}
		return body
	})
	if _, err := mirror.Update(ctx, l.source(), l.policy, dir, mirror.Options{}); !errors.Is(err, audit.ErrUnavailable) && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "checkpoint")); err == nil {
		t.Fatal("there is a checkpoint")
	}
	l.lie(nil)
	l.forget()
	l.fill(100, "meanwhile")
	if _, err := mirror.Update(t.Context(), l.source(), l.policy, dir, mirror.Options{}); err != nil {
		t.Fatal(err)
	}
	// Requests of the interrupted update can still arrive, but only for its
	// second batch.
	if l.requests("tile/entries/003") != 0 || l.requests("tile/0/003") != 0 || l.requests("tile/entries/009") == 0 {
		t.Error("it began at the beginning")
	}
	checkCopy(t, l, dir, 2600)
}

// A folder with other content is refused, and stays unchanged.
func TestForeignFolders(t *testing.T) {
	l := newLog(t, newKeys(t))
	l.fill(3, "all")
	for name, files := range map[string][]string{
		"a log's data folder":                  {"muniment.yaml", "log.key", "store/CURRENT"},
		"a data folder with an old copy in it": {"muniment.yaml", "checkpoint", "tile/0/000.p/1"},
		"a witness's folder":                   {"witness.yaml", "witness.key"},
		"a folder of documents":                {"letter.txt"},
	} {
		dir := t.TempDir()
		for _, f := range files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before := contents(t, dir)
		if _, err := mirror.Update(t.Context(), l.source(), l.policy, dir, mirror.Options{}); !errors.Is(err, mirror.ErrFolder) {
			t.Errorf("%s: %v", name, err)
		}
		if contents(t, dir) != before {
			t.Errorf("%s was changed", name)
		}
	}
}

// Neither an update nor the file server follows links out of the folder.
func TestLinksInFolder(t *testing.T) {
	l := newLog(t, newKeys(t))
	l.fill(300, "all")
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "tile")); err != nil {
		t.Fatal(err)
	}
	if _, err := mirror.Update(t.Context(), l.source(), l.policy, dir, mirror.Options{}); err == nil {
		t.Error("the copy was written through a link")
	}
	if files, err := os.ReadDir(outside); err != nil || len(files) != 1 {
		t.Errorf("outside there is %v, %v", files, err)
	}
	dir = t.TempDir()
	if _, err := mirror.Update(t.Context(), l.source(), l.policy, dir, mirror.Options{}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(mirror.Handler(dir, origin))
	defer server.Close()
	for _, path := range []string{"tile/entries/000", "checkpoint"} {
		full := filepath.Join(dir, filepath.FromSlash(path))
		if err := errors.Join(os.Remove(full), os.Symlink(secret, full)); err != nil {
			t.Fatal(err)
		}
		res, err := http.Get(server.URL + "/tlog/" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode == http.StatusOK || bytes.Contains(body, []byte("secret")) {
			t.Errorf("GET %s: %s: %s", path, res.Status, body)
		}
	}
}

func TestCosigns(t *testing.T) {
	l := newLog(t, newKeys(t))
	l.fill(300, "x")
	skey, vkey, err := note.GenerateKey(nil, "mirror.example/m1")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := mirror.Update(t.Context(), l.source(), l.policy, dir, mirror.Options{Cosigner: signer}); err != nil {
		t.Fatal(err)
	}
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := fnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(signed, note.VerifierList(v, l.policy.LogKey()))
	if err != nil || len(n.Sigs) != 2 {
		t.Fatalf("%v: %s", err, signed)
	}
	checkCopy(t, l, dir, 300)
}

// A pieceWriter notes the largest piece of an answer.
type pieceWriter struct {
	header  http.Header
	largest int
	total   int
}

func (w *pieceWriter) Header() http.Header { return w.header }
func (w *pieceWriter) WriteHeader(int)     {}
func (w *pieceWriter) Write(p []byte) (int, error) {
	w.largest, w.total = max(w.largest, len(p)), w.total+len(p)
	return len(p), nil
}

// TestServesInPieces checks that an answer holds a piece of a bundle, which can
// have 16 MiB, and not all of it: clients that read slowly cost no memory.
func TestServesInPieces(t *testing.T) {
	dir := t.TempDir()
	var bundle []byte
	for range 256 {
		bundle = append(append(bundle, 0x4e, 0x20), make([]byte, 20_000)...)
	}
	if err := os.MkdirAll(filepath.Join(dir, "tile", "entries"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tile", "entries", "000"), bundle, 0o666); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"000": len(bundle), "000.p/255": 255 * 20_002} {
		w := &pieceWriter{header: http.Header{}}
		mirror.Handler(dir, origin).ServeHTTP(w, httptest.NewRequest("GET", "/tlog/tile/entries/"+path, nil))
		if w.total != want || w.largest > 64<<10 {
			t.Errorf("%s: %d bytes, want %d, in pieces of up to %d", path, w.total, want, w.largest)
		}
	}
}
