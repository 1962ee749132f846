package wholefile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
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

func read(t *testing.T, path string) string {
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
		if err := Replace(root, "f", []byte(text), 0o600); err != nil || read(t, filepath.Join(dir, "f")) != text {
			t.Fatal(err)
		}
	}
	boom := errors.New("boom")
	err := ReplaceWith(root, "f", 0o600, func(w io.Writer) error { fmt.Fprint(w, "half"); return boom })
	if !errors.Is(err, boom) || read(t, filepath.Join(dir, "f")) != "two" {
		t.Error(err)
	}
	if err := ReplacePath(filepath.Join(dir, "f"), []byte("three"), 0o600); err != nil || read(t, filepath.Join(dir, "f")) != "three" {
		t.Error(err)
	}
	checkClean(t, dir)
}

// Links are replaced, not written through, and linked folders elsewhere are not
// entered.
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
	if err := Replace(root, "f", []byte("x"), 0o600); err != nil || read(t, filepath.Join(dir, "f")) != "x" {
		t.Error(err)
	}
	if err := Replace(root, filepath.Join("sub", "victim"), []byte("x"), 0o600); err == nil {
		t.Error("a link out of the folder was followed")
	}
	if read(t, victim) != "precious" {
		t.Error("a file outside was written to")
	}
	checkClean(t, dir)
	checkClean(t, outside)
}

// One of many writers creates the file, and the file is complete.
func TestCreateInParallel(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	// The leftover of a killed writer.
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
	if made.Load() != 1 || len(read(t, filepath.Join(dir, "f"))) != 2 {
		t.Errorf("%d files were made", made.Load())
	}
	checkClean(t, dir)
}

// A result is written to the path given by the user, but not through a link
// planted by another user.
func TestOutput(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link, dangling := filepath.Join(dir, "link"), filepath.Join(dir, "dangling")
	if err := errors.Join(os.Symlink(victim, link), os.Symlink(filepath.Join(outside, "missing"), dangling)); err != nil {
		t.Fatal(err)
	}
	write := func(w io.Writer) error { _, err := io.WriteString(w, "result"); return err }
	for _, path := range []string{link, dangling, filepath.Join(dir, "new")} {
		if err := Output(path, 0o600, write); err != nil || read(t, path) != "result" {
			t.Errorf("%s: %v", path, err)
		}
		if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s is still a link", path)
		}
	}
	if read(t, victim) != "precious" {
		t.Error("a link was written through")
	}
	if _, err := os.Lstat(filepath.Join(outside, "missing")); err == nil {
		t.Error("a file was made through a link")
	}
	if err := Output(dir, 0o600, write); err == nil {
		t.Error("a folder was replaced")
	}
	checkClean(t, dir)
	if err := Output(os.DevNull, 0o600, write); err != nil {
		t.Error(err)
	}
	f, err := os.Create(filepath.Join(dir, "descriptor"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := os.Stat("/dev/fd"); err == nil {
		if err := Output(fmt.Sprintf("/dev/fd/%d", f.Fd()), 0o600, write); err != nil || read(t, f.Name()) != "result" {
			t.Error(err)
		}
	}
}

// SaveState replaces any file of the name as a whole.
func TestSaveState(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	victim, path := filepath.Join(outside, "victim"), filepath.Join(dir, "state")
	err := errors.Join(os.WriteFile(victim, []byte("precious"), 0o600), os.Symlink(victim, path), os.Symlink(victim, path+".new"))
	if err != nil {
		t.Fatal(err)
	}
	if err := SaveState(path, []byte("state"), 0o600); err != nil || read(t, path) != "state" || read(t, victim) != "precious" {
		t.Error(err)
	}
	checkClean(t, dir)
}

// TestLeftovers kills a writer. The next one removes its unfinished file, and
// keeps that of a writer in progress.
func TestLeftovers(t *testing.T) {
	if dir := os.Getenv("WHOLEFILE_TEST_DIR"); dir != "" {
		err := ReplaceWith(openRoot(t, dir), "f", 0o600, func(w io.Writer) error {
			fmt.Fprintln(w, "half")
			fmt.Println("ready")
			select {}
		})
		t.Fatal(err)
	}
	if !canSweep {
		t.Skip("no locks on this system")
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLeftovers$")
	cmd.Env = append(os.Environ(), "WHOLEFILE_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	temporaries := func() int {
		names, err := filepath.Glob(filepath.Join(dir, prefix+"*"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	root := openRoot(t, dir)
	if sweep(root, "."); temporaries() != 1 {
		t.Error("the file of a writer in progress was removed")
	}
	if err := errors.Join(cmd.Process.Kill(), cmd.Process.Release()); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out) // until the process has ended
	if temporaries() != 1 {
		t.Fatal("a killed writer leaves its file")
	}
	if err := ReplacePath(filepath.Join(dir, "g"), []byte("x"), 0o600); err != nil || temporaries() != 0 {
		t.Errorf("%d leftovers after the next write, %v", temporaries(), err)
	}
}
