package rekor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	pb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/edge"
)

const (
	// duplicateHeader contains the index of the existing entry.
	duplicateHeader = "x-log-index"
	// maxRequest is far above any request whose canonical body fits into a
	// leaf.
	maxRequest = 256 << 10
	// smallRequest is above the usual request, which contains a certificate and
	// a signature.
	smallRequest = 16 << 10
	// maxInWork bounds the requests that are handled at once, and maxLarge the
	// large requests that are held at once. Further requests wait. Together
	// with the connection limit they bound the memory in use.
	maxInWork = 256
	maxLarge  = 64
)

// holds limits what each address holds: requests, large requests, and bytes of
// tiles that its client has not read yet.
var holds = limit.HeldLimits{
	limit.Public:      {Total: 2048, Owner: 512},
	limit.Uploads:     {Owner: maxLarge / 2},
	limit.PublicBytes: {Total: 128 << 20, Owner: 20 << 20},
}

// gateway translates between HTTP and the service. It uses the same library,
// generated code and options as Rekor v2, so that bodies, status codes and
// errors are identical.
func gateway(s pb.RekorServer) (http.Handler, error) {
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{Marshaler: &runtime.JSONPb{
			MarshalOptions:   protojson.MarshalOptions{EmitUnpopulated: true},
			UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: false},
		}}),
		runtime.WithForwardResponseOption(created),
		runtime.WithOutgoingHeaderMatcher(func(key string) (string, bool) { return key, key == duplicateHeader }),
	)
	return mux, pb.RegisterRekorHandlerServer(context.Background(), mux, s)
}

// created turns the response to a new entry into a 201. It is not called for
// errors.
func created(_ context.Context, w http.ResponseWriter, _ proto.Message) error {
	for name := range w.Header() {
		if strings.HasPrefix(name, "Grpc-") {
			w.Header().Del(name)
		}
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// A door bounds the memory of requests. It reads a small request before giving
// it a place, so that slow senders do not delay other requests. A large request
// must get one of a few places before it is read.
type door struct {
	next    http.Handler
	working chan struct{}
	large   chan struct{}
	arrival time.Duration
	book    *limit.Book
}

func newDoor(next http.Handler, arrival time.Duration, book *limit.Book) *door {
	return &door{next, make(chan struct{}, maxInWork), make(chan struct{}, maxLarge), arrival, book}
}

// ownerOf returns the account that is charged for the request.
func ownerOf(r *http.Request) string { return "address " + edge.Address(r.RemoteAddr) }

// take charges a request to its address's account, or refuses the request.
func take(w http.ResponseWriter, hold *limit.Hold, r limit.Resource) bool {
	if err := hold.Take(r, 1); err != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return false
	}
	return true
}

// enter waits for a place and reports whether it got one before the client
// disconnected. The caller must call leave.
func enter(w http.ResponseWriter, r *http.Request, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-r.Context().Done():
		// Otherwise the response would be an empty 200.
		http.Error(w, "too many requests in progress", http.StatusServiceUnavailable)
		return false
	}
}

func leave(places chan struct{}) { <-places }

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	hold := d.book.Open(ownerOf(r))
	defer hold.Release()
	if r.ContentLength < 0 || r.ContentLength > smallRequest {
		if !take(w, hold, limit.Uploads) || !enter(w, r, d.large) {
			return
		}
		defer leave(d.large)
	}
	// If setting this deadline fails, the server's deadline for the whole
	// request still applies.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(d.arrival))
	body, err := io.ReadAll(edge.MaxBytes(w, r.Body, maxRequest))
	if large := (*http.MaxBytesError)(nil); err != nil && !errors.As(err, &large) {
		http.Error(w, "the request did not arrive completely in time", http.StatusRequestTimeout)
		return
	}
	if !enter(w, r, d.working) {
		return
	}
	defer leave(d.working)
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failure{err}))
	d.next.ServeHTTP(w, r)
}

// A failure ends a body: io.EOF or a read error.
type failure struct{ err error }

func (f failure) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}
