package muniment

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"

	"connectrpc.com/connect"
)

// Headers of a log that several servers share. A server states the size of the
// log that it serves, and is asked for no less.
const (
	sizeHeader    = "Muniment-Size"
	minSizeHeader = "Muniment-Min-Size"
)

// A session makes each answer at least as new as the ones before, whichever
// server gives it.
type session struct {
	next http.RoundTripper
	size atomic.Uint64 // the largest that a server has stated
}

// RoundTrip implements http.RoundTripper.
func (s *session) RoundTrip(req *http.Request) (*http.Response, error) {
	if size := s.size.Load(); size > 0 {
		req = req.Clone(req.Context())
		req.Header.Set(minSizeHeader, strconv.FormatUint(size, 10))
	}
	res, err := s.next.RoundTrip(req)
	if err != nil {
		return nil, lost(req.Context(), err)
	}
	size, err := strconv.ParseUint(res.Header.Get(sizeHeader), 10, 64)
	if err != nil {
		return res, nil // the log has one server
	}
	for last := s.size.Load(); last < size && !s.size.CompareAndSwap(last, size); last = s.size.Load() {
	}
	return res, nil
}

// lost makes a connection that the server has closed an unavailable server,
// which it is if another one replaces it. Package connect takes it for the end
// of the caller.
func lost(ctx context.Context, err error) error {
	if ctx.Err() == nil && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
		return connect.NewError(connect.CodeUnavailable, err)
	}
	return err
}

// CloseIdleConnections calls the method of the underlying transport, if any.
func (s *session) CloseIdleConnections() {
	if c, ok := s.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
