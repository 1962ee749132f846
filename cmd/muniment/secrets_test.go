package main

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// Secrets that other users can read are warned about once, by every reader.
func TestExposedSecrets(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "config"))
	dir := t.TempDir()
	t.Chdir(dir)
	w := &workshop{t: t, replace: map[string]string{}}
	w.must("init data --origin ledger.example --tenant acme --rekor-origin 127.0.0.1 --tsa")
	w.must("scitt init --data data")
	w.must("trust post-quantum --data data")
	w.must("witness init witness --name w.example")
	w.must("replica init replica --policy data/policy --tenant acme=data/streams/acme.key")

	const token, stream = "data/tokens/acme.token", "data/streams/acme.key"
	ofServer := []string{"data/log.key", "data/log.pq.key", "data/rekor.key", "data/tsa.key", "data/scitt.key", stream}
	all := append([]string{token, "witness/witness.key", "replica/streams/acme.key"}, ofServer...)
	chmod := func(mode os.FileMode) {
		for _, path := range all {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}

	for mode, want := range map[os.FileMode]int{0o600: 0, 0o640: 1, 0o644: 1} {
		chmod(mode)
		p, err := startProcess(t.Context(), program(t), "--data", "data", "--rekor-listen", "127.0.0.1:0", "--log-format", "json")
		if err != nil {
			t.Fatal(err)
		}
		check := func(line string, paths ...string) {
			t.Helper()
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), strings.Fields(line), strings.NewReader(""), &stdout, &stderr); code != term.ExitOK {
				t.Errorf("%s: exit code %d\n%s", line, code, &stderr)
			}
			for _, path := range paths {
				n := 0
				for warning := range strings.Lines(stderr.String()) {
					if strings.Contains(warning, "run: chmod 600 ") && strings.HasSuffix(warning, path+"\n") {
						n++
					}
				}
				if n != want {
					t.Errorf("%s: mode %04o: %s is warned about %d times, not %d:\n%s", line, mode, path, n, want, &stderr)
				}
			}
			if n := strings.Count(stderr.String(), "muniment: warning:"); n != want*len(paths) {
				t.Errorf("%s: mode %04o: %d warnings:\n%s", line, mode, n, &stderr)
			}
		}
		check("whoami --server "+p.url+" --token-file "+token, token)
		check("audit "+p.url+" --policy data/policy --token-file "+token, token)
		check("witness show --data witness", "witness/witness.key")
		if err := p.stop(os.Interrupt); err != nil {
			t.Error(err, p.log)
		}
		for _, path := range ofServer {
			if n := p.log.count(`"remedy":"chmod 600 ` + filepath.Join(dir, path) + `"`); n != want {
				t.Errorf("serve: mode %04o: %s is warned about %d times, not %d:\n%s", mode, path, n, want, p.log)
			}
		}
		for line := range strings.Lines(p.log.String()) {
			if !json.Valid([]byte(line)) {
				t.Errorf("serve: not JSON: %s", line)
			}
		}
		check("fsck --data data", stream)
		check("fsck --data data --rekor", "data/rekor.key")
	}
}

// A cancelWriter ends a command that runs until a signal once it prints.
type cancelWriter struct {
	bytes.Buffer
	cancel func()
}

func (w *cancelWriter) Write(p []byte) (int, error) {
	w.cancel()
	return w.Buffer.Write(p)
}

// runLine runs a line of a command for at most a minute. A command that runs
// until a signal is stopped when it prints.
func (w *workshop) runLine(t *testing.T, command, line string) (code int, stdout, stderr string) {
	t.Helper()
	w.t = t
	ctx, cancel := context.WithTimeout(t.Context(), soak.Patience)
	defer cancel()
	out, errs := &cancelWriter{cancel: func() {}}, &bytes.Buffer{}
	if commandLines[command].runs {
		out.cancel = cancel
	}
	code = run(ctx, w.args(line), strings.NewReader(""), out, errs)
	return code, out.String(), errs.String()
}

// secretParts matches, for each file of the workshop that has a secret, the
// words that must not be printed.
var secretParts = map[string]*regexp.Regexp{
	"issuer.key":             regexp.MustCompile(`(?m)^([A-Za-z0-9+/=]{20,})$`),
	"data/log.key":           regexp.MustCompile(`^PRIVATE\+KEY\+[^+]+\+[0-9a-f]+\+(\S+)`),
	"data/streams/acme.key":  regexp.MustCompile(`([0-9A-Za-z+/=_-]{40,})`),
	"data/tokens/acme.token": regexp.MustCompile(`^mnt_acme_(\S+)`),
}

// goWords matches what messages must not contain: packages and types of Go, and
// errors that its libraries write for programmers.
var goWords = regexp.MustCompile(`jsontext|strconv|cannot unmarshal|unmarshal|context (canceled|deadline)|asn1: |(?:^|[^.\w])(?:yaml|json): |proto: |x509: |openpgp: |cbor: |gzip: |encoding/|illegal base64|<nil>|%!|\[\]uint8|\*?\b(json|fmt|os|fs|errors|time|url|net|http|x509|pem|note|tlog|receipt|entry|sigstore|dsse|cose)\.[A-Z]\w+`)

// Every command is given secrets for each of its files. It may accept or refuse
// them. It must print no part of them, and no type names or errors of Go.
func TestSecretsNotPrinted(t *testing.T) {
	soak.WithoutRace(t)
	w := newWorkshop(t)
	pieces := map[string][]string{}
	wrong := `{"payloadType":1,"mediaType":2,"_type":3,"version":"x"}`
	if err := os.WriteFile("wrong.types", []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, re := range secretParts {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range re.FindAllStringSubmatch(string(text), -1) {
			for part := m[1]; len(part) >= 10; part = part[1:] {
				pieces[path] = append(pieces[path], part[:10])
			}
		}
		if len(pieces[path]) < 10 {
			t.Fatalf("%s: no secret part was found", path)
		}
	}
	shared, tree, ran := map[string]bool{}, leaves(t), 0
	for _, command := range slices.Sorted(maps.Keys(tree)) {
		for _, path := range append(slices.Sorted(maps.Keys(secretParts)), "wrong.types") {
			lines := fileLines(commandLines[command].args, tree[command], path)
			if command == "append" {
				for _, kind := range ingest.Kinds() {
					lines = append(lines, "append "+path+" --no-receipts --idempotency-key k{n} --kind "+kind)
				}
			}
			for _, line := range lines {
				flag := regexp.MustCompile(`--(config|token-file|client-cert|client-key|ca) ` + regexp.QuoteMeta(path)).FindString(line)
				if flag != "" && shared[flag] {
					continue
				}
				shared[flag] = true
				if strings.HasPrefix(line, "scitt sign "+path) {
					continue // the statement contains the file that is signed
				}
				ran++
				t.Run(line, func(t *testing.T) {
					code, stdout, stderr := w.runLine(t, command, line)
					out := stdout + stderr
					if words := goWords.FindString(out); words != "" {
						t.Errorf("exit code %d, and %q is printed:\n%s", code, words, out)
					}
					for _, piece := range pieces[path] {
						if strings.Contains(out, piece) {
							t.Fatalf("exit code %d, and a part of %s is printed:\n%s", code, path, out)
						}
					}
				})
			}
		}
	}
	if ran < 100 {
		t.Errorf("only %d lines were run", ran)
	}
}
