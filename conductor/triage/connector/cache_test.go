package connector_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"muniment.dev/muniment/clients/go/adaptivecache"
	"muniment.dev/muniment/clients/go/adaptivecache/cachecontrol"
	"muniment.dev/muniment/conductor/triage/connector/connectortest"
)

// startCache returns a cache, the address of its control endpoint, and the
// paths of its token and its certificate.
func startCache(t *testing.T) (cache *adaptivecache.Cache[string, int], endpoint *httptest.Server, token, ca string) {
	t.Helper()
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err = adaptivecache.New(member, adaptivecache.Options[string, int]{
		Resolver: "assets", MaxWeight: 100, Key: func(k string) string { return k }, NoPrefetch: true,
		Load: func(context.Context, string) (adaptivecache.Result[string, int], error) {
			return adaptivecache.Result[string, int]{Value: 1}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	const secret = "a-token-of-the-test"
	h, err := cachecontrol.New(secret, map[string]cachecontrol.Cache{"assets": cache})
	if err != nil {
		t.Fatal(err)
	}
	endpoint = httptest.NewTLSServer(h)
	t.Cleanup(endpoint.Close)
	token, ca = filepath.Join(t.TempDir(), "token"), filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(token, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: endpoint.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return cache, endpoint, token, ca
}

// TestCache changes settings of a cache, which are read in its process.
func TestCache(t *testing.T) {
	cache, endpoint, token, ca := startCache(t)
	state := func(*testing.T) string { return fmt.Sprint(cache.Settings(), cache.Flushes()) }
	change := func() {
		s := cache.Settings()
		s.MaxTTL += time.Second
		if done, err := cache.Change(cache.Settings(), s); !done || err != nil {
			t.Error(err)
		}
	}
	connectortest.Run(t, connectortest.Subject{
		Connector: connect(t, "type: cache, url: %q, token_file: %q, ca_file: %q", endpoint.URL, token, ca), Target: "cache/assets",
		Parameters: map[string]string{"prefetch": "true", "min_ttl_us": "2000000", "cache": "assets"}, Wrong: map[string]string{"prefetch": "1"},
		State: state, Change: func(*testing.T) { change() },
	})
	off := cache.Settings()
	off.Prefetch = false
	if done, err := cache.Change(cache.Settings(), off); !done || err != nil {
		t.Fatal(err)
	}
	// The endpoint is also one that the connector for any API can use.
	connectortest.Run(t, connectortest.Subject{
		Connector: connect(t, `type: http, url: %q, token_file: %q, ca_file: %q, target: "cache/{c}", path: "/{c}", set: {prefetch: "{prefetch:boolean}"}`, endpoint.URL, token, ca),
		Target:    "cache/assets", Parameters: map[string]string{"prefetch": "true"}, Wrong: map[string]string{"prefetch": "1"}, State: state,
	})
	f := newFront(t, endpoint.URL, endpoint.Client().Transport)
	rehearse(t, rehearsal{
		front: f, connector: connect(t, "type: cache, url: %q, token_file: %q", f.url, token), target: "cache/assets",
		parameters: map[string]string{"enabled": "false"}, change: change,
	})
	for name, c := range map[string]string{
		"no CA":       fmt.Sprintf("type: cache, url: %q, token_file: %q", endpoint.URL, token),
		"wrong token": fmt.Sprintf("type: cache, url: %q, token_file: %q, ca_file: %q", endpoint.URL, ca, ca),
		"no token":    fmt.Sprintf("type: cache, url: %q, token_file: %q, ca_file: %q", endpoint.URL, token+"x", ca),
		"wrong CA":    fmt.Sprintf("type: cache, url: %q, token_file: %q, ca_file: %q", endpoint.URL, token, token),
	} {
		if _, err := connect(t, "%s", c).Read(t.Context(), "cache/assets"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestCacheFlush flushes a cache.
func TestCacheFlush(t *testing.T) {
	cache, endpoint, token, ca := startCache(t)
	connectortest.Run(t, connectortest.Subject{
		Connector: connect(t, "type: cache_flush, url: %q, token_file: %q, ca_file: %q", endpoint.URL, token, ca), Target: "cache/assets",
		State: func(*testing.T) string { return fmt.Sprint(cache.Settings(), cache.Flushes()) },
	})
	f := newFront(t, endpoint.URL, endpoint.Client().Transport)
	rehearse(t, rehearsal{front: f, connector: connect(t, "type: cache_flush, url: %q, token_file: %q", f.url, token), target: "cache/assets"})
}
