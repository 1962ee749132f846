package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

// fsck runs Tessera's fsck on the log below a URL, and returns its output. Its
// exit code is always 0.
func fsck(t *testing.T, url, vkey string) string {
	t.Helper()
	key := filepath.Join(t.TempDir(), "log.pub")
	if err := os.WriteFile(key, []byte(vkey+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), peers.Path(t, "fsck"), "--storage_url="+url, "--public_key="+key, "--ui=false").CombinedOutput()
	if err != nil {
		t.Fatalf("fsck: %v\n%s", err, out)
	}
	return string(out)
}

// Tessera's fsck, which shares no code with this project, reads every tile and
// bundle of the served log and rebuilds the root: at sizes that are and are not
// multiples of 256, below and beyond the 65,536 entries with which the tree
// gets a third level of tiles.
func TestTesseraFindsTheLogSound(t *testing.T) {
	soak.WithoutRace(t)
	ts := newServer(t)
	for _, size := range []uint64{1, 2, 255, 256, 257, 512, 1000, 65_536, 65_537, 66_000} {
		ts.fill(int(size - ts.ledger.Published().Size))
		out, root := fsck(t, ts.url+"/tlog/", ts.vkey), ts.ledger.Published().Root
		if want := fmt.Sprintf("Successfully fsck'd log with size %d and root %s", size, root.Base64()); !strings.Contains(out, want) || strings.Contains(out, "failed") {
			t.Fatalf("fsck does not say %q:\n%s", want, out)
		}
	}
}

// The test above can fail: fsck refuses the log when one byte of a bundle or of
// the checkpoint is another. (With a changed tile it never returns.)
func TestTesseraFindsAChange(t *testing.T) {
	ts := newServer(t)
	ts.fill(600)
	for _, path := range []string{"/tlog/tile/entries/001", "/tlog/tile/entries/002.p/88", "/tlog/checkpoint"} {
		changed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			ts.api.Handler().ServeHTTP(rec, r)
			body := rec.Body.Bytes()
			if r.URL.Path == path {
				body[len(body)/2] ^= 1
			}
			w.WriteHeader(rec.Code)
			w.Write(body)
		}))
		out := fsck(t, changed.URL+"/tlog/", ts.vkey)
		changed.Close()
		if !strings.Contains(out, "fsck failed: ") || strings.Contains(out, "Successfully") {
			t.Errorf("a byte of %s is another, and fsck says:\n%s", path, out)
		}
	}
}
