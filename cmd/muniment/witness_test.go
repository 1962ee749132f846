package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/cmd/muniment/internal/operate"
	"muniment.dev/muniment/internal/term"
)

// A log is added to the list of logs wherever the list is in witness.yaml.
// Every other line stays unchanged.
func TestWitnessAddLog(t *testing.T) {
	t.Chdir(t.TempDir())
	w := &workshop{t: t, replace: map[string]string{}}
	key := func(name string) string {
		_, vkey, err := note.GenerateKey(rand.Reader, name)
		if err != nil {
			t.Fatal(err)
		}
		return vkey
	}
	old := key("old.example")
	for name, config := range map[string]string{
		"at the end":            "name: w.example\nlisten: 127.0.0.1:7490\nlogs:\n  - key: OLD\nHERE",
		"before other settings": "name: w.example\nlogs:\n  - key: OLD # the first\nHERE\n# HTTPS\ntls:\n  cert: server.crt\n  key: server.key\n",
		"after other settings":  "name: w.example\ntls:\n  cert: server.crt\n  key: server.key\nlogs:\n  - key: OLD\nHERE",
		"empty, in the middle":  "name: w.example\nlogs:\nHERE# open connections\nconnections: 10\n",
		"not indented":          "name: w.example\nlogs:\n- key: OLD\n  origin: other.example\nHEREconnections: 10\n",
		"missing":               "name: w.example\nconnections: 10\n\nlogs:\nHERE",
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			dir := filepath.Join(t.TempDir(), "witness")
			w.must("witness init " + dir + " --name w.example")
			config := strings.ReplaceAll(config, "OLD", old)
			path, added := filepath.Join(dir, operate.WitnessConfigFile), key("new.example")
			before := strings.Replace(config, "HERE", "", 1)
			if name == "missing" {
				before = strings.Replace(before, "\nlogs:\n", "", 1)
			}
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
			w.must("witness add-log " + added + " --data " + dir)
			got, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			line := "  - key: \"" + added + "\"\n"
			if name == "not indented" {
				line = strings.TrimPrefix(line, "  ")
			}
			if want := strings.Replace(config, "HERE", line, 1); string(got) != want {
				t.Errorf("the file is\n%s\nand not\n%s", got, want)
			}
			if logs := w.must("witness show --data " + dir); !strings.Contains(logs, "new.example") {
				t.Errorf("the log is not shown:\n%s", logs)
			}
			w.must("witness add-log "+added+" --data "+dir, term.ExitFailed)
		})
	}
}
