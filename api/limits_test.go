package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"

	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// TestBytesAtWork checks what each sort of request reserves, while it is worked on and afterwards.
func TestBytesAtWork(t *testing.T) {
	limit := (&Config{MaxPayload: 1 << 20}).maxRequest()
	s := &Server{cfg: Config{MaxPayload: 1 << 20}, inFlight: semaphore.NewWeighted(limit), errors: connect.NewErrorWriter(), now: time.Now, audit: newAuditLog(nil)}
	for _, c := range []struct {
		name    string
		request func() *http.Request
		want    int64 // reserved when the body has been read
	}{
		{"small", func() *http.Request { return post(strings.NewReader("x")) }, 0},
		{"large", func() *http.Request { return post(bytes.NewReader(make([]byte, 1<<20))) }, 1 << 20},
		{"small, compressed", func() *http.Request {
			r := post(strings.NewReader("x"))
			r.Header.Set("Content-Encoding", "gzip")
			return r
		}, limit},
		{"of unknown length, small", func() *http.Request { return post(io.MultiReader(strings.NewReader("x"))) }, 0},
		{"of unknown length, large", func() *http.Request { return post(io.MultiReader(bytes.NewReader(make([]byte, 1<<20)))) }, 3 * largeRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			called := false
			h := s.bound(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				called = true
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					t.Error(err)
				}
				if s.inFlight.TryAcquire(limit - c.want + 1) {
					t.Errorf("fewer than %d bytes are reserved", c.want)
				} else if !s.inFlight.TryAcquire(limit - c.want) {
					t.Errorf("more than %d bytes are reserved", c.want)
				} else {
					s.inFlight.Release(limit - c.want)
				}
			}))
			h.ServeHTTP(httptest.NewRecorder(), c.request())
			if !called {
				t.Error("refused")
			}
			if !s.inFlight.TryAcquire(limit) {
				t.Fatal("something stays reserved")
			}
			defer s.inFlight.Release(limit)
			if c.want == 0 {
				return
			}
			// With nothing left it is refused, before or while it is read.
			w := httptest.NewRecorder()
			s.bound(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					s.refuse(w, r, connect.NewError(connect.CodeOf(err), err))
				}
			})).ServeHTTP(w, c.request())
			if w.Code != http.StatusTooManyRequests {
				t.Errorf("status %d with nothing left", w.Code)
			}
		})
	}
}

// Whoever needs no credentials holds nothing that others need, and is not listened to for long.
func TestBytesWithoutCredentials(t *testing.T) {
	s := &Server{cfg: Config{MaxPayload: 1 << 20}, inFlight: semaphore.NewWeighted(0), errors: connect.NewErrorWriter(), now: time.Now, audit: newAuditLog(nil)}
	for _, c := range []struct {
		name string
		body func() io.Reader
		want bool
	}{
		{"small", func() io.Reader { return strings.NewReader("x") }, true},
		{"large", func() io.Reader { return bytes.NewReader(make([]byte, 1<<20)) }, false},
		{"of unknown length, large", func() io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, 1<<20))) }, false},
	} {
		for _, encoding := range []string{"", "gzip"} {
			r := post(c.body())
			r.URL.Path = munimentv1connect.IdentityServiceExchangeTokenProcedure
			r.Header.Set("Content-Encoding", encoding)
			read := false
			s.bound(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(io.Discard, r.Body)
				read = err == nil
			})).ServeHTTP(httptest.NewRecorder(), r)
			if read != c.want {
				t.Errorf("%s %s: read is %v", c.name, encoding, read)
			}
		}
	}
}

func post(body io.Reader) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/muniment.v1.LedgerService/Append", body)
	r.Header.Set("Content-Type", "application/proto")
	return r
}

// A tenant whose requests hold all the bytes that they may leaves as many to the others.
func TestBytesAtWorkOfOneTenant(t *testing.T) {
	s := &Server{cfg: Config{MaxPayload: 1 << 20, MaxInFlight: 256 << 20}, errors: connect.NewErrorWriter(), now: time.Now, audit: newAuditLog(nil)}
	s.inFlight = semaphore.NewWeighted(s.cfg.MaxInFlight)
	s.quotas = map[string]*quota{}
	status := func(tenant, path string, while func()) int {
		if s.quotas[tenant] == nil {
			s.quotas[tenant] = newQuota(Limits{}, s.cfg.tenantInFlight())
		}
		r := post(bytes.NewReader(make([]byte, 1<<20)))
		r.URL.Path = path
		w := httptest.NewRecorder()
		s.bound(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { while() })).
			ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, &identity{tenant: &Tenant{Name: tenant}})))
		return w.Code
	}
	for _, path := range []string{"/muniment.v1.LedgerService/Append", "/muniment.v1.LedgerService/AppendStream"} {
		held, last := 0, 0
		var more func()
		more = func() {
			held++
			if last = status("acme", path, more); last != http.StatusOK && status("globex", path, func() {}) != http.StatusOK {
				t.Errorf("%s: with %d requests of one tenant at work, another's is refused", path, held)
			}
		}
		if last = http.StatusOK; status("acme", path, more) != http.StatusOK || held == 0 {
			t.Fatalf("%s: nothing is taken", path)
		}
		if got := status("acme", path, func() {}); got != http.StatusOK {
			t.Errorf("%s: status %d when all is done", path, got)
		}
	}
}
