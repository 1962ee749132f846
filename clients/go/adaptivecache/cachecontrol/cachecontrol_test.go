package cachecontrol

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/clients/go/adaptivecache"
)

const token = "a-token-of-the-test"

func start(t *testing.T) (*adaptivecache.Cache[string, int64], string) {
	t.Helper()
	member, err := adaptivecache.NewMember(nil, adaptivecache.MemberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cache, err := adaptivecache.New(member, adaptivecache.Options[string, int64]{
		Resolver: "product", MaxWeight: 100, Key: func(id string) string { return adaptivecache.Name("product", "", id) }, NoPrefetch: true,
		Load: func(context.Context, string) (adaptivecache.Result[string, int64], error) {
			return adaptivecache.Result[string, int64]{Value: 1}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(token, map[string]Cache{"product": cache})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.StripPrefix("/control", h))
	t.Cleanup(server.Close)
	return cache, server.URL + "/control"
}

// call returns the status, the ETag and the body of an answer.
func call(t *testing.T, method, url, bearer, match, body string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if match != "" {
		req.Header.Set("If-Match", match)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("ETag"), string(text)
}

func TestSettings(t *testing.T) {
	cache, url := start(t)
	const first = `{"enabled":true,"prefetch":false,"min_ttl_us":1000000,"max_ttl_us":300000000}`
	const second = `{"enabled":false,"prefetch":true,"min_ttl_us":2000000,"max_ttl_us":2000000}`
	status, tag, body := call(t, "GET", url+"/product", token, "", "")
	if status != 200 || body != first {
		t.Fatalf("%d: %s", status, body)
	}
	if status, _, body := call(t, "PUT", url+"/product", token, tag, second); status != 200 || body != second {
		t.Fatalf("%d: %s", status, body)
	}
	want := adaptivecache.Settings{Prefetch: true, MinTTL: 2 * time.Second, MaxTTL: 2 * time.Second}
	if got := cache.Settings(); got != want || cache.Enabled() {
		t.Errorf("settings %+v, want %+v", got, want)
	}
	if status, _, _ := call(t, "PUT", url+"/product", token, tag, first); status != http.StatusPreconditionFailed {
		t.Errorf("an old ETag: %d", status)
	}
	_, tag, _ = call(t, "GET", url+"/product", token, "", "")
	if status, again, body := call(t, "PUT", url+"/product", token, tag, first); status != 200 || body != first || again == tag {
		t.Errorf("%d: %s", status, body)
	}
}

func TestFlush(t *testing.T) {
	cache, url := start(t)
	get := func() {
		t.Helper()
		if v, err := cache.Get(t.Context(), "17"); v != 1 || err != nil {
			t.Fatalf("%d, %v", v, err)
		}
	}
	get()
	get()
	if s := cache.Stats(); s.Loads != 1 {
		t.Fatalf("%d loads", s.Loads)
	}
	_, tag, body := call(t, "GET", url+"/product/flushes", token, "", "")
	if !strings.HasSuffix(body, `"flushes":0}`) {
		t.Errorf("%s", body)
	}
	if status, _, body := call(t, "POST", url+"/product/flushes", token, tag, ""); status != 200 || !strings.HasSuffix(body, `"flushes":1}`) {
		t.Errorf("%d: %s", status, body)
	}
	if status, _, _ := call(t, "POST", url+"/product/flushes", token, tag, ""); status != http.StatusPreconditionFailed {
		t.Errorf("a second flush with the same ETag: %d", status)
	}
	get()
	if s := cache.Stats(); s.Loads != 2 || !s.Enabled {
		t.Errorf("%d loads after a flush, enabled: %v", s.Loads, s.Enabled)
	}
}

func TestRefused(t *testing.T) {
	cache, url := start(t)
	before := cache.Settings()
	_, tag, _ := call(t, "GET", url+"/product", token, "", "")
	_, count, _ := call(t, "GET", url+"/product/flushes", token, "", "")
	const valid = `{"enabled":false,"prefetch":true,"min_ttl_us":2000000,"max_ttl_us":2000000}`
	for _, c := range []struct {
		method, path, token, match, body string
		want                             int
	}{
		{"GET", "/product", "", "", "", 401},
		{"GET", "/product", token + "x", "", "", 401},
		{"GET", "/", "", "", "", 401},
		{"PUT", "/product", "", tag, valid, 401},
		{"POST", "/product/flushes", "none", count, "", 401},
		{"GET", "/none", token, "", "", 404},
		{"GET", "/product/none", token, "", "", 404},
		{"GET", "//flushes", token, "", "", 404},
		{"DELETE", "/product", token, tag, "", 405},
		{"PUT", "/product/flushes", token, count, "", 405},
		{"POST", "/", token, "", "", 405},
		{"PUT", "/product", token, "", valid, 428},
		{"PUT", "/product", token, "*", valid, 428},
		{"POST", "/product/flushes", token, "", "", 428},
		{"PUT", "/product", token, "W/" + tag, valid, 412},
		{"PUT", "/product", token, tag, "", 400},
		{"PUT", "/product", token, tag, "[]", 400},
		{"PUT", "/product", token, tag, strings.Replace(valid, `"enabled":false,`, "", 1), 400},
		{"PUT", "/product", token, tag, strings.Replace(valid, "{", `{"x":1,`, 1), 400},
		{"PUT", "/product", token, tag, strings.Replace(valid, "{", `{"enabled":true,`, 1), 400},
		{"PUT", "/product", token, tag, strings.Replace(valid, "false", "null", 1), 400},
		{"PUT", "/product", token, tag, strings.Replace(valid, "2000000", "2000001", 1), 400},
		{"PUT", "/product", token, tag, strings.Replace(valid, "2000000", "0", 1), 400},
		{"PUT", "/product", token, tag, strings.Replace(valid, "2000000}", "9223372036854775807}", 1), 400},
		{"PUT", "/product", token, tag, strings.Replace(valid, "2000000", "1e30", 1), 400},
		{"PUT", "/product", token, tag, valid + strings.Repeat(" ", maxBody), 400},
	} {
		if status, _, body := call(t, c.method, url+c.path, c.token, c.match, c.body); status != c.want {
			t.Errorf("%s %s with %s: %d, want %d: %s", c.method, c.path, c.body, status, c.want, body)
		}
	}
	if cache.Settings() != before || cache.Flushes() != 0 {
		t.Errorf("a refused request has changed the cache: %+v", cache.Settings())
	}
	if status, _, body := call(t, "GET", url+"/", token, "", ""); status != 200 || body != `{"caches":["product"]}` {
		t.Errorf("%d: %s", status, body)
	}
	for name, token := range map[string]string{"product": "short", "a/b": token, "..": token, "": token} {
		if _, err := New(token, map[string]Cache{name: cache}); err == nil {
			t.Errorf("the resolver %q is accepted", name)
		}
	}
}
