package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"muniment.dev/muniment/internal/soak"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// outcome returns the code of a report, or its verdict.
func outcome(r *Report) string {
	if r.Code != "" {
		return r.Code
	}
	return string(r.Verdict)
}

// opener opens files with the given contents.
func opener(files map[string][]byte) Opener {
	return func(path string) (io.ReadCloser, error) {
		content, ok := files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(content)), nil
	}
}

// A call is a case of another vectors file as a call of the SDK.
type call struct {
	name   string
	config map[string]any
	files  map[string][]byte
	kind   Kind
	file   []byte
	in     Inputs
	want   string
}

func (c *call) run(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(c.config)
	if err != nil {
		t.Fatal(err)
	}
	config, err := ParseConfig(text, opener(c.files))
	if err != nil {
		if code := codeOf(err); code != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		return
	}
	r, err := New(config).Verify(context.Background(), Bytes(c.name, c.file), c.kind, c.in)
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(r); got != c.want {
		t.Errorf("%s: %s (%s), want %s", c.name, got, r.Message, c.want)
	}
}

func wanted(verdict, reason string) string {
	if verdict == "verified" {
		return verdict
	}
	return reason
}

// policyFiles adds the policies and the stream key of a case to its call.
func (c *call) policyFiles(policies []string, texts map[string]string, key string, keys map[string]string) {
	for _, name := range policies {
		c.files["policy "+name] = []byte(texts[name])
		have, _ := c.config["trustPolicy"].([]string)
		c.config["trustPolicy"] = append(have, "policy "+name)
	}
	if key != "" {
		c.files["key "+key] = []byte(keys[key])
		c.config["streamKey"] = "key " + key
	}
}

// TestSharedVectors checks that the SDK gives the verdict and the code of every
// case of the other vectors.
func TestSharedVectors(t *testing.T) {
	soak.WithoutRace(t)
	w := newWorld(t)
	n := 0
	for _, c := range w.receipts.Cases {
		one := &call{c.Name, map[string]any{}, map[string][]byte{}, Receipt, c.ReceiptBase64, Inputs{}, wanted(c.Verdict, c.Reason)}
		in := &inputs{HeaderOnly: c.HeaderOnly}
		key := ""
		if c.Expect != nil {
			in.Expect, key = &c.Expect.expected, c.Expect.StreamKey
		}
		one.policyFiles(c.Policies, w.receipts.Policies, key, w.receipts.StreamKeys)
		one.in = (&vectors{}).inputs(t, in)
		if c.Payload != "" {
			one.in.Receipt.Payload = append([]byte{}, w.receipts.Payloads[c.Payload]...)
		}
		if c.External != "" {
			one.in.Receipt.External = bytes.NewReader(w.receipts.Payloads[c.External])
		}
		one.run(t)
		n++
	}
	for _, c := range w.bundles.Cases {
		one := &call{c.Name, map[string]any{}, map[string][]byte{}, EvidenceBundle, c.file(w.bundles.Bundles), (&vectors{}).inputs(t, &inputs{Expect: c.Expect}), wanted(c.Verdict, c.Reason)}
		one.policyFiles(c.Policies, w.bundles.Policies, c.StreamKey, w.bundles.StreamKeys)
		one.run(t)
		n++
	}
	n += w.exportCalls(t) + w.sigstoreCalls(t)
	if n < 600 {
		t.Errorf("only %d cases", n)
	}
}

func (w *world) exportCalls(t *testing.T) int {
	for _, c := range w.exports.Cases {
		one := &call{c.Name, map[string]any{}, map[string][]byte{}, Export, c.Manifest, Inputs{}, wanted(c.Verdict, c.Reason)}
		one.policyFiles(c.Policies, w.exports.Policies, c.StreamKey, w.exports.StreamKeys)
		for _, key := range c.Keys {
			one.files[key] = []byte(w.exports.Keys[key])
		}
		if len(c.Keys) > 0 {
			one.config["trustedKeys"] = c.Keys
		}
		for name, value := range map[string]json.RawMessage{"licenses": c.Licenses, "residency": c.Residency, "epsilon": c.Epsilon} {
			if value != nil {
				one.config[name] = value
			}
		}
		if c.Files != "" {
			files := fstest.MapFS{}
			for path, content := range w.exports.Files[c.Files] {
				files[path] = &fstest.MapFile{Data: content}
			}
			one.in.Export.Files = files
		}
		if c.Receipt != "" {
			one.in.Export.Receipt = Bytes(c.Receipt, w.exports.Receipts[c.Receipt])
		}
		if c.Stream != "" {
			one.in.Export.Stream = Bytes(c.Stream, w.exports.Streams[c.Stream])
		}
		if c.Expect != nil {
			one.in.Tenant, one.in.Export.Export = c.Expect.Tenant, c.Expect.Export
		}
		one.run(t)
	}
	return len(w.exports.Cases)
}

func (w *world) sigstoreCalls(t *testing.T) int {
	for _, c := range w.sigstore.Cases {
		if len(c.TrustedRoots) == 0 || len(c.Keys) > 0 && len(c.Identities) > 0 {
			continue // the SDK has a trusted root then, or both
		}
		one := &call{c.Name, map[string]any{"trustedRoot": c.TrustedRoots}, map[string][]byte{}, SigstoreBundle, c.BundleBase64, Inputs{}, wanted(c.Verdict, c.Reason)}
		for _, name := range c.TrustedRoots {
			one.files[name] = w.sigstore.TrustedRoots[name]
		}
		for _, name := range c.Keys {
			one.files[name] = []byte(w.sigstore.Keys[name])
		}
		if len(c.Keys) > 0 {
			one.config["trustedKeys"] = c.Keys
		}
		var identities []map[string]string
		for _, id := range c.Identities {
			identities = append(identities, map[string]string{"issuer": id.Issuer, "subject": id.Name})
		}
		if identities != nil {
			one.config["identities"] = identities
		}
		one.in = (&vectors{Blobs: w.sigstore.Artifacts}).inputs(t, &inputs{Artifact: c.Artifact, ArtifactDigest: c.ArtifactDigest})
		one.run(t)
	}
	return len(w.sigstore.Cases)
}

// TestLoadConfig checks that paths are relative to the folder of the file.
func TestLoadConfig(t *testing.T) {
	w := newWorld(t)
	folder := t.TempDir()
	write := func(name string, content string) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("keys/exporter.pub", w.exports.Keys["exporter"])
	absolute, err := json.Marshal(write("elsewhere/policy", w.exports.Policies["log"]))
	if err != nil {
		t.Fatal(err)
	}
	config, err := LoadConfig(write("ours/verify.json", `{"trustedKeys":["../keys/exporter.pub"],"trustPolicy":`+string(absolute)+`}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(config.KeyIDs()) != 1 || len(config.PolicyNames()) != 1 || config.HasStreamKey() {
		t.Errorf("%v, %v", config.KeyIDs(), config.PolicyNames())
	}
	for want, path := range map[string]string{
		CodeConfigurationUnreadable: filepath.Join(folder, "nothing.json"),
		CodeConfigurationMalformed:  write("long.json", "{}"+strings.Repeat(" ", MaxConfigSize)),
	} {
		if _, err := LoadConfig(path); codeOf(err) != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	if _, err := LoadConfig(folder); codeOf(err) != CodeConfigurationUnreadable {
		t.Errorf("a folder: %v", err)
	}
	if _, err := LoadConfig(write("ours/folder.json", `{"trustedKeys":["../keys"]}`)); codeOf(err) != CodeConfigurationUnreadable {
		t.Errorf("a folder as key: %v", err)
	}
}

// TestSecretsAreNotRepeated checks that messages contain no text of files that
// could be secret.
func TestSecretsAreNotRepeated(t *testing.T) {
	const secret = "c2VjcmV0LXNlY3JldA"
	for _, config := range []string{`{"trustedKeys":["f"]}`, `{"trustPolicy":"f"}`, `{"streamKey":"f"}`} {
		for _, text := range []string{secret, "-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n", "PRIVATE+KEY+log+00000000+" + secret, "log " + secret + "\n"} {
			if _, err := ParseConfig([]byte(config), opener(map[string][]byte{"f": []byte(text)})); err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", config, err)
			}
		}
	}
}

// sparse is a large content that takes no memory.
type sparse struct{}

func (sparse) ReadAt(b []byte, _ int64) (int, error) { clear(b); return len(b), nil }

// TestLargeFiles checks that files beyond the limits are refused without being
// read.
func TestLargeFiles(t *testing.T) {
	soak.WithoutRace(t)
	c := newWorld(t).vectors()
	at := 0
	for i, one := range c.Configurations {
		if one.Name == "sample" {
			at = i
		}
	}
	config, err := c.config(c.Configurations[at])
	if err != nil {
		t.Fatal(err)
	}
	v := New(config)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, one := range []struct {
		kind Kind
		size int64
		want string
	}{
		{Receipt, 1 << 30, CodeUnreadable}, {SigstoreBundle, 1 << 30, "bundle-malformed"}, {Export, 1 << 40, "manifest-malformed"},
		{Stream, 1 << 50, "archive-malformed"}, {EvidenceBundle, 1 << 50, "archive-malformed"}, {"", 16<<20 + 1, CodeKindUnknown}, {"", 1 << 40, CodeKindUnknown},
	} {
		r, err := v.Verify(context.Background(), NewFile("large", sparse{}, one.size), one.kind, Inputs{})
		if err != nil {
			t.Fatal(err)
		}
		if got := outcome(r); got != one.want {
			t.Errorf("%s of %d bytes: %s, want %s", one.kind, one.size, got, one.want)
		}
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 64<<20 {
		t.Errorf("%d bytes were allocated", after.TotalAlloc-before.TotalAlloc)
	}
}

// TestUnreadable checks that faults of the call rank before files that cannot
// be read.
func TestUnreadable(t *testing.T) {
	c := newWorld(t).vectors()
	empty := ""
	for _, one := range []struct {
		config string
		kind   Kind
		in     Inputs
		want   string
	}{
		{"receipts", Receipt, Inputs{}, CodeUnreadable}, {"empty", Receipt, Inputs{}, "policy-missing"}, {"receipts", Receipt, Inputs{Tenant: &empty}, "expectation-malformed"},
		{"keyless", SigstoreBundle, Inputs{}, CodeUnreadable}, {"empty", SigstoreBundle, Inputs{}, "policy-missing"},
		{"sample", Export, Inputs{}, CodeUnreadable}, {"empty", Export, Inputs{}, "trust-missing"}, {"sample", Export, Inputs{Tenant: &empty}, "expectation-malformed"},
		{"evidence, stream key", Stream, Inputs{}, CodeUnreadable}, {"evidence", Stream, Inputs{}, "stream-key-missing"}, {"evidence, stream key", Stream, Inputs{Tenant: &empty}, "expectation-malformed"},
		{"evidence", EvidenceBundle, Inputs{}, CodeUnreadable}, {"empty", EvidenceBundle, Inputs{}, "policy-missing"}, {"evidence", EvidenceBundle, Inputs{Identity: &empty}, "expectation-malformed"},
		{"empty", "", Inputs{}, CodeUnreadable},
	} {
		for _, candidate := range c.Configurations {
			if candidate.Name != one.config {
				continue
			}
			config, err := c.config(candidate)
			if err != nil {
				t.Fatal(err)
			}
			f := Open(filepath.Join(t.TempDir(), "nothing"))
			r, err := New(config).Verify(context.Background(), f, one.kind, one.in)
			if err != nil {
				t.Fatal(err)
			}
			if got := outcome(r); got != one.want || r.Verdict != Error || r.Step != 0 {
				t.Errorf("%s, %s: %s %s in step %d, want %s", one.kind, one.config, r.Verdict, got, r.Step, one.want)
			}
			f.Close()
		}
	}
}

// TestCancelled checks that no report is returned once the context has ended.
func TestCancelled(t *testing.T) {
	c := newWorld(t).vectors()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, one := range c.Verifications {
		for _, candidate := range c.Configurations {
			if candidate.Name != one.Configuration || one.want != "verified" {
				continue
			}
			config, err := c.config(candidate)
			if err != nil {
				t.Fatal(err)
			}
			r, err := New(config).Verify(ctx, c.file(t, one.File), one.Kind, c.inputs(t, one.Inputs))
			if r != nil || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, %v", one.Name, r, err)
			}
		}
	}
}

// TestEvidence checks the payload of reports as evidence.
func TestEvidence(t *testing.T) {
	soak.WithoutRace(t)
	c := newWorld(t).vectors()
	at := time.Date(2026, 11, 29, 6, 0, 0, 1, time.UTC)
	for _, one := range c.Verifications {
		r := c.verify(t, one)
		text, err := r.Evidence(c.file(t, one.File), at, "1.2.3")
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Verdict, ReasonCode, VerifiedAt, Verifier, Index string
			Subjects                                         []struct {
				Name   string
				Digest map[string]string
			}
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if got.Verdict != string(r.Verdict) || got.ReasonCode != outcome(r) || got.VerifiedAt != "2026-11-29T06:00:00Z" || got.Verifier != Name || len(got.Subjects) != 1 || got.Subjects[0].Name != one.File {
			t.Errorf("%s: %s", one.Name, text)
		}
		if (got.Index != "") != (r.Receipt != nil || r.Export != nil && r.Export.Proven.Entry != nil) {
			t.Errorf("%s: the index is %q", one.Name, got.Index)
		}
	}
}
