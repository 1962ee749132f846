package rekor

import (
	"context"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	pb "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	entriesPath = "/api/v2/log/entries"
	// duplicateHeader holds the index of the entry that is there already.
	duplicateHeader = "x-log-index"
	// maxRequest is far more than the largest request whose canonical body fits into a leaf.
	maxRequest = 256 << 10
	// maxInWork is how many requests are read and worked on at once; the rest wait. Together with maxRequest it bounds the memory.
	maxInWork = 256
)

// gateway translates between HTTP and the service with the library, the generated code and the options that Rekor v2 uses, so that bodies, status
// codes and errors are its own.
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

// created makes an answer the 201 of a new entry. It is not called for errors.
func created(_ context.Context, w http.ResponseWriter, _ proto.Message) error {
	for name := range w.Header() {
		if strings.HasPrefix(name, "Grpc-") {
			w.Header().Del(name)
		}
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// bound limits the size of a request, and how many are at work.
func bound(next http.Handler) http.Handler {
	places := make(chan struct{}, maxInWork)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-r.Context().Done():
			return // the client has gone
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		next.ServeHTTP(w, r)
	})
}
