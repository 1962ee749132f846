package mirror

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"filippo.io/torchwood"

	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/ledger/entry"
)

// Handler serves the copy in a folder under /tlog/, and under the path in
// C2SP tlog-mirror, the SHA-256 of the log's origin in hexadecimal. A
// partial tile is served from the full one that has replaced it.
func Handler(dir, origin string) http.Handler {
	sum := sha256.Sum256([]byte(origin))
	mux := http.NewServeMux()
	h := &handler{dir}
	mux.Handle("/tlog/", http.StripPrefix("/tlog/", h))
	mux.Handle("/"+hex.EncodeToString(sum[:])+"/", http.StripPrefix("/"+hex.EncodeToString(sum[:])+"/", h))
	return mux
}

type handler struct{ dir string }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed: use GET or HEAD", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	data, err := h.read(r.URL.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "no such path; see https://c2sp.org/tlog-tiles", http.StatusNotFound)
		return
	case err != nil:
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	case r.URL.Path == "checkpoint":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=1")
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) // an error means that the client disconnected
}

func (h *handler) read(path string) ([]byte, error) {
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if path == checkpoint {
		return bounded.ReadFileIn(root, path, maxCheckpoint)
	}
	t, err := torchwood.ParseTilePath(path)
	if err != nil || torchwood.TilePath(t) != path {
		return nil, fs.ErrNotExist
	}
	data, err := bounded.ReadFileIn(root, filepath.FromSlash(path), maxFile(t.L))
	if err == nil || t.W == tileWidth || !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	full, _, _ := strings.Cut(path, ".p/")
	if data, err = bounded.ReadFileIn(root, filepath.FromSlash(full), maxFile(t.L)); err != nil {
		return nil, err
	}
	if t.L >= 0 {
		if len(data) < t.W*entry.HashSize {
			return nil, fmt.Errorf("%s: truncated", full)
		}
		return data[:t.W*entry.HashSize], nil
	}
	rest := data
	for range t.W {
		if _, rest, err = torchwood.ReadTileEntry(rest); err != nil {
			return nil, err
		}
	}
	return data[:len(data)-len(rest)], nil
}

// maxFile returns the size of the largest tile or bundle.
func maxFile(level int) int64 {
	if level < 0 {
		return maxBundle
	}
	return tileWidth * entry.HashSize
}
