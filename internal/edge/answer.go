package edge

import (
	"io"
	"net/http"
)

// An Answer records the status and size of a response.
type Answer struct {
	http.ResponseWriter
	code  int
	bytes int64
}

// Status returns the status of the response, which is 200 if none was set.
func (a *Answer) Status() int {
	if a.code == 0 {
		return http.StatusOK
	}
	return a.code
}

// Bytes returns the number of body bytes written.
func (a *Answer) Bytes() int64 { return a.bytes }

// WriteHeader implements http.ResponseWriter.
func (a *Answer) WriteHeader(code int) {
	if a.code == 0 && code >= 200 {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (a *Answer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// Flush implements http.Flusher, which streams need.
func (a *Answer) Flush() { _ = http.NewResponseController(a.ResponseWriter).Flush() }

// Unwrap returns the wrapped writer, for http.ResponseController.
func (a *Answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// MaxBytes limits a request's body like http.MaxBytesReader. That function
// closes the connection after an oversized body only if it is given the
// server's own ResponseWriter, so MaxBytes unwraps the writer first.
func MaxBytes(w http.ResponseWriter, body io.ReadCloser, n int64) io.ReadCloser {
	for {
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return http.MaxBytesReader(w, body, n)
		}
		w = u.Unwrap()
	}
}
