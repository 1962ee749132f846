package remote

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"muniment.dev/muniment/clients/go/audit"
)

// OpenSource returns the log in a folder or at a URL.
func OpenSource(url, tokenFile string) (audit.Source, error) {
	if info, err := os.Stat(url); err == nil && info.IsDir() {
		return audit.NewFolderSource(url)
	} else if !strings.Contains(url, "://") {
		return nil, fmt.Errorf("%s is neither a folder nor a URL such as https://ledger.example", url)
	}
	if rest := url[strings.Index(url, "://")+1:]; strings.Count(strings.TrimSuffix(rest, "/"), "/") == 2 {
		url = strings.TrimSuffix(url, "/") + "/tlog/"
	}
	client := &http.Client{Timeout: time.Minute}
	if tokenFile != "" { // never from the environment: the log may not be the user's
		token, err := ReadBearer(tokenFile)
		if err != nil {
			return nil, fmt.Errorf("--token-file: %w", err)
		}
		// the token is for this host only
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		client.Transport = &bearer{token, http.DefaultTransport}
	}
	return audit.NewHTTPSource(url, client)
}

// bearer sends a token with each request.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}
