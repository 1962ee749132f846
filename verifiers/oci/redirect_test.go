package oci

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/publicaddr"
)

// A hopper answers by host and path, without a network.
type hopper map[string]func(*http.Request) *http.Response

func (h hopper) RoundTrip(req *http.Request) (*http.Response, error) {
	f := h[req.URL.Scheme+"://"+req.URL.Host+req.URL.Path]
	if f == nil {
		return nil, fmt.Errorf("unexpected request to %s", req.URL)
	}
	resp := f(req)
	resp.Request = req
	return resp, nil
}

func redirectTo(location string) func(*http.Request) *http.Response {
	return func(*http.Request) *http.Response {
		w := httptest.NewRecorder()
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return w.Result()
	}
}

// The credentials of a registry stay with it, and the answers of a token
// service come over HTTPS.
func TestRedirects(t *testing.T) {
	const start = "https://registry.example/v2/app/blobs/x"
	var credentials string
	done := func(req *http.Request) *http.Response {
		credentials = req.Header.Get("Authorization")
		return httptest.NewRecorder().Result()
	}
	for _, c := range []struct {
		name, first string
		hops        hopper
		credentials string
		err         string
	}{
		{"none", start, hopper{start: done}, "secret", ""},
		{"same host", start, hopper{start: redirectTo("/other"), "https://registry.example/other": done}, "secret", ""},
		{"another host", start, hopper{start: redirectTo("//storage.example/x"), "https://storage.example/x": done}, "", ""},
		{"another host and back", start, hopper{start: redirectTo("https://storage.example/x"), "https://storage.example/x": redirectTo("https://registry.example/y"),
			"https://registry.example/y": done}, "", ""},
		{"content over HTTP", start, hopper{start: redirectTo("http://registry.example/x"), "http://registry.example/x": done}, "", ""},
		{"a token over HTTP", "https://auth.example/token", hopper{"https://auth.example/token": redirectTo("http://auth.example/x")}, "", "from HTTPS to HTTP"},
		{"a file", start, hopper{start: redirectTo("file:///etc/passwd")}, "", "scheme"},
		{"not a URL", start, hopper{start: redirectTo("http://[")}, "", "malformed URL"},
		{"itself", start, hopper{start: redirectTo(start)}, "", "10 redirects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			credentials = "none"
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.first, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "secret")
			resp, err := following{c.hops}.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			if c.err == "" && (err != nil || credentials != c.credentials) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("credentials %q, %v; want %q and an error with %q", credentials, err, c.credentials, c.err)
			}
			if c.name == "itself" && !errors.Is(err, ErrTooMuch) {
				t.Errorf("%v is not ErrTooMuch", err)
			}
		})
	}
}

// A registry can keep its content at an address that is not public if the user
// allows it, whether the URL has the address or a name.
func TestAllowedRedirect(t *testing.T) {
	const content = "content"
	storage := httptest.NewServer(answer("application/octet-stream", content))
	t.Cleanup(storage.Close)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		for _, allowed := range []bool{true, false} {
			var o Options
			o.PlainHTTP = true
			l := &liar{blobs: func(w http.ResponseWriter, r *http.Request) {
				_, port, _ := strings.Cut(strings.TrimPrefix(storage.URL, "http://"), ":")
				http.Redirect(w, r, "http://"+host+":"+port+"/x", http.StatusTemporaryRedirect)
			}}
			// a registry of another name, which is not on this machine
			o.Transport = connectTo(t, l)
			if allowed {
				var err error
				if o.Allowed, err = publicaddr.Parse([]string{"127.0.0.1"}); err != nil {
					t.Fatal(err)
				}
			}
			r, err := Open("registry.example/app:latest", o)
			if err != nil {
				t.Fatal(err)
			}
			data, err := r.Blob(t.Context(), digest)
			switch {
			case allowed && (err != nil || string(data) != content):
				t.Errorf("%s, allowed: %q, %v", host, data, err)
			case !allowed && !errors.Is(err, ErrAddress):
				t.Errorf("%s, not allowed: %q, %v", host, data, err)
			}
		}
	}
}

// connectTo returns a transport whose connections all lead to the handler.
func connectTo(t *testing.T, h http.Handler) *http.Transport {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	to := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, strings.TrimPrefix(s.URL, "http://"))
	}}
	t.Cleanup(to.CloseIdleConnections)
	return to
}

func TestDigestOfAReference(t *testing.T) {
	lower := strings.Repeat("ab", 32)
	for _, text := range []string{lower, strings.ToUpper(lower)} {
		r, err := Open("registry.example/app@sha256:"+text, Options{})
		if err != nil || !strings.HasSuffix(r.ref.String(), "@sha256:"+lower) {
			t.Errorf("%s: %v, %v", text, r, err)
		}
	}
}
