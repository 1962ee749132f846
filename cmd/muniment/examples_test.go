package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"muniment.dev/muniment/internal/soak"
)

// An example is a command line from the help of a command.
type example struct {
	line string
	args []string // of muniment
}

// examples returns the examples in the help of a command. A line without
// muniment has none, and one with a pipe can have several.
func examples(t *testing.T, n *kong.Node) (all []example) {
	t.Helper()
	_, text, _ := strings.Cut(n.Detail, "\nExample")
	text = strings.ReplaceAll(text, "\\\n", "") // a line that goes on
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.Contains(line, "muniment ") {
			continue
		}
		for _, args := range shellWords(t, line) {
			all = append(all, example{line, args})
		}
	}
	return all
}

// shellWords returns the arguments of each call of muniment in a line of shell.
// Other programs are not run.
func shellWords(t *testing.T, line string) (calls [][]string) {
	t.Helper()
	line = regexp.MustCompile(` > \S+`).ReplaceAllString(line, "")
	cmd := exec.Command("bash", "-c", "command_not_found_handle() { :; }\nmuniment() { printf '%s\\0' \"$@\" >&3; printf '\\n' >&3; }\n"+line)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Dir, cmd.Env, cmd.ExtraFiles = t.TempDir(), []string{"PATH=/none"}, []*os.File{w}
	out, err := cmd.CombinedOutput()
	w.Close()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	words, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	for call := range strings.Lines(string(words)) {
		calls = append(calls, strings.Split(strings.TrimSuffix(call, "\x00\n"), "\x00"))
	}
	return calls
}

// The examples of every command's help are accepted by the parser, and are
// examples of this command.
func TestHelpExamplesParse(t *testing.T) {
	soak.WithoutRace(t)
	t.Setenv("MUNIMENT_CONFIG", "")
	tree := leaves(t)
	for _, command := range slices.Sorted(maps.Keys(tree)) {
		all, own := examples(t, tree[command]), 0
		for _, e := range all {
			parser, err := kong.New(&cli{}, append(flagValues(), kong.Name("muniment"))...)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Equal(e.args[:1], []string{"help"}) {
				own++
				e.args = append(slices.Clone(e.args[1:]), "--help")
				if slices.Equal(e.args, []string{"exit-codes", "--help"}) {
					continue
				}
				// a command and no more
				if _, ok := tree[strings.Join(e.args[:len(e.args)-1], " ")]; !ok {
					t.Errorf("%s: %s: no such command", command, e.line)
				}
				continue
			}
			err = checkEmptyFlags(parser.Model, e.args)
			var k *kong.Context
			if err == nil {
				k, err = parser.Parse(e.args)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", command, e.line, err)
				continue
			}
			if name := strings.TrimSpace(strings.TrimPrefix(k.Model.Name+" "+fmt.Sprint(k.Command()), "muniment")); strings.HasPrefix(name+" ", command+" ") {
				own++
			}
		}
		if own == 0 {
			t.Errorf("%s: its help has no example of it: %q", command, all)
		}
	}
}

// The examples of commands that need no server run as they are, in a folder
// with the files that they name.
func TestHelpExamplesRun(t *testing.T) {
	soak.WithoutRace(t)
	r := newFsckRig(t)
	try := func(t *testing.T, args ...string) {
		t.Helper()
		var out bytes.Buffer
		if code := run(t.Context(), args, strings.NewReader(""), &out, &out); code != 0 {
			t.Errorf("%q: exit code %d\n%s", args, code, &out)
		}
	}
	try(t, "init", r.dir, "--rekor-origin", "rekor.example")
	growRekor(t, r.dir, 1)
	r.files = folderFiles(t, r.dir)
	tree := leaves(t)
	for _, command := range []string{
		"backup", "completion", "fsck", "help", "init", "keys list", "keys rotate", "operator add", "operator list", "reindex", "scitt init",
		"tenant add", "tenant list", "tenant remove", "tenant suspend", "trust post-quantum", "trust show", "version", "witness init",
	} {
		for n, e := range examples(t, tree[command]) {
			if !strings.HasPrefix(strings.Join(e.args, " "), command) || strings.Contains(e.line, "ssh-agent:") || strings.Contains(e.line, "--copy-of") {
				continue // that of another command, or one that needs more
			}
			t.Run(e.line, func(t *testing.T) {
				folder := filepath.Dir(r.dir)
				t.Chdir(folder)
				if command != "init" || n == 0 { // its examples continue one another
					if err := errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o700)); err != nil {
						t.Fatal(err)
					}
				}
				t.Chdir(folder)
				switch command {
				case "init":
				case "tenant add":
					try(t, "init", "data", "--origin", "ledger.example.com")
				default:
					r.restore(t)
				}
				for i, arg := range e.args {
					if filepath.IsAbs(arg) {
						e.args[i] = "." + arg
					}
				}
				try(t, e.args...)
			})
		}
	}
}
