package limit

import (
	"context"
	"net/http"
	"time"
)

// Deadline limits the time for a request to arrive and for its response to be
// read. In a stream it limits each message.
func (l *Limiter) Deadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		call, r := begun(r)
		sh, timeout := call.shapeFor(r), l.cfg.RequestTimeout
		if sh.place == Public {
			timeout = min(timeout, publicTimeout)
		}
		until := time.Now().Add(timeout)
		setDeadlines(c, until)
		if sh.lasts() {
			w = &streamWriter{ResponseWriter: w, control: c, timeout: timeout}
		}
		if sh.place == Uploads || sh.lasts() {
			r = withDeadlines(r, c, timeout)
		}
		next.ServeHTTP(w, r)
	})
}

// setDeadlines sets both deadlines of a connection. If the connection does not
// support them, the server's own timeouts apply.
func setDeadlines(c *http.ResponseController, until time.Time) {
	_ = c.SetReadDeadline(until)
	_ = c.SetWriteDeadline(until)
}

// publicTimeout limits RequestTimeout for calls without credentials.
const publicTimeout = 20 * time.Second

// A streamWriter gives each message of a stream its own deadline. A stream can
// last, but a client that stops reading cannot hold it open.
type streamWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

// timed runs a write under its own deadline and removes the deadline
// afterwards, because over HTTP/2 an expired deadline ends even an idle stream.
func (w *streamWriter) timed(write func() error) error {
	_ = w.control.SetReadDeadline(time.Time{}) // the request has been read when the response begins
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
	_ = w.timed(w.control.Flush) // the next write fails if the client is gone
}

// Unwrap returns the wrapped writer, for http.ResponseController.
func (w *streamWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type deadlinesKey struct{}

// withDeadlines adds to the context what MessageDeadline and LiftDeadlines
// need.
func withDeadlines(r *http.Request, c *http.ResponseController, timeout time.Duration) *http.Request {
	set := func(lift bool) {
		until := time.Now().Add(timeout)
		if lift {
			until = time.Time{}
		}
		setDeadlines(c, until)
	}
	return r.WithContext(context.WithValue(r.Context(), deadlinesKey{}, set))
}

// MessageDeadline returns a function that gives the next message of a client's
// stream the time of a whole request.
func MessageDeadline(ctx context.Context) func() {
	if set, ok := ctx.Value(deadlinesKey{}).(func(lift bool)); ok {
		return func() { set(false) }
	}
	return func() {}
}

// LiftDeadlines removes the deadlines of a call that has been read and may take
// long to respond.
func LiftDeadlines(ctx context.Context) {
	if set, ok := ctx.Value(deadlinesKey{}).(func(lift bool)); ok {
		set(true)
	}
}
