// Package cachecontrol changes adaptive caches over HTTP, while they are in
// use. See docs/spec/adaptive-cache.md, section 16.
package cachecontrol

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"muniment.dev/muniment/clients/go/adaptivecache"
)

// A Cache is an [adaptivecache.Cache] of any type.
type Cache interface {
	Settings() adaptivecache.Settings
	Change(from, to adaptivecache.Settings) (bool, error)
	Flush(before uint64) bool
	Flushes() uint64
}

const (
	minToken = 16   // bytes
	maxBody  = 1024 // bytes
)

// New returns a handler for the caches, by the names of their resolvers. Serve
// it with [http.StripPrefix] below a path that ends with a slash. Each request
// must have the token as its bearer token.
//
//	GET /                   lists the caches
//	GET /RESOLVER           returns the settings, with their ETag
//	PUT /RESOLVER           replaces the settings that If-Match names
//	GET /RESOLVER/flushes   returns the number of flushes, with its ETag
//	POST /RESOLVER/flushes  flushes the cache, if If-Match names this number
func New(token string, caches map[string]Cache) (http.Handler, error) {
	if len(token) < minToken {
		return nil, fmt.Errorf("the token must have at least %d bytes", minToken)
	}
	for name := range caches {
		if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
			return nil, fmt.Errorf("the resolver %q cannot be part of a path", name)
		}
	}
	return &handler{sha256.Sum256([]byte(token)), maps.Clone(caches), rand.Text()}, nil
}

type handler struct {
	token   [sha256.Size]byte // its hash
	caches  map[string]Cache
	process string // distinguishes the counts of this process from those of others
}

// The representations. A member that is missing is an error.
type (
	settings struct {
		Enabled  *bool  `json:"enabled"`
		Prefetch *bool  `json:"prefetch"`
		MinTTL   *int64 `json:"min_ttl_us"`
		MaxTTL   *int64 `json:"max_ttl_us"`
	}
	flushes struct {
		Process string `json:"process"`
		Flushes uint64 `json:"flushes"`
	}
)

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if sum := sha256.Sum256([]byte(given)); !ok || subtle.ConstantTimeCompare(sum[:], h.token[:]) == 0 {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "the bearer token is missing or wrong", http.StatusUnauthorized)
		return
	}
	name, part, nested := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	cache, ok := h.caches[name]
	switch {
	case name == "" && !nested:
		if allow(w, r, http.MethodGet) {
			answer(w, map[string][]string{"caches": slices.Sorted(maps.Keys(h.caches))})
		}
	case !ok || nested && part != "flushes":
		http.Error(w, fmt.Sprintf("no cache %.256q: GET the list", name), http.StatusNotFound)
	case nested:
		h.flush(w, r, cache)
	default:
		h.settings(w, r, cache)
	}
}

func (h *handler) settings(w http.ResponseWriter, r *http.Request, cache Cache) {
	if !allow(w, r, http.MethodGet, http.MethodPut) {
		return
	}
	from := cache.Settings()
	if r.Method == http.MethodPut {
		if !matches(w, r, represent(from)) {
			return
		}
		to, err := readSettings(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		// The check of the bounds is the only error, and was made.
		if done, err := cache.Change(from, to); err != nil || !done {
			failed(w)
			return
		}
		from = to
	}
	answer(w, represent(from))
}

func (h *handler) flush(w http.ResponseWriter, r *http.Request, cache Cache) {
	if !allow(w, r, http.MethodGet, http.MethodPost) {
		return
	}
	state := flushes{h.process, cache.Flushes()}
	if r.Method == http.MethodPost {
		if !matches(w, r, state) {
			return
		}
		if !cache.Flush(state.Flushes) {
			failed(w)
			return
		}
		state.Flushes++
	}
	answer(w, state)
}

// allow answers requests with other methods.
func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	http.Error(w, "method not allowed: use "+strings.Join(methods, " or "), http.StatusMethodNotAllowed)
	return false
}

// matches answers requests that do not name the state that they change.
func matches(w http.ResponseWriter, r *http.Request, state any) bool {
	switch given := r.Header.Get("If-Match"); given {
	case "", "*":
		http.Error(w, "the header If-Match must be the ETag of the state to change", http.StatusPreconditionRequired)
	case etag(encode(state)):
		return true
	default:
		failed(w)
	}
	return false
}

func failed(w http.ResponseWriter) {
	http.Error(w, "the state was changed meanwhile: GET it", http.StatusPreconditionFailed)
}

func represent(s adaptivecache.Settings) settings {
	least, most := s.MinTTL.Microseconds(), s.MaxTTL.Microseconds()
	return settings{&s.Enabled, &s.Prefetch, &least, &most}
}

func readSettings(w http.ResponseWriter, r *http.Request) (adaptivecache.Settings, error) {
	var none adaptivecache.Settings
	var s settings
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(body, &s, json.RejectUnknownMembers(true))
	}
	if err != nil || s.Enabled == nil || s.Prefetch == nil || s.MinTTL == nil || s.MaxTTL == nil {
		return none, errors.New("the body must be a JSON object with enabled, prefetch, min_ttl_us and max_ttl_us")
	}
	const most = int64(24 * time.Hour / time.Microsecond)
	if min(*s.MinTTL, *s.MaxTTL) < 0 || max(*s.MinTTL, *s.MaxTTL) > most {
		return none, errors.New("lifetimes must be from 0 to 24 hours, in microseconds")
	}
	to := adaptivecache.Settings{
		Enabled: *s.Enabled, Prefetch: *s.Prefetch,
		MinTTL: time.Duration(*s.MinTTL) * time.Microsecond, MaxTTL: time.Duration(*s.MaxTTL) * time.Microsecond,
	}
	return to, to.Check()
}

// answer writes a representation with its ETag.
func answer(w http.ResponseWriter, of any) {
	body := encode(of)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("ETag", etag(body))
	_, _ = w.Write(body) // an error means that the client is gone
}

func encode(of any) []byte {
	body, err := json.Marshal(of, json.Deterministic(true))
	if err != nil {
		panic(err) // the types above can be encoded
	}
	return body
}

func etag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}
