// Package peers finds the real programs that tests and benchmarks run beside ours: cosign, witnesses, registries.
//
// It is not for starting them: that is for whoever knows what they are started for.
package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// Path returns the path of a peer's program. It builds the program if it is missing, and ends the test if that fails: a test that needs a peer
// is never skipped.
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
	_, source, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(source), "..", "..")
	dir := filepath.Join(root, ".cache", "peers")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return "", err
	}
	defer lock.Close() // and with it the lock: tests of several packages run at once
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if out, err := exec.Command(filepath.Join(root, ".ci", "peers"), name).CombinedOutput(); err != nil {
		return "", fmt.Errorf("the peer %s can't be built: %w\n%s", name, err, out)
	}
	return filepath.Join(dir, name), nil
}
