// Package peers builds, finds and starts the real programs that tests and
// benchmarks run beside Muniment: cosign, witnesses, registries and others.
package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// Path returns the path of a peer's program. It builds the program if
// necessary, and fails the test if that fails: a test that requires a peer is
// never skipped.
func Path(t testing.TB, name string) string {
	t.Helper()
	path, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Find is Path for programs that are not tests.
func Find(name string) (string, error) {
	unlock, err := Lock(name)
	if err != nil {
		return "", err
	}
	defer unlock()
	root := root()
	if out, err := exec.Command(filepath.Join(root, ".ci", "peers"), name).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the peer %s: %w\n%s", name, err, out)
	}
	return filepath.Join(root, cacheDir, name), nil
}

// Lock waits for the named lock, which one process can hold at a time. Tests of
// several packages run in parallel.
func Lock(name string) (unlock func(), err error) {
	dir := Folder()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil // closing it releases the lock
}

// Folder returns the folder of the programs, in which rigs may cache data.
func Folder() string { return filepath.Join(root(), cacheDir) }

const cacheDir = ".cache/peers"

// repository is the root of the module in which the process was started. It is
// determined at startup, before a test can change the working folder.
var repository = findRepository()

func root() string { return repository }

func findRepository() string {
	start, err := os.Getwd()
	if err != nil {
		return "."
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return start
		}
	}
}
