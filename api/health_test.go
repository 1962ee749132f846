package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"muniment.dev/muniment/api/limit"
)

// TestHealthIsBounded sends a health check that would inflate to 400 MB.
func TestHealthIsBounded(t *testing.T) {
	ts := newServer(t)
	req, err := http.NewRequest(http.MethodPost, ts.url+"/grpc.health.v1.Health/Check", bomb(t, 400))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/proto")
	req.Header.Set("Content-Encoding", "gzip")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusTooManyRequests || !strings.Contains(string(body), "resource_exhausted") {
		t.Errorf("status %d, %s, %v", res.StatusCode, body, err)
	}
}

// TestHealthListener checks that the health listener answers while callers hold
// every place of the others, and that it serves nothing else.
func TestHealthListener(t *testing.T) {
	ts := newServer(t)
	hs := httptest.NewServer(ts.api.HealthHandler())
	defer hs.Close()
	for _, owner := range []string{"address 127.0.0.1", "acme"} {
		hold := ts.api.Book().Open(owner)
		defer hold.Release()
		for r, l := range ts.api.Book().Limits() {
			if err := hold.Take(limit.Resource(r), l.Owner); err != nil {
				t.Fatal(err)
			}
		}
	}
	main := ts.url
	ts.url = hs.URL
	for _, c := range []struct {
		method, path, token string
		status              int
	}{
		{"GET", "/healthz", "", http.StatusOK},
		{"GET", "/readyz", "", http.StatusOK},
		{"GET", "/readyz", operatorToken, http.StatusOK},
		{"GET", "/metrics", operatorToken, http.StatusOK},
		{"GET", "/metrics", acmeToken, http.StatusForbidden},
		{"GET", "/metrics", "", http.StatusUnauthorized},
		{"GET", "/caches/", operatorToken, http.StatusOK},
		{"PUT", "/caches/", operatorToken, http.StatusBadRequest},
		{"PUT", "/caches/", acmeToken, http.StatusForbidden},
		{"PUT", "/caches/entries", "", http.StatusUnauthorized},
		{"POST", "/grpc.health.v1.Health/Check", "", http.StatusOK},
		{"GET", "/tlog/checkpoint", "", http.StatusNotFound},
		{"POST", "/muniment.v1.LedgerService/GetCheckpoint", acmeToken, http.StatusNotFound},
	} {
		a := ts.do(ts.h1, c.method, c.path, c.token, map[string]string{"Content-Type": "application/json"}, strings.NewReader("{}"))
		if a.status != c.status {
			t.Errorf("%s %s: status %d, want %d: %s", c.method, c.path, a.status, c.status, a.body)
		}
	}
	ts.url = main
	if a := ts.get("/tlog/checkpoint"); a.status != http.StatusServiceUnavailable {
		t.Errorf("the places are not all held: status %d", a.status)
	}
}
