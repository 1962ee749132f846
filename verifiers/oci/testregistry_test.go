package oci

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/evidence"
	"muniment.dev/muniment/verifiers/sigstore"
)

// registries are the ones that everything is tried with: one lists referrers
// itself, the other leaves it to a tag.
var registries = map[string]struct {
	start  func(t *testing.T) string
	source Source
}{
	"with referrers": {startReferrers, SourceReferrers},
	"distribution":   {startDistribution, SourceReferrersTag},
}

func startReferrers(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// startDistribution runs the registry of the distribution project.
func startDistribution(t *testing.T) string {
	t.Helper()
	bin, dir := peers.Path(t, "registry"), t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: \"127.0.0.1:0\"}\n", dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, "serve", config)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var said strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		fmt.Fprintln(&said, lines.Text())
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
			return m[1]
		}
	}
	t.Fatalf("the registry did not start:\n%s", said.String())
	return ""
}

// pushImage pushes an image and returns its reference by digest.
func pushImage(t *testing.T, host, repo string) string {
	t.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	return push(t, host, repo, img)
}

func push(t *testing.T, host, repo string, what any) string {
	t.Helper()
	tag, err := name.NewTag(host + "/" + repo + ":latest")
	if err != nil {
		t.Fatal(err)
	}
	var digest v1.Hash
	switch what := what.(type) {
	case v1.Image:
		if err = remote.Write(tag, what); err == nil {
			digest, err = what.Digest()
		}
	case v1.ImageIndex:
		if err = remote.WriteIndex(tag, what); err == nil {
			digest, err = what.Digest()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return tag.Context().Digest(digest.String()).String()
}

// pushIndex pushes an index of images for the platforms, and returns its
// reference and those of the images.
func pushIndex(t *testing.T, host, repo string, platforms ...string) (string, []string) {
	t.Helper()
	index := mutate.IndexMediaType(mutate.AppendManifests(emptyIndex()), "application/vnd.oci.image.index.v1+json")
	var images []string
	for _, p := range platforms {
		img, err := random.Image(64, 1)
		if err != nil {
			t.Fatal(err)
		}
		platform, err := v1.ParsePlatform(p)
		if err != nil {
			t.Fatal(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}})
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, host+"/"+repo+"@"+digest.String())
	}
	return push(t, host, repo, index), images
}

// A cosigner is the real cosign with its own key and folder.
type cosigner struct {
	t        *testing.T
	bin, dir string
}

const provenance = `{"buildDefinition":{"buildType":"https://example.com/build/v1","externalParameters":{"ref":"main"}},"runDetails":{"builder":{"id":"https://example.com/ci"}}}`

func newCosigner(t *testing.T) *cosigner {
	t.Helper()
	c := &cosigner{t, peers.Path(t, "cosign"), t.TempDir()}
	for file, text := range map[string]string{"prov.json": provenance, "sc.json": `{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json"}`} {
		if err := os.WriteFile(filepath.Join(c.dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.run("generate-key-pair")
	return c
}

func (c *cosigner) run(args ...string) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), c.bin, args...)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), "COSIGN_PASSWORD=", "HOME="+c.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// attest attaches SLSA provenance as today's cosign does, and attestOld as it
// did before bundles.
func (c *cosigner) attest(ref string) {
	c.t.Helper()
	c.run("attest", "--yes", "--key", "cosign.key", "--signing-config", "sc.json", "--type", "slsaprovenance1", "--predicate", "prov.json", ref)
}

func (c *cosigner) attestOld(ref string) {
	c.t.Helper()
	c.run("attest", "--yes", "--key", "cosign.key", "--use-signing-config=false", "--new-bundle-format=false", "--tlog-upload=false", "--type", "slsaprovenance1", "--predicate", "prov.json", ref)
}

func (c *cosigner) signOld(ref string) {
	c.t.Helper()
	c.run("sign", "--yes", "--key", "cosign.key", "--use-signing-config=false", "--new-bundle-format=false", "--tlog-upload=false", ref)
}

// criteria accept signatures by the cosigner's key, without a log.
func (c *cosigner) criteria() Criteria {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "cosign.pub"))
	if err != nil {
		c.t.Fatal(err)
	}
	k, err := dsse.ParseKey("cosign.pub", text)
	if err != nil {
		c.t.Fatal(err)
	}
	return keyCriteria(c.t, k)
}

func keyCriteria(t *testing.T, k *dsse.Key) Criteria {
	t.Helper()
	need := sigstore.Requirements{LogEntries: sigstore.None, Timestamps: sigstore.None, SCTs: sigstore.None}
	return Criteria{Signer: &evidence.Signer{Keys: []*dsse.Key{k}, Threshold: 1, Need: need}}
}

func verify(t *testing.T, ref string, c Criteria) *Report {
	t.Helper()
	r, err := Open(ref, Options{})
	if err != nil {
		t.Fatal(err)
	}
	report, err := Verify(t.Context(), r, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}
