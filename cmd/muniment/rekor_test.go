package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
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
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"muniment.dev/muniment/internal/peers/sigstorerig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

const predicateType = "https://example.com/p"

// A rekorRig is a private Sigstore of Fulcio, cosign, and our log with our
// timestamp authority.
type rekorRig struct {
	*sigstorerig.Rig
	t      *testing.T
	server *process
	data   string
}

func startRekorRig(t *testing.T) *rekorRig {
	t.Helper()
	r := &rekorRig{Rig: sigstorerig.Start(t, sigstorerig.Fulcio()), t: t, data: filepath.Join(t.TempDir(), "data")}
	r.muniment("init", r.data, "--origin", "ledger.example", "--tenant", "acme", "--rekor-origin", "127.0.0.1", "--tsa")
	r.start()
	r.writeFiles()
	return r
}

// WriteFiles writes the files that make Sigstore's clients use the server, as
// it is now.
func (r *rekorRig) writeFiles() {
	r.t.Helper()
	chain := r.fulcioChain()
	r.TrustedRoot, r.SigningConfig = filepath.Join(r.Dir, "our-root.json"), filepath.Join(r.Dir, "our-signing.json")
	r.muniment("trusted-root", "--server", r.server.rekor, "--fulcio-url", r.Fulcio, "--fulcio-chain", chain, "-o", r.TrustedRoot)
	r.muniment("signing-config", "--server", r.server.rekor, "--fulcio-url", r.Fulcio, "--oidc-url", r.Issuer.URL, "-o", r.SigningConfig)
}

func (r *rekorRig) start() {
	r.t.Helper()
	bin, err := exec.LookPath("muniment")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), soak.Patience)
	r.t.Cleanup(cancel)
	if r.server, err = startProcess(ctx, bin, "--data", r.data, "--rekor-listen", "127.0.0.1:0"); err != nil {
		r.t.Fatal(err)
	}
}

// stop ends the server as an operator would.
func (r *rekorRig) stop() {
	r.t.Helper()
	if err := r.server.stop(os.Interrupt); err != nil {
		r.t.Fatalf("%v\n%s", err, r.server.log)
	}
}

// muniment runs the program in r.Dir and returns its output.
func (r *rekorRig) muniment(args ...string) string {
	r.t.Helper()
	out, err := r.tryMuniment(args...)
	if err != nil {
		r.t.Fatalf("muniment %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (r *rekorRig) tryMuniment(args ...string) (string, error) {
	cmd := exec.Command("muniment", args...)
	cmd.Dir = r.Dir
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+r.Dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r *rekorRig) fulcioChain() string {
	r.t.Helper()
	res, err := http.Get(r.Fulcio + "/api/v1/rootCert")
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	chain, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		r.t.Fatalf("Fulcio's certificates: %s, %v", res.Status, err)
	}
	return r.WriteFile(r.t, "ca.pem", string(chain))
}

// A signer is a way to sign with cosign, with the flags that verify such
// signatures.
type signer struct {
	name  string
	sign  func() []string
	check []string // of cosign
	ours  []string // of verify-bundle
}

func (r *rekorRig) signers() []signer {
	private, public := r.GenerateKey(r.t, "k")
	identity := []string{"--certificate-identity", "ci@acme.example", "--certificate-oidc-issuer", r.Issuer.URL, "--insecure-ignore-sct"}
	return []signer{
		{"key", func() []string { return []string{"--key", private} }, []string{"--key", public}, []string{"--key", public}},
		{"keyless", func() []string { return []string{"--identity-token", r.Issuer.Email(r.t, "ci@acme.example")} }, identity, identity},
	}
}

// startRegistry returns the reference of an image in a registry that ends with
// the test.
func startRegistry(t *testing.T) name.Digest {
	t.Helper()
	quiet := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(quiet.Close)
	image, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(strings.TrimPrefix(quiet.URL, "http://") + "/acme/app@" + digest.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return ref
}

// The real cosign signs and attests a blob and an image with our log and our
// timestamp authority, by key and by certificate. All of it verifies after the
// server is gone, and no forgery does.
func TestCosignUsesOurLog(t *testing.T) {
	r := startRekorRig(t)
	image := startRegistry(t)
	blob := r.WriteFile(t, "a.txt", "hello\n")
	r.WriteFile(t, "p.json", `{"built":"here"}`)
	signers := r.signers()
	for _, s := range signers {
		with := func(args ...string) []string { return append(append(args, s.sign()...), r.Services()...) }
		r.Cosign(t, append(with("sign-blob", "--bundle", s.name+"-sign.json"), blob)...)
		r.Cosign(t, append(with("attest-blob", "--bundle", s.name+"-attest.json", "--predicate", "p.json", "--type", predicateType), blob)...)
		r.Cosign(t, append(with("sign"), image.String())...)
		r.Cosign(t, append(with("attest", "--predicate", "p.json", "--type", predicateType), image.String())...)
	}
	r.appendBundle("keyless-attest.json", blob)
	r.stop()

	for _, s := range signers {
		with := func(args ...string) []string {
			return append(append(args, s.check...), "--trusted-root", r.TrustedRoot)
		}
		r.Cosign(t, append(with("verify-blob", "--bundle", s.name+"-sign.json"), blob)...)
		r.Cosign(t, append(with("verify-blob-attestation", "--bundle", s.name+"-attest.json", "--type", predicateType), blob)...)
		r.Cosign(t, append(with("verify"), image.String())...)
		r.Cosign(t, append(with("verify-attestation", "--type", predicateType), image.String())...)
		r.verifyImage(image, s)
		signed, attested := s.name+"-sign.json", s.name+"-attest.json"
		for file, other := range map[string]string{signed: attested, attested: signed} {
			r.verifyBundle(file, blob, s)
			for name, forged := range forgeries(t, filepath.Join(r.Dir, file), filepath.Join(r.Dir, other)) {
				r.refuseForgery(file+", "+name, forged, blob, s)
			}
		}
	}
}

// verifyBundle verifies with this program and with sigstore-go.
func (r *rekorRig) verifyBundle(file, blob string, s signer) {
	r.t.Helper()
	r.muniment(append([]string{"verify-bundle", "--bundle", file, "--trusted-root", r.TrustedRoot, blob}, s.ours...)...)
	if s.name == "keyless" {
		if err := r.sigstoreGo(filepath.Join(r.Dir, file), blob); err != nil {
			r.t.Errorf("%s: sigstore-go: %v", file, err)
		}
	}
}

// verifyImage finds the image's attachments with verify-image, and verifies
// each bundle again from its file, offline.
func (r *rekorRig) verifyImage(image name.Digest, s signer) {
	r.t.Helper()
	dir := filepath.Join(r.Dir, s.name+"-image")
	r.muniment(append([]string{"verify-image", image.String(), "--plain-http", "--trusted-root", r.TrustedRoot, "--type", predicateType, "--save", dir}, s.ours...)...)
	bundles, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(bundles) == 0 {
		r.t.Fatalf("%s: verify-image saved no bundle: %v", s.name, err)
	}
	for _, b := range bundles {
		r.muniment(append([]string{"verify-bundle", "--bundle", b, "--trusted-root", r.TrustedRoot, image.DigestStr()}, s.ours...)...)
		other := "sha256:" + strings.Repeat("0", 64)
		if out, err := r.tryMuniment(append([]string{"verify-bundle", "--bundle", b, "--trusted-root", r.TrustedRoot, other}, s.ours...)...); exitCode(err) != term.ExitNo {
			r.t.Errorf("%s: its bundle verifies for another image: %v\n%s", s.name, err, out)
		}
	}
}

// The Rekor log's key is changed: bundles of before and after verify under one
// trusted root, which has both keys with the times for which they are good.
func TestRekorKeyRotation(t *testing.T) {
	r := startRekorRig(t)
	blob := r.WriteFile(t, "a.txt", "hello\n")
	for _, s := range r.signers() {
		sign := func(file string) {
			t.Helper()
			args := append(append([]string{"sign-blob", "--bundle", file}, s.sign()...), r.Services()...)
			r.Cosign(t, append(args, blob)...)
		}
		before, after := s.name+"-before.json", s.name+"-after.json"
		sign(before)
		r.stop()
		r.muniment("keys", "rotate", "--rekor", "--data", r.data)
		r.start()
		r.writeFiles()
		sign(after)
		root, err := os.ReadFile(r.TrustedRoot)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{before, after} {
			r.Cosign(t, append(append([]string{"verify-blob", "--bundle", file, "--trusted-root", r.TrustedRoot}, s.check...), blob)...)
			r.verifyBundle(file, blob, s)
		}
		if n := strings.Count(string(root), `"keyDetails"`); n < 2 {
			t.Errorf("the trusted root has %d keys", n)
		}
	}
	r.stop()
}

func (r *rekorRig) refuseForgery(what string, forged []byte, blob string, s signer) {
	r.t.Helper()
	file := r.WriteFile(r.t, "forged.json", string(forged))
	check := append(append([]string{"verify-blob", "--bundle", file}, s.check...), "--trusted-root", r.TrustedRoot, blob)
	if strings.Contains(what, "attest") {
		check[0] = "verify-blob-attestation"
		check = append(check, "--type", predicateType)
	}
	if out, err := r.TryCosign(check...); err == nil {
		r.t.Errorf("%s: cosign takes it:\n%s", what, out)
	}
	if out, err := r.tryMuniment(append([]string{"verify-bundle", "--bundle", file, "--trusted-root", r.TrustedRoot, blob}, s.ours...)...); exitCode(err) != term.ExitNo {
		r.t.Errorf("%s: verify-bundle: %v\n%s", what, err, out)
	}
	if s.name == "keyless" {
		if err := r.sigstoreGo(file, blob); err == nil {
			r.t.Errorf("%s: sigstore-go takes it", what)
		}
	}
}

func exitCode(err error) int {
	if ee, ok := err.(*exec.ExitError); ok {
		return ee.ExitCode()
	}
	return 0
}

// sigstoreGo verifies a keyless bundle with the library, as any Go program
// would.
func (r *rekorRig) sigstoreGo(file, blob string) error {
	b, err := bundle.LoadJSONFromPath(file)
	if err != nil {
		return err
	}
	trusted, err := root.NewTrustedRootFromPath(r.TrustedRoot)
	if err != nil {
		return err
	}
	v, err := verify.NewVerifier(trusted, verify.WithTransparencyLog(1), verify.WithSignedTimestamps(1))
	if err != nil {
		return err
	}
	id, err := verify.NewShortCertificateIdentity(r.Issuer.URL, "", "ci@acme.example", "")
	if err != nil {
		return err
	}
	artifact, err := os.Open(blob)
	if err != nil {
		return err
	}
	defer artifact.Close()
	_, err = v.Verify(b, verify.NewPolicy(verify.WithArtifact(artifact), verify.WithCertificateIdentity(id)))
	return err
}

// forgeries returns bundles whose log entry does not prove its claim. other is
// another valid bundle. The proof's own root hash and the canonical body are
// not changed: verifiers ignore them, and use the root of the signed checkpoint
// and a body made from the bundle.
func forgeries(t *testing.T, path, other string) map[string][]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	forge := func(f func(entry, proof map[string]any)) []byte {
		var b map[string]any
		if err := json.Unmarshal(data, &b); err != nil {
			t.Fatal(err)
		}
		entry := b["verificationMaterial"].(map[string]any)["tlogEntries"].([]any)[0].(map[string]any)
		f(entry, entry["inclusionProof"].(map[string]any))
		out, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	// flip changes one character of base64 at the front, where each bit counts.
	flip := func(v any) string {
		s := v.(string)
		if s[0] == 'A' {
			return "B" + s[1:]
		}
		return "A" + s[1:]
	}
	out := map[string][]byte{
		"the entry of another bundle": forge(func(entry, _ map[string]any) {
			clear(entry)
			maps.Copy(entry, readEntry(t, other))
		}),
		"no checkpoint": forge(func(_, proof map[string]any) { delete(proof, "checkpoint") }),
		"another checkpoint root": forge(func(_, proof map[string]any) {
			c := proof["checkpoint"].(map[string]any)
			lines := strings.Split(c["envelope"].(string), "\n")
			lines[2] = flip(lines[2])
			c["envelope"] = strings.Join(lines, "\n")
		}),
		"another origin": forge(func(_, proof map[string]any) {
			c := proof["checkpoint"].(map[string]any)
			c["envelope"] = strings.ReplaceAll(c["envelope"].(string), "127.0.0.1", "127.0.0.2")
		}),
		"no proof": forge(func(entry, _ map[string]any) { delete(entry, "inclusionProof") }),
		"no entry's log": forge(func(entry, _ map[string]any) {
			entry["logId"] = map[string]any{"keyId": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
		}),
	}
	if hashes, ok := readEntry(t, path)["inclusionProof"].(map[string]any)["hashes"].([]any); ok && len(hashes) > 0 {
		out["another hash in the path"] = forge(func(_, proof map[string]any) {
			hashes := proof["hashes"].([]any)
			hashes[0] = flip(hashes[0])
		})
		out["a hash missing in the path"] = forge(func(_, proof map[string]any) { proof["hashes"] = proof["hashes"].([]any)[1:] })
		out["another index"] = forge(func(entry, proof map[string]any) { entry["logIndex"], proof["logIndex"] = "0", "0" })
	}
	return out
}

// readEntry returns the log entry of a bundle.
func readEntry(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b struct {
		VerificationMaterial struct {
			TlogEntries []map[string]any `json:"tlogEntries"`
		} `json:"verificationMaterial"`
	}
	if err := json.Unmarshal(data, &b); err != nil || len(b.VerificationMaterial.TlogEntries) != 1 {
		t.Fatalf("%s: %v, %d log entries", path, err, len(b.VerificationMaterial.TlogEntries))
	}
	return b.VerificationMaterial.TlogEntries[0]
}

// appendBundle records a bundle as evidence, and finds it again by the digest
// of the signed artifact.
func (r *rekorRig) appendBundle(file, blob string) {
	r.t.Helper()
	token := []string{"--server", r.server.url, "--token-file", filepath.Join(r.data, "tokens", "acme.token")}
	r.muniment(append([]string{"append", file, "--receipt-dir", "receipts"}, token...)...)
	// of "hello\n"
	const digest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
	found := r.muniment(append([]string{"list", "--subject", digest, "--json"}, token...)...)
	if n := strings.Count(found, "\n"); n != 1 || !strings.Contains(found, predicateType) {
		r.t.Errorf("search by %s: %d entries:\n%s", digest, n, found)
	}
	receipts, err := filepath.Glob(filepath.Join(r.Dir, "receipts", "*"))
	if err != nil || len(receipts) != 1 {
		r.t.Fatalf("receipts: %v, %v", receipts, err)
	}
	out := r.muniment("verify", receipts[0], "--payload", file, "--policy", filepath.Join(r.data, "policy"), "--tenant", "acme", "--subject", digest)
	if !strings.Contains(out, "VERIFIED") {
		r.t.Error(out)
	}
}
