package gitbranch

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestRedirectsGetNoToken checks that a server that redirects to another origin
// does not make git send the token there, whichever request it redirects.
func TestRedirectsGetNoToken(t *testing.T) {
	const token = "token-of-the-forge"
	for _, redirected := range []string{"/info/refs", "/git-upload-pack"} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			t.Run(fmt.Sprint(redirected, " ", status), func(t *testing.T) {
				var sent atomic.Bool // the token, to the other server
				other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, password, ok := r.BasicAuth(); ok || strings.Contains(fmt.Sprint(r.Header, r.URL, password), token) {
						sent.Store(true)
					}
					advertise(w)
				}))
				defer other.Close()
				var received atomic.Bool // the token, by the forge
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, password, _ := r.BasicAuth(); password == token {
						received.Store(true)
					}
					if strings.HasSuffix(r.URL.Path, redirected) {
						// Not the same host by name, though the same machine.
						http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+r.URL.RequestURI(), status)
						return
					}
					advertise(w)
				}))
				defer s.Close()
				c, err := Open(t.Context(), &Options{URL: s.URL + "/acme/deploy.git", Token: token, Base: "main", Branch: "b", Now: time.Now()})
				if err == nil {
					_ = c.Close()
					t.Error("a server without objects was copied")
				} else if strings.Contains(err.Error(), token) {
					t.Errorf("the error has the token: %v", err)
				}
				if !received.Load() {
					t.Error("the forge has not received the token, so the test shows nothing")
				}
				if sent.Load() {
					t.Error("another server has received the token")
				}
			})
		}
	}
}

// advertise answers with the references of a repository whose objects it does
// not send.
func advertise(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
	line := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	hash := strings.Repeat("a1", 20)
	fmt.Fprint(w, line("# service=git-upload-pack\n"), "0000", line(hash+" HEAD\x00symref=HEAD:refs/heads/main agent=git/2\n"), line(hash+" refs/heads/main\n"), "0000")
}
