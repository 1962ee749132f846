package sigstore

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// A question is a bundle with the inputs of its verification.
type question struct {
	bundle      []byte
	roots, keys [][]byte
	identities  []vectorIdentity
	artifact    []byte // nil if unknown
	sha256      []byte // of the artifact, nil if unknown
}

// sigstoreGo asks sigstore-go alone, with its own parsers, about each root with
// each key or identity. It returns the first error if none succeeds.
func (q *question) sigstoreGo() error {
	keys, identities := q.keys, q.identities
	if len(keys) == 0 {
		keys = [][]byte{nil}
	}
	if len(identities) == 0 {
		identities = []vectorIdentity{{}}
	}
	var failed []error
	for _, r := range q.roots {
		for _, k := range keys {
			for _, id := range identities {
				err := q.ask(r, k, id)
				if err == nil {
					return nil
				}
				failed = append(failed, err)
			}
		}
	}
	if len(failed) == 0 {
		return errors.New("no trusted root")
	}
	return failed[0]
}

func (q *question) ask(r, key []byte, id vectorIdentity) error {
	var b bundle.Bundle
	if err := b.UnmarshalJSON(q.bundle); err != nil {
		return err
	}
	trusted, err := root.NewTrustedRootFromJSON(r)
	if err != nil {
		return err
	}
	var material root.TrustedMaterial = trusted
	// The thresholds of section 5.
	options := []verify.VerifierOption{verify.WithTransparencyLog(1)}
	var policy verify.PolicyOption
	if key != nil {
		public, err := cryptoutils.UnmarshalPEMToPublicKey(key)
		if err != nil {
			return err
		}
		verifier, err := signature.LoadDefaultVerifier(public)
		if err != nil {
			return err
		}
		material = withKey{trusted, verifier}
		options = append(options, verify.WithNoObserverTimestamps())
		policy = verify.WithKey()
	} else {
		options = append(options, verify.WithObserverTimestamps(1), verify.WithSignedCertificateTimestamps(1))
		policy = verify.WithoutIdentitiesUnsafe()
	}
	if key == nil && id != (vectorIdentity{}) {
		identity, err := verify.NewShortCertificateIdentity(id.Issuer, "", id.Name, "")
		if err != nil {
			return err
		}
		policy = verify.WithCertificateIdentity(identity)
	}
	over := verify.WithoutArtifactUnsafe()
	switch {
	case q.artifact != nil:
		over = verify.WithArtifact(bytes.NewReader(q.artifact))
	case q.sha256 != nil:
		over = verify.WithArtifactDigest("sha256", q.sha256)
	}
	verifier, err := verify.NewVerifier(material, options...)
	if err != nil {
		return err
	}
	_, err = verifier.Verify(&b, verify.NewPolicy(over, policy))
	return err
}

// withKey is a trusted root with one key, for every hint.
type withKey struct {
	root.TrustedMaterial
	key signature.Verifier
}

func (m withKey) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	return root.NewExpiringKey(m.key, time.Time{}, time.Time{}), nil
}

// differences maps two verdicts, of which exactly one is "verified", to the
// cases that have them.
type differences map[string][]string

// compare asks sigstore-go about a bundle. Code is the reason of this package,
// "" if it verified the bundle.
func (d differences) compare(name string, code Code, q question) {
	err := q.sigstoreGo()
	switch {
	case code == "" && err != nil:
		d["verified refused"] = append(d["verified refused"], name)
	case code != "" && err == nil:
		pair := string(code) + " verified"
		d[pair] = append(d[pair], name)
	}
}

// knownDifferences are those of docs/spec/vectors/sigstore-oracles.json.
func knownDifferences(t *testing.T) (vectors, conformance differences) {
	data, err := os.ReadFile("../../docs/spec/vectors/sigstore-oracles.json")
	if err != nil {
		t.Fatal(err)
	}
	var known struct {
		Go struct{ Vectors, Conformance differences } `json:"sigstore-go"`
	}
	if err := json.Unmarshal(data, &known); err != nil {
		t.Fatal(err)
	}
	return known.Go.Vectors, known.Go.Conformance
}

// sigstore-go, asked directly about every vector, agrees with this package
// except where section 13 of the specification gives a reason.
func TestSigstoreGoAgrees(t *testing.T) {
	data, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	v := &vectors{}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
	found := differences{}
	for _, c := range v.Cases {
		q := question{bundle: c.Bundle, identities: c.Identities, artifact: v.Artifacts[c.Artifact]}
		for _, name := range c.TrustedRoots {
			q.roots = append(q.roots, v.TrustedRoots[name])
		}
		for _, name := range c.Keys {
			q.keys = append(q.keys, []byte(v.Keys[name]))
		}
		if q.sha256, err = hex.DecodeString(c.ArtifactDigest); err != nil {
			t.Fatal(err)
		}
		if c.ArtifactDigest == "" {
			q.sha256 = nil
		}
		found.compare(c.Name, c.Reason, q)
	}
	known, conformance := knownDifferences(t)
	t.Logf("sigstore-go: %d vectors compared, %d kinds of difference", len(v.Cases), len(found))
	if !reflect.DeepEqual(found, known) {
		text, _ := json.MarshalIndent(found, "", " ")
		t.Errorf("other differences than those in sigstore-oracles.json:\n%s", text)
	}

	// Each difference has a reason, and each reason a case.
	spec, err := os.ReadFile("../../docs/spec/sigstore-verification.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(spec), "### Differences: sigstore-go\n")
	section, _, _ = strings.Cut(section, "\n#")
	var rows, pairs []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| `([^`]+)` \\| .+ \\|$").FindAllStringSubmatch(section, -1) {
		rows = append(rows, m[1]+" "+m[2])
	}
	for _, list := range []differences{known, conformance} {
		for pair := range list {
			pairs = append(pairs, pair)
		}
	}
	slices.Sort(rows)
	slices.Sort(pairs)
	if pairs = slices.Compact(pairs); !slices.Equal(rows, pairs) {
		t.Errorf("the specification explains the differences %q, want %q", rows, pairs)
	}
}
