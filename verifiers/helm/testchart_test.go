package helm

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-containerregistry/pkg/registry"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/oci"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A workshop is a folder with the real helm and cosign and keys for both.
type workshop struct {
	t      *testing.T
	dir    string
	signer *openpgp.Entity
}

func newWorkshop(t *testing.T) *workshop {
	t.Helper()
	w := &workshop{t: t, dir: t.TempDir()}
	w.signer = newEntity(t, "Release", "release@acme.example", nil)
	var secret bytes.Buffer
	if err := w.signer.SerializePrivate(&secret, nil); err != nil {
		t.Fatal(err)
	}
	w.write("secring.gpg", secret.Bytes())
	return w
}

func newEntity(t testing.TB, name, email string, config *packet.Config) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", email, config)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (w *workshop) write(name string, data []byte) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *workshop) read(name string) []byte {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return data
}

func (w *workshop) run(peer string, args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), peers.Path(w.t, peer), args...)
	cmd.Dir, cmd.Env = w.dir, append(os.Environ(), "COSIGN_PASSWORD=", "HOME="+w.dir, "XDG_CONFIG_HOME="+w.dir, "XDG_CACHE_HOME="+w.dir, "XDG_DATA_HOME="+w.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", peer, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// pack makes NAME-VERSION.tgz and a signed .prov with the real helm.
func (w *workshop) pack(name, version, description string) {
	w.t.Helper()
	w.write(name+"/Chart.yaml", []byte("apiVersion: v2\nname: "+name+"\nversion: "+version+"\ndescription: "+description+"\n"))
	w.write(name+"/templates/config.yaml", []byte("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"))
	w.run("helm", "package", "--sign", "--key", "Release", "--keyring", "secring.gpg", name)
}

func (w *workshop) archive(name string) *Archive {
	w.t.Helper()
	a, err := ReadArchive(bytes.NewReader(w.read(name)))
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// serialised are the public keys of the entities, as gpg --export writes them.
func serialised(t testing.TB, entities ...*openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, e := range entities {
		if err := e.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func armored(t testing.TB, entities ...*openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, e := range entities {
		a, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Serialize(a); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func keyring(t *testing.T, data []byte) *Keyring {
	t.Helper()
	k, err := ParseKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// cosignKey makes cosign's key pair, and returns a check that accepts its
// signatures without a log.
func (w *workshop) cosignKey() Check {
	w.t.Helper()
	w.run("cosign", "generate-key-pair")
	w.write("sc.json", []byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`))
	w.write("prov.json", []byte(`{"buildDefinition":{"buildType":"https://example.com/build/v1","externalParameters":{}},"runDetails":{"builder":{"id":"https://example.com/ci"}}}`))
	k, err := dsse.ParseKey("cosign.pub", w.read("cosign.pub"))
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := sigstore.NewKeyVerifier([]*dsse.Key{k}, nil, sigstore.Requirements{LogEntries: sigstore.None, Timestamps: sigstore.None, SCTs: sigstore.None})
	if err != nil {
		w.t.Fatal(err)
	}
	return oci.Policy{Verifier: v}.Check
}

func startRegistry(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

var pushedDigest = regexp.MustCompile(`Digest: (sha256:[0-9a-f]{64})`)

// push pushes an archive with the real helm, and returns the reference of its
// manifest.
func (w *workshop) push(host, archive, repo string) string {
	w.t.Helper()
	out := w.run("helm", "push", archive, "oci://"+host+"/charts", "--plain-http")
	m := pushedDigest.FindStringSubmatch(out)
	if m == nil {
		w.t.Fatalf("helm push: %s", out)
	}
	return host + "/charts/" + repo + "@" + m[1]
}

var longAgo = &packet.Config{Time: func() time.Time { return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) }, KeyLifetimeSecs: 3600}
