package term_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"

	"muniment.dev/muniment/internal/crash"
	"muniment.dev/muniment/internal/term"
)

// TestGoroutinePanics checks that a panic in a goroutine of a server is one
// line in the format of the log, and that the program ends with its own exit
// code.
func TestGoroutinePanics(t *testing.T) {
	if os.Getenv("MUNIMENT_TEST_PANIC") != "" {
		a := &term.App{Stderr: term.NewEscaper(os.Stderr)}
		a.ServiceLogger("json")
		go func() {
			defer crash.Report()
			panic("first line\nsecond line")
		}()
		select {} // until the program ends
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestGoroutinePanics$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), "MUNIMENT_TEST_PANIC=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != term.ExitFailed {
		t.Errorf("the program ended with %v, want exit code %d", err, term.ExitFailed)
	}
	var line struct{ Level, Panic, Stack string }
	if err := json.Unmarshal(stderr.Bytes(), &line); err != nil || line.Level != "ERROR" || line.Panic != "first line\nsecond line" || line.Stack == "" {
		t.Errorf("not one line of JSON about the panic: %v\n%s", err, &stderr)
	}
}
