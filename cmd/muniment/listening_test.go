package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestJSONListeners starts each kind of server. All its lines, those of
// standard output included, are objects, and one is for each listener.
func TestJSONListeners(t *testing.T) {
	bin, dir := program(t), t.TempDir()
	data, witness, config := filepath.Join(dir, "data"), filepath.Join(dir, "witness"), filepath.Join(dir, "monitor.yaml")
	for _, args := range [][]string{
		{"init", data, "--origin", "ledger.test", "--tenant", "acme", "--rekor-origin", "rekor.test"},
		{"witness", "init", witness, "--name", "witness.test"},
	} {
		if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	const free = "127.0.0.1:0"
	// start returns the URLs of the listeners, in order.
	start := func(listeners []string, args ...string) map[string]string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, append(args, "--log-format", "json")...)
		var stderr logBuffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		urls, lines := map[string]string{}, bufio.NewScanner(out)
		for len(urls) < len(listeners) && lines.Scan() {
			for _, o := range jsonLines(t, args[0], lines.Text()) {
				server, _ := o["server"].(string)
				if !slices.Contains(listeners, server) || o["msg"] != "listening" {
					t.Errorf("%s: unexpected line %s", args[0], lines.Text())
				}
				urls[server], _ = o["url"].(string)
			}
			if t.Failed() {
				break
			}
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(os.Interrupt)
			for lines.Scan() {
				jsonLines(t, args[0], lines.Text())
			}
			_ = cmd.Wait() // of interest are its lines
			jsonLines(t, args[0], stderr.String())
		})
		for _, server := range listeners {
			if !strings.HasPrefix(urls[server], "http://127.0.0.1:") {
				t.Fatalf("%s: no URL of %s\n%s", args[0], server, stderr.String())
			}
		}
		return urls
	}
	urls := start([]string{"rekor", "health", "api"}, "serve", "--data", data, "--listen", free, "--health-listen", free, "--rekor-listen", free)
	start([]string{"witness"}, "witness", "serve", "--data", witness, "--listen", free)
	policy := filepath.Join(data, "policy")
	text := "state: state\nlisten: " + free + "\nlogs: [{name: ledger, url: '" + urls["api"] + "', policy: data/policy}]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start([]string{"monitor"}, "monitor", config)
	start([]string{"mirror"}, "mirror", urls["api"], "--data", filepath.Join(dir, "mirror"), "--policy", policy, "--listen", free)
	for _, args := range [][]string{
		{"monitor", config, "--once"},
		{"mirror", urls["api"], "--data", filepath.Join(dir, "copy"), "--policy", policy, "--once"},
	} {
		out, err := exec.Command(bin, append(args, "--log-format", "json")...).Output()
		if err != nil || len(jsonLines(t, args[0], string(out))) != 1 {
			t.Errorf("%s --once: %v\n%s", args[0], err, out)
		}
	}
}

// TestListenersAreReported compares the listeners that the commands open with
// those whose URL they print. The portal is a page of the server's listener.
func TestListenersAreReported(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("internal/operate/*.go")
	if err != nil {
		t.Fatal(err)
	}
	opened := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		opens, prints := bytes.Count(source, []byte("edge.Listen(")), bytes.Count(source, []byte("a.Listening("))
		prints -= bytes.Count(source, []byte(`a.Listening("portal"`))
		if opens != prints {
			t.Errorf("%s opens %d listeners and prints %d: use App.Listening", file, opens, prints)
		}
		opened += opens
	}
	if opened == 0 {
		t.Error("no listener was found")
	}
}
