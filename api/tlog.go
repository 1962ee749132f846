package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"filippo.io/torchwood"

	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/receipt"
)

// immutable is the cache header of tiles, of which each path has one content for ever.
const immutable = "max-age=31536000, immutable"

// tlog serves the public log by C2SP tlog-tiles (https://c2sp.org/tlog-tiles).
func (s *Server) tlog(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*") // so that a page from elsewhere can verify
	path := strings.TrimPrefix(r.URL.Path, "/tlog/")
	if path == "checkpoint" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", s.cacheScope()+"max-age=1")
		_, _ = w.Write(s.ledger.Published().Checkpoint) // the client has gone
		return
	}
	data, err := s.tile(r, path)
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Cache-Control", s.cacheScope()+immutable)
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data) // the client has gone
	case errors.Is(err, errTilePath) || errors.Is(err, ledger.ErrOutOfRange):
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		s.log.Error("serve a tile", "path", path, "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

// cacheScope keeps shared caches from handing out what needs a token.
func (s *Server) cacheScope() string {
	if s.cfg.PublicTlog {
		return "public, "
	}
	return "private, "
}

var errTilePath = errors.New("no such path; see https://c2sp.org/tlog-tiles")

func (s *Server) tile(r *http.Request, path string) ([]byte, error) {
	t, err := torchwood.ParseTilePath(path)
	if err != nil || torchwood.TilePath(t) != path {
		return nil, errTilePath
	}
	if t.L < 0 {
		return s.ledger.EntryBundle(r.Context(), uint64(t.N), t.W)
	}
	if t.L > 63 {
		return nil, errTilePath
	}
	hashes, err := s.ledger.Published().Tile(r.Context(), uint8(t.L), uint64(t.N), t.W)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(hashes)*receipt.HashSize)
	for i := range hashes {
		out = append(out, hashes[i][:]...)
	}
	return out, nil
}

// healthz says that the process lives.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

// readyz says whether appends would be taken, and if not, why.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.ledger.Ready(); err != nil {
		http.Error(w, "appends are refused: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}
