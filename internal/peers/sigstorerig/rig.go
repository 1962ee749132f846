// Package sigstorerig runs a private Sigstore on loopback for tests and for
// releases that are not published: an OIDC
// issuer, a certificate authority (Fulcio), a timestamp authority, a
// transparency log (Rekor v2 or any log with its API), and cosign for signing.
// All except the issuer are the real programs.
//
// There is no certificate transparency log, so certificates have no SCTs.
package sigstorerig

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/rekorpeer"
)

// A Rig is a running Sigstore.
type Rig struct {
	Dir           string // for the signer's files; cosign runs here
	TrustedRoot   string // path
	SigningConfig string // path

	Issuer *Issuer // nil without Fulcio
	Fulcio string  // URLs; "" for missing parts
	TSA    string
	Log    string

	cosign string
	own    string // folder of the services' files
	ctx    context.Context
	stops  []func()
}

// A Part is an optional part of a Rig.
type Part func(*config)

type config struct {
	fulcio, tsa, rekor bool
	log                *Log
}

// Fulcio adds the certificate authority, and the OIDC issuer that it trusts.
func Fulcio() Part { return func(c *config) { c.fulcio = true } }

// TSA adds the timestamp authority.
func TSA() Part { return func(c *config) { c.tsa = true } }

// Rekor adds the Rekor v2 server as the transparency log.
func Rekor() Part { return func(c *config) { c.rekor = true } }

// A Log is a running transparency log.
type Log struct {
	URL       string // base URL; its host is the checkpoint's origin
	PublicKey string // path of the PEM file
}

// WithLog uses a running log.
func WithLog(l Log) Part { return func(c *config) { c.log = &l } }

// Start starts the parts and writes a signing config and trusted root for
// cosign. They stop at the end of the test.
func Start(t testing.TB, parts ...Part) *Rig {
	t.Helper()
	r, err := Run(context.Background(), t.TempDir(), t.TempDir(), parts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// Run is Start for programs that are not tests. Files of the services are in
// own, and dir is for those of the signer. The caller must stop the result.
func Run(ctx context.Context, dir, own string, parts ...Part) (*Rig, error) {
	var c config
	for _, p := range parts {
		p(&c)
	}
	r := &Rig{Dir: dir, ctx: ctx, own: own}
	if err := r.start(c); err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

// Stop stops all parts, the last one first.
func (r *Rig) Stop() {
	for _, stop := range slices.Backward(r.stops) {
		stop()
	}
	r.stops = nil
}

func (r *Rig) start(c config) (err error) {
	if r.cosign, err = peers.Find("cosign"); err != nil {
		return err
	}
	root := []string{"trusted-root", "create"}
	signing := []string{"signing-config", "create"}
	const since = "start-time=2024-01-01T00:00:00Z"
	service := func(flag, url string, version int) {
		signing = append(signing, fmt.Sprintf("--%s=url=%s,api-version=%d,%s,operator=rig", flag, url, version, since))
	}
	if c.fulcio {
		chain, err := r.startFulcio()
		if err != nil {
			return err
		}
		service("fulcio", r.Fulcio, 1)
		service("oidc-provider", r.Issuer.URL, 1)
		root = append(root, fmt.Sprintf("--fulcio=url=%s,certificate-chain=%s,%s", r.Fulcio, chain, since))
	}
	if c.rekor {
		if c.log, err = r.startRekor(); err != nil {
			return err
		}
	}
	if c.log != nil {
		r.Log = c.log.URL
		u, err := url.Parse(c.log.URL)
		if err != nil {
			return err
		}
		service("rekor", r.Log, 2)
		signing = append(signing, "--rekor-config=ANY")
		root = append(root, fmt.Sprintf("--rekor=url=%s,public-key=%s,%s,origin=%s", r.Log, c.log.PublicKey, since, u.Hostname()))
	}
	if c.tsa {
		chain, err := r.startTSA()
		if err != nil {
			return err
		}
		service("tsa", r.TSA, 1)
		signing = append(signing, "--tsa-config=ANY")
		root = append(root, fmt.Sprintf("--tsa=url=%s,certificate-chain=%s,%s", r.TSA, chain, since))
	}
	r.TrustedRoot, r.SigningConfig = filepath.Join(r.own, "trusted-root.json"), filepath.Join(r.own, "signing-config.json")
	for _, args := range [][]string{append(root, "--out", r.TrustedRoot), append(signing, "--out", r.SigningConfig)} {
		if out, err := r.TryCosign(args...); err != nil {
			return fmt.Errorf("cosign %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// Cosign runs cosign in r.Dir and returns its output. It fails the test if
// cosign fails.
func (r *Rig) Cosign(t testing.TB, args ...string) string {
	t.Helper()
	out, err := r.TryCosign(args...)
	if err != nil {
		t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TryCosign is Cosign for commands that may fail.
func (r *Rig) TryCosign(args ...string) (string, error) {
	cmd := exec.Command(r.cosign, args...)
	cmd.Dir = r.Dir
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=", "HOME="+r.Dir, "TUF_ROOT="+filepath.Join(r.Dir, ".sigstore"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Services returns the flags that make cosign sign with the rig: its signing
// config and trusted root.
func (r *Rig) Services() []string {
	return []string{"--signing-config", r.SigningConfig, "--trusted-root", r.TrustedRoot, "--yes"}
}

// WriteFile writes a file into r.Dir and returns its path.
func (r *Rig) WriteFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(r.Dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// GenerateKey generates a key pair for cosign, r.Dir/name.key and
// r.Dir/name.pub, and returns the two paths.
func (r *Rig) GenerateKey(t testing.TB, name string) (private, public string) {
	t.Helper()
	r.Cosign(t, "generate-key-pair", "--output-key-prefix", name)
	return filepath.Join(r.Dir, name+".key"), filepath.Join(r.Dir, name+".pub")
}

// run starts a program and returns its response to the probe.
func (r *Rig) run(name, probe string, args ...string) ([]byte, error) {
	process, err := peers.Program{Name: name, Dir: r.own, Probe: probe, Args: args}.Start(r.ctx)
	if err != nil {
		return nil, err
	}
	r.stops = append(r.stops, process.Stop)
	return process.Answer, nil
}

// startFulcio sets r.Issuer and r.Fulcio.
func (r *Rig) startFulcio() (chain string, err error) {
	if r.Issuer, err = newIssuer(); err != nil {
		return "", err
	}
	r.stops = append(r.stops, r.Issuer.server.Close)
	p, err := peers.FreePorts(3)
	if err != nil {
		return "", err
	}
	conf := fmt.Sprintf(`oidc-issuers:
  %[1]s: {issuer-url: %[1]s, client-id: sigstore, type: email}
  %[2]s: {issuer-url: %[2]s, client-id: sigstore, type: github-workflow}
`, r.Issuer.URL, r.Issuer.CI)
	confFile := filepath.Join(r.own, "fulcio.yaml")
	if err := os.WriteFile(confFile, []byte(conf), 0o600); err != nil {
		return "", err
	}
	r.Fulcio = "http://127.0.0.1:" + p[0]
	answer, err := r.run("fulcio", r.Fulcio+"/api/v2/trustBundle", "serve", "--ca", "ephemeralca", "--ct-log-url=", "--config-path", confFile,
		"--host", "127.0.0.1", "--port", p[0], "--grpc-host", "127.0.0.1", "--grpc-port", p[1], "--metrics-port", p[2],
		"--legacy-unix-domain-socket", "@sigstorerig-"+p[0])
	if err != nil {
		return "", err
	}
	var bundle struct {
		Chains []struct {
			Certificates []string `json:"certificates"`
		} `json:"chains"`
	}
	if err := json.Unmarshal(answer, &bundle); err != nil || len(bundle.Chains) == 0 {
		return "", fmt.Errorf("fulcio's trust bundle: %v\n%s", err, answer)
	}
	chain = filepath.Join(r.own, "ca.pem")
	return chain, os.WriteFile(chain, []byte(strings.Join(bundle.Chains[0].Certificates, "\n")), 0o600)
}

// startTSA sets r.TSA.
func (r *Rig) startTSA() (chain string, err error) {
	// The server uses port 2112 for its metrics, which cannot be changed, so
	// only one instance can run at a time on a machine.
	unlock, err := peers.Lock("timestamp-server.port")
	if err != nil {
		return "", err
	}
	r.stops = append(r.stops, unlock) // runs after the server has been stopped
	p, err := peers.FreePorts(1)
	if err != nil {
		return "", err
	}
	base := "http://127.0.0.1:" + p[0]
	certs, err := r.run("timestamp-server", base+"/api/v1/timestamp/certchain", "serve", "--host", "127.0.0.1", "--port", p[0],
		"--timestamp-signer", "memory", "--disable-ntp-monitoring")
	if err != nil {
		return "", err
	}
	r.TSA, chain = base+"/api/v1/timestamp", filepath.Join(r.own, "tsa.pem")
	return chain, os.WriteFile(chain, certs, 0o600)
}

func (r *Rig) startRekor() (*Log, error) {
	server, err := rekorpeer.Start(r.ctx, r.own, "--checkpoint-interval", "1s")
	if err != nil {
		return nil, err
	}
	r.stops = append(r.stops, server.Stop)
	return &Log{URL: server.URL, PublicKey: server.PublicKeyFile}, nil
}
