package sigstore

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers/sigstorerig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/verifiers/dsse"
)

// The numbers of single bytes of a bundle that are changed, spread evenly over
// it.
const sampleBytes, allBytes = 100, 400

// noMutantPasses fails the test if a changed bundle verifies as anything but
// the original.
func noMutantPasses(t *testing.T, v *Verifier, data []byte) {
	t.Helper()
	b, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	want, err := v.Verify(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	tried, refused := 0, 0
	try := func(what string, mutant []byte) {
		tried++
		b, err := Parse(mutant)
		if err != nil {
			refused++
			return
		}
		got, err := v.Verify(b, nil)
		switch {
		case err != nil:
			refused++
		case !reflect.DeepEqual(got, want):
			t.Errorf("with %s: got %+v, want %+v", what, got, want)
		}
	}
	n := soak.Length(t, "changed bytes", sampleBytes, allBytes)
	for i := range n {
		at := i * len(data) / n
		mutant := append([]byte(nil), data...)
		mutant[at] ^= 1
		try(fmt.Sprintf("byte %d changed", at), mutant)
	}
	fields(t, data, try)
	if tried < n+50 || refused < tried/2 {
		t.Errorf("only %[2]d of %[1]d mutants were refused: they change too little", tried, refused)
	}
}

// fields tries the document without each member, with each member empty, and
// with its first and last decoded bytes changed. It tries each list without its
// first element and with that element doubled. It does the same to JSON that a
// member contains in base64.
func fields(t *testing.T, data []byte, try func(string, []byte)) {
	t.Helper()
	var document any
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	emit := func(what string) {
		mutant, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		try(what, mutant)
	}
	var walk func(path string, v any, set func(any))
	walk = func(path string, v any, set func(any)) {
		with := func(what string, mutant any) {
			set(mutant)
			emit(path + " " + what)
			set(v)
		}
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				delete(v, name)
				emit(path + "." + name + " missing")
				v[name] = member
				walk(path+"."+name, member, func(x any) { v[name] = x })
			}
		case []any:
			if len(v) > 0 {
				with("shortened", v[1:])
				with("doubled", append([]any{v[0]}, v...))
			}
			for i, element := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), element, func(x any) { v[i] = x })
			}
		case string:
			with("empty", "")
			if raw, err := base64.StdEncoding.DecodeString(v); err == nil && len(raw) > 0 {
				for _, at := range []int{0, len(raw) / 2, len(raw) - 1} {
					changed := append([]byte(nil), raw...)
					changed[at] ^= 0x80
					with(fmt.Sprintf("with byte %d changed", at), base64.StdEncoding.EncodeToString(changed))
				}
				if json.Valid(raw) {
					// log entries, statements
					fields(t, raw, func(what string, inner []byte) { with("with "+what, base64.StdEncoding.EncodeToString(inner)) })
				}
				with("shortened", base64.StdEncoding.EncodeToString(raw[:len(raw)-1]))
				with("lengthened", base64.StdEncoding.EncodeToString(append(raw, 0)))
			}
			for _, other := range []string{"0", "1", "SHA2_512", "SHA3_256", "application/vnd.dev.sigstore.bundle+json;version=0.2", "application/vnd.dev.sigstore.bundle.v0.3+json"} {
				with("as "+other, other)
			}
		default:
			with("null", nil)
		}
	}
	walk("", document, func(x any) { document = x })
}

func TestMutantsOfRealBundles(t *testing.T) {
	k, err := dsse.ParseKey("npm", realFile(t, "examples/publish_key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		v    *Verifier
	}{
		"certificate":         {"examples/bundle-provenance.json", certificates(t, PublicGood(), ForCertificates)},
		"certificate, newer":  {bundles + "sigstore.js@2.0.0-provenance.sigstore.json", certificates(t, PublicGood(), ForCertificates)},
		"key":                 {"examples/bundle-publish.json", keys(t, PublicGood(), ForKeys, k)},
		"key without the log": {"examples/bundle-publish.json", keys(t, nil, Requirements{LogEntries: None, Timestamps: None, SCTs: None}, k)},
	} {
		t.Run(name, func(t *testing.T) { noMutantPasses(t, c.v, realFile(t, c.path)) })
	}
}

// Bundles v0.3 with entries of Rekor v2 and RFC 3161 timestamps, made by
// cosign.
func TestMutantsOfRekorV2Bundles(t *testing.T) {
	r := sigstorerig.Start(t, sigstorerig.Fulcio(), sigstorerig.TSA(), sigstorerig.Rekor())
	r.WriteFile(t, "a.txt", "hello\n")
	r.WriteFile(t, "p.json", "{}")
	private, public := r.GenerateKey(t, "k")
	read := func(path string) []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	root, err := ParseTrustedRoot(read(r.TrustedRoot))
	if err != nil {
		t.Fatal(err)
	}
	k, err := dsse.ParseKey("k", read(public))
	if err != nil {
		t.Fatal(err)
	}
	byCertificate := certificates(t, root, Requirements{LogEntries: 1, Timestamps: 1, SCTs: None})
	byKey := keys(t, root, ForKeys, k)
	for name, c := range map[string]struct {
		sign []string
		v    *Verifier
	}{
		"attestation, certificate": {[]string{"attest-blob", "--identity-token", r.Issuer.Job(t, "acme/app"), "--predicate", "p.json", "--type", "custom"}, byCertificate},
		"signature, certificate":   {[]string{"sign-blob", "--identity-token", r.Issuer.Email(t, "ci@acme.example")}, byCertificate},
		"attestation, key":         {[]string{"attest-blob", "--key", private, "--predicate", "p.json", "--type", "custom"}, byKey},
		"signature, key":           {[]string{"sign-blob", "--key", private}, byKey},
	} {
		t.Run(name, func(t *testing.T) {
			bundle := strings.ReplaceAll(name, ", ", "-") + ".json"
			r.Cosign(t, append(append(c.sign, "--bundle", bundle, "a.txt"), r.Services()...)...)
			noMutantPasses(t, c.v, read(filepath.Join(r.Dir, bundle)))
		})
	}
}
