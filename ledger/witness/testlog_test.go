package witness_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store/memstore"
	"muniment.dev/muniment/ledger/witness"
	"muniment.dev/muniment/ledger/witness/cosigner"
)

const origin = "log.example"

var ledgerReceiptOptions = ledger.ReceiptOptions{Witnessed: true}

// A testLog is a real ledger in memory, with the policies that its checkpoints
// must meet.
type testLog struct {
	*ledger.Ledger
	store    *memstore.Store
	signer   note.Signer
	vkey     string
	policies []*receipt.TrustPolicy
	stream   *ledger.Stream
	n        int
}

// newTestLog makes an empty log; setPolicy or open must follow.
func newTestLog(t *testing.T) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{store: memstore.New(), vkey: vkey, stream: ledger.NewStream(entry.StreamKey{1})}
	if l.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	return l
}

// open opens the log under policies, of which the log line is put first.
func (l *testLog) open(t *testing.T, policies ...string) {
	t.Helper()
	l.policies = nil
	for _, text := range policies {
		if !strings.HasPrefix(text, "log ") {
			text = "log " + l.vkey + "\n" + text
		}
		p, err := receipt.ParseTrustPolicy("test", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		l.policies = append(l.policies, p)
	}
	var err error
	if l.Ledger, err = ledger.Open(t.Context(), ledger.Config{Store: l.store, Signer: l.signer, Quorum: witness.Quorum(l.policies), Fatal: func(err error) { t.Error(err) }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Ledger.Close)
}

// reopen opens the log again, on the same store or on another.
func (l *testLog) reopen(t *testing.T, s *memstore.Store, policies ...string) {
	t.Helper()
	l.Ledger.Close()
	l.store = s
	l.open(t, policies...)
}

// grow appends n entries in n commits.
func (l *testLog) grow(t *testing.T, n int) {
	t.Helper()
	for range n {
		l.n++
		payload := fmt.Appendf(nil, "entry %d", l.n)
		d := ledger.Draft{Stream: l.stream, Payload: receipt.PayloadOpening{Content: payload}}
		d.LinkSalt, d.Opening.Salt, d.Payload.Salt = entry.NewSalts()
		d.Header = &entry.Header{Origin: origin, Tenant: "acme", Kind: "attestation", MediaType: "text/plain", Submitter: "token:acme",
			Verification: entry.Verification{Result: entry.Unverified}, Payload: entry.PayloadRef{Commitment: entry.Commitment(d.Payload.Salt, payload), Size: uint64(len(payload))}}
		var err error
		if d.Opening.Content, err = d.Header.AppendJSON(nil); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Append(context.Background(), []ledger.Draft{d}); err != nil {
			t.Fatal(err)
		}
	}
}

// State implements witness.Log.
func (l *testLog) State() witness.State {
	p := l.Published()
	return witness.State{Size: p.Size, Checkpoint: p.Checkpoint, Superseded: p.Superseded, Prove: func(ctx context.Context, from uint64) ([]entry.Hash, error) {
		return p.ConsistencyProof(ctx, from, p.Size)
	}}
}

// collect starts to have the log cosigned.
func (l *testLog) collect(t *testing.T, signers ...note.Signer) *witness.Collector {
	t.Helper()
	return l.collectWith(t, func(cfg *witness.Config) { cfg.Signers = signers })
}

func (l *testLog) collectWith(t *testing.T, edit func(*witness.Config)) *witness.Collector {
	t.Helper()
	cfg := witness.Config{Log: l, Policies: l.policies, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
		MinBackoff: 2 * time.Millisecond, MaxBackoff: 20 * time.Millisecond, RoundTime: 200 * time.Millisecond, RequestTime: 300 * time.Millisecond}
	edit(&cfg)
	c, err := witness.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.Start()
	t.Cleanup(c.Close)
	return c
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// await waits until something is so, and fails the test if it never is.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(soak.Patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

// awaitWitnessed waits until the published size is witnessed, and returns the
// checkpoint.
func (l *testLog) awaitWitnessed(t *testing.T) *ledger.Witnessed {
	t.Helper()
	size := l.Published().Size
	await(t, fmt.Sprintf("size %d is witnessed", size), func() bool { w := l.Witnessed(); return w != nil && w.Size >= size })
	return l.Witnessed()
}

// A testWitness is a real witness of this project behind a handler that a test
// can replace.
type testWitness struct {
	*httptest.Server
	name  string
	vkeys []string
	dir   string
	keys  []cosigner.Key
	log   *testLog

	mu      sync.Mutex
	handler http.Handler
	w       *cosigner.Cosigner
	asked   [][]byte // bodies of the requests
}

// newTestWitness starts a witness that is configured with the log. It has an
// Ed25519 key, and with pq also an ML-DSA-44 key.
func newTestWitness(t *testing.T, l *testLog, name string, pq bool) *testWitness {
	t.Helper()
	w := &testWitness{name: name, dir: filepath.Join(t.TempDir(), name), log: l}
	skey, vkey, err := note.GenerateKey(nil, name+".example")
	if err != nil {
		t.Fatal(err)
	}
	if vkey, err = fnote.VKeyToCosignatureV1(vkey); err != nil {
		t.Fatal(err)
	}
	w.addKey(t, skey, vkey)
	if pq {
		if skey, vkey, err = fnote.GenerateMLDSAKey(name + ".example"); err != nil {
			t.Fatal(err)
		}
		w.addKey(t, skey, vkey)
	}
	w.start(t)
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	return w
}

func (w *testWitness) addKey(t *testing.T, skey, vkey string) {
	s, err := fnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	w.keys, w.vkeys = append(w.keys, cosigner.Key{Signer: s, Verifier: s.Verifier()}), append(w.vkeys, vkey)
}

// start opens the witness on its folder.
func (w *testWitness) start(t *testing.T) {
	t.Helper()
	v, err := note.NewVerifier(w.log.vkey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := cosigner.Open(cosigner.Config{Dir: w.dir, Keys: w.keys, Logs: []cosigner.Log{{Origin: origin, Keys: []note.Verifier{v}}}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.w, w.handler = c, c.Handler(anybody)
}

// stop ends the witness. Its address then answers 502, like a proxy in front of
// it.
func (w *testWitness) stop(t *testing.T) {
	t.Helper()
	w.replace(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) }))
	if err := w.w.Close(); err != nil {
		t.Fatal(err)
	}
}

func (w *testWitness) replace(h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handler = h
}

func (w *testWitness) serve(rw http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body)
	r.Body = http.NoBody
	r.Body = readCloser{bytes.NewReader(body.Bytes())}
	w.mu.Lock()
	w.asked = append(w.asked, body.Bytes())
	h := w.handler
	w.mu.Unlock()
	h.ServeHTTP(rw, r)
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// line is the witness's line in a policy, with its key i.
func (w *testWitness) line(i int) string {
	return fmt.Sprintf("witness %s %s %s\n", w.name, w.vkeys[i], w.URL)
}

// requests returns the bodies of the requests so far.
func (w *testWitness) requests() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([][]byte(nil), w.asked...)
}

// anybody admits all callers of a witness.
func anybody(_ string, next http.Handler) http.Handler { return next }
