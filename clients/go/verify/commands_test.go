//go:build sdks

package verify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/export"
	"muniment.dev/muniment/verifiers/intoto"
)

// The commands of the SDKs come from the environment: a line for each, which is
// its name, a tab, the flag for the configuration, a tab, and the words of the
// command, separated by spaces. All run without a network.
const (
	commandsVariable = "MUNIMENT_SDKS"
	// every case runs if this is set, instead of a sample
	allVariable = "MUNIMENT_SDKS_ALL"
)

// A sdk is the command of an SDK.
type sdk struct {
	name, flag string
	words      []string
}

func sdks(t *testing.T) (all []sdk) {
	for line := range strings.Lines(os.Getenv(commandsVariable)) {
		parts := strings.Split(strings.TrimSpace(line), "\t")
		if len(parts) != 3 {
			t.Fatalf("%s: %q is not name, flag and command", commandsVariable, line)
		}
		all = append(all, sdk{parts[0], parts[1], strings.Fields(parts[2])})
	}
	if len(all) == 0 {
		t.Fatalf("no commands: set %s, or run .ci/sdks", commandsVariable)
	}
	return all
}

// run runs the command in a folder and returns its exit code.
func (s *sdk) run(t *testing.T, folder string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	words := slices.Concat([]string{"unshare", "--user", "--map-root-user", "--net"}, s.words, args)
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	cmd.Dir = folder
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestCommands runs the commands of all SDKs on the cases of verify.json, and
// compares reports and exit codes.
func TestCommands(t *testing.T) {
	v := readVectors[vectors](t, "verify.json")
	folder := t.TempDir()
	for name, content := range v.Blobs {
		write(t, filepath.Join(folder, name), content)
	}
	for _, c := range v.Configurations {
		write(t, filepath.Join(folder, configFile(c.Name)), c.Text)
	}
	commands := sdks(t)
	cases, configs := sampled(&v)
	for i := range commands {
		s := &commands[i]
		t.Run(s.name, func(t *testing.T) {
			for _, c := range cases {
				s.verification(t, folder, c)
			}
			for _, c := range configs {
				stdout, stderr, code := s.run(t, folder, "hello.txt", s.flag, configFile(c.Name), "--as", "receipt")
				if code != 2 || stdout != "" || !strings.Contains(stderr, "("+c.Code+")") {
					t.Errorf("configuration %q: exit code %d, standard output %q, standard error %q; want 2 and (%s)", c.Name, code, stdout, stderr, c.Code)
				}
			}
			t.Logf("%s: %d verifications and %d configurations", s.name, len(cases), len(configs))
		})
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// configFile returns the name of the file of a configuration.
func configFile(name string) string {
	return fmt.Sprintf("configuration-%x.json", name)
}

// sampled returns the sample, all tampered ones, and a case of each kind and
// code, or all cases.
func sampled(v *vectors) (cases []*verificationCases, configs []*configVector) {
	all := os.Getenv(allVariable) != ""
	seen := map[string]bool{}
	for _, c := range v.Verifications {
		key := "verification " + reportOf(c.Report).Code
		if c.Text != "" {
			key += string(c.Kind)
		}
		if all || !seen[key] || strings.HasPrefix(c.Name, "sample") || strings.HasPrefix(c.Name, "tampered") {
			cases = append(cases, c)
		}
		seen[key] = true
	}
	for _, c := range v.Configurations {
		if key := "configuration " + c.Code; c.Code != "" && (all || !seen[key]) {
			configs = append(configs, c)
			seen[key] = true
		}
	}
	return cases, configs
}

type shortReport struct{ Verdict, Code string }

func reportOf(text json.RawMessage) (r shortReport) {
	if err := json.Unmarshal(text, &r); err != nil {
		panic(err)
	}
	return r
}

// verification runs a case as JSON, and a verified one as text and page, too.
func (s *sdk) verification(t *testing.T, folder string, c *verificationCases) {
	t.Helper()
	args := append([]string{c.File, s.flag, configFile(c.Configuration)}, c.flags(t, folder)...)
	want := reportOf(c.Report)
	wantCode := map[string]int{"verified": 0, "not-verified": 1, "error": 2}[want.Verdict]
	stdout, stderr, code := s.run(t, folder, append(args, "--json")...)
	if (want.Code == "expectation-malformed" || want.Code == "kind-unknown") && code == 2 && stdout == "" && stderr != "" {
		return // a fault of the flags can end the command before the first file
	}
	var report map[string]json.RawMessage
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Errorf("%s: %v: %s%s", c.Name, err, stdout, stderr)
		return
	}
	if code != wantCode {
		t.Errorf("%s: exit code %d, want %d: %s%s", c.Name, code, wantCode, stdout, stderr)
	}
	delete(report, "message")
	var got, expected any
	bare, err := json.Marshal(report)
	if err == nil {
		err = errors.Join(json.Unmarshal(bare, &got), json.Unmarshal(c.Report, &expected))
	}
	if err != nil {
		t.Fatal(err)
	}
	if g, e := canonical(t, got), canonical(t, expected); g != e {
		t.Errorf("%s: the report is\n%s\nwant\n%s", c.Name, g, e)
	}
	if c.Text == "" || c.Name != "sample" && os.Getenv(allVariable) == "" {
		return
	}
	page := filepath.Join(folder, "report.html")
	if stdout, stderr, code = s.run(t, folder, append(args, "--html", page)...); code != 0 || stdout != c.Text {
		t.Errorf("%s: exit code %d, the text is\n%s%s\nwant\n%s", c.Name, code, stdout, stderr, c.Text)
	}
	text, err := os.ReadFile(page)
	if err != nil || !bytes.Contains(text, []byte("VERIFIED")) || bytes.Contains(text, []byte("<script")) {
		t.Errorf("%s: the page is %.300s: %v", c.Name, text, err)
	}
	if err := os.Remove(page); err != nil {
		t.Fatal(err)
	}
}

func canonical(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// flags returns the flags of a case. The files of an export are copied to a
// folder.
func (c *verificationCases) flags(t *testing.T, folder string) (args []string) {
	t.Helper()
	add := func(flag string, value *string) {
		if value != nil {
			args = append(args, "--"+flag+"="+*value)
		}
	}
	if c.Kind != "" {
		add("as", (*string)(&c.Kind))
	}
	in := c.Inputs
	if in == nil {
		return args
	}
	for flag, value := range map[string]string{"payload": in.Payload, "external": in.External, "artifact": in.Artifact, "receipt": in.Receipt, "stream-bundle": in.Stream} {
		if value != "" {
			add(flag, &value)
		}
	}
	if in.ArtifactDigest != "" {
		args = append(args, "--artifact=sha256:"+in.ArtifactDigest)
	}
	if in.HeaderOnly {
		args = append(args, "--header-only")
	}
	if in.Files != nil {
		files := t.TempDir()
		for path, blob := range in.Files {
			content, err := os.ReadFile(filepath.Join(folder, blob))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(files, path), content)
		}
		args = append(args, "--files="+files)
	}
	if e := in.Expect; e != nil {
		for _, one := range []struct {
			flag  string
			value *string
		}{{"tenant", e.Tenant}, {"kind", e.Kind}, {"subject", e.Subject}, {"predicate-type", e.PredicateType}, {"control", e.Control}, {"signer", e.Signer}, {"issuer", e.Issuer}, {"stream", e.Stream}, {"export", e.Export}, {"identity", e.Identity}} {
			add(one.flag, one.value)
		}
		if e.RequireVerified {
			args = append(args, "--require-verified")
		}
		if e.Admitted {
			args = append(args, "--admitted")
		}
	}
	return args
}

// TestMemory checks that each SDK streams an export of 1 GB in 100 MB.
func TestMemory(t *testing.T) {
	folder := t.TempDir()
	manifest, key := largeExport(t, filepath.Join(folder, "files"))
	write(t, filepath.Join(folder, "large.export.sigstore.json"), manifest)
	write(t, filepath.Join(folder, "key.pub"), key)
	write(t, filepath.Join(folder, "verify.json"), []byte(`{"trustedKeys":["key.pub"]}`))
	for _, s := range sdks(t) {
		stdout, stderr, code, peak := s.measured(t, folder, "large.export.sigstore.json", s.flag, "verify.json", "--files", "files", "--json")
		if code != 0 {
			t.Errorf("%s: exit code %d: %s%s", s.name, code, stdout, stderr)
		}
		t.Logf("%s: 1 GB with a peak of %d MB", s.name, peak>>20)
		if peak > 100<<20 {
			t.Errorf("%s: the peak is %d MB, want at most 100", s.name, peak>>20)
		}
	}
}

const gigabyte = 1_000_000_000

// largeExport makes a folder with a file of 1 GB, and returns its manifest and
// the key.
func largeExport(t *testing.T, folder string) (manifest, key []byte) {
	t.Helper()
	path := filepath.Join(folder, "large.csv")
	write(t, path, nil)
	if err := os.Truncate(path, gigabyte); err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, zeros{}, gigabyte); err != nil {
		t.Fatal(err)
	}
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public, err := dsse.NewKey("key", private.Public())
	if err != nil {
		t.Fatal(err)
	}
	by := entry.Signer{KeyID: public.ID}
	m := &export.Manifest{Tenant: "acme", ExportID: "large", Created: "2026-11-29T06:00:00Z", SPDXListVersion: export.SPDXListVersion(),
		Files:  []export.File{{Name: "large.csv", SHA256: entry.Hash(sum.Sum(nil)), Size: gigabyte, MediaType: "text/csv", License: []string{"CC0-1.0"}}},
		Claims: []export.Claim{{Activity: export.Storage, Locations: []export.Location{{Geography: export.Geography{Country: "DE"}}}, ClaimedBy: by}}}
	statement, err := m.AppendStatement(nil)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err = dsse.Sign(intoto.MediaType, statement, private); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return manifest, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// measureVariable makes the test a small process that runs a command, and
// writes its peak memory to the file of this name. A process inherits the peak
// of the one that starts it.
const measureVariable = "MUNIMENT_MEASURE"

func TestMain(m *testing.M) {
	into := os.Getenv(measureVariable)
	if into == "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	_ = cmd.Run() // its exit code is that of this process
	peak := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	if err := os.WriteFile(into, fmt.Append(nil, peak), 0o600); err != nil {
		panic(err)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// measured is run, and also returns the peak of the resident memory in bytes.
func (s *sdk) measured(t *testing.T, folder string, args ...string) (stdout, stderr string, code int, peak int64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	into := filepath.Join(t.TempDir(), "peak")
	small := sdk{s.name, s.flag, slices.Concat([]string{"env", measureVariable + "=" + into, self}, s.words)}
	stdout, stderr, code = small.run(t, folder, args...)
	text, err := os.ReadFile(into)
	if err == nil {
		peak, err = strconv.ParseInt(string(text), 10, 64)
	}
	if err != nil {
		t.Fatalf("%s: %v: %s%s", s.name, err, stdout, stderr)
	}
	return stdout, stderr, code, peak
}
