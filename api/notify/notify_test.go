package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"muniment.dev/muniment/controls/posture"
)

var start = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// A source has events that tests add.
type source struct {
	mu  sync.Mutex
	all map[string][]posture.Event
}

func (s *source) Tenants() []string { return []string{"acme", "globex"} }

func (s *source) Events(_ context.Context, tenant string, _ time.Duration) ([]posture.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]posture.Event(nil), s.all[tenant]...), nil
}

func (s *source) add(tenant, kind string, at time.Time) posture.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := posture.NewEvent(kind, at, map[string]any{"exception": "EXC-1"}, tenant, at.UnixMilli())
	s.all[tenant] = append(s.all[tenant], e)
	return e
}

// A received request.
type received struct {
	header http.Header
	body   []byte
}

// A receiver answers with the statuses in turn, then 204.
type receiver struct {
	*httptest.Server
	got      chan received
	mu       sync.Mutex
	statuses []int
}

func newReceiver(t *testing.T, statuses ...int) *receiver {
	r := &receiver{got: make(chan received, 100), statuses: statuses}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		status := http.StatusNoContent
		r.mu.Lock()
		if len(r.statuses) > 0 {
			status, r.statuses = r.statuses[0], r.statuses[1:]
		}
		r.mu.Unlock()
		if status == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
		r.got <- received{req.Header, body}
	}))
	t.Cleanup(r.Close)
	return r
}

const secretText = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func (r *receiver) hook(t *testing.T) Hook {
	t.Helper()
	secret, err := ParseSecret([]byte(secretText + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	h := Hook{Name: "test", URL: r.URL + "/path-is-secret", Secret: secret, Lead: DefaultLead, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	if err := h.Check(); err != nil {
		t.Fatal(err)
	}
	return h
}

// A rig runs a notifier.
type rig struct {
	t      *testing.T
	source *source
	dir    string
	now    time.Time
	logs   strings.Builder
	n      *Notifier
	stop   func()
	tried  chan bool // results of attempts
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, source: &source{all: map[string][]posture.Event{}}, dir: t.TempDir(), now: start, tried: make(chan bool, 100)}
}

// run runs the notifier until stop is called.
func (r *rig) run(hooks ...Hook) {
	r.t.Helper()
	file, err := OpenFile(filepath.Join(r.dir, "webhooks.json"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.runWith(file, hooks...)
}

// runWith runs the notifier with other deliveries than those in a file.
func (r *rig) runWith(d Deliveries, hooks ...Hook) {
	n := New(Config{Source: r.source, Deliveries: d, Log: slog.New(slog.NewTextHandler(&r.logs, nil)), Now: func() time.Time { return r.now }, Interval: time.Millisecond, Tried: func(delivered bool) { r.tried <- delivered }})
	n.Set(hooks)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Run(ctx)
	}()
	r.n, r.stop = n, func() { cancel(); <-done }
}

// TestDeliver checks the request, its signature, and that a failed attempt is
// repeated under the same ID.
func TestDeliver(t *testing.T) {
	r, to := newRig(t), newReceiver(t, 500, 302, 204)
	e := r.source.add("acme", posture.ExceptionExpiring, start)
	r.run(to.hook(t))
	for attempt := range 3 {
		got := <-to.got
		id, timestamp := got.header.Get("Webhook-Id"), got.header.Get("Webhook-Timestamp")
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secretText, "whsec_"))
		if err != nil {
			t.Fatal(err)
		}
		m := hmac.New(sha256.New, key)
		fmt.Fprintf(m, "%s.%s.%s", id, timestamp, got.body)
		if want := "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil)); got.header.Get("Webhook-Signature") != want || id != e.ID || timestamp != fmt.Sprint(start.Unix()) {
			t.Errorf("attempt %d: headers %v, want the ID %s and the signature %s", attempt, got.header, e.ID, want)
		}
		var body struct {
			Type, Tenant string
			Timestamp    time.Time
			Data         map[string]string
		}
		if err := json.Unmarshal(got.body, &body); err != nil || body.Type != e.Type || body.Tenant != "acme" || !body.Timestamp.Equal(start) || body.Data["exception"] != "EXC-1" {
			t.Errorf("attempt %d: body %s, %v", attempt, got.body, err)
		}
	}
	next := r.source.add("acme", posture.FindingOverdue, start)
	if got := <-to.got; got.header.Get("Webhook-Id") != next.ID {
		t.Errorf("the first event was delivered again after it was confirmed")
	}
	r.stop()
	if text := r.logs.String(); strings.Contains(text, "path-is-secret") || strings.Contains(text, secretText) || strings.Contains(fmt.Sprintf("%v %+v %#v", to.hook(t), to.hook(t), to.hook(t)), secretText[6:]) || !strings.Contains(text, "500 Internal Server Error") {
		t.Errorf("the log: %s", text)
	}
}

// TestRestart checks that events that were not delivered are delivered after a
// restart, and others are not, and that a new hook begins with the present.
func TestRestart(t *testing.T) {
	r, to := newRig(t), newReceiver(t)
	r.source.add("acme", posture.ExceptionExpired, start.Add(-time.Hour)) // before there was a hook
	first := r.source.add("acme", posture.ExceptionExpiring, start)
	r.run(to.hook(t))
	if got := <-to.got; got.header.Get("Webhook-Id") != first.ID {
		t.Fatal("an event from before the hook was delivered")
	}
	<-r.tried
	r.stop()
	r.now = start.Add(time.Hour)
	// while the server was down
	second := r.source.add("acme", posture.FindingOverdue, start.Add(time.Minute))
	third := r.source.add("acme", posture.BreakGlassUsed, start.Add(2*time.Minute))
	r.run(to.hook(t))
	for _, want := range []posture.Event{second, third} {
		if got := <-to.got; got.header.Get("Webhook-Id") != want.ID {
			t.Errorf("got %s, want %s (%s)", got.header.Get("Webhook-Id"), want.ID, want.Type)
		}
		<-r.tried
	}
	r.stop()
	if n := r.n.Waiting(); n != 0 {
		t.Errorf("%d events wait", n)
	}
}

// TestFilters checks that a hook receives only its tenants' events of its
// types, and that hooks can be replaced while the notifier runs.
func TestFilters(t *testing.T) {
	r, to := newRig(t), newReceiver(t)
	h := to.hook(t)
	h.Tenants, h.Types = []string{"globex"}, []string{posture.FindingOverdue}
	r.source.add("acme", posture.FindingOverdue, start)
	r.source.add("globex", posture.ExceptionExpired, start)
	want := r.source.add("globex", posture.FindingOverdue, start)
	r.run()
	r.n.Set([]Hook{h})
	if got := <-to.got; got.header.Get("Webhook-Id") != want.ID {
		t.Errorf("got %s", got.body)
	}
	<-r.tried
	r.stop()
	if len(to.got) > 0 {
		t.Errorf("got another event: %s", (<-to.got).body)
	}
}

// TestAddresses checks that a hook connects to public and allowed addresses
// only.
func TestAddresses(t *testing.T) {
	to := newReceiver(t)
	for _, c := range []struct {
		url     string
		allowed string
	}{
		{strings.Replace(to.URL, "http:", "https:", 1), "10.0.0.0/8"}, // loopback is not public
		{to.URL, "10.0.0.0/8"},
		{to.URL, "127.0.0.0/8"},
	} {
		h := to.hook(t)
		h.URL, h.Allowed = c.url, []netip.Prefix{netip.MustParsePrefix(c.allowed)}
		err := h.deliver(context.Background(), h.client(), "msg_1", []byte("{}"), start)
		if c.allowed == "127.0.0.0/8" {
			if err != nil {
				t.Errorf("%s: %v", c.url, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "refused to connect to 127.0.0.1") {
			t.Errorf("%s with %s: %v", c.url, c.allowed, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for url, want := range map[string]string{
		"https://hooks.example.com/x": "",
		"http://10.1.2.3/x":           "http is for addresses in allow_addresses only",
		"ftp://hooks.example.com":     "must be an https URL",
		"https://a:b@example.com":     "must be an https URL",
		"https:///x":                  "must be an https URL",
	} {
		h := Hook{URL: url, Lead: DefaultLead}
		if err := h.Check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
	if err := (&Hook{URL: "https://example.com", Lead: 1, Types: []string{"exception.expired", "x"}}).Check(); err == nil || !strings.Contains(err.Error(), `"x" is not an event`) {
		t.Errorf("an unknown event: %v", err)
	}
	for _, bad := range []string{"", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + strings.Repeat("A", 200)} {
		if _, err := ParseSecret([]byte(bad)); err == nil {
			t.Errorf("accepts the secret %q", bad)
		}
	}
}
