package decide

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestChartPasswordStaysInTLS checks that a redirect does not reveal the
// password of a repository to the network.
func TestChartPasswordStaysInTLS(t *testing.T) {
	var seen []string // by the server without TLS
	note := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.Header.Get("Authorization")) })
	plain := httptest.NewServer(note)
	defer plain.Close()
	to := ""
	repository := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }))
	defer repository.Close()
	authorities := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authorities, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: repository.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &chartHostFlags{ChartCA: authorities, username: "kim", password: "secret"}
	at, err := url.Parse(repository.URL + "/gateway-1.7.0.tgz")
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		plain.URL:      "without TLS",
		repository.URL: "more than 10 redirects",
	} {
		to, seen = target, nil
		_, err := f.download(t.Context(), at, 1<<20)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("redirect to %s: %v, want %q", target, err, want)
		}
		if strings.Join(seen, "") != "" {
			t.Errorf("redirect to %s: the server was sent %q", target, seen)
		}
	}
}
