package chartindex

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"muniment.dev/muniment/internal/peers/helmrig"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/helm"
	"muniment.dev/muniment/verifiers/sigstore"
)

// A workshop also signs with cosign, and pushes charts to a registry.
type workshop struct{ *helmrig.Workshop }

func newWorkshop(t *testing.T) *workshop { return &workshop{helmrig.New(t)} }

func (w *workshop) archive(name string) *helm.Archive {
	w.T.Helper()
	a, err := helm.ReadArchive(bytes.NewReader(w.Read(name)))
	if err != nil {
		w.T.Fatal(err)
	}
	return a
}

// cosignKey makes cosign's key pair, and returns a signer that needs no log
// entries.
func (w *workshop) cosignKey() *evidence.Signer {
	w.T.Helper()
	w.Run("cosign", "generate-key-pair")
	w.Write("sc.json", []byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`))
	w.Write("prov.json", []byte(`{"buildDefinition":{"buildType":"https://example.com/build/v1","externalParameters":{}},"runDetails":{"builder":{"id":"https://example.com/ci"}}}`))
	k, err := dsse.ParseKey("cosign.pub", w.Read("cosign.pub"))
	if err != nil {
		w.T.Fatal(err)
	}
	return &evidence.Signer{Keys: []*dsse.Key{k}, Threshold: 1, Need: sigstore.Requirements{LogEntries: sigstore.None, Timestamps: sigstore.None, SCTs: sigstore.None}}
}

func startRegistry(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

var pushedDigest = regexp.MustCompile(`Digest: (sha256:[0-9a-f]{64})`)

// push pushes an archive with helm, and returns the reference of its manifest.
func (w *workshop) push(host, archive, repo string) string {
	w.T.Helper()
	out := w.Run("helm", "push", archive, "oci://"+host+"/charts", "--plain-http")
	m := pushedDigest.FindStringSubmatch(out)
	if m == nil {
		w.T.Fatalf("helm push: %s", out)
	}
	return host + "/charts/" + repo + "@" + m[1]
}
