package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
)

// codeOf returns the code of an error, or "".
func codeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func exporterKeys(t testing.TB) []*dsse.Key {
	k, _ := testKey(t, "exporter")
	return []*dsse.Key{k}
}

// signed returns the file of a manifest.
func signed(t testing.TB, m *Manifest) []byte {
	return bundled(sign(t, payloadType, statement(t, m), "exporter"))
}

func TestFileLimit(t *testing.T) {
	for n, want := range map[int]Code{MaxFiles: "", MaxFiles + 1: StatementMalformed} {
		m := newManifest(t)
		m.Files = nil
		for i := range n {
			m.Files = append(m.Files, File{Name: fmt.Sprint(i), MediaType: "a/b", License: []string{"MIT"}})
		}
		if _, err := Verify(t.Context(), signed(t, m), Options{Keys: exporterKeys(t)}); codeOf(err) != want {
			t.Errorf("%d files: %v, want %q", n, err, want)
		}
	}
}

// TestLinks refuses links in place of files, and of the folders above them.
func TestLinks(t *testing.T) {
	file := signed(t, newManifest(t))
	for name, change := range map[string]func(dir string) error{
		"": func(string) error { return nil },
		"a link in place of a file": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "schema.json"), filepath.Join(dir, "..", "moved")), os.Symlink("../moved", filepath.Join(dir, "schema.json")))
		},
		"a link in place of a folder": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "assets"), filepath.Join(dir, "..", "assets")), os.Symlink("../assets", filepath.Join(dir, "assets")))
		},
		"a folder in place of a file": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "schema.json")), os.Mkdir(filepath.Join(dir, "schema.json"), 0o755))
		},
	} {
		dir := filepath.Join(t.TempDir(), "export")
		for path, content := range testFiles() {
			at := filepath.Join(dir, path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, content, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		want := FileMissing
		if name == "" {
			want = ""
		}
		if _, err := Verify(t.Context(), file, Options{Keys: exporterKeys(t), Files: root.FS()}); codeOf(err) != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// A hugeFile is a file of zeros. It counts the bytes that are read.
type hugeFile struct {
	fs.FileInfo
	size, read int64
}

type hugeFS struct{ file *hugeFile }

func (f hugeFS) Open(name string) (fs.File, error) {
	if name == "huge" {
		f.file.read = 0
		return f.file, nil
	}
	return fstest.MapFS{"huge": {}}.Open(name)
}

func (f *hugeFile) Stat() (fs.FileInfo, error) { return fstest.MapFS{"huge": {}}.Stat("huge") }
func (f *hugeFile) Close() error               { return nil }
func (f *hugeFile) Read(b []byte) (int, error) {
	n := min(int64(len(b)), f.size-f.read)
	if n == 0 {
		return 0, io.EOF
	}
	clear(b[:n])
	f.read += n
	return int(n), nil
}

// TestHugeFile verifies a file of 1 GiB in little memory, and reads no more of
// a longer one than it must.
func TestHugeFile(t *testing.T) {
	soak.WithoutRace(t)
	size := int64(64 << 20)
	if soak.Full() {
		size = 1 << 30
	}
	sum := sha256.New()
	zeros := make([]byte, 1<<20)
	for range size / int64(len(zeros)) {
		sum.Write(zeros)
	}
	m := newManifest(t)
	m.Files = []File{{Name: "huge", SHA256: entry.Hash(sum.Sum(nil)), Size: uint64(size), MediaType: "a/b", License: []string{"MIT"}}}
	text := signed(t, m)
	f := &hugeFile{size: size}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Verify(t.Context(), text, Options{Keys: exporterKeys(t), Files: hugeFS{f}}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("verifying a file of %d bytes allocates %d", size, used)
	}
	f.size = 1 << 50
	if _, err := Verify(t.Context(), text, Options{Keys: exporterKeys(t), Files: hugeFS{f}}); codeOf(err) != FileSize || f.read != size+1 {
		t.Errorf("a file that is too long: %v after %d bytes, want %s after %d", err, f.read, FileSize, size+1)
	}
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v := world(t)
	c := v.Cases[slices.IndexFunc(v.Cases, func(c *vector) bool { return c.Name == "good with everything" })]
	o, err := v.options(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(ctx, c.Manifest, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
}

// TestMutants changes each byte of the statement of a good manifest, one at a
// time, without signing it again, and random bits of the file. The result is
// never another verified report.
func TestMutants(t *testing.T) {
	file := signed(t, newManifest(t))
	want, err := Verify(t.Context(), file, Options{Keys: exporterKeys(t)})
	if err != nil {
		t.Fatal(err)
	}
	want.Proven.ManifestSHA256 = ""
	random := rand.New(rand.NewPCG(1, 1))
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 1 << random.UintN(8)
		got, err := Verify(t.Context(), bad, Options{Keys: exporterKeys(t)})
		switch {
		case err != nil && codeOf(err) == "":
			t.Fatalf("another byte at offset %d: %v", i, err)
		case err == nil:
			// The hint about the key and white space are not signed.
			got.Proven.ManifestSHA256 = ""
			if a, b := jsonOf(t, got), jsonOf(t, want); a != b {
				t.Fatalf("another byte at offset %d: %s, want %s", i, a, b)
			}
		}
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSchema compares the JSON Schema with the parser: it accepts every
// statement that the parser accepts, and each statement that it refuses is
// refused in step 3.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile("../../docs/spec/export-manifest.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	refused, accepted := 0, 0
	for _, b := range builds() {
		if b.file != nil || b.payload != "" {
			continue
		}
		file, _ := b.bytes(t)
		e, err := parseEnvelope(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = parseStatement(e.payload)
		instance, bad := jsonschema.UnmarshalJSON(bytes.NewReader(e.payload))
		if bad == nil {
			bad = schema.Validate(instance)
		}
		switch {
		case err == nil && bad != nil:
			t.Errorf("%s: only the schema refuses it: %v", b.name, bad)
		case bad != nil:
			refused++
		case err == nil:
			accepted++
		}
	}
	if refused < 60 || accepted < 60 {
		t.Errorf("the schema refuses %d statements, and both accept %d", refused, accepted)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(signed(f, newManifest(f)))
	m := newManifest(f)
	pure(m)
	f.Add(sign(f, payloadType, statement(f, m), "exporter"))
	f.Add([]byte("{}"))
	keys := exporterKeys(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		if _, err := Verify(t.Context(), file, Options{Keys: keys}); err != nil && codeOf(err) == "" {
			t.Errorf("%T: %v", err, err)
		}
	})
}

// FuzzStatement signs any statement. What is accepted is written in the same
// way again.
func FuzzStatement(f *testing.F) {
	f.Add(statement(f, newManifest(f)))
	m := newManifest(f)
	pure(m)
	f.Add(statement(f, m))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := parseStatement(text)
		if err != nil {
			if codeOf(err) == "" {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		again, err := parseStatement(statement(t, m))
		if err != nil {
			t.Fatalf("what AppendStatement has written: %v", err)
		}
		if a, b := statement(t, m), statement(t, again); !bytes.Equal(a, b) {
			t.Errorf("%s, then %s", a, b)
		}
	})
}

func FuzzExpression(f *testing.F) {
	f.Add("(MIT OR LicenseRef-x) AND GPL-2.0+ WITH Classpath-exception-2.0")
	f.Fuzz(func(t *testing.T, s string) {
		if e, err := parseExpression(s); err == nil && e.known() == nil && !e.allowed(atomsOf(e, map[string]bool{})) {
			t.Errorf("%q is not allowed by the list of its own licences", s)
		}
	})
}

func atomsOf(e *expression, into map[string]bool) map[string]bool {
	if e.operator == "" {
		into[e.text()] = true
	}
	for _, one := range e.operands {
		atomsOf(one, into)
	}
	return into
}

func FuzzNumbers(f *testing.F) {
	f.Add("1.5", "0.1", "1/3")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		epsilon, err1 := ParseDecimal(a)
		delta, err2 := ParseDecimal(b)
		if r, err := ParseRational(c); err == nil && r.den.Sign() <= 0 {
			t.Errorf("%q: denominator %s", c, r.den)
		}
		if err1 != nil || err2 != nil || !delta.IsDelta() {
			return
		}
		if again, err := ParseDecimal(decimalOf(epsilon.units).String()); err != nil || again.units.Cmp(epsilon.units) != 0 {
			t.Errorf("%q is written as %q", a, decimalOf(epsilon.units))
		}
		Holds(epsilon, delta, epsilon)
	})
}
