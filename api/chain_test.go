package api_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/protobuf/proto"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A sink is a ResponseWriter that keeps only the status.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(code int)        { s.status = code }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

// binaryRequest returns a function that makes requests for the procedure.
func binaryRequest(procedure string) func(m proto.Message) *http.Request {
	made := httptest.NewRequest("POST", procedure, nil)
	made.Header.Set("Content-Type", "application/proto")
	made.Header.Set("Authorization", "Bearer "+acmeToken)
	made.Header.Set("Accept-Encoding", "gzip")
	made.Header.Set("User-Agent", "Go-http-client/1.1")
	return func(m proto.Message) *http.Request {
		body, err := proto.Marshal(m)
		if err != nil {
			panic(err) // of a request made here
		}
		r := made.Clone(context.Background())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return r
	}
}

// BenchmarkChain measures the cost of a request outside of its handler, for a
// call that only reads memory, without a network.
func BenchmarkChain(b *testing.B) {
	h := newServer(b).api.Handler()
	req := binaryRequest(munimentv1connect.LedgerServiceGetCheckpointProcedure)
	for _, n := range []int{1, 256} { // goroutines per processor
		b.Run(map[int]string{1: "alone", 256: "crowd"}[n], func(b *testing.B) {
			b.SetParallelism(n)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					w := &sink{header: http.Header{}, status: 200}
					if h.ServeHTTP(w, req(&munimentv1.GetCheckpointRequest{})); w.status != 200 {
						b.Errorf("status %d", w.status)
					}
				}
			})
		})
	}
}

// BenchmarkAppend measures appends of 1 KiB to a log in memory by 512
// goroutines, without a network.
func BenchmarkAppend(b *testing.B) {
	h := newServer(b).api.Handler()
	req := binaryRequest(munimentv1connect.LedgerServiceAppendProcedure)
	b.SetParallelism(256)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		rng := rand.NewChaCha8([32]byte{byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32())})
		for pb.Next() {
			payload := make([]byte, 1024)
			_, _ = rng.Read(payload) // never fails
			w := &sink{header: http.Header{}, status: 200}
			if h.ServeHTTP(w, req(&munimentv1.AppendRequest{Tenant: "acme", Submission: &munimentv1.Submission{Kind: "attestation", MediaType: "application/octet-stream", Payload: payload}})); w.status != 200 {
				b.Errorf("status %d", w.status)
			}
		}
	})
}
