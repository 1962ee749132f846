package api

import (
	"log/slog"
	"net/http"

	"muniment.dev/muniment/internal/edge"
)

// logAccess writes a line for each request when its answer has ended. The line
// holds no query, header or body.
func (s *Server) logAccess(next http.Handler) http.Handler {
	if s.cfg.Access == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := s.now()
		counted := &edge.Answer{ResponseWriter: w}
		defer func() {
			req, _ := r.Context().Value(requestKey{}).(*request)
			attrs := []slog.Attr{slog.String("method", r.Method), text("path", r.URL.Path), slog.String("protocol", r.Proto),
				slog.Int("status", counted.Status()), slog.Int64("bytes", counted.Bytes()), slog.Duration("duration", s.now().Sub(begun)), slog.String("remote", r.RemoteAddr)}
			if req != nil {
				attrs = append(attrs, slog.String("request", req.id))
				if id := req.slot.Caller(); id != nil {
					attrs = append(attrs, text("tenant", id.Tenant.Name), text("identity", id.Name))
				}
			}
			s.cfg.Access.LogAttrs(r.Context(), slog.LevelInfo, "request", attrs...)
		}()
		next.ServeHTTP(counted, r)
	})
}
