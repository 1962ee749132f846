package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/anchor"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/store"
)

// Every command opens stores by OpenStore, which proves that they are whole, so
// that a new command can't forget it.
func TestOneWayToOpenAStore(t *testing.T) {
	names, err := filepath.Glob("internal/*/*.go")
	if err != nil || len(names) < 50 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if strings.Contains(line, "engine.Open") && !strings.HasSuffix(name, "_test.go") && name != "internal/datadir/openstore.go" && !strings.Contains(line, "Scratch: true") {
				t.Errorf("%s: open the store by datadir.OpenStore: %s", name, line)
			}
		}
	}
}

// folderFiles returns the content of all files, by path.
func folderFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			out[path], err = os.ReadFile(path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// writeFolder makes the folder hold exactly these files.
func writeFolder(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for path, data := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// growRaw opens the raw log in the store and appends leaves to it.
func growRaw(t *testing.T, s store.Store, signer note.Signer, n int) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), ledger.Config{Store: s, Signer: signer, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	add := func(i int) error {
		_, err := l.AppendLeaf(t.Context(), fmt.Appendf(nil, "leaf %d of %d", i, n))
		return err
	}
	var together errgroup.Group // most of many leaves share a few commits
	for i := range max(0, n-10) {
		together.Go(func() error { return add(i) })
	}
	err = together.Wait()
	for i := max(0, n-10); i < n; i++ {
		err = errors.Join(err, add(i))
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A store that may lack acknowledged entries is refused, and no file changes.
// Without a usable mark, the anchor decides.
func TestOpenStoreProves(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	skey, _, err := note.GenerateKey(rand.Reader, "log.example")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	kind := datadir.RekorStore("log.example")
	path := filepath.Join(dir, datadir.RekorStoreDir)
	marked, anchored := mark.Path(path), path+datadir.AnchorSuffix
	open := func() (store.Store, error) {
		return datadir.OpenStore(t.Context(), dir, kind, slog.New(slog.DiscardHandler))
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "missing or torn") {
		t.Fatalf("a folder without mark and anchor: %v", err)
	}
	if err := mark.Create(path); err != nil {
		t.Fatal(err)
	}
	// grow appends leaves, writes the anchor, and returns the files as kill -9
	// would leave them.
	grow := func(n int) map[string][]byte {
		t.Helper()
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		l := growRaw(t, s, signer, n)
		if err := anchor.Write(anchored, l.Published().Checkpoint); err != nil {
			t.Fatal(err)
		}
		files := folderFiles(t, dir)
		l.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return files
	}
	old := grow(3)
	last := grow(7)
	without := func(files map[string][]byte, paths ...string) map[string][]byte {
		files = maps.Clone(files)
		for _, p := range paths {
			delete(files, p)
		}
		return files
	}
	flipped := func(files map[string][]byte, part string) map[string][]byte {
		files = maps.Clone(files)
		for p := range files {
			if strings.Contains(p, part) && len(files[p]) > 0 {
				files[p] = bytes.Clone(files[p])
				files[p][len(files[p])/3] ^= 1
			}
		}
		return files
	}
	gone := map[string][]byte{marked: last[marked], anchored: last[anchored]}
	copied := maps.Clone(old)
	copied[anchored] = last[anchored]
	for _, c := range []struct {
		name  string
		files map[string][]byte
		want  error // nil: it opens
	}{
		{"as killed", last, nil},
		{"no mark", without(last, marked), nil},
		{"no anchor", without(last, anchored), nil},
		{"torn mark", flipped(last, ".mark"), nil},
		{"neither mark nor anchor", without(last, marked, anchored), errors.ErrUnsupported},
		{"no store", gone, store.ErrDamaged},
		{"no store and no mark", without(gone, marked), anchor.ErrAhead},
		{"an older copy, with its mark", copied, anchor.ErrAhead},
		{"an older copy, without mark", without(copied, marked), anchor.ErrAhead},
		{"damaged MANIFEST", flipped(last, "MANIFEST-0"), store.ErrDamaged},
		{"damaged log", flipped(last, ".log"), store.ErrDamaged},
		{"damaged log, no mark", without(flipped(last, ".log"), marked), errors.ErrUnsupported},
	} {
		writeFolder(t, dir, c.files)
		s, err := open()
		if c.want == nil {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if st, err := s.Follow(t.Context(), 0); err != nil || st.Size != 10 {
				t.Errorf("%s: the state %+v, error %v", c.name, st, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: it opens", c.name)
			s.Close()
			continue
		}
		if c.want != errors.ErrUnsupported && !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if !strings.Contains(err.Error(), "docs/operator.md") {
			t.Errorf("%s: the error has no remedy: %v", c.name, err)
		}
		if after := folderFiles(t, dir); !maps.EqualFunc(after, c.files, bytes.Equal) {
			t.Errorf("%s: files changed", c.name)
		}
	}
}
