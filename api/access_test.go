package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/rekor"
	"muniment.dev/muniment/api/tsa"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/cosereceipt"
	"muniment.dev/muniment/ledger/store/memstore"
)

// open are the capabilities that need no credentials, in total.
var open = []capability{readPublicLog, readKeys, exchangeTokens, addToRekorLog, stampTime, seeHealth, seeNothing, seePortal, signIn}

// TestCapabilities checks that each capability has its roles, and which need no
// credentials.
func TestCapabilities(t *testing.T) {
	for c := appendEntries; c <= seeOperations; c++ {
		if len(access[c]) == 0 {
			t.Errorf("capability %d: access has no row", c)
		}
		if needsNoCredentials(c) != slices.Contains(open, c) {
			t.Errorf("capability %d needs no credentials: %t", c, needsNoCredentials(c))
		}
	}
	if len(access) != int(seeOperations) {
		t.Errorf("%d rows for %d capabilities", len(access), seeOperations)
	}
	for path, c := range apiRoutes {
		if strings.HasPrefix(path, "/muniment.v1.") && may(operator, c) {
			t.Errorf("%s: operators are callers of no tenant and may call no RPC", path)
		}
	}
	if may(0, capability(0)) || may(operator, capability(0)) {
		t.Error("a path without a row is not refused")
	}
}

// TestEveryRouteHasACapability walks the routes that the listeners register.
// Each has a row in its table, each row is a route, and a route that requires
// credentials refuses callers without them.
func TestEveryRouteHasACapability(t *testing.T) {
	s := wholeServer(t)
	rs := s.routes()
	wantRows(t, apiRoutes, rs.patterns)
	health := &routes{mux: http.NewServeMux(), table: apiRoutes}
	s.mountHealth(health, func(h http.Handler) http.Handler { return h })
	for _, r := range []*routes{rs, health} {
		for _, pattern := range r.patterns {
			c := apiRoutes[pattern]
			method, path, ok := strings.Cut(strings.Replace(pattern, "{index}", "0", 1), " ")
			if !ok {
				method, path = http.MethodPost, pattern
			}
			w := httptest.NewRecorder()
			r.mux.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader("{}")))
			if refused := w.Code == http.StatusUnauthorized; refused != !needsNoCredentials(c) && pattern != exchangePath {
				t.Errorf("%s without credentials: status %d", pattern, w.Code)
			}
		}
	}
}

// exchangePath answers 401 to a token that is missing from the request.
const exchangePath = "/muniment.v1.IdentityService/ExchangeToken"

// TestEveryRekorRouteHasACapability is TestEveryRouteHasACapability for the
// Rekor log.
func TestEveryRekorRouteHasACapability(t *testing.T) {
	var patterns []string
	_, err := rekor.NewHandler(rekor.Config{Keys: make([]rekor.Key, 1), TSA: &tsa.Authority{}, Logger: slog.New(slog.DiscardHandler),
		Admit: func(pattern string, next http.Handler) http.Handler {
			patterns = append(patterns, pattern)
			return AdmitToRekor(pattern, next)
		}})
	if err != nil {
		t.Fatal(err)
	}
	wantRows(t, rekorRoutes, patterns)
	for pattern, c := range rekorRoutes {
		if !needsNoCredentials(c) {
			t.Errorf("%s requires credentials, which Sigstore's clients do not have", pattern)
		}
	}
}

// TestRouteWithoutRow checks that a route without a row can't be served.
func TestRouteWithoutRow(t *testing.T) {
	rs := &routes{mux: http.NewServeMux(), table: apiRoutes}
	defer func() {
		if recover() == nil {
			t.Error("a route without a row was mounted")
		}
	}()
	rs.mount("GET /debug", func(_ capability, h http.Handler) http.Handler { return h }, http.NotFoundHandler())
}

func wantRows(t *testing.T, table map[string]capability, patterns []string) {
	t.Helper()
	rows := slices.Sorted(maps.Keys(table))
	slices.Sort(patterns)
	if !slices.Equal(rows, patterns) {
		t.Errorf("registered routes: %q\nrows: %q", patterns, rows)
	}
}

// wholeServer returns a server with everything switched on and no tenants.
func wholeServer(t *testing.T) *Server {
	t.Helper()
	skey, _, err := note.GenerateKey(nil, "ledger.test/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	l, err := ledger.Open(context.Background(), ledger.Config{Store: memstore.New(), Signer: signer, Fatal: func(error) {}, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := cosereceipt.NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(context.Background(), Config{Ledger: l, Logger: logger, Metrics: NewMetrics("test"), SCITTKey: key, LimitWait: -1,
		Settings: Settings{MaxPayload: 1 << 20, Directory: auth.Directory{Operators: []auth.Operator{{ID: "operator", Hash: sha256.Sum256([]byte("mno_x"))}}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Drain)
	return s
}
