package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/edge"
	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/ledger"
)

// DefaultHolds are the limits of what callers hold, where the configuration has
// no others. With them the process stays below 1 GiB.
func DefaultHolds() limit.Limits {
	return limit.Limits{
		limit.Bytes:       {Total: 512 << 20, Owner: 256 << 20},
		limit.Calls:       {Total: 8192, Owner: 1024},
		limit.Uploads:     {Total: 128, Owner: 32},
		limit.Answers:     {Total: 256, Owner: 32},
		limit.Watchers:    {Total: 2048, Owner: 128},
		limit.Public:      {Total: 1024, Owner: 128},
		limit.PublicBytes: {Total: 64 << 20, Owner: 20 << 20},
		limit.Refusals:    {Total: 2048, Owner: 512},
	}
}

// holds returns the limits of what callers hold, complete with the defaults.
// The largest request always fits.
func (c *Settings) holds() limit.Limits {
	l := c.Holds
	for r, d := range DefaultHolds() {
		if l[r].Total == 0 {
			l[r].Total = d.Total
		}
		if l[r].Owner == 0 {
			l[r].Owner = min(d.Owner, max(1, l[r].Total/2))
		}
	}
	need := decodeFactor*c.maxBatch() + callBytes
	b := &l[limit.Bytes]
	b.Total, b.Owner = max(b.Total, need), max(b.Owner, need)
	return l
}

// Holds returns the book of what callers hold.
func (s *Server) Holds() *limit.Book { return s.book }

// ownerOf is whom the request's buffers belong to: the caller's tenant, or an
// address.
func ownerOf(r *http.Request) string {
	if id := caller(r.Context()); id != nil {
		return id.tenant.Name
	}
	return "address " + edge.Address(r.RemoteAddr) // no tenant has such a name
}

type holdKey struct{}

// heldBy returns what the call holds, or nil.
func heldBy(ctx context.Context) *limit.Hold {
	h, _ := ctx.Value(holdKey{}).(*limit.Hold)
	return h
}

// place gives the request a place of its shape, as long as it lasts, or refuses
// it.
func (s *Server) place(place limit.Resource, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := s.book.Open(ownerOf(r))
		defer h.Release()
		if err := h.Take(place, 1); err != nil {
			s.chargeRefusal(r)
			s.refuse(w, r, s.public(err))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), holdKey{}, h)))
	})
}

// take holds more bytes for the call.
func (s *Server) take(ctx context.Context, n int64) error {
	h := heldBy(ctx)
	if h == nil {
		return errors.New("a call holds bytes, but has no account")
	}
	return h.Take(limit.Bytes, n)
}

// deadline bounds how long a request may trickle in, and how long its answer
// may take to be read; of a stream, each message.
func (s *Server) deadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		sh, timeout := shapeOf(r), s.cfg.RequestTimeout
		if sh.place == limit.Public {
			timeout = min(timeout, publicTimeout)
		}
		until := time.Now().Add(timeout)
		// A connection that can't have deadlines is bounded by the server's own
		// timeouts.
		_ = c.SetReadDeadline(until)
		_ = c.SetWriteDeadline(until)
		if sh.lasts() {
			w = &streamWriter{ResponseWriter: w, control: c, timeout: timeout}
		}
		if sh.place == limit.Uploads || sh.lasts() {
			r = withDeadlines(r, c, timeout)
		}
		next.ServeHTTP(w, r)
	})
}

// publicTimeout is RequestTimeout for calls without credentials, where that is
// longer.
const publicTimeout = 20 * time.Second

// A streamWriter gives each message of a stream its own deadline, so that a
// stream may last, but a reader that has stopped does not hold it.
type streamWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// timed runs a write under its own deadline, and none holds between two: over
// HTTP/2 a deadline that passes ends even an idle stream.
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
	_ = w.timed(w.control.Flush) // the next write fails if the client has gone
}

// Unwrap serves http.ResponseController.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// bound counts the bytes of a request, as they will be when it is decoded, and
// refuses one that is too large for its call or for what is left.
func (s *Server) bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := checkHeaders(r); err != nil {
			s.refuse(w, r, err)
			return
		}
		sh := shapeOf(r)
		largest, held := s.settings.Load().limitOf(sh), &heldBytes{hold: heldBy(r.Context()), resource: limit.Bytes}
		if sh.place == limit.Public {
			held.resource = limit.PublicBytes
		}
		if err := held.take(sh.bytes - held.hold.Held(held.resource)); err != nil {
			// a call that waited for its turn holds some
			s.refuse(w, r, s.public(err))
			return
		}
		if sh.place != limit.Uploads {
			// of which each message is bounded, and the payload by the handler
			if r.ContentLength > largest {
				s.refuse(w, r, tooLarge(sh.field, r.ContentLength, largest))
				return
			}
			if err := s.boundBody(w, r, held, largest); err != nil {
				s.refuse(w, r, s.public(err))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func tooLarge(field string, size, limit int64) *connect.Error {
	if field != "" {
		return fieldError(connect.CodeInvalidArgument, field, "the request has %d bytes; one of this call may have %d", size, limit)
	}
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the request has %d bytes; one of this call may have %d", size, limit))
}

// boundBody counts the body as far as it is more than a small request: at once
// where its size is known, or as it arrives. A compressed one is decompressed
// here where it is compressed as a whole, and counted as the largest that there
// can be where its messages are.
func (s *Server) boundBody(w http.ResponseWriter, r *http.Request, held *heldBytes, limit int64) error {
	size := r.ContentLength
	switch {
	case r.Header.Get("Content-Encoding") == "gzip":
		r.Body, size = newGunzip(r), -1
		r.Header.Del("Content-Encoding")
	case isCompressed(r) && limit > smallRequest:
		return held.take(decodeFactor * limit)
	}
	r.ContentLength = size
	switch {
	case size > smallRequest:
		if err := held.take(decodeFactor * size); err != nil {
			return err
		}
	case size < 0:
		r.Body = &countedBody{ReadCloser: r.Body, free: smallRequest, held: held}
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit+frameBytes)
	if limit > smallRequest && (size < 0 || size > smallRequest) {
		r.Body = scanned(r, r.Body)
	}
	return nil
}

// frameBytes are what protocols put around a message.
const frameBytes = 1 << 10

// protocolHeaders are those that errors of the protocols repeat. Their values
// are short.
var protocolHeaders = []string{"Content-Type", "Content-Encoding", "Connect-Content-Encoding", "Connect-Accept-Encoding", "Accept-Encoding", "Connect-Protocol-Version", "Connect-Timeout-Ms", "Grpc-Encoding", "Grpc-Accept-Encoding", "Grpc-Timeout"}

func checkHeaders(r *http.Request) *connect.Error {
	for _, name := range protocolHeaders {
		for _, v := range r.Header[name] {
			if len(v) > 256 || len(r.Header[name]) > 8 {
				delete(r.Header, name) // or the answer would repeat it
				return connect.NewError(connect.CodeInvalidArgument, errors.New("the header "+name+" is too long"))
			}
		}
	}
	if r.Method == http.MethodGet {
		for name, values := range r.URL.Query() {
			if name != "message" && (len(values) > 1 || len(name) > 64 || len(values[0]) > 64) {
				return connect.NewError(connect.CodeInvalidArgument, errors.New("a parameter of the query is too long"))
			}
		}
	}
	return nil
}

func isCompressed(r *http.Request) bool {
	for _, h := range []string{"Content-Encoding", "Connect-Content-Encoding", "Grpc-Encoding"} {
		if v := r.Header.Get(h); v != "" && v != "identity" {
			return true
		}
	}
	return r.Method == http.MethodGet && r.URL.Query().Get("compression") != ""
}

// heldBytes are bytes that a call holds, in the book's row for its sort of
// caller.
type heldBytes struct {
	hold     *limit.Hold
	resource limit.Resource
}

func (h *heldBytes) take(n int64) error { return h.hold.Take(h.resource, n) }

// A countedBody counts bytes as they are read.
type countedBody struct {
	io.ReadCloser
	free int64 // may be read before more are counted
	held *heldBytes
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	for b.free -= int64(n); b.free < 0; b.free += smallRequest {
		if err := b.held.take(decodeFactor * smallRequest); err != nil {
			return n, errBusy(err)
		}
	}
	return n, err
}

func errBusy(err error) *connect.Error {
	return retryAs(connect.CodeResourceExhausted, err, time.Second)
}

// holdPayload takes what is needed to answer with the whole payload of an
// entry, until the answer has left. Errors: as OpenPayload, and *limit.Full.
func (s *Server) holdPayload(ctx context.Context, e *ledger.Entry) error {
	p, err := s.ledger.OpenPayload(ctx, e)
	if err != nil || p == nil {
		return err
	}
	// As it is and as it is encoded; the ledger refuses more.
	return errors.Join(s.take(ctx, 2*int64(min(p.Size, ledger.MaxWhole))), p.Close())
}
