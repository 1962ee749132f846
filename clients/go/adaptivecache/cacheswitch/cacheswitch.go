// Package cacheswitch switches adaptive caches off and on over HTTP, while they
// are in use. The runbook docs/runbooks/cache-off.md has the commands.
package cacheswitch

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// A Cache is an [adaptivecache.Cache] of any type.
type Cache interface {
	Enable()
	Disable()
	Enabled() bool
}

const maxBody = 16 // bytes of "off" or "on", with a newline

// New returns a handler for the caches, by the names of their resolvers. Serve
// it with [http.StripPrefix] below a path that ends with a slash, on loopback
// or behind authentication of your own: it has none.
//
//	GET /           lists the caches, a line for each: its resolver, on or off
//	PUT /           with the body off or on: switches all caches
//	PUT /RESOLVER   switches one cache
//
// Each answer is the list as it is then.
func New(caches map[string]Cache) http.Handler { return &handler{caches} }

type handler struct{ caches map[string]Cache }

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	chosen := h.caches
	if name != "" {
		cache, ok := h.caches[name]
		if !ok {
			http.Error(w, fmt.Sprintf("no cache %.256q: GET the list", name), http.StatusNotFound)
			return
		}
		chosen = map[string]Cache{name: cache}
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPut:
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		to := strings.TrimSpace(string(body))
		if err != nil || to != "on" && to != "off" {
			http.Error(w, "the body must be on or off", http.StatusBadRequest)
			return
		}
		for _, cache := range chosen {
			if to == "on" {
				cache.Enable()
			} else {
				cache.Disable()
			}
		}
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT")
		http.Error(w, "method not allowed: use GET or PUT", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		state := "off"
		if chosen[name].Enabled() {
			state = "on"
		}
		_, _ = fmt.Fprintln(w, name, state)
	}
}
