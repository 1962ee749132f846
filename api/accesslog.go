package api

import (
	"log/slog"
	"net/http"
)

// logAccess writes a line for each request when its answer has ended. The line
// holds no query, header or body.
func (s *Server) logAccess(next http.Handler) http.Handler {
	if s.cfg.Access == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := s.now()
		counted := &countingWriter{ResponseWriter: w}
		defer func() {
			req, _ := r.Context().Value(requestKey{}).(*request)
			attrs := []slog.Attr{slog.String("method", r.Method), text("path", r.URL.Path), slog.String("protocol", r.Proto),
				slog.Int("status", counted.status()), slog.Int64("bytes", counted.bytes), slog.Duration("duration", s.now().Sub(begun)), slog.String("remote", r.RemoteAddr)}
			if req != nil {
				attrs = append(attrs, slog.String("request", req.id))
				if id := req.caller.Load(); id != nil {
					attrs = append(attrs, text("tenant", id.tenant.Name), text("identity", id.name))
				}
			}
			s.cfg.Access.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs...)
		}()
		next.ServeHTTP(counted, r)
	})
}

// A countingWriter notes status and size of an answer.
type countingWriter struct {
	http.ResponseWriter
	code  int
	bytes int64
}

func (w *countingWriter) status() int {
	if w.code == 0 {
		return http.StatusOK
	}
	return w.code
}

func (w *countingWriter) WriteHeader(code int) {
	if w.code == 0 && code >= 200 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Flush implements http.Flusher, which streams need.
func (w *countingWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Unwrap serves http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
