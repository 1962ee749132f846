package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// noJSON lists the commands without --json, each with the reason.
var noJSON = map[string]string{
	"admission reconcile":    "runs until a signal; --log-format json covers its lines",
	"admission serve":        "runs until a signal; --log-format json covers its lines",
	"baseline control":       "prints a control, which is YAML",
	"completion":             "prints a shell script",
	"fetch-chart":            "writes a chart; gate --json has the reasons of a refusal",
	"help":                   "prints text for people",
	"prove":                  "prints a C2SP tlog-proof or a receipt, which are formats of their own",
	"receipt get":            "prints a receipt, which is JSON",
	"scitt keys":             "prints a COSE Key Set",
	"scitt register":         "prints a COSE receipt",
	"export-manifest create": "prints an in-toto statement",
	"export-manifest sign":   "prints a Sigstore bundle",
	"scitt sign":             "prints a COSE statement",
	"serve":                  "runs until a signal; --log-format json covers its lines",
	"signing-config":         "prints Sigstore's JSON document",
	"trusted-root export":    "prints Sigstore's JSON document",
	"witness serve":          "runs until a signal; --log-format json covers its lines",
}

// jsonArgs contains the arguments of a command that prints JSON only with
// another flag.
var jsonArgs = map[string]string{
	"monitor": "monitor monitor.yaml --once",
	"watch":   "",
}

func hasFlag(n *kong.Node, name string) bool {
	for _, group := range n.AllFlags(false) {
		if slices.ContainsFunc(group, func(f *kong.Flag) bool { return f.Name == name }) {
			return true
		}
	}
	return false
}

// TestCommandsAreDocumented requires an example, exit codes and --json of every
// command of the tree.
func TestCommandsAreDocumented(t *testing.T) {
	codes := regexp.MustCompile(`(?m)^Exit codes?( of --once.*)?: 0 `)
	tree := leaves(t)
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		n := tree[name]
		if !regexp.MustCompile(`(?m)^Examples?:\n  \S`).MatchString(n.Detail) {
			t.Errorf("%s: --help has no example", name)
		}
		if !codes.MatchString(n.Detail) {
			t.Errorf("%s: --help has no exit codes", name)
		}
		checkExitCodes(t, name, n.Detail)
		if hasFlag(n, "json") == (noJSON[name] != "") {
			t.Errorf("%s: has --json: %t; listed as a command without: %q", name, hasFlag(n, "json"), noJSON[name])
		}
	}
	for name := range noJSON {
		if tree[name] == nil {
			t.Errorf("noJSON lists %s, which is not a command", name)
		}
	}
}

// checkExitCodes compares the codes in the help of a command with the table of
// exit codes.
func checkExitCodes(t *testing.T, name, help string) {
	_, list, _ := strings.Cut(help, "Exit code")
	list, _, _ = strings.Cut(list, "\n\n")
	known := term.ExitCodes(name)
	var listed []int
	for _, m := range regexp.MustCompile(`\b([0-9])\b`).FindAllStringSubmatch(list, -1) {
		code, _ := strconv.Atoi(m[1])
		if listed = append(listed, code); !slices.Contains(known, code) {
			t.Errorf("%s: --help lists exit code %d, which 'help exit-codes' does not", name, code)
		}
	}
	for _, code := range known {
		if code > term.ExitFailed && !slices.Contains(listed, code) {
			t.Errorf("%s: --help does not list exit code %d", name, code)
		}
	}
}

// TestJSONOutput runs every command that has --json with it. Each line printed
// is one JSON object without characters that act on a terminal.
func TestJSONOutput(t *testing.T) {
	soak.WithoutRace(t)
	w := newWorkshop(t)
	config := "state: monitor-state\nlogs:\n  - {name: a, url: " + w.replace["$SERVER"] + ", policy: data/policy}\n"
	if err := os.WriteFile("monitor.yaml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	tree := leaves(t)
	for _, command := range slices.Sorted(maps.Keys(tree)) {
		c := commandLines[command]
		args, other := jsonArgs[command]
		if !other {
			args = c.args
		}
		if args == "" || !hasFlag(tree[command], "json") {
			continue
		}
		t.Run(command, func(t *testing.T) {
			w.t = t
			checkJSONLines(t, w.must(args+" --json", c.code), c.mute)
		})
	}
}

// checkJSONLines requires JSON objects, one a line.
func checkJSONLines(t *testing.T, text string, mute bool) {
	t.Helper()
	if text == "" && !mute {
		t.Error("nothing is printed")
	}
	if text != term.Escape(text) || text != "" && !strings.HasSuffix(text, "\n") {
		t.Errorf("not escaped, or without a line feed at its end: %q", text)
	}
	for line := range strings.Lines(text) {
		d := json.NewDecoder(strings.NewReader(line))
		var object map[string]any
		if err := d.Decode(&object); err != nil || object == nil {
			t.Errorf("not a JSON object: %v\n%s", err, line)
		}
		if _, err := d.Token(); err != io.EOF {
			t.Errorf("more than one object in a line: %s", line)
		}
	}
}

// Names that must be escaped keep their meaning in JSON.
func TestJSONEscapes(t *testing.T) {
	soak.WithoutRace(t)
	newWorkshop(t)
	dir := "new\u202e\x1b[31m"
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"init", dir, "--origin", "ledger.example", "--json"}, strings.NewReader(""), &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &stderr)
	}
	checkJSONLines(t, stdout.String(), false)
	var o struct{ Folder string }
	if err := json.Unmarshal(stdout.Bytes(), &o); err != nil || !strings.HasSuffix(o.Folder, dir) {
		t.Errorf("folder %q, want %q: %v", o.Folder, dir, err)
	}
}
