package cosigner_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/internal/peers/witnessrig"
	"muniment.dev/muniment/ledger/witness/cosigner"
)

// A testLog is a tree of the reference implementation, and its signer.
type testLog struct {
	origin string
	signer note.Signer
	vkey   string
	stored []tlog.Hash
	size   int64
}

func newTestLog(t *testing.T, origin string) *testLog {
	skey, vkey, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{origin: origin, vkey: vkey}
	if l.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	return l
}

// fork returns another tree of the same log, whose entries begin to differ at a
// size.
func (l *testLog) fork(t *testing.T, at int64) *testLog {
	f := &testLog{origin: l.origin, signer: l.signer, vkey: l.vkey}
	f.grow(t, at, "entry")
	return f
}

func (l *testLog) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = l.stored[x]
	}
	return out, nil
}

func (l *testLog) grow(t *testing.T, n int64, what string) {
	for range n {
		hashes, err := tlog.StoredHashes(l.size, fmt.Appendf(nil, "%s %d", what, l.size), l)
		if err != nil {
			t.Fatal(err)
		}
		l.stored = append(l.stored, hashes...)
		l.size++
	}
}

// checkpoint returns the signed checkpoint of a size; extra follows the root.
func (l *testLog) checkpoint(t *testing.T, size int64, extra string, signers ...note.Signer) string {
	root := tlog.Hash(sha256.Sum256(nil))
	if size > 0 {
		var err error
		if root, err = tlog.TreeHash(size, l); err != nil {
			t.Fatal(err)
		}
	}
	if len(signers) == 0 {
		signers = []note.Signer{l.signer}
	}
	signed, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n%s", l.origin, size, root, extra)}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// request returns the body for add-checkpoint, with the right proof.
func (l *testLog) request(t *testing.T, old, size int64) string {
	body := fmt.Sprintf("old %d\n", old)
	if old > 0 && old <= size {
		proof, err := tlog.ProveTree(size, old, l)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range proof {
			body += h.String() + "\n"
		}
	}
	return body + "\n" + l.checkpoint(t, size, "")
}

// A testWitness is a Cosigner behind an HTTP server.
type testWitness struct {
	*httptest.Server
	cfg cosigner.Config
	c   *cosigner.Cosigner
}

func newWitness(t *testing.T, logs ...*testLog) *testWitness {
	t.Helper()
	w := &testWitness{cfg: cosigner.Config{Dir: filepath.Join(t.TempDir(), "state"), Logger: slog.New(slog.DiscardHandler)}}
	ed, _, err := note.GenerateKey(nil, "witness.example")
	if err != nil {
		t.Fatal(err)
	}
	pq, _, err := fnote.GenerateMLDSAKey("witness.example")
	if err != nil {
		t.Fatal(err)
	}
	for _, skey := range []string{ed, pq} {
		s, err := fnote.NewSignerForCosignatureV1(skey)
		if err != nil {
			t.Fatal(err)
		}
		w.cfg.Keys = append(w.cfg.Keys, cosigner.Key{Signer: s, Verifier: s.Verifier()})
	}
	for _, l := range logs {
		v, err := note.NewVerifier(l.vkey)
		if err != nil {
			t.Fatal(err)
		}
		w.cfg.Logs = append(w.cfg.Logs, cosigner.Log{Origin: l.origin, Keys: []note.Verifier{v}})
	}
	w.open(t)
	t.Cleanup(func() { w.c.Close() })
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.c.Handler(anybody).ServeHTTP(rw, r) }))
	t.Cleanup(w.Close)
	return w
}

// anybody admits all callers.
func anybody(_ string, next http.Handler) http.Handler { return next }

func (w *testWitness) open(t *testing.T) {
	t.Helper()
	var err error
	if w.c, err = cosigner.Open(w.cfg); err != nil {
		t.Fatal(err)
	}
}

func (w *testWitness) reopen(t *testing.T) {
	t.Helper()
	if err := w.c.Close(); err != nil {
		t.Fatal(err)
	}
	w.open(t)
}

type answer struct {
	code        int
	contentType string
	body        string
}

func post(t *testing.T, url, body string) answer {
	t.Helper()
	res, err := http.Post(url+"/add-checkpoint", "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header.Get("Content-Type"), string(data)}
}

// checkCosigned checks that the answer has cosignatures by all keys over the
// request's checkpoint.
func checkCosigned(t *testing.T, a answer, body string, keys ...note.Verifier) {
	t.Helper()
	_, signed, _ := strings.Cut(body, "\n\n")
	n, err := note.Open([]byte(signed+a.body), note.VerifierList(keys...))
	if err != nil || len(n.Sigs) != len(keys) {
		t.Fatalf("%d of %d keys have signed: %v\n%s", len(n.Sigs), len(keys), err, a.body)
	}
}

func (w *testWitness) verifiers() (out []note.Verifier) {
	for _, k := range w.cfg.Keys {
		out = append(out, k.Verifier)
	}
	return out
}

// The real litewitness gives the same answers to the same requests, one after
// the other.
func TestAsLitewitness(t *testing.T) {
	l, unknown := newTestLog(t, "log.example"), newTestLog(t, "unknown.example")
	l.grow(t, 300, "entry")
	unknown.grow(t, 10, "entry")
	fork := l.fork(t, 20)
	fork.grow(t, 200, "forked")
	_, otherKey := newTestLog(t, l.origin), newTestLog(t, l.origin)
	imposter := l.fork(t, 100)
	imposter.signer = otherKey.signer
	lite, err := witnessrig.Litewitness(t.TempDir(), "lite.example", l.vkey)
	if err != nil {
		t.Fatal(err)
	}
	defer lite.Close()
	liteKey, err := fnote.NewVerifierForCosignatureV1(lite.VKey)
	if err != nil {
		t.Fatal(err)
	}
	ours := newWitness(t, l)

	zero := base64.StdEncoding.EncodeToString(make([]byte, 32))
	proof := func(old, size int64) string { head, _, _ := strings.Cut(l.request(t, old, size), "\n\n"); return head }
	extra := newTestLog(t, "extra.example").signer
	for _, c := range []struct {
		name string
		body string
		code int
		lite int // what litewitness answers, if it is something else
	}{
		{"empty", "", 400, 0},
		{"garbage", "garbage", 400, 0},
		{"no checkpoint", "old 0\n\n", 404, 0},
		{"unknown log", unknown.request(t, 0, 5), 404, 0},
		{"log's name, other key", imposter.request(t, 0, 5), 403, 0},
		{"signature forged", strings.Replace(l.request(t, 0, 5), "\n5\n", "\n6\n", 1), 403, 0},
		{"no signature", "old 0\n\n" + l.origin + "\n5\n" + zero + "\n", 400, 500},
		{"conflict before the first", l.request(t, 5, 10), 409, 0},
		{"empty tree", l.request(t, 0, 0), 200, 0},
		{"wrong root of the empty tree", "old 0\n\n" + signed(t, l, l.origin+"\n0\n"+zero+"\n"), 422, 200},
		{"first", l.request(t, 0, 5), 200, 0},
		{"again from 0", l.request(t, 0, 5), 409, 0},
		{"same size", l.request(t, 5, 5), 200, 0},
		{"same size with a proof", "old 5\n" + zero + "\n\n" + l.checkpoint(t, 5, ""), 422, 0},
		{"on", l.request(t, 5, 256), 200, 0},
		{"old request again", l.request(t, 5, 256), 409, 0},
		{"back", l.request(t, 256, 5), 400, 0},
		{"back, honestly", l.request(t, 5, 6), 409, 0},
		{"fork of the same size", fork.fork256(t, fork), 422, 0},
		{"fork", forkRequest(t, fork, 256, 220), 400, 0},
		{"no proof", "old 256\n\n" + l.checkpoint(t, 290, ""), 422, 0},
		{"proof to another size", proof(256, 289) + "\n\n" + l.checkpoint(t, 290, ""), 422, 0},
		{"proof too long", "old 256\n" + strings.Repeat(zero+"\n", 64) + "\n" + l.checkpoint(t, 290, ""), 400, 0},
		{"proof not base64", "old 256\n!\n\n" + l.checkpoint(t, 290, ""), 400, 0},
		{"hash too short", "old 256\nAAAA\n\n" + l.checkpoint(t, 290, ""), 400, 0},
		{"old negative", "old -1\n\n" + l.checkpoint(t, 290, ""), 400, 0},
		{"old too large", "old 18446744073709551616\n\n" + l.checkpoint(t, 290, ""), 400, 0},
		{"old with zeros", "old 0256\n\n" + l.checkpoint(t, 290, ""), 400, 422},
		{"not a checkpoint", "old 256\n\n" + signed(t, l, l.origin+"\nx\n"), 400, 500},
		{"size with zeros", "old 256\n\n" + signed(t, l, l.origin+"\n0290\n"+zero+"\n"), 400, 500},
		{"two signatures", proof(256, 290) + "\n\n" + l.checkpoint(t, 290, "", extra, l.signer), 200, 0},
		{"extension line", proof(290, 291) + "\n\n" + l.checkpoint(t, 291, "extension\n"), 200, 0},
	} {
		want := c.lite
		if want == 0 {
			want = c.code
		}
		theirs, mine := post(t, lite.URL, c.body), post(t, ours.URL, c.body)
		if mine.code != c.code || theirs.code != want {
			t.Fatalf("%s: ours %d, want %d; litewitness %d, want %d\nours: %q\nlitewitness: %q", c.name, mine.code, c.code, theirs.code, want, mine.body, theirs.body)
		}
		switch c.code {
		case http.StatusOK:
			checkCosigned(t, mine, c.body, ours.verifiers()...)
			checkCosigned(t, theirs, c.body, liteKey)
		case http.StatusConflict:
			if mine != theirs || mine.contentType != "text/x.tlog.size" {
				t.Fatalf("%s: ours %+v, litewitness %+v", c.name, mine, theirs)
			}
		}
	}
	if a := post(t, ours.URL, strings.Repeat("x", 1<<20)); a.code != http.StatusRequestEntityTooLarge {
		t.Errorf("a request of 1 MiB: %+v", a)
	}
}

// fork256 returns a request for a forked tree of the size that was cosigned.
func (*testLog) fork256(t *testing.T, f *testLog) string {
	f.grow(t, 256-f.size, "forked")
	return f.request(t, 256, 256)
}

// forkRequest returns a request that the fork can only make up.
func forkRequest(t *testing.T, f *testLog, old, size int64) string {
	return fmt.Sprintf("old %d\n\n%s", old, f.checkpoint(t, size, ""))
}

func signed(t *testing.T, l *testLog, text string) string {
	out, err := note.Sign(&note.Note{Text: text}, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// Cosigned checkpoints are remembered across restarts and served to monitors. A
// damaged state is refused.
func TestMemory(t *testing.T) {
	l := newTestLog(t, "log.example")
	l.grow(t, 50, "entry")
	w := newWitness(t, l)
	sum := sha256.Sum256([]byte(l.origin))
	id := hex.EncodeToString(sum[:])
	get := func() answer {
		res, err := http.Get(w.URL + "/" + id + "/checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		data, _ := io.ReadAll(res.Body)
		return answer{res.StatusCode, res.Header.Get("Content-Type"), string(data)}
	}
	if a := get(); a.code != http.StatusNotFound {
		t.Fatalf("before the first: %+v", a)
	}
	body := l.request(t, 0, 20)
	checkCosigned(t, post(t, w.URL, body), body, w.verifiers()...)
	w.reopen(t)
	latest := get()
	logKey, err := note.NewVerifier(l.vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(latest.body), note.VerifierList(append(w.verifiers(), logKey)...))
	if err != nil || len(n.Sigs) != 3 || !strings.HasPrefix(n.Text, l.origin+"\n20\n") {
		t.Fatalf("the latest checkpoint: %v\n%s", err, latest.body)
	}
	if a := post(t, w.URL, l.request(t, 0, 30)); a.code != http.StatusConflict || a.body != "20\n" {
		t.Fatalf("after a restart: %+v", a)
	}
	body = l.request(t, 20, 30)
	checkCosigned(t, post(t, w.URL, body), body, w.verifiers()...)

	if _, err := cosigner.Open(w.cfg); err == nil || !strings.Contains(err.Error(), "another witness uses the folder") {
		t.Fatalf("two witnesses on one folder: %v", err)
	}
	if err := w.c.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.cfg.Dir, id)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", good[:10], 0o600); err != nil {
		// of a write that a crash has interrupted
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)-1], "size changed": bytes.Replace(good, []byte("\n30\n"), []byte("\n20\n"), 1), "garbage": []byte("garbage"),
		"not cosigned": []byte(l.checkpoint(t, 30, "")), "of another log": bytes.Replace(good, []byte("log.example\n"), []byte("lag.example\n"), 1),
	} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := cosigner.Open(w.cfg); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: opened: %v, %v", name, c, err)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(newTestLog(t, "second.example").vkey)
	if err != nil {
		t.Fatal(err)
	}
	w.cfg.Logs = append(w.cfg.Logs, cosigner.Log{Origin: "an origin with a space, which is no key name", Keys: []note.Verifier{v}})
	w.open(t)
	if a := post(t, w.URL, l.request(t, 30, 31)); a.code != http.StatusOK {
		t.Fatalf("after all that: %+v", a)
	}
}

// Of many concurrent requests that continue from the same state, one is
// cosigned.
func TestRacingRequests(t *testing.T) {
	l := newTestLog(t, "log.example")
	l.grow(t, 100, "entry")
	w := newWitness(t, l)
	if a := post(t, w.URL, l.request(t, 0, 50)); a.code != http.StatusOK {
		t.Fatalf("%+v", a)
	}
	bodies := []string{}
	for size := int64(51); size <= 70; size++ {
		f := l.fork(t, 50)
		f.grow(t, size-50, fmt.Sprint("fork ", size))
		bodies = append(bodies, f.request(t, 50, size))
	}
	var wg sync.WaitGroup
	codes := make([]int, len(bodies))
	for i, body := range bodies {
		wg.Go(func() { codes[i] = post(t, w.URL, body).code })
	}
	wg.Wait()
	cosigned := 0
	for _, code := range codes {
		switch code {
		case http.StatusOK:
			cosigned++
		case http.StatusConflict:
		default:
			t.Errorf("status %d", code)
		}
	}
	if cosigned != 1 {
		t.Fatalf("%d forks are cosigned", cosigned)
	}
}

// If the state can't be written, nothing is cosigned.
func TestWriteFails(t *testing.T) {
	l := newTestLog(t, "log.example")
	l.grow(t, 10, "entry")
	w := newWitness(t, l)
	sum := sha256.Sum256([]byte(l.origin))
	blocked := filepath.Join(w.cfg.Dir, hex.EncodeToString(sum[:]))
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if a := post(t, w.URL, l.request(t, 0, 5)); a.code != http.StatusInternalServerError || strings.Contains(a.body, "—") || strings.Contains(a.body, w.cfg.Dir) {
		t.Fatalf("%+v", a)
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	if a := post(t, w.URL, l.request(t, 0, 5)); a.code != http.StatusOK {
		t.Fatalf("%+v", a)
	}
	res, err := http.Get(w.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	for _, want := range []string{`muniment_cosigner_requests_total{code="200"} 1`, `muniment_cosigner_requests_total{code="500"} 1`, `muniment_cosigner_log_size{log="log.example"} 5`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}
