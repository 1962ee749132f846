package verify

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"muniment.dev/muniment/internal/soak"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var update = flag.Bool("update", false, "write the vectors")

const vectorsFolder = "../../../docs/spec/vectors/"

// A vectors file is docs/spec/vectors/verify.json.
type vectors struct {
	Blobs          map[string][]byte    `json:"blobs"`
	Configurations []*configVector      `json:"configurations"`
	Verifications  []*verificationCases `json:"verifications"`
}

type configVector struct {
	Name  string            `json:"name"`
	Text  []byte            `json:"configurationBase64"`
	Files map[string]string `json:"files,omitempty"`
	Code  string            `json:"code,omitempty"`
}

type verificationCases struct {
	Name          string          `json:"name"`
	Configuration string          `json:"configuration"`
	File          string          `json:"file"`
	Kind          Kind            `json:"kind,omitempty"`
	Inputs        *inputs         `json:"inputs,omitempty"`
	Report        json.RawMessage `json:"report"`
	Text          string          `json:"text,omitempty"`

	want string // verified, or the code
}

type inputs struct {
	Payload        string            `json:"payload,omitempty"`
	External       string            `json:"external,omitempty"`
	HeaderOnly     bool              `json:"headerOnly,omitempty"`
	Artifact       string            `json:"artifact,omitempty"`
	ArtifactDigest string            `json:"artifactDigest,omitempty"`
	Files          map[string]string `json:"files,omitempty"`
	Receipt        string            `json:"receipt,omitempty"`
	Stream         string            `json:"stream,omitempty"`
	Expect         *expected         `json:"expect,omitempty"`
}

type expected struct {
	Tenant          *string `json:"tenant,omitempty"`
	Kind            *string `json:"kind,omitempty"`
	Subject         *string `json:"subject,omitempty"`
	PredicateType   *string `json:"predicateType,omitempty"`
	Control         *string `json:"control,omitempty"`
	Signer          *string `json:"signer,omitempty"`
	Issuer          *string `json:"issuer,omitempty"`
	Stream          *string `json:"stream,omitempty"`
	Export          *string `json:"export,omitempty"`
	Identity        *string `json:"identity,omitempty"`
	RequireVerified bool    `json:"requireVerified,omitempty"`
	Admitted        bool    `json:"admitted,omitempty"`
}

// config loads the configuration of a case.
func (v *vectors) config(c *configVector) (*Config, error) {
	return ParseConfig(c.Text, func(path string) (io.ReadCloser, error) {
		name, ok := c.Files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return io.NopCloser(bytes.NewReader(v.Blobs[name])), nil
	})
}

// verify runs a case.
func (v *vectors) verify(t *testing.T, c *verificationCases) *Report {
	t.Helper()
	at := slices.IndexFunc(v.Configurations, func(one *configVector) bool { return one.Name == c.Configuration })
	if at < 0 {
		t.Fatalf("%s: no configuration %q", c.Name, c.Configuration)
	}
	config, err := v.config(v.Configurations[at])
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	r, err := New(config).Verify(context.Background(), v.file(t, c.File), c.Kind, v.inputs(t, c.Inputs))
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	return r
}

func (v *vectors) file(t *testing.T, name string) *File {
	t.Helper()
	content, ok := v.Blobs[name]
	if !ok {
		t.Fatalf("no blob %q", name)
	}
	return Bytes(name, content)
}

func (v *vectors) inputs(t *testing.T, from *inputs) (in Inputs) {
	t.Helper()
	if from == nil {
		return in
	}
	in.Receipt.HeaderOnly = from.HeaderOnly
	if from.Payload != "" {
		in.Receipt.Payload = v.Blobs[from.Payload]
	}
	if from.External != "" {
		in.Receipt.External = bytes.NewReader(v.Blobs[from.External])
	}
	if from.Artifact != "" {
		in.Bundle.Artifact = bytes.NewReader(v.Blobs[from.Artifact])
	}
	if from.ArtifactDigest != "" {
		digest, err := hex.DecodeString(from.ArtifactDigest)
		if err != nil {
			t.Fatal(err)
		}
		in.Bundle.ArtifactSHA256 = (*[32]byte)(digest)
	}
	if from.Files != nil {
		files := fstest.MapFS{}
		for path, name := range from.Files {
			files[path] = &fstest.MapFile{Data: v.Blobs[name]}
		}
		in.Export.Files = files
	}
	if from.Receipt != "" {
		in.Export.Receipt = v.file(t, from.Receipt)
	}
	if from.Stream != "" {
		in.Export.Stream = v.file(t, from.Stream)
	}
	if e := from.Expect; e != nil {
		in.Tenant, in.Identity, in.Export.Export = e.Tenant, e.Identity, e.Export
		r := &in.Receipt
		r.Kind, r.Subject, r.PredicateType, r.Control, r.Signer, r.Issuer, r.StreamID, r.RequireVerified, r.Admitted = e.Kind, e.Subject, e.PredicateType, e.Control, e.Signer, e.Issuer, e.Stream, e.RequireVerified, e.Admitted
	}
	return in
}

// withoutMessage returns the JSON of a report for the vectors.
func withoutMessage(r *Report) json.RawMessage {
	bare := *r
	bare.Message = ""
	return bare.JSON()
}

// TestVectors makes docs/spec/vectors/verify.json, and compares it with the
// file. Each case states its verdict or code.
func TestVectors(t *testing.T) {
	soak.WithoutRace(t)
	v := newWorld(t).vectors()
	names := map[string]bool{}
	for _, c := range v.Configurations {
		if names["c "+c.Name] {
			t.Errorf("two configurations %q", c.Name)
		}
		names["c "+c.Name] = true
		_, err := v.config(c)
		if got := codeOf(err); got != c.Code {
			t.Errorf("configuration %q: %q, want %q: %v", c.Name, got, c.Code, err)
		}
	}
	for _, c := range v.Verifications {
		if names["v "+c.Name] {
			t.Errorf("two verifications %q", c.Name)
		}
		names["v "+c.Name] = true
		r := v.verify(t, c)
		got := r.Code
		if r.Verdict == Verified {
			got, c.Text = "verified", r.Text()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s: %s", c.Name, got, c.want, r.Message)
		}
		c.Report = withoutMessage(r)
	}
	if t.Failed() {
		return
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(vectorsFolder+"verify.json", text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(vectorsFolder + "verify.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, text.Bytes()) {
		t.Error("verify.json is not current: run go test ./clients/go/verify -run TestVectors -update")
	}
}

func codeOf(err error) string {
	switch e := err.(type) {
	case nil:
		return ""
	case *ConfigError:
		return e.Code
	default:
		return fmt.Sprintf("%T", err)
	}
}

// readVectors reads a vectors file of another format.
func readVectors[T any](t testing.TB, name string) T {
	t.Helper()
	data, err := os.ReadFile(vectorsFolder + name)
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

type exportVectors struct {
	Keys       map[string]string
	Policies   map[string]string
	StreamKeys map[string]string
	Files      map[string]map[string][]byte
	Receipts   map[string][]byte
	Streams    map[string][]byte
	Cases      []exportCase
}

type exportCase struct {
	Name                              string
	Manifest                          []byte
	Keys, Policies                    []string
	Files, Receipt, Stream, StreamKey string
	Expect                            *expected
	Licenses, Residency, Epsilon      json.RawMessage
	Verdict, Reason                   string
	Report                            json.RawMessage
}

type sigstoreVectors struct {
	TrustedRoots map[string]json.RawMessage
	Keys         map[string]string
	Artifacts    map[string][]byte
	Cases        []sigstoreCase
}

type sigstoreCase struct {
	Name                     string
	BundleBase64             []byte
	TrustedRoots, Keys       []string
	Identities               []struct{ Name, Issuer string }
	Artifact, ArtifactDigest string
	Verdict, Reason          string
}

type receiptVectors struct {
	Policies, StreamKeys map[string]string
	Payloads             map[string][]byte
	Cases                []receiptCase
}

type receiptCase struct {
	Name              string
	ReceiptBase64     []byte
	Policies          []string
	Payload, External string
	HeaderOnly        bool
	Expect            *receiptExpected
	Verdict, Reason   string
	Report            struct {
		Proven, Claimed json.RawMessage
		Warnings        []string
	}
}

type receiptExpected struct {
	expected
	StreamKey string
}

type bundleVectors struct {
	Policies, StreamKeys map[string]string
	Bundles              map[string][]byte
	Cases                []bundleCase
}

type bundleCase struct {
	Name, Bundle string
	Edits        []struct {
		At, Remove int
		Insert     []byte
	}
	Policies        []string
	StreamKey       string
	Expect          *expected
	Verdict, Reason string
}

// file returns the bundle of a case.
func (c *bundleCase) file(bundles map[string][]byte) []byte {
	content := slices.Clone(bundles[c.Bundle])
	for _, e := range slices.Backward(c.Edits) {
		content = slices.Concat(content[:e.At], e.Insert, content[e.At+e.Remove:])
	}
	return content
}

// find returns the case with a name.
func find[C any](t testing.TB, cases []C, name func(C) string, want string) C {
	t.Helper()
	at := slices.IndexFunc(cases, func(c C) bool { return name(c) == want })
	if at < 0 {
		t.Fatalf("no case %q", want)
	}
	return cases[at]
}

// TestRendering checks that text and page have every value, escaped.
func TestRendering(t *testing.T) {
	soak.WithoutRace(t)
	v := newWorld(t).vectors()
	for _, c := range v.Verifications {
		r := v.verify(t, c)
		page, text := string(r.HTML()), r.Text()
		for _, bad := range []string{"<script", "javascript:", " on", "<img", "<link", "<iframe", "<form", "src=", "href="} {
			if i := strings.Index(page, bad); i >= 0 && !strings.Contains(text, bad) && bad != " on" {
				t.Errorf("%s: the page has %q", c.Name, bad)
			}
		}
		for _, s := range r.sections() {
			for _, i := range s.items {
				if !strings.Contains(text, "  "+i.label+" ") || !strings.Contains(text, " "+i.value+"\n") {
					t.Errorf("%s: the text lacks %s: %s", c.Name, i.label, i.value)
				}
			}
		}
		for line := range strings.Lines(text) {
			if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r < 0x20 || r == 0x7f || r == 0x202e }) {
				t.Errorf("%s: an unsafe line %q", c.Name, line)
			}
		}
	}
}

// TestHostileNames checks that no name of a file reaches terminal or page as it
// is.
func TestHostileNames(t *testing.T) {
	r := failure(Bytes("a\x1b[2J\n<script>alert('1')</script>\u202e&\xff", nil), "", CodeKindUnknown, "<b>\r\nno")
	for what, out := range map[string]string{"text": r.Text(), "HTML": string(r.HTML()), "JSON": string(r.JSON())} {
		if strings.ContainsAny(out, "\x1b\r\u202e") || strings.Contains(out, "\xff") {
			t.Errorf("%s: %q", what, out)
		}
		if what == "HTML" && (strings.Contains(out, "<script") || strings.Contains(out, "<b>")) {
			t.Errorf("the page has markup of a file: %s", out)
		}
	}
	if !json.Valid(r.JSON()) {
		t.Errorf("not JSON: %s", r.JSON())
	}
}

// TestWarningsHaveSentences compares the table with that of the specification,
// and finds warnings without a sentence.
func TestWarningsHaveSentences(t *testing.T) {
	soak.WithoutRace(t)
	want, err := os.ReadFile("../../../docs/spec/tables/verify-warnings.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, warningsFile) {
		t.Error("warnings.json differs from docs/spec/tables/verify-warnings.json: copy it")
	}
	v := newWorld(t).vectors()
	unseen := maps.Clone(sentences())
	for _, c := range v.Verifications {
		for _, code := range v.verify(t, c).Warnings {
			delete(unseen, code)
			if WarningText(code) == "" {
				t.Errorf("%s: the warning %s has no sentence", c.Name, code)
			}
		}
	}
	if len(unseen) > 0 {
		t.Errorf("no case has the warnings %v", slices.Sorted(maps.Keys(unseen)))
	}
}
