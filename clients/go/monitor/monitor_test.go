package monitor_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/api/tiles"
	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/clients/go/monitor"
	"muniment.dev/muniment/internal/peers/rekorpeer"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store/memstore"
)

const origin = "ledger.test/log"

var stream = ledger.NewStream(sha256.Sum256([]byte("acme")))

func newSigner(t *testing.T) (note.Signer, *receipt.TrustPolicy) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(nil, origin)
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

func newLog(t *testing.T, s note.Signer, names ...string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), ledger.Config{Store: memstore.New(), Signer: s, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	add(t, l, names...)
	return l
}

func add(t *testing.T, l *ledger.Ledger, names ...string) {
	t.Helper()
	h := &entry.Header{Origin: origin, Tenant: "acme", Kind: "attestation", MediaType: "text/plain", Submitter: "token:acme", Verification: entry.Verification{Result: entry.Unverified}}
	for _, n := range names {
		if _, err := l.Append(t.Context(), []ledger.Draft{{Stream: stream, Header: h, Opening: receipt.HeaderOpening{Content: []byte("{}")}, Payload: receipt.PayloadOpening{Content: []byte(n)}}}); err != nil {
			t.Fatal(err)
		}
	}
}

// A front is a URL that serves one log, another, or none.
type front struct {
	mu  sync.Mutex
	h   http.Handler
	url string
}

func newFront(t *testing.T) *front {
	f := &front{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		h := f.h
		f.mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	f.url = s.URL + "/tlog/"
	return f
}

func (f *front) show(h http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.h = h
}

func (f *front) showLog(l *ledger.Ledger) {
	f.show(http.StripPrefix("/tlog/", &tiles.Handler{Ledger: l, Logger: slog.New(slog.DiscardHandler), Public: true}))
}

func (f *front) source(t *testing.T) audit.Source {
	t.Helper()
	src, err := audit.NewHTTPSource(f.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func kinds(r monitor.Round) (standing, found string) {
	for _, a := range r.Standing {
		standing += a.Kind + " "
	}
	for _, a := range r.Found {
		found += a.Kind + " "
	}
	return strings.TrimSpace(standing), strings.TrimSpace(found)
}

func TestLogThatLies(t *testing.T) {
	signer, policy := newSigner(t)
	honest := newLog(t, signer, "a", "b", "c")
	forked := newLog(t, signer, "a", "x", "y", "z", "zz", "zzz")
	short := newLog(t, signer, "a")
	f := newFront(t)
	f.showLog(honest)

	var mu sync.Mutex
	var delivered []monitor.Alert
	down := false
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var a monitor.Alert
		body, _ := io.ReadAll(r.Body)
		var v struct{ Kind, Message, Log, OfferedCheckpoint string }
		if err := json.Unmarshal(body, &v); err != nil || r.Header.Get("Authorization") != "Bearer s3cret" {
			t.Errorf("webhook: %v, %v", err, r.Header)
		}
		a.Kind, a.Message, a.Log, a.Offered = v.Kind, v.Message, v.Log, v.OfferedCheckpoint
		if down {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		delivered = append(delivered, a)
	}))
	defer hook.Close()
	webhook, err := monitor.NewWebhook(hook.URL, "s3cret")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	dir := t.TempDir()
	look := func() monitor.Round {
		t.Helper()
		// Each round is another process: its whole state is in the folder.
		m := &monitor.Monitor{Dir: dir, Now: func() time.Time { return now }, Deliver: webhook.Deliver,
			Logs: []monitor.Log{{Name: "ours", Source: f.source(t), Policy: policy, StreamKey: &stream.Key, Quiet: time.Hour}}}
		return m.Rounds(t.Context())[0]
	}
	want := func(what string, r monitor.Round, standing, found string, failed bool) {
		t.Helper()
		s, n := kinds(r)
		if s != standing || n != found || (r.Err != nil) != failed {
			t.Fatalf("%s: standing %q, found %q, error %v; want %q, %q\n%+v", what, s, n, r.Err, standing, found, r.Standing)
		}
	}
	want("the first look", look(), "", "", false)
	add(t, honest, "d")
	r := look()
	want("growth", r, "", "", false)
	if r.New != 1 || r.Size != 4 {
		t.Errorf("round: %+v", r)
	}

	now = now.Add(59 * time.Minute)
	want("quiet", look(), "", "", false)
	now = now.Add(2 * time.Minute)
	down = true
	want("too quiet, and the webhook is down", look(), "stalled", "stalled", true)
	down = false
	want("still too quiet", look(), "stalled", "", false)
	add(t, honest, "e")
	want("it goes on", look(), "", "", false)

	f.showLog(forked)
	r = look()
	want("a fork", r, "forked", "forked", false)
	a := r.Standing[0]
	for _, signed := range []string{a.Kept, a.Offered} {
		if _, _, err := policy.VerifyCheckpoint([]byte(signed)); err != nil {
			t.Errorf("the evidence: %v", err)
		}
	}
	want("the same fork", look(), "forked", "", false)
	f.showLog(short)
	want("a shorter log", look(), "truncated", "truncated", false)
	f.showLog(honest)
	want("the honest log again", look(), "", "", false)

	f.show(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") }))
	want("something else", look(), "unsound", "unsound", false)
	f.show(http.NotFoundHandler())
	want("nothing there", look(), "", "", true)
	now = now.Add(2 * time.Hour)
	want("nothing there for long", look(), "stalled", "stalled", true)

	mu.Lock()
	defer mu.Unlock()
	var told []string
	for _, a := range delivered {
		told = append(told, a.Kind)
		if a.Log != "ours" || a.Message == "" {
			t.Errorf("webhook got %+v", a)
		}
	}
	if want := []string{"stalled", "forked", "truncated", "unsound", "stalled"}; !slices.Equal(told, want) {
		t.Errorf("the webhook was told %q, want %q", told, want)
	}

	metrics := monitor.NewMetrics()
	metrics.Observe(&r, now)
	rec := httptest.NewRecorder()
	metrics.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{`muniment_monitor_alerts{kind="forked",log="ours"} 1`, `muniment_monitor_alerts{kind="stalled",log="ours"} 0`, `muniment_monitor_entries{log="ours"} 5`, `muniment_monitor_alerts_total{kind="forked",log="ours"} 1`} {
		if !strings.Contains(rec.Body.String(), line+"\n") {
			t.Errorf("metrics lack %s:\n%s", line, rec.Body)
		}
	}
}

// A damaged state is an error, not a fresh start.
func TestDamagedState(t *testing.T) {
	signer, policy := newSigner(t)
	f := newFront(t)
	f.showLog(newLog(t, signer, "a", "b"))
	dir := t.TempDir()
	m := &monitor.Monitor{Dir: dir, Now: time.Now, Logs: []monitor.Log{{Name: "ours", Source: f.source(t), Policy: policy}}}
	if r := m.Rounds(t.Context())[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	path := filepath.Join(dir, "ours.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(data); i += 7 {
		bad := bytes.Clone(data)
		bad[i] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r := m.Rounds(t.Context())[0]
		if r.Err == nil && len(r.Standing) == 0 && r.New > 0 {
			t.Fatalf("with byte %d changed the log is read anew", i)
		}
	}
}

// A real Rekor v2 log, with entries by several signers.
func TestRekor(t *testing.T) {
	peer, err := rekorpeer.Start(context.Background(), t.TempDir(), "--checkpoint-interval", "1s", "--batch-max-age", "10ms")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(peer.Stop)
	vkey, err := note.NewEd25519VerifierKey("127.0.0.1", peer.Key)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := receipt.ParseTrustPolicy("rekor", []byte(receipt.FormatTrustPolicy(vkey)))
	if err != nil {
		t.Fatal(err)
	}
	digest := func(s string) string { h := sha256.Sum256([]byte(s)); return "sha256:" + hex.EncodeToString(h[:]) }
	sign(t, peer.URL, "before", "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main")

	src, err := audit.NewFolderSource(peer.Folder)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	look := func(fromNow bool, w monitor.Watch) monitor.Round {
		t.Helper()
		name := "rekor-now"
		if !fromNow {
			name = "rekor"
		}
		m := &monitor.Monitor{Dir: dir, Now: time.Now, Logs: []monitor.Log{{Name: name, Source: src, Policy: policy, AnyLeaf: true, Rekor: true, FromNow: fromNow, Watch: w}}}
		r := m.Rounds(t.Context())[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r
	}
	ours := monitor.Watch{Identities: []string{"https://github.com/acme/*"}, Subjects: []string{digest("the artifact")}, Expected: []string{digest("known")}}
	if r := look(true, ours); len(r.Standing) != 0 || r.Size == 0 || r.New != 0 {
		t.Fatalf("begun from now: %+v", r)
	}
	sign(t, peer.URL, "stolen", "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/evil")
	sign(t, peer.URL, "known", "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main")
	sign(t, peer.URL, "somebody else's", "https://github.com/globex/app/.github/workflows/release.yml@refs/heads/main")
	sign(t, peer.URL, "the artifact", "https://github.com/globex/app/.github/workflows/release.yml@refs/heads/main")
	r := look(true, ours)
	if len(r.Standing) != 2 || !strings.HasSuffix(r.Standing[0].Matched, "evil") || r.Standing[1].Matched != digest("the artifact") || r.New != 4 || *r.Standing[0].Index != 1 {
		t.Fatalf("alerts: %+v", r.Standing)
	}
	if r := look(true, ours); len(r.Standing) != 0 || r.New != 0 {
		t.Fatalf("the same again: %+v", r)
	}
	if r := look(false, ours); len(r.Standing) != 3 || r.New != 5 {
		t.Fatalf("from the start: %+v", r)
	}
}

// sign records a hashedrekord entry with a certificate for the identity, and
// returns when it is in the log.
func sign(t *testing.T, server, content, identity string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(identity)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{}, URIs: []*url.URL{u}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	body := fmt.Sprintf(`{"hashedRekordRequestV002":{"digest":%q,"signature":{"content":%q,"verifier":{"x509Certificate":{"rawBytes":%q},"keyDetails":"PKIX_ECDSA_P256_SHA_256"}}}}`, b64(sum[:]), b64(sig), b64(cert))
	res, err := http.Post(server+"/api/v2/log/entries", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusCreated && res.StatusCode != http.StatusOK {
		t.Fatalf("Rekor: %s: %s", res.Status, text)
	}
}

// The age of a checkpoint is the age of its newest cosignature by a witness of
// the policy.
func TestWitnessAge(t *testing.T) {
	skey, vkey, err := note.GenerateKey(nil, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	witness, err := torchwood.NewCosignatureSigner("witness.test/w1", key)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := receipt.ParseTrustPolicy("test", []byte("log "+vkey+"\nwitness w1 "+witness.Verifier().String()+"\nquorum none\n"))
	if err != nil {
		t.Fatal(err)
	}
	root := entry.Hash(sha256.Sum256(nil))
	// by the system's clock
	signed, err := receipt.Checkpoint{Origin: origin, Root: root}.Sign(signer, witness)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := receipt.Checkpoint{Origin: origin, Root: root}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	f := newFront(t)
	serve := func(signed []byte) {
		f.show(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(signed) }))
	}
	for _, tc := range []struct {
		name   string
		signed []byte
		later  time.Duration
		want   string
		says   string
	}{
		{"fresh", signed, time.Minute, "", ""},
		{"old", signed, 2 * time.Hour, "stalled", "old"},
		{"without a cosignature", bare, time.Minute, "stalled", "no witness"},
	} {
		serve(tc.signed)
		m := &monitor.Monitor{Dir: t.TempDir(), Now: func() time.Time { return time.Now().Add(tc.later) }, Logs: []monitor.Log{{Name: "ours", Source: f.source(t), Policy: policy, MaxAge: time.Hour}}}
		r := m.Rounds(t.Context())[0]
		if s, _ := kinds(r); s != tc.want || r.Err != nil || tc.want != "" && !strings.Contains(r.Standing[0].Message, tc.says) {
			t.Errorf("%s: %+v", tc.name, r)
		}
	}
}

// The address of a webhook is often a secret, and errors about it get into
// logs.
func TestWebhookErrors(t *testing.T) {
	hook := httptest.NewServer(http.NotFoundHandler())
	w, err := monitor.NewWebhook(hook.URL+"/services/s3cret", "")
	if err != nil {
		t.Fatal(err)
	}
	answered := w.Deliver(t.Context(), &monitor.Alert{})
	hook.Close()
	for _, err := range []error{answered, w.Deliver(t.Context(), &monitor.Alert{})} {
		if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "webhook of 127.0.0.1:") {
			t.Errorf("%v", err)
		}
	}
}
