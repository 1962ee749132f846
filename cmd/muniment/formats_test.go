package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocimutate "github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"

	"muniment.dev/muniment/internal/peers"
)

// peer NAME args...: runs the real cosign or helm.
func peerScript(ts *testscript.TestScript, neg bool, args []string) {
	bin, err := peers.Find(args[0])
	ts.Check(err)
	if err := ts.Exec(bin, args[1:]...); neg != (err != nil) {
		ts.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
}

// registry [distribution]: starts one with an image and an index of two
// platforms in it. It sets REGISTRY, IMAGE and INDEX (by tag), DIGEST (of the
// image), AMD64 and ARM64. The registry has the API for referrers, except that
// of the distribution project.
func registryScript(ts *testscript.TestScript, neg bool, args []string) {
	host := ""
	if len(args) == 1 && args[0] == "distribution" {
		host = startDistribution(ts)
	} else {
		s := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
		ts.Defer(s.Close)
		host = strings.TrimPrefix(s.URL, "http://")
	}
	ts.Setenv("REGISTRY", host)
	tag, err := name.NewTag(host + "/app:1.7.0")
	ts.Check(err)
	image, err := random.Image(64, 1)
	ts.Check(err)
	ts.Check(remote.Write(tag, image))
	digest, err := image.Digest()
	ts.Check(err)
	ts.Setenv("IMAGE", tag.String())
	ts.Setenv("DIGEST", digest.String())
	tag, err = name.NewTag(host + "/multi:1.7.0")
	ts.Check(err)
	index := ocimutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := random.Image(64, 1)
		ts.Check(err)
		digest, err := image.Digest()
		ts.Check(err)
		index = ocimutate.AppendManifests(index, ocimutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		ts.Setenv(strings.ToUpper(arch), digest.String())
	}
	ts.Check(remote.WriteIndex(tag, index))
	ts.Setenv("INDEX", tag.String())
}

// startDistribution runs the registry of the distribution project until the
// script ends, and returns its host.
func startDistribution(ts *testscript.TestScript) string {
	ports, err := peers.FreePorts(1)
	ts.Check(err)
	host := "127.0.0.1:" + ports[0]
	dir := ts.MkAbs("distribution")
	ts.Check(os.MkdirAll(dir, 0o700))
	config := filepath.Join(dir, "config.yml")
	ts.Check(os.WriteFile(config, []byte(fmt.Sprintf("version: 0.1\nlog: {level: warn}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", dir, host)), 0o600))
	p, err := peers.Program{Name: "registry", Args: []string{"serve", config}, Dir: dir, Probe: "http://" + host + "/v2/"}.Start(context.Background())
	ts.Check(err)
	ts.Defer(p.Stop)
	return host
}

// filehost DIR: serves the files of a folder over HTTP until the script ends,
// and sets FILEHOST to the URL.
func fileHostScript(ts *testscript.TestScript, neg bool, args []string) {
	s := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[0]))))
	ts.Defer(s.Close)
	ts.Setenv("FILEHOST", s.URL)
}

// attach REF MEDIATYPE FILE: attaches a file to a manifest, as a referrer.
// FILE can be missing, for a layer that the registry does not have.
func attachScript(ts *testscript.TestScript, neg bool, args []string) {
	ref, err := name.ParseReference(args[0])
	ts.Check(err)
	subject, err := remote.Head(ref)
	ts.Check(err)
	data := []byte("missing")
	if args[2] != "missing" {
		data = []byte(ts.ReadFile(args[2]))
	}
	layer := static.NewLayer(data, types.MediaType(args[1]))
	image, err := ocimutate.AppendLayers(ocimutate.ConfigMediaType(ocimutate.MediaType(empty.Image, types.OCIManifestSchema1), types.MediaType(args[1])), layer)
	ts.Check(err)
	referrer := ocimutate.Subject(image, *subject).(v1.Image)
	digest, err := referrer.Digest()
	ts.Check(err)
	at := ref.Context().Digest(digest.String())
	if args[2] != "missing" {
		ts.Check(remote.Write(at, referrer))
		return
	}
	config, err := partial.ConfigLayer(referrer)
	ts.Check(err)
	ts.Check(remote.WriteLayer(ref.Context(), config))
	ts.Check(remote.Put(at, referrer))
}

// envelope FILE PAYLOAD KEY...: signs a payload with new keys, whose public
// halves it writes to KEY.pub. A key that exists is used again.
func envelopeScript(ts *testscript.TestScript, neg bool, args []string) {
	payload := ts.ReadFile(args[1])
	pae := sslib.PAE("application/vnd.in-toto+json", []byte(payload))
	e := sslib.Envelope{PayloadType: "application/vnd.in-toto+json", Payload: base64.StdEncoding.EncodeToString([]byte(payload))}
	for i, key := range args[2:] {
		var public any
		var sig []byte
		if i%2 == 0 {
			pub, private, err := ed25519.GenerateKey(rand.Reader)
			ts.Check(err)
			public, sig = pub, ed25519.Sign(private, pae)
		} else {
			private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			ts.Check(err)
			sum := sha256.Sum256(pae)
			sig, err = ecdsa.SignASN1(rand.Reader, private, sum[:])
			ts.Check(err)
			public = &private.PublicKey
		}
		der, err := x509.MarshalPKIXPublicKey(public)
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(key+".pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
		e.Signatures = append(e.Signatures, sslib.Signature{KeyID: key, Sig: base64.StdEncoding.EncodeToString(sig)})
	}
	data, err := json.Marshal(e)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

// pgpkey NAME: writes the secret key of a new PGP identity to NAME.sec, its
// public key to NAME.gpg and in armor to NAME.asc, and its fingerprint to
// NAME.fpr.
func pgpKeyScript(ts *testscript.TestScript, neg bool, args []string) {
	e, err := openpgp.NewEntity(args[0], "", args[0]+"@acme.example", nil)
	ts.Check(err)
	var secret, public bytes.Buffer
	ts.Check(e.SerializePrivate(&secret, nil))
	ts.Check(e.Serialize(&public))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".sec"), secret.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".gpg"), public.Bytes(), 0o600))
	var armored bytes.Buffer
	w, err := armor.Encode(&armored, openpgp.PublicKeyType, nil)
	ts.Check(err)
	_, err = w.Write(public.Bytes())
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".asc"), append(armored.Bytes(), '\n'), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".fpr"), fmt.Appendf(nil, "%x", e.PrimaryKey.Fingerprint), 0o600))
}

// digestof FILE NAME: puts sha256: and the file's digest into an environment
// variable.
func digestOfScript(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv(args[1], fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(ts.ReadFile(args[0])))))
}

// remotedigest REFERENCE NAME: puts the digest of what a registry has into an
// environment variable.
func remoteDigestScript(ts *testscript.TestScript, neg bool, args []string) {
	ref, err := name.ParseReference(args[0])
	ts.Check(err)
	d, err := remote.Head(ref)
	ts.Check(err)
	ts.Setenv(args[1], d.Digest.String())
}

// pipe FILE command...: runs the program with the file as its standard input.
func pipeScript(ts *testscript.TestScript, neg bool, args []string) {
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Dir, cmd.Stdin = ts.MkAbs("."), strings.NewReader(ts.ReadFile(args[0]))
	out, err := cmd.CombinedOutput()
	ts.Logf("%s", out)
	if neg != (err != nil) {
		ts.Fatalf("%s: %v", strings.Join(args[1:], " "), err)
	}
}
