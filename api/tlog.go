package api

import (
	"net/http"

	"muniment.dev/muniment/api/tiles"
)

// tlog serves the log by C2SP tlog-tiles under /tlog/.
func (s *Server) tlog() http.Handler {
	serve := func(public bool) http.Handler {
		return http.StripPrefix("/tlog/", &tiles.Handler{Ledger: s.ledger, Logger: s.log, Public: public, Book: s.limits.Book()})
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
