package wholefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// checkClean checks that no unfinished file is left.
func checkClean(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if Temporary(e.Name()) {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	for _, text := range []string{"one", "two"} {
		if err := Replace(root, "f", []byte(text), 0o600); err != nil || content(t, filepath.Join(dir, "f")) != text {
			t.Fatal(err)
		}
	}
	boom := errors.New("boom")
	err := ReplaceWith(root, "f", 0o600, func(w io.Writer) error { fmt.Fprint(w, "half"); return boom })
	if !errors.Is(err, boom) || content(t, filepath.Join(dir, "f")) != "two" {
		t.Error(err)
	}
	if err := ReplacePath(filepath.Join(dir, "f"), []byte("three"), 0o600); err != nil || content(t, filepath.Join(dir, "f")) != "three" {
		t.Error(err)
	}
	checkClean(t, dir)
}

// Links are replaced, not written through, and folders that are links to
// elsewhere are not entered.
func TestLinks(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink(victim, filepath.Join(dir, "f")), os.Symlink(outside, filepath.Join(dir, "sub"))); err != nil {
		t.Fatal(err)
	}
	root := openRoot(t, dir)
	if err := Create(root, "f", []byte("x"), 0o600); !errors.Is(err, ErrExists) {
		t.Errorf("create over a link: %v", err)
	}
	if err := Replace(root, "f", []byte("x"), 0o600); err != nil || content(t, filepath.Join(dir, "f")) != "x" {
		t.Error(err)
	}
	if err := Replace(root, filepath.Join("sub", "victim"), []byte("x"), 0o600); err == nil {
		t.Error("a link out of the folder was followed")
	}
	if content(t, victim) != "precious" {
		t.Error("a file outside was written to")
	}
	checkClean(t, dir)
	checkClean(t, outside)
}

// Of many who create the same file one succeeds, and the file is whole.
func TestCreateInParallel(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	// What a killed writer leaves.
	if err := os.WriteFile(filepath.Join(dir, "f.part"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var made atomic.Int64
	for i := range 16 {
		wg.Go(func() {
			switch err := Create(root, "f", fmt.Appendf(nil, "%02d", i), 0o600); {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 || len(content(t, filepath.Join(dir, "f"))) != 2 {
		t.Errorf("%d files were made", made.Load())
	}
	checkClean(t, dir)
}
