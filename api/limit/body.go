package limit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/rpcerr"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/ledger"
)

// Bound counts the bytes that a request will occupy once decoded. It refuses
// requests that are too large for the call or for their owner's limits.
func (l *Limiter) Bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := checkHeaders(r); err != nil {
			l.cfg.Refuse(w, r, err)
			return
		}
		c, r := begun(r)
		sh := c.shapeFor(r)
		c.held = heldBytes{hold: &c.hold, resource: Bytes, limiter: l}
		largest, held := l.Sizes().limitOf(sh), &c.held
		if sh.place == Public {
			held.resource = PublicBytes
		}
		if err := held.take(sh.bytes - held.hold.Held(held.resource)); err != nil {
			// A call that waited for its turn already holds some bytes.
			l.cfg.Refuse(w, r, l.Busy(err))
			return
		}
		if sh.place != Uploads {
			// Each message is bounded, and the handler bounds the payload.
			if r.ContentLength > largest {
				l.cfg.Refuse(w, r, tooLarge(sh.field, r.ContentLength, largest))
				return
			}
			if err := l.boundBody(w, r, held, largest); err != nil {
				l.cfg.Refuse(w, r, l.Busy(err))
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func tooLarge(field string, size, limit int64) *connect.Error {
	if field != "" {
		return rpcerr.Field(connect.CodeInvalidArgument, field, "the request has %d bytes; the limit for this call is %d", size, limit)
	}
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the request has %d bytes; the limit for this call is %d", size, limit))
}

// boundBody counts the part of the body above a small request: immediately if
// its size is known, otherwise as it arrives. A body that is compressed as a
// whole is decompressed here. If its messages are compressed, it counts as the
// largest possible request.
func (l *Limiter) boundBody(w http.ResponseWriter, r *http.Request, held *heldBytes, limit int64) error {
	size := r.ContentLength
	switch {
	case r.Header.Get("Content-Encoding") == "gzip":
		r.Body = edge.MaxBytes(w, r.Body, limit+frameBytes) // before and after decompression
		r.Body, size = newGunzip(r, l.Busy), -1
		r.Header.Del("Content-Encoding")
	case isCompressed(r) && limit > SmallRequest:
		return held.take(decodeFactor * limit)
	}
	r.ContentLength = size
	if size >= 0 {
		// net/http reads no more than the size, which is within the limit.
		if size <= SmallRequest {
			return nil
		}
		r.Body = scanned(r, r.Body)
		return held.take(decodeFactor * size)
	}
	r.Body = &countedBody{ReadCloser: r.Body, free: SmallRequest, held: held}
	r.Body = edge.MaxBytes(w, r.Body, limit+frameBytes)
	if limit > SmallRequest {
		r.Body = scanned(r, r.Body)
	}
	return nil
}

// frameBytes is the maximum that protocols add to a message.
const frameBytes = 1 << 10

// protocolHeaders lists the headers that protocol errors quote. Valid values
// are short.
var protocolHeaders = []string{"Content-Type", "Content-Encoding", "Connect-Content-Encoding", "Connect-Accept-Encoding", "Accept-Encoding", "Connect-Protocol-Version", "Connect-Timeout-Ms", "Grpc-Encoding", "Grpc-Accept-Encoding", "Grpc-Timeout"}

func checkHeaders(r *http.Request) *connect.Error {
	for _, name := range protocolHeaders {
		for _, v := range r.Header[name] {
			if len(v) > 256 || len(r.Header[name]) > 8 {
				delete(r.Header, name) // otherwise the response would quote it
				return connect.NewError(connect.CodeInvalidArgument, errors.New("header "+name+" is too long"))
			}
		}
	}
	if r.Method == http.MethodGet {
		for name, values := range r.URL.Query() {
			if name != "message" && (len(values) > 1 || len(name) > 64 || len(values[0]) > 64) {
				return connect.NewError(connect.CodeInvalidArgument, errors.New("query parameter too long"))
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

// heldBytes are the bytes that a call holds, charged to the resource for its
// kind of caller.
type heldBytes struct {
	hold     *Hold
	resource Resource
	limiter  *Limiter
}

func (h *heldBytes) take(n int64) error { return h.hold.Take(h.resource, n) }

// A countedBody counts bytes as they are read.
type countedBody struct {
	io.ReadCloser
	free int64 // bytes that can be read before more are counted
	held *heldBytes
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	for b.free -= int64(n); b.free < 0; b.free += SmallRequest {
		if err := b.held.take(decodeFactor * SmallRequest); err != nil {
			return n, b.held.limiter.Busy(err)
		}
	}
	return n, err
}

// HoldPayload takes the bytes needed to answer with an entry's whole payload,
// until the response has been sent. The error is one of OpenPayload's or a
// *Full.
func (l *Limiter) HoldPayload(ctx context.Context, log *ledger.Ledger, e *ledger.Entry) error {
	p, err := log.OpenPayload(ctx, e)
	if err != nil || p == nil {
		return err
	}
	// Both the payload and its encoded form; the ledger refuses larger ones.
	return errors.Join(l.Take(ctx, 2*int64(min(p.Size, ledger.MaxWhole))), p.Close())
}
