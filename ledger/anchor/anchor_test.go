package anchor_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// A testLog has roots that depend on nothing but the size.
type testLog struct {
	t          *testing.T
	signer     note.Signer
	mu         sync.Mutex
	size       uint64
	superseded chan struct{}
}

func newTestLog(t *testing.T) *testLog {
	skey, _, err := note.GenerateKey(nil, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{t: t, superseded: make(chan struct{})}
	if l.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	return l
}

func root(size uint64) entry.Hash { return sha256.Sum256(fmt.Append(nil, size)) }

func (l *testLog) state() anchor.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	signed, err := receipt.Checkpoint{Origin: "log.example", Size: l.size, Root: root(l.size)}.Sign(l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return anchor.State{Origin: "log.example", Size: l.size, Checkpoint: signed, Superseded: l.superseded,
		Root: func(_ context.Context, size uint64) (entry.Hash, error) { return root(size), nil }}
}

func (l *testLog) grow(to uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size = to
	close(l.superseded)
	l.superseded = make(chan struct{})
}

func TestWriter(t *testing.T) {
	l, dir := newTestLog(t), t.TempDir()
	path := filepath.Join(dir, "anchor")
	if found, err := anchor.Check(t.Context(), path, l.state()); found || err != nil {
		t.Fatalf("before the first: %v, %v", found, err)
	}
	w, err := anchor.NewWriter(path, l.state, slog.New(slog.DiscardHandler))
	if err != nil || w.Size() != 0 {
		t.Fatal(err)
	}
	for size := uint64(1); size <= 50; size++ {
		l.grow(size)
	}
	for end := time.Now().Add(soak.Patience); w.Size() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the anchor is not written")
		}
	}
	l.grow(51) // within the pause after a write: Close writes it
	w.Close()
	if w.Size() != 51 || w.Failures() != 0 {
		t.Fatalf("size %d, %d failures", w.Size(), w.Failures())
	}
	if found, err := anchor.Check(t.Context(), path, l.state()); !found || err != nil {
		t.Fatalf("%v, %v", found, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Fatalf("the folder has %d files (%v)", len(files), err)
	}
}

func TestWriteFails(t *testing.T) {
	l := newTestLog(t)
	dir := filepath.Join(t.TempDir(), "mounted")
	if _, err := anchor.NewWriter(filepath.Join(dir, "anchor"), l.state, slog.New(slog.DiscardHandler)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a folder: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := anchor.NewWriter(filepath.Join(dir, "anchor"), l.state, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l.grow(1)
	w.Close()
	if w.Failures() == 0 || w.Size() != 0 {
		t.Fatalf("%d failures, size %d", w.Failures(), w.Size())
	}
}

func TestCheck(t *testing.T) {
	l := newTestLog(t)
	l.grow(7)
	path := filepath.Join(t.TempDir(), "anchor")
	good := string(l.state().Checkpoint)
	for name, c := range map[string]struct {
		text string
		want error
		says string
	}{
		"the same":     {good, nil, ""},
		"smaller":      {strings.Replace(strings.Replace(good, "\n7\n", "\n5\n", 1), root(7).Base64(), root(5).Base64(), 1), nil, ""},
		"larger":       {strings.Replace(good, "\n7\n", "\n8\n", 1), anchor.ErrAhead, "8 entries instead of 7"},
		"another tree": {strings.Replace(good, root(7).Base64(), root(5).Base64(), 1), anchor.ErrInconsistent, "at size 7"},
		"another log":  {strings.Replace(good, "log.example\n", "lag.example\n", 1), nil, "the anchor of another log"},
		"empty":        {"", nil, "not an anchor file"},
		"cut":          {good[:20], nil, "not an anchor file"},
		"huge":         {good + strings.Repeat("x", 1<<20), nil, "not an anchor file"},
		"unended":      {good[:len(good)-1], nil, "not an anchor file"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := anchor.Check(t.Context(), path, l.state())
		if c.want == nil && c.says == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %v and %q", name, err, c.want, c.says)
		}
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := anchor.Check(t.Context(), path, l.state()); err == nil {
		t.Error("a folder is taken for an anchor")
	}
}
