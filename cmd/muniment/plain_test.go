package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
)

// plainProgram returns the path of the program as it is built for users. Tests
// that measure memory, kill a busy server or run the documents use it: the
// race detector multiplies memory and time, and the scripts run under it.
func plainProgram(t testing.TB) string {
	t.Helper()
	bin, err := buildPlain()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// buildPlain builds the program once, into a folder that is kept, so that a
// later run links it only if something changed.
var buildPlain = sync.OnceValues(func() (string, error) {
	if !underRaceDetector() {
		return exec.LookPath("muniment") // the test binary, see TestMain
	}
	bin, err := filepath.Abs("../../.cache/plain/muniment")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %v\n%s", err, out)
	}
	return bin, nil
})

func underRaceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}
