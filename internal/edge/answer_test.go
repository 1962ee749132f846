package edge

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMaxBytesClosesConnection checks that a connection is closed after a body
// that is too large, whatever wraps the server's ResponseWriter.
func TestMaxBytesClosesConnection(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = &Answer{ResponseWriter: &Answer{ResponseWriter: w}}
		if _, err := io.Copy(io.Discard, MaxBytes(w, r.Body, 10)); err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		}
	}))
	defer srv.Close()
	for _, c := range []struct {
		bytes, status int
		closes        bool
	}{{10, 200, false}, {11, 413, true}} {
		res, err := srv.Client().Post(srv.URL, "text/plain", bytes.NewReader(make([]byte, c.bytes)))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.status || res.Close != c.closes {
			t.Errorf("%d bytes: status %d, connection closes: %t; want %d, %t", c.bytes, res.StatusCode, res.Close, c.status, c.closes)
		}
	}
}

// TestOneMaxBytes checks that every handler of the API uses MaxBytes.
func TestOneMaxBytes(t *testing.T) {
	err := filepath.WalkDir("../../api", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if strings.Contains(lines.Text(), "http.MaxBytesReader(") {
				t.Errorf("%s: use edge.MaxBytes instead of http.MaxBytesReader", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
