package portal

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"

	"muniment.dev/muniment/internal/bounded"
)

// Path is the path below which the portal is served.
const Path = "/portal/"

// index is the page that answers every path without a file, so that each view
// has a permanent link.
const index = "index.html"

// assets is the folder of the files whose names contain a hash of their
// content.
const assets = "assets/"

// hashed matches the names that Vite gives these files, such as
// main-BZ2vY9kq.js.
var hashed = regexp.MustCompile(`-[0-9A-Za-z_-]{8,}\.[a-z0-9]+$`)

// types has the media types of the page's files, by extension. Browsers must
// not guess them.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".woff2": "font/woff2",
	".txt": "text/plain; charset=utf-8", ".webmanifest": "application/manifest+json",
}

// A file is ready to be served.
type file struct {
	mediaType string
	cache     string // Cache-Control
	tag       string // ETag
	data      []byte
	gzipped   []byte // nil if that is not smaller
}

// Files are the built page.
type Files struct {
	byName map[string]*file
	page   [][]byte // index.html, in the parts between which the nonce belongs
}

// Load reads the built page.
func Load(built fs.FS) (*Files, error) {
	f := &Files{byName: map[string]*file{}}
	err := fs.WalkDir(built, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := readFile(built, name)
		if err != nil {
			return err
		}
		mediaType, ok := types[path.Ext(name)]
		if !ok {
			return fmt.Errorf("%s: unknown extension", name)
		}
		if name == index {
			f.page = splitPage(string(data))
			return nil
		}
		f.byName[name], err = newFile(name, mediaType, data)
		return err
	})
	if err == nil && f.page == nil {
		err = errors.New("no " + index)
	}
	if err != nil {
		return nil, fmt.Errorf("read the portal's page: %w", err)
	}
	return f, nil
}

func readFile(built fs.FS, name string) ([]byte, error) {
	f, err := built.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return bounded.ReadAll(f, bounded.Document)
}

func newFile(name, mediaType string, data []byte) (*file, error) {
	sum := sha256.Sum256(data)
	f := &file{mediaType: mediaType, cache: "no-cache", tag: `"` + hex.EncodeToString(sum[:16]) + `"`, data: data}
	if strings.HasPrefix(name, assets) && hashed.MatchString(name) {
		f.cache = "public, max-age=31536000, immutable"
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if b.Len() < len(data) {
		f.gzipped = b.Bytes()
	}
	return f, nil
}

// nonceMark is where the build puts the nonce.
const nonceMark = "__CSP_NONCE__"

// loads matches the start of an element that the policy allows by its nonce
// only.
var loads = regexp.MustCompile(`<(?:script|style|link)\b[^>]*`)

// splitPage returns the parts of the page between which the nonce belongs. It
// adds the nonce to elements that the build has left without.
func splitPage(page string) [][]byte {
	page = loads.ReplaceAllStringFunc(page, func(start string) string {
		if strings.Contains(start, " nonce=") {
			return start
		}
		end := ""
		if rest, ok := strings.CutSuffix(start, "/"); ok {
			start, end = strings.TrimRight(rest, " "), " /"
		}
		return start + ` nonce="` + nonceMark + `"` + end
	})
	var parts [][]byte
	for part := range strings.SplitSeq(page, nonceMark) {
		parts = append(parts, []byte(part))
	}
	return parts
}

// ServeHTTP serves the file of the path below Path, or the page.
func (f *Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, Path)
	file := f.byName[name]
	switch {
	case file != nil:
		setHeaders(w, "")
		file.serve(w, r)
	case strings.HasPrefix(name, assets):
		// An old page asks for a file of an earlier version. The new page would
		// be an answer of the wrong type.
		setHeaders(w, "")
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "no such file; reload the page", http.StatusNotFound)
	default:
		f.servePage(w)
	}
}

// servePage serves the page with a new nonce.
func (f *Files) servePage(w http.ResponseWriter) {
	nonce := newNonce()
	setHeaders(w, nonce)
	w.Header().Set("Content-Type", types[".html"])
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(bytes.Join(f.page, []byte(nonce))) // the client may be gone
}

// newNonce returns 128 random bits, as the specification requires
// (https://www.w3.org/TR/CSP3/#security-nonces).
func newNonce() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.mediaType)
	h.Set("Cache-Control", f.cache)
	h.Set("ETag", f.tag)
	body := f.data
	if f.gzipped != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
			// Each encoding is a representation with a tag of its own.
			h.Set("ETag", strings.TrimSuffix(f.tag, `"`)+`-gzip"`)
			body = f.gzipped
		}
	}
	if slices.Contains(listed(r.Header.Values("If-None-Match")), h.Get("ETag")) {
		h.Del("Content-Type")
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	_, _ = w.Write(body) // the client may be gone
}

// acceptsGzip reports whether a response may be compressed (RFC 9110, section
// 12.5.3).
func acceptsGzip(r *http.Request) bool {
	for _, item := range listed(r.Header.Values("Accept-Encoding")) {
		name, weight, _ := strings.Cut(item, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q := strings.ReplaceAll(weight, " ", "")
			return !strings.HasPrefix(q, "q=0") || strings.Trim(q[3:], "0.") != ""
		}
	}
	return false
}

// listed returns the items of a header that is a list.
func listed(values []string) (items []string) {
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			items = append(items, strings.TrimPrefix(strings.TrimSpace(item), "W/"))
		}
	}
	return items
}

// AcceptsPage reports whether the request is of a browser that opens a page.
func AcceptsPage(r *http.Request) bool {
	for _, item := range listed(r.Header.Values("Accept")) {
		if name, _, _ := strings.Cut(item, ";"); strings.EqualFold(strings.TrimSpace(name), "text/html") {
			return r.Method == http.MethodGet || r.Method == http.MethodHead
		}
	}
	return false
}
