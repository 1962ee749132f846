package sigstore

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
)

var sigstoreGo = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	return strings.TrimSpace(string(out)), err
})

// realFile reads a file of the module sigstore-go, which ships real bundles and
// trusted roots.
func realFile(t testing.TB, path string) []byte {
	t.Helper()
	dir, err := sigstoreGo()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const (
	bundles = "pkg/testing/data/bundles/"
	roots   = "pkg/testing/data/trusted-roots/"
)

func parsed(t testing.TB, path string) *Bundle {
	t.Helper()
	b, err := Parse(realFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func trusted(t testing.TB, path string) *TrustedRoot {
	t.Helper()
	r, err := ParseTrustedRoot(realFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func certificates(t testing.TB, r *TrustedRoot, need Requirements) *Verifier {
	t.Helper()
	v, err := NewCertificateVerifier(r, need)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func keys(t testing.TB, r *TrustedRoot, need Requirements, k ...*dsse.Key) *Verifier {
	t.Helper()
	v, err := NewKeyVerifier(k, r, need)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// wantRefused fails the test unless err is a verdict with the reason.
func wantRefused(t *testing.T, what string, err error, says string) {
	t.Helper()
	if !errors.Is(err, ErrNotVerified) || errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: got %v, want a verdict that says %q", what, err, says)
	}
}

// The embedded trusted root has the source that README.md names, and extends
// the older one of sigstore-go.
func TestPublicGood(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	digest := PublicGood().Digest()
	if !strings.Contains(string(readme), "`"+strings.TrimPrefix(digest, "sha256:")+"`") {
		t.Errorf("public-good.json has the digest %s, which README.md does not name; say there where it is from", digest)
	}
	ours, older := PublicGood().Describe(), trusted(t, "examples/trusted-root-public-good.json").Describe()
	for _, a := range older.CertificateAuthorities {
		if !slices.ContainsFunc(ours.CertificateAuthorities, func(b Authority) bool { return reflect.DeepEqual(a, b) }) {
			t.Errorf("the certificate authority %+v is missing", a)
		}
	}
	for _, pair := range [][2][]Log{{older.TransparencyLogs, ours.TransparencyLogs}, {older.CertificateLogs, ours.CertificateLogs}} {
		if len(pair[0]) == 0 {
			t.Error("the older root has no logs")
		}
		for _, a := range pair[0] {
			if !slices.ContainsFunc(pair[1], func(b Log) bool { a.Operator = b.Operator; return reflect.DeepEqual(a, b) }) {
				t.Errorf("the log %+v is missing", a)
			}
		}
	}
	if len(ours.TimestampAuthorities) == 0 {
		t.Error("no timestamp authority")
	}
}

func TestKeyless(t *testing.T) {
	v := certificates(t, PublicGood(), ForCertificates)
	got, err := v.Verify(parsed(t, "examples/bundle-provenance.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := entry.Signer{Identity: "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main", Issuer: "https://token.actions.githubusercontent.com"}
	if got.Signer != want {
		t.Errorf("signed by %+v, want %+v", got.Signer, want)
	}
	if got.PredicateType != "https://slsa.dev/provenance/v0.2" || len(got.Subjects) != 1 || got.TrustedRoot != PublicGood().Digest() {
		t.Errorf("got %+v", got)
	}
	if len(got.Timestamps) != 1 || got.Timestamps[0].Source != SourceLog || len(got.LogEntries) != 1 || got.LogEntries[0].Log != "https://rekor.sigstore.dev" {
		t.Errorf("times %+v, log entries %+v", got.Timestamps, got.LogEntries)
	}
	if got.Claims["sourceRepositoryURI"] != "https://github.com/sigstore/sigstore-js" || got.Claims["sourceRepositoryIdentifier"] != "495574555" {
		t.Errorf("claims %v", got.Claims)
	}

	identity := Identity{Name: want.Identity, Issuer: want.Issuer}
	if err := identity.Check(got.Signer); err != nil {
		t.Error(err)
	}
	for name, id := range map[string]Identity{
		"other name":    {Name: want.Identity + "x", Issuer: want.Issuer},
		"other issuer":  {Name: want.Identity, Issuer: "https://accounts.example.com"},
		"name regexp":   {NameRegexp: regexp.MustCompile("^https://github.com/evil/"), Issuer: want.Issuer},
		"issuer regexp": {Name: want.Identity, IssuerRegexp: regexp.MustCompile("gitlab")},
		"none":          {},
		"only a name":   {Name: want.Identity},
	} {
		wantRefused(t, name, id.Check(got.Signer), "")
	}
	wantRefused(t, "a key's signer", Identity{NameRegexp: regexp.MustCompile(""), IssuerRegexp: regexp.MustCompile("")}.Check(entry.Signer{KeyID: "k"}), "no identity")
}

func TestArtifact(t *testing.T) {
	v, b := certificates(t, PublicGood(), ForCertificates), parsed(t, "examples/bundle-provenance.json")
	sha512 := b.Subjects[0].Digest["sha512"]
	if sha512 == "" {
		t.Fatalf("subjects %+v", b.Subjects)
	}
	other, err := ReadArtifact(strings.NewReader("something else"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(b, other)
	wantRefused(t, "another artifact", err, "is not a subject of the statement")
}

func TestManagedKey(t *testing.T) {
	k, err := dsse.ParseKey("npm", realFile(t, "examples/publish_key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := dsse.ParseKey("other", realFile(t, "pkg/testing/data/public-keys/public-key-validity.pem"))
	if err != nil {
		t.Fatal(err)
	}
	b := parsed(t, "examples/bundle-publish.json")
	for name, v := range map[string]*Verifier{
		"with a log entry": keys(t, PublicGood(), ForKeys, k),
		"one of two":       keys(t, PublicGood(), ForKeys, other, k),
		"no log":           keys(t, nil, Requirements{LogEntries: None, Timestamps: None, SCTs: None}, k),
		"with a timestamp": keys(t, PublicGood(), Requirements{LogEntries: 1, Timestamps: 1, SCTs: None}, k),
	} {
		got, err := v.Verify(b, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want := (entry.Signer{KeyID: k.ID}); got.Signer != want || got.KeyName != "npm" || got.PredicateType == "" || (got.TrustedRoot == "") != (name == "no log") {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	_, err = keys(t, PublicGood(), ForKeys, other).Verify(b, nil)
	wantRefused(t, "another key", err, "not signed with the key other")
	_, err = keys(t, nil, Requirements{LogEntries: None, Timestamps: None, SCTs: None}, other).Verify(b, nil)
	wantRefused(t, "another key, no log", err, "not signed with the key other")
	_, err = keys(t, PublicGood(), ForKeys, other, other).Verify(b, nil)
	wantRefused(t, "other keys", err, "none of the 2 keys")
	_, err = certificates(t, PublicGood(), ForCertificates).Verify(b, nil)
	wantRefused(t, "no key given", err, "give the public key")
	_, err = keys(t, PublicGood(), ForKeys, k).Verify(parsed(t, "examples/bundle-provenance.json"), nil)
	wantRefused(t, "certificate where a key is asked for", err, "not with a key")
	_, err = keys(t, PublicGood(), Requirements{LogEntries: 2, Timestamps: None, SCTs: None}, k).Verify(b, nil)
	wantRefused(t, "two log entries", err, "not enough verified log entries")
}

// An identity that is no e-mail address and no URI, at a private instance.
func TestOtherName(t *testing.T) {
	a, err := ArtifactDigest("sha256:bc103b4a84971ef6459b294a2b98568a2bfb72cded09d4acd1e16366a401f95b")
	if err != nil {
		t.Fatal(err)
	}
	root := trusted(t, roots+"scaffolding.json")
	got, err := certificates(t, root, ForCertificates).Verify(parsed(t, bundles+"othername.sigstore.json"), a)
	if err != nil {
		t.Fatal(err)
	}
	if want := (entry.Signer{Identity: "foo!oidc.local", Issuer: "http://oidc.local:8080"}); got.Signer != want || got.TrustedRoot != root.Digest() {
		t.Errorf("got %+v", got)
	}
}

// A key with a timestamp and no log.
func TestTimestampOfAKey(t *testing.T) {
	k, err := dsse.ParseKey("k", realFile(t, "pkg/testing/data/public-keys/public-key-validity.pem"))
	if err != nil {
		t.Fatal(err)
	}
	v := keys(t, trusted(t, roots+"public-key-validity.json"), Requirements{LogEntries: None, Timestamps: 1, SignedTimestamps: true, SCTs: None}, k)
	a, err := ReadArtifact(strings.NewReader("test content"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.Verify(parsed(t, bundles+"public-key-validity.sigstore.json"), a)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Timestamps) != 1 || got.Timestamps[0].Source != SourceAuthority || got.LogEntries != nil {
		t.Errorf("got %+v", got)
	}
	_, err = keys(t, PublicGood(), Requirements{LogEntries: None, Timestamps: 1, SignedTimestamps: true, SCTs: None}, k).Verify(parsed(t, bundles+"public-key-validity.sigstore.json"), a)
	wantRefused(t, "another root's authority", err, "timestamp")
}

// A certificate on no list is refused, unless that was said to be good enough.
func TestCertificateTimestamps(t *testing.T) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(PublicGoodJSON(), &m); err != nil {
		t.Fatal(err)
	}
	delete(m, "ctlogs")
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	root, err := ParseTrustedRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	b := parsed(t, "examples/bundle-provenance.json")
	_, err = certificates(t, root, ForCertificates).Verify(b, nil)
	wantRefused(t, "no list is trusted", err, "certificate timestamp")
	_, err = certificates(t, PublicGood(), Requirements{LogEntries: 1, Timestamps: 1, SCTs: 2}).Verify(b, nil)
	wantRefused(t, "two lists", err, "threshold of 2")
	if _, err := certificates(t, root, Requirements{LogEntries: 1, Timestamps: 1, SCTs: None}).Verify(b, nil); err != nil {
		t.Error(err)
	}
}

// A requirement on bundles must be specified, or nothing is verified.
func TestRequirementsMustBeSpecified(t *testing.T) {
	k, err := dsse.ParseKey("", realFile(t, "examples/publish_key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		keys bool
		need Requirements
		want string
	}{
		{true, Requirements{}, "number of log entries not specified"},
		{true, Requirements{LogEntries: 1, SCTs: None}, "number of timestamps not specified"},
		{true, Requirements{LogEntries: 1, Timestamps: None}, "number of SCTs not specified"},
		{true, Requirements{LogEntries: -2, Timestamps: None, SCTs: None}, "-2 log entries"},
		{true, Requirements{LogEntries: 33, Timestamps: None, SCTs: None}, "at most 32"},
		{true, Requirements{LogEntries: 1, Timestamps: None, SCTs: 1}, "signatures with keys have no SCTs"},
		{true, Requirements{LogEntries: 1, Timestamps: None, SCTs: None, CurrentTime: true}, "not to keys"},
		{true, Requirements{LogEntries: 1, Timestamps: None, SCTs: None, SignedTimestamps: true}, "signed timestamps are required"},
		{false, Requirements{LogEntries: 1, Timestamps: None, SCTs: 1}, "checked at some time"},
		{false, Requirements{LogEntries: 1, Timestamps: 1, SCTs: 1, CurrentTime: true}, "not both"},
	} {
		var err error
		if c.keys {
			_, err = NewKeyVerifier([]*dsse.Key{k}, PublicGood(), c.need)
		} else {
			_, err = NewCertificateVerifier(PublicGood(), c.need)
		}
		if err == nil || errors.Is(err, ErrNotVerified) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want an error that says %q", c.need, err, c.want)
		}
	}
	if _, err := NewKeyVerifier([]*dsse.Key{k}, nil, ForKeys); err == nil {
		t.Error("log entries without a trusted root")
	}
	if _, err := NewCertificateVerifier(nil, ForCertificates); err == nil {
		t.Error("certificates without a trusted root")
	}
	if AtLeast(0) != None || AtLeast(3) != 3 {
		t.Error("AtLeast")
	}
}

func TestBadBundles(t *testing.T) {
	v := certificates(t, PublicGood(), ForCertificates)
	_, err := v.Verify(parsed(t, bundles+"dsse-2sigs.sigstore.json"), nil)
	wantRefused(t, "two signatures", err, "exactly one signature")
	_, err = certificates(t, trusted(t, roots+"scaffolding.json"), ForCertificates).Verify(parsed(t, "examples/bundle-provenance.json"), nil)
	wantRefused(t, "another root", err, "")
	_, err = certificates(t, PublicGood(), Requirements{LogEntries: 1, Timestamps: None, SCTs: 1, CurrentTime: true}).Verify(parsed(t, "examples/bundle-provenance.json"), nil)
	wantRefused(t, "expired by now", err, "not valid now")
	_, err = certificates(t, PublicGood(), Requirements{LogEntries: 1, Timestamps: 1, SignedTimestamps: true, SCTs: 1}).Verify(parsed(t, "examples/bundle-provenance.json"), nil)
	wantRefused(t, "no signed timestamp", err, "no RFC 3161 timestamp")

	good := string(realFile(t, "examples/bundle-provenance.json"))
	for name, data := range map[string]string{
		"empty":         "",
		"array":         "[]",
		"cut":           good[:len(good)/2],
		"no media type": strings.Replace(good, "mediaType", "mediaTyp", 1),
		"version":       strings.Replace(good, "version=0.1", "version=0.9", 1),
		"no material":   `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"AA=="},"signature":"AA=="}}`,
		"nested":        strings.Repeat("[", 1<<20),
	} {
		if _, err := Parse([]byte(data)); !errors.Is(err, ErrMalformed) || errors.Is(err, ErrNotVerified) {
			t.Errorf("%s: got %v, want an error that wraps ErrMalformed", name, err)
		}
	}
	if _, err := ParseTrustedRoot([]byte(`{"mediaType":"x"}`)); !errors.Is(err, ErrMalformed) {
		t.Errorf("trusted root: got %v", err)
	}
}

// One bundle may be verified by several goroutines, under several rules.
func TestConcurrentVerification(t *testing.T) {
	b, v := parsed(t, "examples/bundle-provenance.json"), certificates(t, PublicGood(), ForCertificates)
	want, err := v.Verify(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if got, err := v.Verify(b, nil); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		})
	}
	wg.Wait()
}
