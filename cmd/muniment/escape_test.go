package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// hostile has characters of each kind that must not reach a terminal, and a
// line that a reader could take for one of the program's own.
const hostile = "x\x1b]0;t\x07\u0085\u061c\u200b\u200f\u202e\u2028\u2029\u2066\ufeff\U000e0041\r\xffy\n✓ FORGED"

// byteResults are the commands whose result is bytes and not text.
var byteResults = map[string]bool{"export-manifest create": true, "export-manifest sign": true, "scitt keys": true, "scitt register": true, "scitt sign": true}

// checkSafe checks that a command printed neither unsafe characters, nor lines
// that it was given, nor words of Go.
func checkSafe(t *testing.T, args []string, out string) {
	t.Helper()
	if strings.Contains(strings.ToValidUTF8(out, "\x00"), "\x00") || strings.ContainsFunc(out, term.Unsafe) {
		t.Errorf("muniment %q prints unsafe characters:\n%q", args, out)
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "✓ FORGED") {
			t.Errorf("muniment %q prints a line that it was given:\n%s", args, out)
		}
	}
	if words := goWords.FindString(out); words != "" {
		t.Errorf("muniment %q prints %q:\n%s", args, words, out)
	}
}

// firstWrite cancels a command that runs until a signal, once it has printed.
type firstWrite struct {
	io.Writer
	stop func()
}

func (w firstWrite) Write(p []byte) (int, error) {
	defer w.stop()
	return w.Writer.Write(p)
}

// No command prints a character from names, evidence or servers that controls a
// terminal or reorders text.
func TestNothingUnsafeIsPrinted(t *testing.T) {
	soak.WithoutRace(t)
	w := newWorkshop(t)
	output := func(t *testing.T, runs bool, args ...string) string {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var stdout, stderr bytes.Buffer
		out := io.Writer(&stdout)
		if runs {
			out = firstWrite{out, stop}
		}
		run(ctx, args, strings.NewReader(""), out, &stderr)
		checkSafe(t, args, stdout.String()+stderr.String())
		return stdout.String() + stderr.String()
	}
	// Evidence with hostile names, reasons and members.
	name := strings.ToValidUTF8(hostile, "")
	statement, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://example.com/p",
		"subject":   []any{map[string]any{"name": name, "digest": map[string]string{"sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}}},
		"predicate": map[string]any{name: name},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{hostile, "hostile.json"} {
		if err := os.WriteFile(file, statement, 0o600); err != nil {
			t.Fatal(err)
		}
		output(t, false, "append", file, "--receipt-dir", "hostile-receipts")
	}
	output(t, false, "hold", "place", "hostile", "--kind", "finding", "--reason", name)
	output(t, false, "policy", "set", "admission.yaml", "--reason", name)
	receipts, err := filepath.Glob("hostile-receipts/*")
	if err != nil || len(receipts) == 0 {
		t.Fatal("no receipts: ", err)
	}
	for _, path := range append(receipts, hostile, "hostile.json") {
		for _, command := range [][]string{{"verify", path, "--policy", "data/policy"}, {"verify-statement", path}, {"verify-bundle", "hello.txt", "--bundle", path, "--key", "issuer.pub"}, {"verify-chart", path, "--provenance", path, "--keyring", path}, {"policy", "lint", path}, {"policy", "test", "admission.yaml", path}, {"monitor", path}, {"receipt", "refresh", path, "--policy", "data/policy"}} {
			output(t, false, command...)
			output(t, false, append(command, "--json")...)
		}
	}
	for _, line := range []string{"list", "watch --from-index 0", "get 2", "get 3", "hold list", "trace sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"} {
		args := strings.Fields(line)
		output(t, args[0] == "watch", args...)
		output(t, args[0] == "watch", append(args, "--json")...)
	}
	if got := output(t, false, "trace", "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "--json"); !strings.Contains(got, `\u202e`) {
		t.Errorf("the hostile subject is not printed:\n%s", got)
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(rw).Encode(map[string]string{"code": "invalid_argument", "message": hostile})
	}))
	defer server.Close()
	tree := leaves(t)
	for _, command := range slices.Sorted(maps.Keys(tree)) {
		t.Run(command, func(t *testing.T) {
			w.t = t
			c, ok := commandLines[command]
			if !ok {
				t.Fatal("the command has no line in commandLines")
			}
			args := w.args(c.args)
			if !byteResults[command] {
				output(t, c.runs, args...)
				output(t, c.runs, append(slices.Clone(args), "--json")...)
			}
			for _, wrong := range [][]string{{hostile}, {hostile, hostile}, {"--data", hostile}, {"--" + hostile}, {"--config", hostile}, {"--policy", hostile, hostile}, {"--key", hostile, hostile}} {
				output(t, c.runs, append(strings.Fields(command), wrong...)...)
			}
			t.Setenv("MUNIMENT_SERVER", server.URL)
			if !byteResults[command] || command == "scitt register" {
				output(t, c.runs, args...)
			}
		})
	}
}
