package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/term"
)

// A bundle whose reports another version of the program has made ends with a
// code of its own: its page is anybody's text.
func TestReportsOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text, err := os.ReadFile("../../docs/spec/vectors/bundle-reports.json")
	if err != nil {
		t.Fatal(err)
	}
	type vector struct {
		Name, Bundle string
		Edits        []struct {
			At, Remove int
			Insert     []byte
		}
	}
	var v struct {
		Policies, StreamKeys map[string]string
		Bundles              map[string][]byte
		Cases                []vector
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(v.Cases, func(c vector) bool { return c.Name == "reports of another version" })
	whole := v.Bundles[v.Cases[i].Bundle]
	later := bytes.Clone(whole)
	for _, e := range v.Cases[i].Edits {
		copy(later[e.At:e.At+e.Remove], e.Insert)
	}
	flags := []string{"--policy", write("policy", []byte(v.Policies["log"])), "--stream-key", write("acme.key", []byte(v.StreamKeys["acme"]))}
	for _, c := range []struct {
		file  []byte
		flags []string
		code  int
		want  []string
	}{
		{whole, nil, term.ExitOK, []string{"✓ VERIFIED", "are what follows from the evidence"}},
		{whole, []string{"--json"}, term.ExitOK, []string{`"warnings":["not-witnessed","coverage-stated"]`, `"computed":true`}},
		{whole, []string{"--skip-reports"}, term.ExitOK, []string{"✓ VERIFIED", "NOT COMPARED WITH THE EVIDENCE, as"}},
		{later, nil, term.ExitReports, []string{"! EVIDENCE VERIFIED, REPORTS NOT COMPARED", "have version 9"}},
		{later, []string{"--json"}, term.ExitReports, []string{`"verified":true`, `"warnings":["not-witnessed","reports-not-compared"]`, `"computed":false`}},
		{later, []string{"--skip-reports", "--json"}, term.ExitOK, []string{`"warnings":["not-witnessed","reports-not-compared"]`}},
	} {
		var out bytes.Buffer
		args := append([]string{"bundle", "verify", write("x.bundle.tar", c.file)}, append(flags, c.flags...)...)
		code := run(context.Background(), args, strings.NewReader(""), &out, &out)
		if code != c.code {
			t.Errorf("%v: exit code %d, want %d:\n%s", c.flags, code, c.code, &out)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%v: no %q in\n%s", c.flags, want, &out)
			}
		}
	}
}
