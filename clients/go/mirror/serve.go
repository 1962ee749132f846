package mirror

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
	f, size, err := h.open(r.URL.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "no such path; see https://c2sp.org/tlog-tiles", http.StatusNotFound)
		return
	case err != nil:
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	defer f.Close()
	if r.URL.Path == checkpoint {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=1")
	} else {
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	if r.Method == http.MethodHead {
		return
	}
	// In pieces: a bundle has up to 16 MiB, and many clients can read slowly.
	// An error means that the client disconnected.
	_, _ = io.CopyN(w, f, size)
}

// open opens the file of a path, and returns how much of it is the answer.
func (h *handler) open(path string) (*os.File, int64, error) {
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	if path == checkpoint {
		return openFile(root, path, maxCheckpoint)
	}
	t, err := torchwood.ParseTilePath(path)
	if err != nil || torchwood.TilePath(t) != path {
		return nil, 0, fs.ErrNotExist
	}
	f, size, err := openFile(root, path, maxFile(t.L))
	if err == nil || t.W == tileWidth || !errors.Is(err, fs.ErrNotExist) {
		return f, size, err
	}
	full, _, _ := strings.Cut(path, ".p/")
	if f, size, err = openFile(root, full, maxFile(t.L)); err != nil {
		return nil, 0, err
	}
	part := int64(t.W * entry.HashSize)
	if t.L < 0 {
		part, err = sizeOfEntries(f, t.W)
	}
	if err == nil && part > size {
		err = errors.New("truncated")
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%s: %w", full, err), f.Close())
	}
	return f, part, nil
}

// openFile opens a regular file of at most limit bytes.
func openFile(root *os.Root, path string, limit int64) (*os.File, int64, error) {
	f, err := bounded.OpenIn(root, filepath.FromSlash(path))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > limit {
		err = fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// sizeOfEntries returns the size of the first n entries of a bundle, each of
// which follows its length in two bytes. The file is at its start afterwards.
func sizeOfEntries(f *os.File, n int) (int64, error) {
	r, size := bufio.NewReader(f), int64(0)
	for range n {
		var length [2]byte
		if _, err := io.ReadFull(r, length[:]); err != nil {
			return 0, err
		}
		skip := int(binary.BigEndian.Uint16(length[:]))
		if _, err := r.Discard(skip); err != nil {
			return 0, err
		}
		size += int64(len(length) + skip)
	}
	_, err := f.Seek(0, io.SeekStart)
	return size, err
}

// maxFile returns the size of the largest tile or bundle.
func maxFile(level int) int64 {
	if level < 0 {
		return maxBundle
	}
	return tileWidth * entry.HashSize
}
