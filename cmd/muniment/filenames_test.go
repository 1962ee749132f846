package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// TestFileNames gives every command files whose names are not UTF-8 or contain
// the separators of lists and pairs. Each is opened under its name.
func TestFileNames(t *testing.T) {
	soak.WithoutRace(t)
	w := newWorkshop(t)
	ran := 0
	tree := leaves(t)
	shared := map[string]bool{}
	for i, name := range []string{"caf\xe9", "a,b;c=d"} {
		if err := os.WriteFile(name, []byte("neither key nor policy"), 0o600); err != nil {
			t.Skip("the file system refuses the name: ", err)
		}
		for _, command := range slices.Sorted(maps.Keys(tree)) {
			for _, line := range fileLines(commandLines[command].args, tree[command], name) {
				flag := clientFile.FindString(line)
				if flag != "" && shared[flag] {
					continue
				}
				shared[flag] = true
				ran++
				t.Run(line, func(t *testing.T) {
					code, _, stderr := w.runLine(t, command, line)
					if strings.Contains(stderr, "no such file") {
						t.Errorf("exit code %d\n%s", code, stderr)
					}
				})
			}
		}
		if made, err := filepath.Glob("caf\ufffd*"); err != nil || len(made) > 0 {
			t.Errorf("after name %d: files of another name: %q, %v", i, made, err)
		}
	}
	if ran < 120 {
		t.Errorf("only %d lines were run", ran)
	}
}

// TestForeignFolders gives each command that makes files in a folder the
// folders of a log and of a witness. Their own files stay as they are.
func TestForeignFolders(t *testing.T) {
	soak.WithoutRace(t)
	w := newWorkshop(t)
	config := "state: %s\nlogs: [{name: a, url: " + w.replace["$SERVER"] + ", policy: data/policy}]\n"
	last := lastBackup(w, "backups")
	for _, folder := range []string{"data", "data/store", "data/tokens", "data/keys", "ops/store", "ops/trusted-roots", "witness", "witness/state", "ops/store/new"} {
		if err := os.WriteFile("monitor.yaml", fmt.Appendf(nil, config, folder), 0o600); err != nil {
			t.Fatal(err)
		}
		before := listing(t, "ops", "witness")
		for _, line := range []string{
			"mirror $SERVER --policy data/policy --once --data " + folder,
			"backup --data data --to " + folder,
			"monitor monitor.yaml --once",
			"init " + folder + " --origin ledger.example",
			"replica init " + folder + " --policy data/policy --tenant acme=data/streams/acme.key",
			"witness init " + folder + " --name w.example",
			"restore " + last + " --data " + folder,
		} {
			w.must(line, term.ExitFailed)
		}
		if after := listing(t, "ops", "witness"); after != before {
			t.Errorf("%s: files have changed:\n%s\nwas\n%s", folder, after, before)
		}
	}
}

// listing returns the paths of all files in folders.
func listing(t *testing.T, dirs ...string) string {
	t.Helper()
	var names []string
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			names = append(names, path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return strings.Join(names, "\n")
}

type panicWriter struct{}

func (panicWriter) Write([]byte) (int, error) { panic("unexpected") }

// A panic of a command is reported in the format of the log.
func TestInternalError(t *testing.T) {
	var stderr bytes.Buffer
	if code := run(t.Context(), []string{"version"}, strings.NewReader(""), panicWriter{}, &stderr); code != term.ExitFailed || !strings.HasPrefix(stderr.String(), "muniment: internal error, please report it: unexpected\n") {
		t.Errorf("exit code %d\n%s", code, &stderr)
	}
	stderr.Reset()
	dir := t.TempDir()
	run(t.Context(), []string{"init", dir, "--origin", "ledger.example"}, strings.NewReader(""), io.Discard, &stderr)
	if code := run(t.Context(), []string{"serve", "--data", dir, "--listen", "127.0.0.1:0", "--log-format", "json"}, strings.NewReader(""), panicWriter{}, &stderr); code != term.ExitFailed || !has(jsonLines(t, "serve", stderr.String()), "ERROR", "internal error") {
		t.Errorf("exit code %d\n%s", code, &stderr)
	}
}
