package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

const (
	// largeRequest is the size from which a request's bytes count against MaxInFlight; smaller ones are bounded by the number of connections.
	largeRequest = 256 << 10
	// maxBatchBytes bounds a call of AppendBatch, unless one payload may be larger.
	maxBatchBytes = 64 << 20
	// maxChunkMessage bounds a message of AppendStream: a chunk, which base64 in JSON makes a third larger.
	maxChunkMessage = 2 << 20
	// streamBytes is what a stream of chunks counts against MaxInFlight: a message, and what it is copied into.
	streamBytes = 4 << 20
	// Health checks need no token, so that they may not cost anything.
	maxHealthBytes     = 4 << 10
	maxAnonymous       = 64 << 10 // of other calls that need none: an identity token
	maxReflectionBytes = 64 << 10
)

// maxRequest is the largest request: base64 in JSON makes a payload a third larger.
func (c *Config) maxRequest() int64 { return max(c.MaxPayload*3/2+64<<10, maxBatchBytes) }

// tenantInFlight is what one tenant may have of MaxInFlight, so that one that sends slowly, or much at once, leaves something to the others.
func (c *Config) tenantInFlight() int64 { return max(c.MaxInFlight/2, c.maxRequest()) }

// isStream says whether the request is for a call whose answer is a stream, which may have no end.
func isStream(r *http.Request) bool {
	switch r.URL.Path {
	case munimentv1connect.LedgerServiceWatchEntriesProcedure, munimentv1connect.LedgerServiceGetPayloadProcedure, munimentv1connect.AdminServiceApplyRetentionProcedure,
		munimentv1connect.ExportServiceExportProcedure:
		return true
	}
	return false
}

// isUpload says whether the request is itself a stream.
func isUpload(r *http.Request) bool {
	return r.URL.Path == munimentv1connect.LedgerServiceAppendStreamProcedure
}

// isAnonymous says whether the request is for a call that needs no credentials.
func isAnonymous(r *http.Request) bool { return slices.Contains(access[r.URL.Path], 0) }

// deadline bounds how long a request may trickle in, and how long its answer may take to be read; of a stream, each message.
func (s *Server) deadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		until := time.Now().Add(s.cfg.RequestTimeout)
		// A connection that can't have deadlines is bounded by the server's own timeouts.
		_ = c.SetReadDeadline(until)
		_ = c.SetWriteDeadline(until)
		if isStream(r) {
			w = &streamWriter{ResponseWriter: w, control: c, timeout: s.cfg.RequestTimeout}
		}
		if isUpload(r) || isStream(r) {
			r = withDeadlines(r, c, s.cfg.RequestTimeout)
		}
		next.ServeHTTP(w, r)
	})
}

// A streamWriter gives each message of a stream its own deadline, so that a stream may last, but a reader that has stopped does not hold it.
type streamWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// timed runs a write under its own deadline, and none holds between two: over HTTP/2 a deadline that passes ends even an idle stream.
func (w *streamWriter) timed(write func() error) error {
	_ = w.control.SetReadDeadline(time.Time{}) // the request has been read when the answer begins
	_ = w.control.SetWriteDeadline(time.Now().Add(w.timeout))
	err := write()
	if err == nil {
		_ = w.control.SetWriteDeadline(time.Time{})
	}
	return err
}

func (w *streamWriter) Write(b []byte) (n int, err error) {
	err = w.timed(func() error {
		n, err = w.ResponseWriter.Write(b)
		return err
	})
	return n, err
}

// Flush implements http.Flusher.
func (w *streamWriter) Flush() {
	_ = w.timed(w.control.Flush) // the next write says so if the client has gone
}

// Unwrap serves http.ResponseController.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bound refuses a request that is too large, or that would bring the bytes at work above their limit.
func (s *Server) bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isAnonymous(r) { // it holds nothing that others need
			if r.ContentLength > maxAnonymous {
				s.refuse(w, r, fieldError(connect.CodeInvalidArgument, "identity_token", "the request has %d bytes; one that exchanges a token may have %d", r.ContentLength, maxAnonymous))
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, maxAnonymous)
			next.ServeHTTP(w, r)
			return
		}
		held := &reservation{all: s.inFlight}
		if id := caller(r.Context()); id != nil {
			held.tenant = s.quotas[id.tenant.Name].inFlight
		}
		defer held.release()
		r = r.WithContext(context.WithValue(r.Context(), reservationKey{}, held))
		if isUpload(r) { // its messages are bounded, its payload by the handler
			if !held.add(streamBytes) {
				s.refuse(w, r, errBusy())
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		size, limit := r.ContentLength, s.cfg.maxRequest()
		if size > limit {
			s.refuse(w, r, fieldError(connect.CodeInvalidArgument, "submission.payload", "the request has %d bytes; a payload may have %d", size, s.cfg.MaxPayload))
			return
		}
		if isStream(r) { // it holds no bytes for the time that it lasts
			r.Body = http.MaxBytesReader(w, r.Body, largeRequest)
			next.ServeHTTP(w, r)
			return
		}
		switch {
		case isCompressed(r):
			size = limit // what a small body inflates to, nobody knows
			fallthrough
		case size >= largeRequest:
			if !held.add(size) {
				s.refuse(w, r, errBusy())
				return
			}
		case size < 0: // of unknown length, as every gRPC call is: counted as it is read
			r.Body = &countedBody{ReadCloser: r.Body, free: largeRequest, held: held}
		}
		next.ServeHTTP(w, r)
	})
}

func errBusy() *connect.Error {
	return retryAs(connect.CodeResourceExhausted, errors.New("too many large requests are being worked on; retry later"), time.Second)
}

func isCompressed(r *http.Request) bool {
	for _, h := range []string{"Content-Encoding", "Connect-Content-Encoding", "Grpc-Encoding"} {
		if v := r.Header.Get(h); v != "" && v != "identity" {
			return true
		}
	}
	return r.Method == http.MethodGet && r.URL.Query().Get("compression") != ""
}

// A reservation is a request's share of the bytes at work, and of those of its tenant.
type reservation struct {
	all, tenant *semaphore.Weighted // tenant may be nil
	bytes       int64
}

func (r *reservation) add(n int64) bool {
	if r.tenant != nil && !r.tenant.TryAcquire(n) {
		return false
	}
	if !r.all.TryAcquire(n) {
		if r.tenant != nil {
			r.tenant.Release(n)
		}
		return false
	}
	r.bytes += n
	return true
}

func (r *reservation) release() {
	if r.tenant != nil {
		r.tenant.Release(r.bytes)
	}
	r.all.Release(r.bytes)
}

type reservationKey struct{}

// holdPayload reserves what it takes to answer with the whole payload of an entry, until the answer has left. Errors: as OpenPayload, and errBusy.
func (s *Server) holdPayload(ctx context.Context, stream *ledger.Stream, index uint64) error {
	held, ok := ctx.Value(reservationKey{}).(*reservation)
	if !ok {
		return nil
	}
	p, err := s.ledger.OpenPayload(ctx, stream, index)
	if err != nil || p == nil {
		return err
	}
	// As it is and as it is encoded; the ledger refuses more.
	if n := 2 * int64(min(p.Size, ledger.MaxWhole)); n >= largeRequest && !held.add(n) {
		err = errBusy()
	}
	return errors.Join(err, p.Close())
}

// A countedBody reserves bytes as they are read.
type countedBody struct {
	io.ReadCloser
	free int64 // may be read before more is reserved
	held *reservation
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	for b.free -= int64(n); b.free < 0; b.free += largeRequest {
		if !b.held.add(largeRequest) {
			return n, errBusy()
		}
	}
	return n, err
}
