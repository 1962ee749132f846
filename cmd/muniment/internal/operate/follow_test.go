package operate

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/spool"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/delta"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A following is a follower whose server a test can replace.
type following struct {
	*follower
	log    *ledgerrig.Server
	answer atomic.Pointer[http.HandlerFunc] // nil: that of the log
	front  string                           // URL of the server that it follows
}

// follow returns a follower with a state, whose log has one entry more.
func follow(t *testing.T) *following {
	t.Helper()
	f := &following{log: ledgerrig.Start()}
	t.Cleanup(f.log.Close)
	f.log.Record("first")
	target, err := url.Parse(f.log.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := f.answer.Load(); h != nil {
			(*h)(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	t.Cleanup(front.CloseClientConnections)
	f.front = front.URL

	dir := t.TempDir()
	folder, token := filepath.Join(dir, "replica"), filepath.Join(dir, "token")
	for path, text := range map[string]string{
		"policy": string(f.log.Policy), "key": hex.EncodeToString(f.log.StreamKey[:]) + "\n", "token": f.log.Token + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := &term.App{Ctx: t.Context(), Stdout: term.NewOutput(io.Discard, nil), Stderr: term.NewEscaper(io.Discard)}
	if err := (&replicaInitCmd{Dir: folder, Policy: filepath.Join(dir, "policy"), Tenants: map[string]string{"acme": filepath.Join(dir, "key")}}).Run(a); err != nil {
		t.Fatal(err)
	}
	d, err := datadir.Load(folder)
	if err != nil {
		t.Fatal(err)
	}
	d.Config.Limits.DiskReserveBytes = 1 << 20
	quiet := slog.New(slog.DiscardHandler)
	s, err := datadir.OpenStore(t.Context(), folder, d.ReplicaStore(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if f.follower, err = newFollower(t.Context(), &followFlags{Follow: front.URL, FollowTokenFile: token, Refresh: time.Second}, d, quiet, s, api.NewMetrics("test")); err != nil {
		t.Fatal(err)
	}
	if err := f.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.ledger, err = ledger.OpenReplica(t.Context(), ledger.Config{Store: s, Logger: quiet}, d.Replica); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.ledger.Close)
	if f.spool, err = spool.Make(filepath.Join(folder, datadir.SpoolDir)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.spool.Close() })
	f.log.Record("second")
	return f
}

// attempt connects and updates, as run does.
func (f *following) attempt(ctx context.Context) error {
	if _, err := f.upstream.refresh(ctx); err != nil {
		return err
	}
	return f.update(ctx)
}

// patience makes stalls short for a test.
func patience(t *testing.T) {
	before := stalled
	stalled = 500 * time.Millisecond
	t.Cleanup(func() { stalled = before })
}

// only answers one procedure. The log answers the others.
func (f *following) only(procedure string, answer http.HandlerFunc) http.HandlerFunc {
	target, _ := url.Parse(f.log.URL)
	proxy := httputil.NewSingleHostReverseProxy(target)
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == procedure {
			_, _ = io.Copy(io.Discard, r.Body)
			answer(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}
}

// write writes and flushes until the client goes away or enough is written.
func write(w http.ResponseWriter, r *http.Request, pause time.Duration, text []byte, times int) {
	for range times {
		if _, err := w.Write(text); err != nil {
			return
		}
		if pause > 0 {
			w.(http.Flusher).Flush()
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(pause):
		}
	}
}

// envelope returns a message of a Connect stream, with the length that it
// announces.
func envelope(flags byte, announced int, body []byte) []byte {
	return append([]byte{flags, byte(announced >> 24), byte(announced >> 16), byte(announced >> 8), byte(announced)}, body...)
}

func zeros(n int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.CopyN(z, zeroReader{}, int64(n))
	_ = z.Close()
	return b.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// hijacked sends raw bytes after the request.
func hijacked(send func(write func(string) bool)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		send(func(text string) bool {
			_, err := io.WriteString(c, text)
			return err == nil
		})
	}
}

// TestHostileServers checks that no server can hold, fill or divert a follower:
// each attempt ends with a reason, and the replica stays as it is. After each,
// the log is followed again.
func TestHostileServers(t *testing.T) {
	patience(t)
	const checkpoint, export = munimentv1connect.LedgerServiceGetCheckpointProcedure, munimentv1connect.ExportServiceExportProcedure
	stream := func(w http.ResponseWriter) { w.Header().Set("Content-Type", "application/connect+proto") }
	f, bomb := follow(t), zeros(64<<20)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	for _, c := range []struct {
		name, procedure string
		answer          http.HandlerFunc
		cause, text     string
	}{
		{"stalls", checkpoint, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, api.FollowStalled, ""},
		{"trickles a checkpoint", checkpoint, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/proto")
			write(w, r, 10*time.Millisecond, []byte{0}, 1<<20)
		}, api.FollowStalled, ""},
		{"endless headers", checkpoint, hijacked(func(write func(string) bool) {
			write("HTTP/1.1 200 OK\r\n")
			for i := 0; write(fmt.Sprintf("X-%d: %s\r\n", i, strings.Repeat("x", 1000))); i++ {
			}
		}), "", ""},
		{"trickled headers", checkpoint, hijacked(func(write func(string) bool) {
			for write("HTTP/1.1 200 OK\r\n"); write("X: y\r\n"); time.Sleep(time.Millisecond) {
			}
		}), "", ""},
		{"a page", checkpoint, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>Please sign in") }, api.FollowAnswer, "not the answer of a ledger"},
		{"nothing", checkpoint, func(http.ResponseWriter, *http.Request) {}, api.FollowAnswer, "not the answer of a ledger"},
		{"no such page", checkpoint, http.NotFound, api.FollowAnswer, "no ledger at this address"},
		{"redirects elsewhere", checkpoint, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/secret?a", http.StatusTemporaryRedirect)
		}, api.FollowAnswer, "which is not followed"},
		{"redirects here", checkpoint, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }, api.FollowAnswer, "which is not followed"},
		{"a page that bursts", checkpoint, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/proto")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		}, "", ""},
		{"an endless answer", checkpoint, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/proto")
			write(w, r, 0, make([]byte, 1<<20), 64)
		}, "", ""},
		{"closes early", export, func(w http.ResponseWriter, r *http.Request) {
			stream(w)
			_, _ = w.Write(envelope(0, 1000, make([]byte, 10)))
		}, "", ""},
		{"trickles a delta", export, func(w http.ResponseWriter, r *http.Request) {
			stream(w)
			write(w, r, 0, envelope(0, 2+len(delta.Preamble), append([]byte{10, byte(len(delta.Preamble))}, delta.Preamble...)), 1)
			write(w, r, 10*time.Millisecond, envelope(0, 3, []byte{10, 1, 0}), 1<<20)
		}, api.FollowStalled, "less than"},
		{"not a delta", export, func(w http.ResponseWriter, r *http.Request) {
			stream(w)
			write(w, r, 0, envelope(0, 1002, append([]byte{10, 232, 7}, make([]byte, 1000)...)[:1002]), 1<<20)
		}, "", ""},
		{"messages that burst", export, func(w http.ResponseWriter, r *http.Request) {
			stream(w)
			w.Header().Set("Connect-Content-Encoding", "gzip")
			write(w, r, 0, envelope(1, len(bomb), bomb), 100)
		}, "", ""},
		{"a message that is too long", export, func(w http.ResponseWriter, r *http.Request) {
			stream(w)
			write(w, r, 0, envelope(0, 1<<31-1, make([]byte, 1<<10)), 1)
		}, api.FollowAnswer, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, asOf := f.ledger.Published(), f.ledger.AsOf()
			answer := f.only(c.procedure, c.answer)
			f.answer.Store(&answer)
			err := f.attempt(t.Context())
			f.answer.Store(nil)
			if err == nil || t.Context().Err() != nil {
				t.Fatalf("the attempt ended with %v", err)
			}
			text := followText(err)
			if cause := followCause(err); c.cause != "" && cause != c.cause || !strings.Contains(text, c.text) || len(text) > 4*followErrors || strings.Contains(text, "secret") {
				t.Errorf("cause %s, want %s; text %q, want %q", cause, c.cause, text, c.text)
			}
			if f.ledger.Published() != before || f.ledger.AsOf() != asOf {
				t.Error("the replica has changed")
			}
			if left, _ := filepath.Glob(filepath.Join(f.dir.Path, incoming)); len(left) > 0 {
				t.Errorf("left over: %s", left)
			}
		})
	}
	size := f.ledger.Published().Size
	if err := f.attempt(t.Context()); err != nil || f.ledger.Published().Size <= size {
		t.Fatalf("after all: %v, %d entries", err, f.ledger.Published().Size)
	}
}

// TestStalledSpool checks that a server that takes no decisions does not keep
// the replica from being up to date.
func TestStalledSpool(t *testing.T) {
	patience(t)
	f := follow(t)
	subject := &munimentv1.GateSubject{Type: "file", Artifact: &munimentv1.Artifact{Name: "app", Digest: map[string]string{"sha256": strings.Repeat("a", 64)}}}
	res, err := f.upstream.current.Load().Gate.Decide(t.Context(), connect.NewRequest(&munimentv1.DecideRequest{Tenant: "acme", Stage: "deploy", Subjects: []*munimentv1.GateSubject{subject}, DryRun: true}))
	if err != nil {
		t.Fatal(err)
	}
	document, err := decide.SpooledDocument(ledgerrig.Origin, "acme", decide.GateReplica, "token:acme", subject, res.Msg.Decisions[0].Decision)
	if err == nil {
		_, err = f.spool.Put(document)
	}
	if err != nil {
		t.Fatal(err)
	}
	answer := f.only(munimentv1connect.GateServiceSubmitDecisionsProcedure, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	f.answer.Store(&answer)
	size, asOf := f.ledger.Published().Size, f.ledger.AsOf()
	err = f.attempt(t.Context())
	if followCause(err) != api.FollowSpool || f.ledger.Published().Size <= size || !f.ledger.AsOf().After(asOf) {
		t.Errorf("%v: %d entries as of %s", err, f.ledger.Published().Size, f.ledger.AsOf())
	}
	if err := f.note(t.Context(), err); err != nil || f.retries.failures != 0 {
		t.Errorf("%v: %d failures to follow", err, f.retries.failures)
	}
	if err := f.attempt(t.Context()); err != nil {
		t.Errorf("the decisions are submitted again at once: %v", err)
	}
}

// TestChangedCredentials checks that a replaced token is used without a
// restart, and that a file that cannot be used changes nothing.
func TestChangedCredentials(t *testing.T) {
	f := follow(t)
	path := f.flags.FollowTokenFile
	replace := func(text string) {
		t.Helper()
		next := path + ".next"
		if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.attempt(t.Context()); err != nil {
		t.Fatal(err)
	}
	good := f.upstream.current.Load()
	replace("not a token")
	if err := f.attempt(t.Context()); err != nil || f.upstream.current.Load() != good || f.upstream.unusable == "" {
		t.Errorf("with a file that is no token: %v; %q", err, f.upstream.unusable)
	}
	replace("mnt_acme_revoked")
	err := f.attempt(t.Context())
	if err == nil || followCause(err) != api.FollowRefused || !strings.Contains(followText(err), "--follow-token-file") {
		t.Errorf("with a token that is refused: %v, %q", err, followText(err))
	}
	if good.ctx.Err() == nil {
		t.Error("the old connection is still in use")
	}
	replace(f.log.Token)
	if err := f.attempt(t.Context()); err != nil || f.upstream.unusable != "" {
		t.Errorf("with a good token again: %v", err)
	}
}

// TestBackoff checks the times between attempts.
func TestBackoff(t *testing.T) {
	b := newBackoff(5 * time.Second)
	var got []time.Duration
	for range 5 {
		b.failed(nil)
		got = append(got, b.delay)
		if d := b.jittered(); d > b.delay || d < b.delay*4/5-1 {
			t.Errorf("waits %s of %s", d, b.delay)
		}
	}
	if want := fmt.Sprint([]time.Duration{5e9, 10e9, 20e9, 30e9, 30e9}); fmt.Sprint(got) != want {
		t.Errorf("waits %s, want %s", got, want)
	}
	b.succeeded()
	busy := connect.NewError(connect.CodeResourceExhausted, nil)
	detail, err := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	busy.AddDetail(detail)
	if b.failed(busy); b.delay != longestRetry {
		t.Errorf("waits %s, want %s", b.delay, longestRetry)
	}
	b.succeeded()
	if b.delay != 5*time.Second || b.failures != 0 {
		t.Errorf("waits %s after a success", b.delay)
	}
}
