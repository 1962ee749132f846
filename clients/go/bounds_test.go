package muniment

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"muniment.dev/muniment/internal/soak"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// The client reads only a bounded part of an error response, and cuts its
// message to a limit.
func TestAnswersAreBounded(t *testing.T) {
	soak.WithoutRace(t)
	huge := `{"code":"invalid_argument","message":"` + strings.Repeat("x", 16<<20) + `"}`
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, huge)
	_ = z.Close()
	answers := map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, huge)
		},
		"a gzipped error": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write(zipped.Bytes())
		},
		"an error without an end": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			chunk := make([]byte, 64<<10)
			for r.Context().Err() == nil {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
		"a message without an end": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/proto")
			chunk := make([]byte, 1<<20)
			for range 2 * maxMessage / len(chunk) {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(answer)
			defer s.Close()
			c, err := New(Options{Server: s.URL, Tenant: "acme"})
			if err != nil {
				t.Fatal(err)
			}
			defer c.http.CloseIdleConnections()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			_, err = c.GetEntry(ctx, connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "acme"}))
			if err == nil || len(err.Error()) > 2*maxErrorBody {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
			res, err := c.Do(ctx, http.MethodGet, "/x", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode >= 300 {
				data, _ := io.ReadAll(res.Body)
				if len(data) > maxErrorBody {
					t.Errorf("%d bytes of body", len(data))
				}
			}
			_ = res.Body.Close()
		})
	}
}
