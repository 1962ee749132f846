package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	sslib "github.com/secure-systems-lab/go-securesystemslib/dsse"
	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/peers/helmrig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// hostileText is hostile as JSON and YAML can contain it.
var hostileText = strings.ToValidUTF8(hostile, "")

type jsonObject = map[string]any

func jsonOf(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func yamlOf(t *testing.T, v any) []byte {
	t.Helper()
	data, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// safely runs a command with human-readable and with JSON output, and checks
// both. It returns the exit code.
func safely(t *testing.T, args ...string) int {
	t.Helper()
	code := 0
	for _, args := range [][]string{args, append(args[:len(args):len(args)], "--json")} {
		ctx, cancel := context.WithTimeout(t.Context(), soak.Patience)
		var stdout, stderr bytes.Buffer
		code = run(ctx, args, strings.NewReader(""), &stdout, &stderr)
		cancel()
		checkSafe(t, args, stdout.String()+stderr.String())
		if stdout.Len()+stderr.Len() == 0 {
			t.Errorf("muniment %q prints nothing", args)
		}
	}
	return code
}

// hostileChart returns an archive whose folder and metadata are hostile.
func hostileChart(t *testing.T, metadata []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: hostileText + "/Chart.yaml", Mode: 0o600, Size: int64(len(metadata)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(metadata); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileCharts(t *testing.T) {
	soak.WithoutRace(t)
	t.Chdir(t.TempDir())
	signer := helmrig.NewEntity(t, strings.NewReplacer("\n", "", "(", "", ")", "").Replace(hostileText), "a@acme.example", nil)
	var keyring bytes.Buffer
	if err := signer.Serialize(&keyring); err != nil {
		t.Fatal(err)
	}
	writeFile(t, "keyring", keyring.Bytes())
	metadata := yamlOf(t, jsonObject{"name": hostileText, "version": hostileText, "maintainers": []any{jsonObject{"name": hostileText}}})
	chart := hostileChart(t, metadata)
	writeFile(t, "chart.tgz", chart)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(chart))
	signed := func(metadata, files string) {
		t.Helper()
		var b bytes.Buffer
		w, err := clearsign.Encode(&b, signer.PrivateKey, nil)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "%s\n\n...\n%s\n", metadata, files)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		writeFile(t, "chart.prov", b.Bytes())
	}
	files := func(name string, value any) string {
		return string(yamlOf(t, jsonObject{"files": jsonObject{name: value}}))
	}
	verify := func() int {
		return safely(t, "verify-chart", "chart.tgz", "--provenance", "chart.prov", "--keyring", "keyring")
	}
	signed(string(metadata), files(hostileText, digest))
	if code := verify(); code != term.ExitOK {
		t.Fatalf("exit code %d for a good signature", code)
	}
	for _, other := range [][2]string{
		{`{"name": "a", "version": "1"}`, files(hostileText, digest)},
		{string(metadata), files(hostileText, "sha256:"+strings.Repeat("0", 64))},
		{string(metadata), files(hostileText, hostileText)},
		{string(metadata), files(hostileText, []string{hostileText})},
		{string(metadata), files("a", jsonObject{hostileText: hostileText})},
		{string(yamlOf(t, jsonObject{"name": []string{hostileText}})), files("a", digest)},
		{string(yamlOf(t, []string{hostileText})), files("a", digest)},
		{"name: " + hostile, files("a", digest)},
		{string(metadata), "files: " + hostile},
	} {
		signed(other[0], other[1])
		if code := verify(); code != term.ExitNo {
			t.Errorf("exit code %d for %q", code, other)
		}
	}
	writeFile(t, "issuer.pub", publicPEM(t, newECDSA(t).Public()))
	for _, index := range []string{
		string(yamlOf(t, jsonObject{"chart": hostileText + "-" + hostileText, "provenance": "slsa-v1", "signature": "cosign:" + digest})),
		string(yamlOf(t, jsonObject{"chart": hostileText, "provenance": "slsa-v1", "signature": "cosign:" + digest})),
		string(yamlOf(t, jsonObject{"chart": "a", "provenance": hostileText, "signature": hostileText})),
		string(yamlOf(t, jsonObject{hostileText: "a"})),
		"chart: " + hostile,
	} {
		writeFile(t, "prov.yaml", []byte(index))
		safely(t, "verify-chart", "chart.tgz", "--index", "prov.yaml", "--bundles", ".", "--key", "issuer.pub", "--insecure-ignore-tlog")
	}
	for _, metadata := range []string{"name: " + hostile, "- " + hostile, `{"name": ["a"]}`, `{"version": "1"}`} {
		writeFile(t, "chart.tgz", hostileChart(t, []byte(metadata)))
		verify()
	}
	writeFile(t, "chart.tgz", []byte(hostile))
	verify()
	writeFile(t, "keyring", []byte(hostile))
	verify()
}

func newECDSA(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func publicPEM(t *testing.T, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// hostileBundle returns a bundle of a statement about a digest, whose names are
// hostile.
func hostileBundle(t *testing.T, key *ecdsa.PrivateKey, material jsonObject, digest string) []byte {
	t.Helper()
	const payloadType = "application/vnd.in-toto+json"
	payload := jsonOf(t, jsonObject{"_type": "https://in-toto.io/Statement/v1", "predicateType": hostileText,
		"subject": []any{jsonObject{"name": hostileText, "digest": jsonObject{"sha256": strings.TrimPrefix(digest, "sha256:")}}}, "predicate": jsonObject{hostileText: hostileText}})
	sum := sha256.Sum256(sslib.PAE(payloadType, payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return jsonOf(t, jsonObject{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material,
		"dsseEnvelope": jsonObject{"payloadType": payloadType, "payload": payload, "signatures": []jsonObject{{"sig": sig}}}})
}

// A hostileRegistry has one image with an attached bundle. Its other names and
// errors are hostile.
type hostileRegistry struct {
	manifests map[string][]byte // by tag and digest
	blobs     map[string][]byte
	failing   string // a part of paths that are answered with an error
	body      []byte // of the error
	status    int
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func (r *hostileRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name := req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:]
	data, ok := r.manifests[name]
	switch {
	case r.failing != "" && strings.Contains(req.URL.Path, r.failing):
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(r.status)
		_, _ = w.Write(r.body)
	case req.URL.Path == "/v2/":
	case strings.Contains(req.URL.Path, "/referrers/") && ok && name == digestOf(r.manifests["1"]):
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		_, _ = w.Write(r.manifests["referrers"])
	case strings.Contains(req.URL.Path, "/manifests/") && ok:
		var m struct{ MediaType string }
		_ = json.Unmarshal(data, &m)
		w.Header().Set("Content-Type", m.MediaType)
		_, _ = w.Write(data)
	case strings.Contains(req.URL.Path, "/blobs/") && r.blobs[name] != nil:
		_, _ = w.Write(r.blobs[name])
	default:
		http.Error(w, hostile, http.StatusNotFound)
	}
}

func newHostileRegistry(t *testing.T, key *ecdsa.PrivateKey) *hostileRegistry {
	t.Helper()
	const manifestType, indexType = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
	r := &hostileRegistry{manifests: map[string][]byte{}, blobs: map[string][]byte{}}
	annotations := jsonObject{hostileText: hostileText, "org.opencontainers.image.title": hostileText}
	put := func(manifest jsonObject) jsonObject {
		data := jsonOf(t, manifest)
		r.manifests[digestOf(data)] = data
		return jsonObject{"mediaType": manifest["mediaType"], "digest": digestOf(data), "size": len(data), "annotations": annotations, "artifactType": hostileText}
	}
	config := jsonObject{"mediaType": hostileText, "digest": "sha256:" + strings.Repeat("0", 64), "size": 1, "annotations": annotations}
	image := put(jsonObject{"mediaType": manifestType, "config": config, "layers": []any{}, "annotations": annotations})
	image["platform"] = jsonObject{"os": hostileText, "architecture": hostileText}
	index := put(jsonObject{"mediaType": indexType, "manifests": []any{image}, "annotations": annotations})
	r.manifests["1"] = r.manifests[index["digest"].(string)]
	bundle := hostileBundle(t, key, jsonObject{"publicKey": jsonObject{"hint": hostileText}}, index["digest"].(string))
	attached := func(mediaType string, data []byte) jsonObject {
		if data != nil {
			r.blobs[digestOf(data)] = data
		}
		return put(jsonObject{"mediaType": manifestType, "artifactType": hostileText, "config": config, "annotations": annotations,
			"layers": []any{jsonObject{"mediaType": mediaType, "digest": digestOf(data), "size": len(data), "annotations": annotations}}})
	}
	r.manifests["referrers"] = jsonOf(t, jsonObject{"mediaType": indexType, "annotations": annotations, "manifests": []any{
		attached("application/vnd.dev.sigstore.bundle.v0.3+json", bundle),
		attached("application/vnd.dev.sigstore.bundle.v0.3+json", []byte(hostile)),
		attached("application/vnd.dsse.envelope.v1+json", []byte(`{"payloadType":`+string(jsonOf(t, hostileText))+`}`)),
		attached("application/vnd.in-toto+json", jsonOf(t, jsonObject{"_type": hostileText})),
		attached("application/vnd.dev.cosign.simplesigning.v1+json", nil),
		attached(hostileText, []byte("x")),
		jsonObject{"mediaType": hostileText, "digest": hostileText, "annotations": hostileText},
	}})
	return r
}

func TestHostileRegistries(t *testing.T) {
	soak.WithoutRace(t)
	t.Chdir(t.TempDir())
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	key := newECDSA(t)
	writeFile(t, "issuer.pub", publicPEM(t, key.Public()))
	writeFile(t, "chart.tgz", hostileChart(t, yamlOf(t, jsonObject{"name": "a", "version": "1"})))
	writeFile(t, "prov.yaml", []byte("chart: a-1\nprovenance: slsa-v1\nsignature: cosign:sha256:"+strings.Repeat("1", 64)+"\n"))
	registry := newHostileRegistry(t, key)
	s := httptest.NewServer(registry)
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	image := func() int {
		return safely(t, "verify-image", host+"/app:1", "--key", "issuer.pub", "--insecure-ignore-tlog")
	}
	if code := image(); code != term.ExitOK {
		t.Fatalf("exit code %d, although an attached bundle verifies", code)
	}
	for status, body := range map[int][]byte{
		http.StatusForbidden:    jsonOf(t, jsonObject{"errors": []any{jsonObject{"code": hostileText, "message": hostileText, "detail": jsonObject{hostileText: []string{hostileText}}}}}),
		http.StatusUnauthorized: []byte(hostile),
		http.StatusConflict:     []byte("\n✓ FORGED\n"),
	} {
		for _, part := range []string{"/v2/", "/manifests/1", "/manifests/sha256", "/referrers/", "/blobs/"} {
			registry.failing, registry.status, registry.body = part, status, body
			image()
			if status == http.StatusForbidden {
				safely(t, "verify-chart", "chart.tgz", "--index", "prov.yaml", "--repository", "oci://"+host+"/app", "--key", "issuer.pub", "--insecure-ignore-tlog")
			}
		}
	}
	registry.failing = ""
	for _, text := range []string{hostile, `{"manifests":` + string(jsonOf(t, hostileText)) + `}`} {
		registry.manifests["referrers"] = []byte(text)
		image()
		registry.manifests["1"] = []byte(`{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":7,"x":` + string(jsonOf(t, hostileText)) + `}`)
		image()
	}
}

// hostileChain returns a certificate authority, and a certificate for the key
// whose names and extensions are hostile, both as DER.
func hostileChain(t *testing.T, key *ecdsa.PrivateKey) (authority, leaf []byte) {
	t.Helper()
	name := pkix.Name{CommonName: hostileText, Organization: []string{hostileText}}
	caKey := newECDSA(t)
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: name, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	authority, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	text := func(s, params string) []byte {
		der, err := asn1.MarshalWithParams(s, params)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	// A subject alternative name of Fulcio's type for user names.
	type otherName struct {
		ID    asn1.ObjectIdentifier
		Value string `asn1:"explicit,tag:0,utf8"`
	}
	other, err := asn1.MarshalWithParams(otherName{asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 7}, hostileText}, "tag:0")
	if err != nil {
		t.Fatal(err)
	}
	san, err := asn1.Marshal([]asn1.RawValue{{FullBytes: other}})
	if err != nil {
		t.Fatal(err)
	}
	extensions := []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: san}}
	for n := 8; n <= 22; n++ {
		extensions = append(extensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}, Value: text(hostileText, "utf8")})
	}
	leaf, err = x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: name, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, ExtraExtensions: extensions}, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	return authority, leaf
}

func TestHostileCertificates(t *testing.T) {
	soak.WithoutRace(t)
	t.Chdir(t.TempDir())
	key := newECDSA(t)
	authority, leaf := hostileChain(t, key)
	root := jsonObject{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "certificateAuthorities": []any{jsonObject{
		"subject": jsonObject{"organization": hostileText, "commonName": hostileText}, "uri": hostileText, "operator": hostileText,
		"certChain": jsonObject{"certificates": []any{jsonObject{"rawBytes": authority}}}, "validFor": jsonObject{"start": "2020-01-01T00:00:00Z"}}}}
	writeFile(t, "root.json", jsonOf(t, root))
	digest := digestOf([]byte("hello"))
	writeFile(t, "bundle.json", hostileBundle(t, key, jsonObject{"certificate": jsonObject{"rawBytes": leaf}}, digest))
	verify := func(more ...string) int {
		return safely(t, append([]string{"verify-bundle", digest, "--bundle", "bundle.json", "--trusted-root", "root.json", "--insecure-ignore-tlog", "--insecure-ignore-sct"}, more...)...)
	}
	if code := verify("--certificate-identity-regexp", ".", "--certificate-oidc-issuer-regexp", "."); code != term.ExitOK {
		t.Fatalf("exit code %d for a good signature", code)
	}
	verify("--certificate-identity", "a", "--certificate-oidc-issuer", "b")
	verify("--certificate-identity", hostileText, "--certificate-oidc-issuer", hostileText)
	verify("--certificate-identity", hostileText, "--certificate-oidc-issuer", hostileText, "--type", "https://example.com/"+hostileText)
	verify("--certificate-identity-regexp", "("+hostile, "--certificate-oidc-issuer", "b")
	if code := safely(t, "trusted-root", "inspect", "root.json"); code != term.ExitOK {
		t.Errorf("exit code %d for a trusted root", code)
	}
	for _, part := range []string{"mediaType", "certificateAuthorities", hostileText} {
		wrong := jsonObject{}
		for name, value := range root {
			wrong[name] = value
		}
		wrong[part] = hostileText
		writeFile(t, "root.json", jsonOf(t, wrong))
		safely(t, "trusted-root", "inspect", "root.json")
	}
	for i := range 40 { // damaged certificates
		damaged := bytes.Clone(leaf)
		damaged[i*len(leaf)/40] ^= 0x21
		writeFile(t, "bundle.json", hostileBundle(t, key, jsonObject{"certificate": jsonObject{"rawBytes": damaged}}, digest))
		verify("--certificate-identity", "a", "--certificate-oidc-issuer", "b")
	}
}

// Logs and witnesses that answer with hostile text make alerts, warnings and
// errors, which are safe to print.
func TestHostileAlerts(t *testing.T) {
	soak.WithoutRace(t)
	t.Chdir(t.TempDir())
	w := &workshop{t: t, replace: map[string]string{}}
	w.must("init data --origin ledger.example --tenant acme")
	answer := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, hostile)
	}
	status := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status != http.StatusOK {
			answer(w)
			return
		}
		fmt.Fprintf(w, "ledger.example\n1\n%s\n\n— %s AAAAAAAA\n", hostile, hostile)
	}))
	defer s.Close()
	for _, status = range []int{http.StatusOK, http.StatusConflict} {
		for name, format := range map[string]string{"a": "rekor-v2", hostileText: "rekor-v2", "b": hostileText} {
			writeFile(t, "monitor.yaml", jsonOf(t, jsonObject{"state": "state", "logs": []any{jsonObject{"name": name, "url": s.URL, "policy": "data/policy", "format": format, "identities": []string{hostileText}}}}))
			safely(t, "monitor", "monitor.yaml", "--once")
		}
		safely(t, "audit", s.URL, "--policy", "data/policy")
		safely(t, "mirror", s.URL, "--data", fmt.Sprint("mirror", status), "--policy", "data/policy", "--once")
		safely(t, "checkpoint", "--server", s.URL, "--token-file", "data/tokens/acme.token")
		safely(t, "trusted-root", "export", "--server", s.URL, "-o", "-")
	}
	// A witness that refuses checkpoints.
	w.must("witness init witness --name w.example")
	w.must("trust add-witness w " + strings.Fields(w.args("{witness}")[0])[0] + " " + s.URL + " --data data")
	ctx, cancel := context.WithTimeout(t.Context(), soak.Patience)
	defer cancel()
	var stdout bytes.Buffer
	stderr := &untilWarning{stop: cancel}
	run(ctx, []string{"serve", "--data", "data", "--listen", "127.0.0.1:0"}, strings.NewReader(""), &stdout, stderr)
	if !strings.Contains(stderr.String(), "level=WARN") {
		t.Errorf("the server does not warn of its witness:\n%s", stderr)
	}
	checkSafe(t, []string{"serve"}, stdout.String()+stderr.String())
}

// untilWarning stops a server when it warns of a witness.
type untilWarning struct {
	bytes.Buffer
	stop func()
}

func (w *untilWarning) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "level=WARN") && strings.Contains(string(p), "witness") {
		defer w.stop()
	}
	return w.Buffer.Write(p)
}
