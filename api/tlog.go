package api

import (
	"net/http"

	"muniment.dev/muniment/api/tiles"
)

// PublicLog reports whether the log is public at present.
func (s *Server) PublicLog() bool { return s.settings.Load().PublicTlog }

// tlog serves the log by C2SP tlog-tiles under /tlog/.
func (s *Server) tlog() http.Handler {
	serve := func(public bool) http.Handler {
		return http.StripPrefix("/tlog/", &tiles.Handler{Ledger: s.ledger, Source: s.cfg.Tiles, Logger: s.log, Public: public, Book: s.limits.Book()})
	}
	public, private := serve(true), serve(false)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.settings.Load().PublicTlog {
			public.ServeHTTP(w, r)
			return
		}
		private.ServeHTTP(w, r)
	})
}
