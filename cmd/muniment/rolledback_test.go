package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/receipt"
)

// growRekor appends leaves to the folder's Rekor log and writes its anchor.
func growRekor(t *testing.T, dir string, n int) {
	t.Helper()
	signer, _, err := datadir.LoadRekorKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := datadir.OpenStore(t.Context(), dir, datadir.RekorStore(signer.Name()), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := growRaw(t, s, signer, n)
	err = anchor.Write(filepath.Join(dir, datadir.RekorStoreDir)+datadir.AnchorSuffix, l.Published().Checkpoint)
	l.Close()
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestRolledBackRekorLog checks that a Rekor log that was rolled back is served
// read-only, and changes nothing of its store.
func TestRolledBackRekorLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if code := run(t.Context(), []string{"init", dir, "--origin", "log.example", "--tenant", "acme", "--rekor-origin", "rekor.example"}, nil, io.Discard, os.Stderr); code != 0 {
		t.Fatalf("init: exit code %d", code)
	}
	growRekor(t, dir, 3)
	old := folderFiles(t, dir)
	growRekor(t, dir, 4)
	path := filepath.Join(dir, datadir.RekorStoreDir)
	newest, err := os.ReadFile(path + datadir.AnchorSuffix)
	if err != nil {
		t.Fatal(err)
	}
	writeFolder(t, dir, old)
	if err := os.WriteFile(path+datadir.AnchorSuffix, newest, 0o600); err != nil {
		t.Fatal(err)
	}
	rekorFiles := func() map[string][]byte {
		files := folderFiles(t, dir)
		maps.DeleteFunc(files, func(p string, _ []byte) bool { return !strings.HasPrefix(p, path) })
		return files
	}
	before := rekorFiles()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, out := io.Pipe()
	ended := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		ended <- run(ctx, []string{"serve", "--data", dir, "--listen", "127.0.0.1:0", "--rekor-listen", "127.0.0.1:0"}, nil, out, &stderr)
		out.Close()
	}()
	lines := bufio.NewScanner(stdout)
	url := ""
	for lines.Scan() {
		if _, at, ok := strings.Cut(lines.Text(), "Rekor log rekor.example listening on "); ok {
			url = at
			continue
		}
		if !strings.Contains(lines.Text(), "listening on") {
			continue
		}
		// It is the last line: both are served.
		_, checkpoint, err := fetchText(url + "/api/v2/checkpoint")
		if err != nil || !strings.HasPrefix(checkpoint, "rekor.example\n3\n") {
			t.Errorf("the checkpoint: %q, %v", checkpoint, err)
		}
		cancel()
	}
	if code := <-ended; url == "" {
		t.Fatalf("the Rekor log is not served; exit code %d: %s", code, &stderr)
	}
	if !strings.Contains(stderr.String(), "the Rekor log is older than its newest checkpoint and is served read-only") {
		t.Errorf("the log does not name it: %s", &stderr)
	}
	if after := rekorFiles(); !maps.EqualFunc(before, after, bytes.Equal) {
		t.Error("files of the store changed")
	}
}

// fetchText returns the status and the text of an answer.
func fetchText(url string) (int, string, error) {
	res, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	return res.StatusCode, string(text), err
}

// TestForkExitCode checks that serve ends with the exit code of a fork,
// whichever of its logs has forked.
func TestForkExitCode(t *testing.T) {
	for _, c := range []struct{ store, key string }{{datadir.StoreDir, datadir.KeyFile}, {datadir.RekorStoreDir, datadir.RekorKeyFile}} {
		t.Run(c.store, func(t *testing.T) {
			r := newFsckRig(t)
			if code := run(t.Context(), []string{"init", r.dir, "--rekor-origin", "rekor.example"}, nil, io.Discard, os.Stderr); code != 0 {
				t.Fatalf("init: exit code %d", code)
			}
			growRekor(t, r.dir, 3)
			text, err := os.ReadFile(filepath.Join(r.dir, c.key))
			if err != nil {
				t.Fatal(err)
			}
			signer, err := note.NewSigner(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			forked, err := receipt.Checkpoint{Origin: signer.Name(), Size: 2, Root: entry.Hash{1}}.Sign(signer)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(r.dir, c.store)
			if err := anchor.Write(path+datadir.AnchorSuffix, forked); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(mark.Path(path))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &cancelWhen{cancel: cancel, text: "listening on"}
			var stderr bytes.Buffer
			code := run(ctx, []string{"serve", "--data", r.dir, "--listen", "127.0.0.1:0", "--rekor-listen", "127.0.0.1:0"}, nil, out, &stderr)
			if code != term.ExitRollback || !strings.Contains(stderr.String(), "another tree") {
				t.Errorf("exit code %d, want %d: %s", code, term.ExitRollback, &stderr)
			}
			if after, _ := os.ReadFile(mark.Path(path)); !bytes.Equal(before, after) {
				t.Error("the publish mark changed")
			}
		})
	}
}

// A cancelWhen cancels a context when the text is written to it, so that a
// server that should not have started ends.
type cancelWhen struct {
	cancel context.CancelFunc
	text   string
}

func (w *cancelWhen) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.text)) {
		w.cancel()
	}
	return len(p), nil
}
