package main

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/sigstorerig"
	"muniment.dev/muniment/internal/term"
)

// TestKeylessGate signs and attests an image and a chart in a registry with
// the identity of a CI job. Stock cosign verifies both, and the gate passes
// them, also where it requires a bundle that the job has signed. What another
// job has attested is blocked.
func TestKeylessGate(t *testing.T) {
	if testing.Short() {
		t.Skip("make test runs it, with a private Sigstore")
	}
	rig := sigstorerig.Start(t, sigstorerig.Fulcio(), sigstorerig.TSA(), sigstorerig.Rekor())
	rig.WriteFile(t, "prov.json", `{"buildDefinition":{"buildType":"https://acme.example/build","externalParameters":{"ref":"main"}},"runDetails":{"builder":{"id":"https://acme.example/builder"}}}`)
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	const job = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"

	c := newCompany(t, "keyless")
	c.must("trusted-root", "update", "--data", c.data, "--name", "ours", "--from", rig.TrustedRoot)
	c.startLog()
	flags := []string{"--server", c.log.url, "--token-file", filepath.Join(c.data, "tokens", "acme.token")}
	signer := "{identity_regexp: 'https://github\\.com/%s/app/\\.github/workflows/release\\.yml@refs/heads/main', issuer: '" + rig.Issuer.CI + "'%s}"
	policy := rig.WriteFile(t, "policy.yaml", fmt.Sprintf(`version: 1
mode: enforce
signers:
  release: %s
  other: %s
rules:
  - {name: attested, kinds: [attestation], signers: [release, other]}
  - {name: events, kinds: [control, control-set], unsigned: true}
`, fmt.Sprintf(signer, "acme", ", trusted_root: ours, require: {scts: 0}"), fmt.Sprintf(signer, "mallory", ", trusted_root: ours, require: {scts: 0}")))
	controls := rig.WriteFile(t, "controls.yaml", fmt.Sprintf(`version: "1"
stages: [deploy, promote]
signers:
  release: %s
controls:
  - id: BUILD
    title: The release job has built it
    severity: high
    check: {require: [{name: build, predicate_types: ["https://slsa.dev/provenance/*"], signers: [release]}]}
    modes: [{stage: deploy, mode: enforce}]
  - id: BUNDLED
    title: The release job has bundled its evidence
    severity: high
    check: {require: [{name: bundle, predicate_types: ["https://muniment.dev/evidence-bundle/v1"], signers: [release]}]}
    modes: [{stage: promote, mode: enforce}]
`, fmt.Sprintf(signer, "acme", "")))
	c.must(append([]string{"policy", "set", policy, "--reason", "releases"}, flags...)...)
	c.must(append([]string{"control", "apply", controls}, flags...)...)

	for what, push := range map[string]func(repository string) string{"image": pushRandomImage(t, host), "chart": pushChart(t, host)} {
		for by, pass := range map[string]bool{"acme": true, "mallory": false} {
			t.Run(what+" by "+by, func(t *testing.T) {
				ref := push(by)
				rig.Cosign(t, append([]string{"sign", "--identity-token", rig.Issuer.Job(t, by+"/app"), ref}, rig.Services()...)...)
				rig.Cosign(t, append([]string{"attest", "--identity-token", rig.Issuer.Job(t, by+"/app"), "--type", "slsaprovenance1", "--predicate", "prov.json", ref}, rig.Services()...)...)
				stock := []string{"--trusted-root", rig.TrustedRoot, "--insecure-ignore-sct", "--certificate-identity", job, "--certificate-oidc-issuer", rig.Issuer.CI, ref}
				for _, verify := range [][]string{{"verify"}, {"verify-attestation", "--type", "slsaprovenance1"}} {
					if out, err := rig.TryCosign(append(verify, stock...)...); (err == nil) != pass {
						t.Errorf("cosign %s: %v\n%s", verify[0], err, out)
					}
				}
				c.must(append([]string{"append", "--from-oci", ref, "--no-receipts"}, flags...)...)
				c.bundleKeyless(rig, ref, by, flags)
				for _, stage := range []string{"deploy", "promote"} {
					out, code := c.run(append([]string{"gate", ref, "--stage", stage}, flags...)...)
					if want := map[bool]int{true: 0, false: term.ExitNo}[pass]; code != want {
						t.Errorf("gate at %s: exit code %d, want %d:\n%s", stage, code, want, out)
					}
				}
			})
		}
	}
}

// bundleKeyless records a bundle of the evidence about an artifact, which
// cosign signs with the identity of a job, twice.
func (c *company) bundleKeyless(rig *sigstorerig.Rig, ref, by string, flags []string) {
	t := c.t
	t.Helper()
	bundle := filepath.Join(t.TempDir(), by+".bundle.tar")
	create := append([]string{"bundle", "create", "--subject", ref, "-o", bundle}, flags...)
	c.must(create...)
	rig.WriteFile(t, "statement.json", c.must("bundle", "show", bundle, "--statement"))
	rig.Cosign(t, append([]string{"attest-blob", "--yes", "--identity-token", rig.Issuer.Job(t, by+"/app"), "--statement", "statement.json", "--bundle", bundle + ".sigstore.json"}, rig.Services()...)...)
	create = append(create, "--record")
	if out := c.must(create...); !strings.Contains(out, "recorded  in entry") || strings.Contains(out, "already") {
		t.Errorf("the signature is not recorded:\n%s", out)
	}
	if out := c.must(create...); !strings.Contains(out, "already before") {
		t.Errorf("the signature is recorded twice:\n%s", out)
	}
}

func pushRandomImage(t *testing.T, host string) func(string) string {
	return func(repository string) string {
		ref, err := name.NewTag(host + "/images/" + repository + ":1")
		if err != nil {
			t.Fatal(err)
		}
		image, err := random.Image(64, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image); err != nil {
			t.Fatal(err)
		}
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return ref.Context().Digest(digest.String()).String()
	}
}

func pushChart(t *testing.T, host string) func(string) string {
	return func(repository string) string {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "gateway"), 0o700); err != nil {
			t.Fatal(err)
		}
		// the description makes the archives differ
		if err := os.WriteFile(filepath.Join(dir, "gateway", "Chart.yaml"), []byte("apiVersion: v2\nname: gateway\nversion: 1.7.0\ndescription: by "+repository+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"package", "gateway"}, {"push", "gateway-1.7.0.tgz", "oci://" + host + "/charts/" + repository, "--plain-http"}} {
			cmd := exec.CommandContext(t.Context(), peers.Path(t, "helm"), args...)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir, "XDG_DATA_HOME="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("helm %s: %v\n%s", args[0], err, out)
			}
		}
		ref, err := name.NewTag(host + "/charts/" + repository + "/gateway:1.7.0")
		if err != nil {
			t.Fatal(err)
		}
		head, err := remote.Head(ref)
		if err != nil {
			t.Fatal(err)
		}
		return ref.Context().Digest(head.Digest.String()).String()
	}
}
