package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A specimen is a document of the corpus with its expected outcome.
type specimen struct {
	format     *Format
	predicate  string // type, if the document holds a statement
	deviations int
	unread     bool // Document.Unread is set

	// verify verifies the signatures. It is nil without keys or roots.
	verify func(m module, data []byte, d *evidence.Document) error
	// part of the error of verify; "" if the document verifies
	refused string
}

// corpus is the evidence that dependencies ship with their tests and examples,
// by module and path.
var corpus = map[string]map[string]specimen{
	"github.com/sigstore/sigstore-go": {
		"examples/bundle-provenance.json":                                     {format: Bundle, predicate: intoto.SLSAProvenanceV02, verify: publicGood},
		"examples/bundle-publish.json":                                        {format: Bundle, predicate: npmPublish},
		"examples/sigstore-go-signing/intoto.txt":                             {format: Statement, predicate: "something"},
		"examples/statement-provenance-sigstorejs1.3.0.json":                  {format: Statement, predicate: intoto.SLSAProvenanceV02},
		"pkg/testing/data/bundles/dsse-2sigs.sigstore.json":                   {format: Bundle, predicate: intoto.SLSAProvenanceV02, verify: publicGood, refused: "exactly one signature"},
		"pkg/testing/data/bundles/dsse.sigstore.json":                         {format: Bundle, predicate: intoto.SLSAProvenanceV02, verify: publicGood},
		"pkg/testing/data/bundles/othername.sigstore.json":                    {format: Bundle, verify: under("pkg/testing/data/trusted-roots/scaffolding.json")},
		"pkg/testing/data/bundles/public-key-validity.sigstore.json":          {format: Bundle},
		"pkg/testing/data/bundles/sigstore.js@2.0.0-provenance.sigstore.json": {format: Bundle, predicate: intoto.SLSAProvenanceV1, verify: publicGood},
	},
	"github.com/sigstore/protobuf-specs": {
		"gen/pb-rust/sigstore-protobuf-specs/assets/a.txt.sigstore": {format: Bundle, verify: publicGood},
	},
	"github.com/sigstore/rekor": {
		"cmd/rekor-cli/app/tests/intoto_dsse.json":       {format: Envelope, predicate: intoto.SLSAProvenanceV02, deviations: 2, verify: keys("cmd/rekor-cli/app/tests/intoto_dsse.pem")},
		"cmd/rekor-cli/app/tests/intoto_multi_dsse.json": {format: Envelope, predicate: intoto.SLSAProvenanceV02, deviations: 2, verify: keys("cmd/rekor-cli/app/tests/intoto_multi_pub2.pem", "cmd/rekor-cli/app/tests/intoto_dsse.pem")},
		"cmd/rekor-server/tests/envelope.sha512":         {format: Envelope, predicate: intoto.SLSAProvenanceV02, verify: keys("cmd/rekor-server/tests/test_sha512.pub")},
		"pkg/types/helm/tests/test-0.1.0.tgz.prov":       {format: Chart, verify: keyring("pkg/types/helm/tests/test_helm_armor.pub"), refused: "the key has expired"},
		"tests/intoto_dsse.json":                         {format: Envelope, predicate: intoto.SLSAProvenanceV02, deviations: 2, verify: keys("tests/intoto_dsse.pem")},
	},
	"github.com/in-toto/in-toto-golang": {
		"test/data/clone-dsse.776a00e2.link":          {format: Envelope, unread: true, verify: layoutKey("776a00e2")},
		"test/data/demo.dsse.layout":                  {format: Envelope, unread: true, verify: keys("test/data/alice.pub")},
		"test/data/dsse-only.root.layout":             {format: Envelope, unread: true, verify: keys("test/data/alice.pub")},
		"test/data/package-dsse.2f89b927.link":        {format: Envelope, unread: true, verify: layoutKey("2f89b927")},
		"test/data/update-version-dsse.776a00e2.link": {format: Envelope, unread: true, verify: layoutKey("776a00e2")},
	},
	"helm.sh/helm/v4": {
		"pkg/cmd/testdata/testcharts/signtest-0.1.0.tgz.prov": {format: Chart, verify: keyring("pkg/cmd/testdata/helm-test-key.pub")},
		"pkg/downloader/testdata/signtest-0.1.0.tgz.prov":     {format: Chart, verify: keyring("pkg/downloader/testdata/helm-test-key.pub")},
		"pkg/provenance/testdata/hashtest-1.2.3.tgz.prov":     {format: Chart, verify: keyring("pkg/provenance/testdata/helm-test-key.pub")},
		"pkg/provenance/testdata/msgblock.yaml.asc":           {format: Chart, verify: keyring("pkg/provenance/testdata/helm-test-key.pub")},
		"pkg/provenance/testdata/msgblock.yaml.tampered":      {format: Chart, verify: keyring("pkg/provenance/testdata/helm-test-key.pub"), refused: "signature"},
	},
	cosign: { // at the version of the peer in other tests
		"pkg/cosign/testdata/oci-attestation.sigstore.json": {format: Bundle, predicate: cosignCustom, verify: under("pkg/cosign/testdata/trusted_root_pgi.json")},
		"pkg/policy/testdata/malformed/custom":              {format: Envelope, predicate: strings.TrimPrefix(cosignCustom, "https://")},
		"pkg/policy/testdata/malformed/vuln":                {format: Envelope, predicate: strings.TrimPrefix(intoto.CosignVuln, "https://")},
		"pkg/policy/testdata/valid/custom":                  {format: Envelope, predicate: cosignCustom},
		"pkg/policy/testdata/valid/vuln":                    {format: Envelope, predicate: intoto.CosignVuln, deviations: 1},
	},
	// Modules without evidence in these formats yet.
	"github.com/google/go-containerregistry":            {},
	"github.com/in-toto/attestation":                    {},
	"github.com/secure-systems-lab/go-securesystemslib": {},
	"github.com/sigstore/sigstore":                      {},
	"github.com/sigstore/rekor-tiles/v2":                {},
	"github.com/sigstore/timestamp-authority/v2":        {},
	"github.com/veraison/go-cose":                       {},
}

const cosign = "github.com/sigstore/cosign/v3"

const (
	npmPublish   = "https://github.com/npm/attestation/tree/main/specs/publish/v0.1"
	cosignCustom = "https://cosign.sigstore.dev/attestation/v1"
)

// A module is one whose files are read.
type module struct{ Path, Dir, Error string }

func (m module) read(path string) ([]byte, error) {
	return os.ReadFile(filepath.Join(m.Dir, filepath.FromSlash(path)))
}

// modules returns the modules of the corpus at the versions of go.mod, and
// cosign, which go.mod does not require, at the version of the peer. Like
// .ci/peers, it downloads modules that are not in the module cache.
func modules(t *testing.T) []module {
	t.Helper()
	args := []string{"mod", "download", "-json"}
	for path := range corpus {
		if path == cosign {
			path += "@" + cosignVersion(t)
		}
		args = append(args, path)
	}
	out, err := exec.Command("go", args...).Output()
	var all []module
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var m module
		if err := dec.Decode(&m); err != nil {
			t.Fatal(err)
		}
		if m.Error != "" {
			t.Errorf("%s: %s", m.Path, m.Error)
		}
		all = append(all, m)
	}
	if err != nil || len(all) != len(corpus) {
		t.Fatalf("%d of %d modules: %v", len(all), len(corpus), err)
	}
	return all
}

// cosignVersion returns the version of cosign that .ci/peers builds.
func cosignVersion(t *testing.T) string {
	t.Helper()
	file, err := os.ReadFile("../../.ci/programs/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(file), "\t"+cosign+" ")
	version, _, ok := strings.Cut(rest, "\n")
	if !ok {
		t.Fatal(".ci/programs/go.mod has no version of cosign")
	}
	version, _, _ = strings.Cut(version, " ")
	return version
}

// TestCorpus reads all evidence that dependencies ship. A missing or new file
// fails the test.
func TestCorpus(t *testing.T) {
	for _, m := range modules(t) {
		t.Run(m.Path, func(t *testing.T) {
			t.Parallel()
			found := m.find(t)
			for path, want := range corpus[m.Path] {
				data, ok := found[path]
				if !ok {
					t.Errorf("%s: missing, or not recognized", path)
					continue
				}
				delete(found, path)
				want.check(t, m, path, data)
			}
			for path := range found {
				t.Errorf("%s: evidence that is not in the table", path)
			}
		})
	}
}

// maxSpecimen bounds the files that are examined, in bytes.
const maxSpecimen = 4 << 20

// find returns the files of a module that show a format.
func (m module) find(t *testing.T) map[string][]byte {
	found := map[string][]byte{}
	err := filepath.WalkDir(m.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Size() > maxSpecimen {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := Recognize(data, "application/octet-stream")
		if f != nil || err != nil {
			rel, err := filepath.Rel(m.Dir, path)
			if err != nil {
				return err
			}
			found[filepath.ToSlash(rel)] = data
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

func (want specimen) check(t *testing.T, m module, path string, data []byte) {
	t.Helper()
	f, err := Recognize(data, "")
	if f != want.format || err != nil {
		t.Errorf("%s: recognized as %v, %v", path, f, err)
		return
	}
	d, err := f.Read(data)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	predicate, deviations := "", intoto.Deviations{}
	if s := d.Statement; s != nil {
		s.Check()
		predicate, deviations = s.PredicateType, s.Deviations
	}
	if predicate != want.predicate || deviations.Count != want.deviations || (d.Unread != nil) != want.unread {
		t.Errorf("%s: predicate %q, deviations %q, unread: %v", path, predicate, deviations.Strings(), d.Unread)
	}
	if want.verify == nil {
		return
	}
	err = want.verify(m, data, d)
	if (err != nil) != (want.refused != "") || err != nil && !strings.Contains(err.Error(), want.refused) {
		t.Errorf("%s: verified: %v, want %q", path, err, want.refused)
	}
}

// publicGood verifies a bundle under the root of the public-good instance.
func publicGood(_ module, _ []byte, d *evidence.Document) error {
	return bundleUnder(sigstore.PublicGood(), d)
}

// under verifies a bundle under a trusted root file of the module.
func under(path string) func(module, []byte, *evidence.Document) error {
	return func(m module, _ []byte, d *evidence.Document) error {
		data, err := m.read(path)
		if err != nil {
			return err
		}
		root, err := sigstore.ParseTrustedRoot(data)
		if err != nil {
			return err
		}
		return bundleUnder(root, d)
	}
}

func bundleUnder(root *sigstore.TrustedRoot, d *evidence.Document) error {
	v, err := sigstore.NewCertificateVerifier(root, root.Usual())
	if err != nil {
		return err
	}
	_, err = v.Verify(d.Signed.(bundle).b, nil)
	return err
}

// keys verifies an envelope with keys of the module, all of which must have
// signed.
func keys(paths ...string) func(module, []byte, *evidence.Document) error {
	return func(m module, _ []byte, d *evidence.Document) error {
		var all []*dsse.Key
		for _, path := range paths {
			text, err := m.read(path)
			if err != nil {
				return err
			}
			key, err := dsse.ParseKey(path, text)
			if err != nil {
				return err
			}
			all = append(all, key)
		}
		_, err := d.Signed.(envelope).e.Verify(all, len(all))
		return err
	}
}

// layoutKey verifies an envelope with a key that the layout of its steps holds.
func layoutKey(id string) func(module, []byte, *evidence.Document) error {
	return func(m module, _ []byte, d *evidence.Document) error {
		data, err := m.read("test/data/dsse-only.root.layout")
		if err != nil {
			return err
		}
		signed, err := dsse.Parse(data)
		if err != nil {
			return err
		}
		var layout struct {
			Keys map[string]struct {
				Value struct {
					Public string `json:"public"`
				} `json:"keyval"`
			} `json:"keys"`
		}
		if err := json.Unmarshal(signed.Payload, &layout); err != nil {
			return err
		}
		for name, k := range layout.Keys {
			if !strings.HasPrefix(name, id) {
				continue
			}
			key, err := dsse.ParseKey(name, []byte(k.Value.Public))
			if err != nil {
				return err
			}
			_, err = d.Signed.(envelope).e.Verify([]*dsse.Key{key}, 1)
			return err
		}
		return fmt.Errorf("the layout has no key %s", id)
	}
}

// keyring verifies a provenance file with a keyring of the module.
func keyring(path string) func(module, []byte, *evidence.Document) error {
	return func(m module, _ []byte, d *evidence.Document) error {
		data, err := m.read(path)
		if err != nil {
			return err
		}
		ring, err := helm.ParseKeyring(data)
		if err != nil {
			return err
		}
		_, err = ring.Verify(d.Signed.(provenance))
		return err
	}
}
