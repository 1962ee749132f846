package api_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
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
