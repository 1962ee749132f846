package portal

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

const hashedName = "assets/main-BZ2vY9kq.js"

// build is a page as Vite makes it, whose second script has no nonce yet.
func build(t *testing.T) *Files {
	t.Helper()
	f, err := Load(fstest.MapFS{
		"index.html": {Data: []byte(`<meta property="csp-nonce" nonce="__CSP_NONCE__"><script type="module" crossorigin src="/portal/` + hashedName + `" nonce="__CSP_NONCE__"></script><script src="x"></script><link rel="stylesheet" href="y" />`)},
		hashedName:   {Data: []byte(strings.Repeat("export const entries = 1;\n", 100))},
		"icon.svg":   {Data: []byte("<svg/>")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func get(f *Files, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

// TestNonces checks that each answer has its own nonce, in the policy and in
// every element that loads something.
func TestNonces(t *testing.T) {
	f, seen := build(t), map[string]bool{}
	for _, path := range []string{"/portal/", "/portal/index.html", "/portal/artifacts/sha256:00?q=1", "/portal/controls/a.js"} {
		w := get(f, path)
		m := regexp.MustCompile(`script-src 'nonce-([\w-]{22})'(;|$)`).FindStringSubmatch(w.Header().Get("Content-Security-Policy"))
		if w.Code != 200 || m == nil {
			t.Fatalf("%s: status %d, policy %q", path, w.Code, w.Header().Get("Content-Security-Policy"))
		}
		if seen[m[1]] {
			t.Errorf("%s: the nonce was used before", path)
		}
		seen[m[1]] = true
		body := w.Body.String()
		if n := strings.Count(body, `nonce="`+m[1]+`"`); n != 4 || strings.Contains(body, nonceMark) {
			t.Errorf("%s: %d nonces, want 4: %s", path, n, body)
		}
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q: another answer would have the same nonce", path, w.Header().Get("Cache-Control"))
		}
	}
}

// TestHeaders checks what every answer has.
func TestHeaders(t *testing.T) {
	f := build(t)
	for _, path := range []string{"/portal/", "/portal/" + hashedName, "/portal/icon.svg", "/portal/assets/gone-12345678.js"} {
		h := get(f, path).Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp", "X-Frame-Options": "DENY",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", path, name, h.Get(name), want)
			}
		}
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy %q lacks %s", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
			t.Errorf("%s: the policy %q allows too much", path, csp)
		}
	}
}

// TestFiles checks caches, encodings and paths without a file.
func TestFiles(t *testing.T) {
	f := build(t)
	plain, packed := get(f, "/portal/"+hashedName), get(f, "/portal/"+hashedName, "Accept-Encoding", "br, gzip;q=0.5")
	if c := plain.Header().Get("Cache-Control"); c != "public, max-age=31536000, immutable" {
		t.Errorf("Cache-Control of a hashed file: %q", c)
	}
	if packed.Header().Get("Content-Encoding") != "gzip" || packed.Body.Len() >= plain.Body.Len() {
		t.Errorf("%d bytes, compressed %d as %q", plain.Body.Len(), packed.Body.Len(), packed.Header().Get("Content-Encoding"))
	}
	if refused := get(f, "/portal/"+hashedName, "Accept-Encoding", "gzip;q=0"); refused.Header().Get("Content-Encoding") != "" {
		t.Error("compressed for a client that refuses it")
	}
	if plain.Header().Get("ETag") == packed.Header().Get("ETag") {
		t.Error("two representations have one tag")
	}
	for _, w := range []*httptest.ResponseRecorder{plain, packed} {
		tag := w.Header().Get("ETag")
		if again := get(f, "/portal/"+hashedName, "Accept-Encoding", map[bool]string{true: "gzip"}[w == packed], "If-None-Match", `"other", W/`+tag); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
			t.Errorf("the same file again: status %d, %d bytes", again.Code, again.Body.Len())
		}
	}
	if w := get(f, "/portal/icon.svg"); w.Header().Get("Content-Type") != "image/svg+xml" || w.Header().Get("Cache-Control") != "no-cache" {
		t.Errorf("icon: %v", w.Header())
	}
	if w := get(f, "/portal/assets/gone-12345678.js"); w.Code != http.StatusNotFound {
		t.Errorf("a file of another version: status %d", w.Code)
	}
}

// TestLoadRefuses checks builds that cannot be served.
func TestLoadRefuses(t *testing.T) {
	for name, built := range map[string]fstest.MapFS{
		"no page":           {"icon.svg": {Data: []byte("<svg/>")}},
		"unknown extension": {"index.html": {}, "a.exe": {}},
	} {
		if _, err := Load(built); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := built(); err != nil {
		t.Errorf("the committed page: %v", err)
	}
}
