// Package tiles serves the checkpoint and the tiles of a log as specified in
// C2SP tlog-tiles (https://c2sp.org/tlog-tiles).
//
// The server that mounts a Handler strips the prefix and authorizes callers.
package tiles

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"filippo.io/torchwood"

	"muniment.dev/muniment/api/limit"
	"muniment.dev/muniment/internal/edge"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
)

// immutable is the cache header of tiles. The content at a path never changes.
const immutable = "max-age=31536000, immutable"

// A Handler serves one log: checkpoint, tile/L/N and tile/entries/N.
type Handler struct {
	Ledger *ledger.Ledger
	// Source is where full tiles and bundles are read before the store; nil:
	// there is none.
	Source ledger.TileSource
	Logger *slog.Logger
	Public bool // shared caches may store the responses
	// Book charges requests and their bytes to the caller's address until the
	// response has been sent. Nil: no accounting.
	Book *limit.Book
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*") // allow pages of other origins to verify
	hold := h.open(r)
	defer hold.Release()
	if err := hold.Take(limit.Public, 1); err != nil {
		busy(w, err)
		return
	}
	if r.URL.Path == "checkpoint" {
		h.checkpoint(w, r)
		return
	}
	data, err := h.tile(r, r.URL.Path)
	switch {
	case err == nil:
		if err := hold.Take(limit.PublicBytes, int64(len(data))); err != nil {
			busy(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Cache-Control", h.cacheScope()+immutable)
		w.Header().Set("Content-Length", strconv.Itoa(len(data)))
		_, _ = w.Write(data) // an error means that the client is gone
	case errors.Is(err, errTilePath) || errors.Is(err, ledger.ErrOutOfRange):
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		h.Logger.Error("serve a tile", "path", r.URL.Path, "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

// open returns an empty hold for the request.
func (h *Handler) open(r *http.Request) *limit.Hold {
	book := h.Book
	if book == nil {
		book = limit.NewBook(limit.HeldLimits{})
	}
	return book.Open("address " + edge.Address(r.RemoteAddr))
}

func busy(w http.ResponseWriter, err error) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Retry-After", "1")
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

// checkpoint serves the latest checkpoint that meets the quorum of the log's
// policies. Tiles are served up to the published size.
func (h *Handler) checkpoint(w http.ResponseWriter, r *http.Request) {
	// Clients may ask several servers in turn, and must not see the log shrink.
	if err := h.Ledger.Latest(r.Context()); err != nil {
		h.Logger.Warn("the checkpoint is not known to be the latest", "err", err)
		busy(w, errors.New("the latest checkpoint of the log is not known: try again"))
		return
	}
	c := h.Ledger.Witnessed()
	if c == nil {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Retry-After", "1")
		http.Error(w, "no checkpoint has met the quorum of the log's policies yet", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", h.cacheScope()+"max-age=1")
	_, _ = w.Write(c.Checkpoint) // an error means that the client is gone
}

// cacheScope keeps shared caches from storing responses that require a token.
func (h *Handler) cacheScope() string {
	if h.Public {
		return "public, "
	}
	return "private, "
}

var errTilePath = errors.New("no such path: see https://c2sp.org/tlog-tiles")

func (h *Handler) tile(r *http.Request, path string) ([]byte, error) {
	t, err := torchwood.ParseTilePath(path)
	if err != nil || torchwood.TilePath(t) != path {
		return nil, errTilePath
	}
	if t.L < 0 {
		return h.Ledger.EntryBundleFrom(r.Context(), h.Source, uint64(t.N), t.W)
	}
	if t.L > 63 {
		return nil, errTilePath
	}
	hashes, err := h.Ledger.Published().TileFrom(r.Context(), h.Source, uint8(t.L), uint64(t.N), t.W)
	if err != nil {
		return nil, err
	}
	return bytes.Join(entry.ByteSlices(hashes), nil), nil
}
