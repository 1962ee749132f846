package peers

import (
	"strings"
	"testing"
)

func TestUnknownPeer(t *testing.T) {
	if path, err := Find("no-such-peer"); err == nil {
		t.Errorf("Find of an unknown peer returned %s and no error", path)
	}
}

// TestNotReady checks that a program that ends, or never answers, is reported
// with its output.
func TestNotReady(t *testing.T) {
	program := Program{Name: "registry", Dir: t.TempDir(), Args: []string{"serve", "no-such-file.yml"}, Probe: "http://127.0.0.1:1/"}
	process, err := program.Start(t.Context())
	if err == nil {
		process.Stop()
		t.Fatal("a program that ended was reported as ready")
	}
	if !strings.Contains(err.Error(), "registry ended: exit status 1") || !strings.Contains(err.Error(), "no-such-file.yml") {
		t.Errorf("the error lacks the exit status or the output: %v", err)
	}
}
