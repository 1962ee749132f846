package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// outputFlags are the flags that name a file or folder for results.
var outputFlags = []string{"output", "transparent", "state", "receipt-dir", "save"}

// newFolders are the lines of the commands that make a folder, which is {path}.
var newFolders = map[string]string{
	"backup":       "backup --data data --to {path}",
	"init":         "init {path} --origin ledger.example",
	"mirror":       "mirror $SERVER --data {path} --policy data/policy --once",
	"replica init": "replica init {path} --policy data/policy --tenant acme=data/streams/acme.key",
	"restore":      "restore {backup} --data {path}",
	"witness init": "witness init {path} --name w.example",
}

// TestOutputsInLogFolders gives every command that writes a file or folder a
// path in the folder of a log or witness. All refuse and change nothing.
func TestOutputsInLogFolders(t *testing.T) {
	soak.WithoutRace(t)
	w := newWorkshop(t)
	lines := maps.Clone(newFolders)
	for command, n := range leaves(t) {
		for _, group := range n.AllFlags(false) {
			for _, f := range group {
				if slices.Contains(outputFlags, f.Name) && f.Tag.Enum == "" {
					line := regexp.MustCompile(` (-o|--`+f.Name+`) \S+`).ReplaceAllString(commandLines[command].args, "")
					lines[command+" --"+f.Name] = line + " --" + f.Name + " {path}"
				}
			}
		}
	}
	if len(lines) < 20 {
		t.Errorf("only %d lines", len(lines))
	}
	if err := os.Symlink("ops/streams", "link"); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		t.Run(name, func(t *testing.T) {
			w.t = t
			for _, path := range []string{"ops/new", "ops/muniment.yaml", "link/new", "witness/new"} {
				args := w.args(strings.ReplaceAll(lines[name], "{path}", path))
				before := folderFiles(t, filepath.Dir(path))
				var stdout, stderr bytes.Buffer
				code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
				named := strings.Contains(stderr.String(), "is part of the folder of a log or witness") ||
					// where a folder is expected
					strings.Contains(stderr.String(), "ops/muniment.yaml: not a directory") ||
					strings.Contains(stderr.String(), "exists and is not overwritten")
				noResult := strings.HasPrefix(name, "verify-envelope") && code == term.ExitNo
				if !noResult && (code != term.ExitFailed || !named) {
					t.Errorf("%s: exit code %d\n%s%s", args, code, &stdout, &stderr)
				}
				if after := folderFiles(t, filepath.Dir(path)); !maps.EqualFunc(before, after, bytes.Equal) {
					t.Fatalf("%s: files changed: %q", args, slices.Sorted(maps.Keys(after)))
				}
			}
		})
	}
}

// Commands write files that the user names only by methods of term.App, which
// refuse the folders of logs.
func TestOneWriterOfOutputs(t *testing.T) {
	t.Parallel()
	writes := regexp.MustCompile(`wholefile\.(Output|Create|Replace|Save)\w*\(|os\.(Create|WriteFile)\(`)
	others := map[string]string{
		"internal/decide/baselinecheck.go": "the file that was read and changed",
		"internal/evidence/append.go":      "receipts, whose folder is checked",
		"internal/evidence/refresh.go":     "receipts that were read and verified",
		"internal/operate/initcopy.go":     "the folder's own command",
		"internal/operate/reload.go":       "the folder's own command",
		"internal/operate/witness.go":      "the folder's own command",
	}
	for _, group := range []string{"evidence", "prove", "decide", "operate", "remote"} {
		names, err := filepath.Glob("internal/" + group + "/*.go")
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if call := writes.Find(text); call != nil && others[name] == "" && !strings.HasSuffix(name, "_test.go") {
				t.Errorf("%s: %s: write results by App.WriteOutput, StreamOutput or CreateOutput", name, call)
			}
		}
	}
}
