package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/posener/complete"

	"muniment.dev/muniment/ingest"
)

// completed returns what a shell offers for a command line. bash sets word,
// the text at the cursor.
func completed(t *testing.T, line string, word ...string) []string {
	t.Helper()
	t.Setenv("COMP_LINE", line)
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append([]string{"muniment"}, word...), strings.NewReader(""), &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("%s: exit code %d\n%s", line, code, &stderr)
	}
	return strings.Fields(stdout.String())
}

// TestCompletion completes the value of every flag of every command that takes
// a file, a folder, a kind or a tenant.
func TestCompletion(t *testing.T) {
	dataFolder(t)
	t.Setenv("MUNIMENT_DATA", "folder")
	parser, err := kong.New(&cli{}, append(flagValues(), kong.Name("muniment"))...)
	if err != nil {
		t.Fatal(err)
	}
	setPlaceholders(parser.Model)
	root, err := completions(parser)
	if err != nil {
		t.Fatal(err)
	}
	kind := ingest.Kinds()[0]
	tried := map[string]int{}
	for _, n := range parser.Model.Leaves(false) {
		path := strings.Fields(n.Path())
		command := root
		for _, name := range path {
			if sub, ok := command.Sub[name]; ok {
				command = sub
			}
		}
		for _, f := range n.Flags {
			want := ""
			switch {
			case f.Name == "data", f.PlaceHolder == "DIR":
				want = "folder/"
			case f.Tag.Type == "path", strings.Contains(f.PlaceHolder, "FILE"), f.Tag.Get("predictor") == "file":
				want = "file.json"
			case f.Name == "kind":
				want = kind
			case f.Name == "tenant":
				want = "acme"
			case f.Enum != "":
				want = f.EnumSlice()[len(f.EnumSlice())-1]
			default:
				continue
			}
			tried[want]++
			if got := command.GlobalFlags["--"+f.Name].Predict(complete.Args{}); !slices.Contains(got, want) {
				t.Errorf("%s --%s is completed with %q, without %s", n.FullPath(), f.Name, got, want)
			}
		}
	}
	if tried["file.json"] < 80 || tried["folder/"] < 25 || tried[kind] < 5 || tried["acme"] < 15 {
		t.Errorf("flags tried: %v", tried)
	}
}

// dataFolder makes a data folder "folder" and a file beside it, and changes to
// their folder.
func dataFolder(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	if code := run(t.Context(), []string{"init", "folder", "--origin", "ledger.example", "--tenant", "acme"}, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}); code != 0 {
		t.Fatal("init: exit code ", code)
	}
	if err := os.WriteFile("file.json", nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCompletionOfNames(t *testing.T) {
	dataFolder(t)
	for _, c := range []struct {
		line, word string
		want       string
	}{
		{"muniment tenant suspend --data folder ", "", "acme"},
		{"muniment tenant remove --data=folder a", "a", "acme"},
		{"muniment operator remove --data folder op", "op", "operator"},
		{"muniment keys retire --data folder ledger", "ledger", "ledger.example+"},
		{"muniment init fol", "fol", "folder/"},
		{"muniment replica init r --tenant acme=fol", "fol", "folder/streams/"},
		{"muniment replica init r --tenant acme=fol", "acme=fol", "acme=folder/streams/"},
		{"muniment tok", "tok", "token"},
		{"muniment verify --kin", "--kin", "--kind"},
		{"muniment tenant suspend --data nothing ", "", ""},
	} {
		got := completed(t, c.line, c.word)
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, c.want) }) && c.want != "" || c.want == "" && slices.ContainsFunc(got, func(s string) bool { return !strings.HasPrefix(s, "-") }) {
			t.Errorf("%q with the word %q is completed with %q, want %s", c.line, c.word, got, c.want)
		}
	}
}
