// Package clusterrig runs the control plane of a Kubernetes cluster on
// loopback for tests: the real etcd and kube-apiserver. There are no nodes and
// no controllers, so objects are admitted and stored, and nothing runs.
package clusterrig

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/pemfile"
	"muniment.dev/muniment/internal/soak"
)

// A User can call the API server with a token. The kubeconfig has a context of
// the same name.
type User struct {
	Name   string
	Groups []string
}

// The users of every cluster.
var (
	// Admin can do everything, and no rule of RBAC limits it.
	Admin = User{"admin", []string{"system:masters"}}
	// Platform has the role cluster-admin.
	Platform = User{"platform", []string{"platform"}}
	// Developer has the role edit in all namespaces, and can add ephemeral
	// containers.
	Developer = User{"developer", []string{"developers"}}
	// OnCall has the same rights, and is the only member of the group
	// break-glass.
	OnCall = User{"oncall", []string{"developers", "break-glass"}}
)

var users = []User{Admin, Platform, Developer, OnCall}

// roles are the objects that give the groups their rights. The role edit is
// empty, because no controller fills it from the roles that it consists of.
const roles = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: rig-debug}
rules: [{apiGroups: [""], resources: [pods/ephemeralcontainers], verbs: [get, patch, update]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: rig-platform}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: platform}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: rig-edit}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:aggregate-to-edit}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: developers}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: rig-view}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:aggregate-to-view}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: developers}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: rig-debug}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: rig-debug}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: developers}]
`

// A Cluster is a running control plane.
type Cluster struct {
	URL        string
	Kubeconfig string // path. The current context is that of Admin
	CA         string // path of the API server's certificate, which signs itself
	AdminToken string
	Audit      string // path of the audit log: a line for each request about Pods

	dir       string
	server    peers.Program    // the API server
	processes []*peers.Process // in the order of starting: etcd and the API server
}

// Start starts a cluster that keeps its files in the folder. The caller must
// stop it.
func Start(ctx context.Context, dir string) (*Cluster, error) {
	c := &Cluster{dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig"), CA: filepath.Join(dir, "apiserver.crt"), Audit: filepath.Join(dir, "audit.log")}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	ports, err := peers.FreePorts(3)
	if err != nil {
		return err
	}
	c.URL = "https://127.0.0.1:" + ports[2]
	if err := c.run(ctx, etcd(c.dir, "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1])); err != nil {
		return err
	}
	if err := writeKey(c.path("service-accounts.key")); err != nil {
		return err
	}
	tokens, err := c.writeKubeconfig()
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path("tokens.csv"), tokens, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(c.path("audit.yaml"), []byte(auditPolicy), 0o600); err != nil {
		return err
	}
	c.server = c.apiServer("http://127.0.0.1:"+ports[0], ports[2])
	if err := c.run(ctx, c.server); err != nil {
		return err
	}
	return c.bindRoles(ctx)
}

// Restart restarts the API server. Its objects remain in etcd, and it has none
// of the changes that a watch could ask it for.
func (c *Cluster) Restart(ctx context.Context) error {
	last := len(c.processes) - 1
	c.processes[last].Stop()
	c.processes = c.processes[:last]
	return c.run(ctx, c.server)
}

func (c *Cluster) path(name string) string { return filepath.Join(c.dir, name) }

func (c *Cluster) run(ctx context.Context, p peers.Program) error {
	process, err := p.Start(ctx)
	if err == nil {
		c.processes = append(c.processes, process)
	}
	return err
}

// etcd returns the program of a store that does not survive a power failure.
func etcd(dir, url, peerURL string) peers.Program {
	return peers.Program{Name: "etcd", Dir: dir, Probe: url + "/health", Args: []string{
		"--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "default=" + peerURL,
	}}
}

// auditPolicy is what the API server notes: who has asked for what about Pods.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    resources: [{group: "", resources: [pods]}]
  - level: None
`

// apiServer returns the program of the API server. It makes its certificate
// itself. Without the plugin ServiceAccount it admits Pods although no
// controller has made the service accounts of their namespaces.
func (c *Cluster) apiServer(etcd, port string) peers.Program {
	key := c.path("service-accounts.key")
	return peers.Program{Name: "kube-apiserver", Dir: c.dir, Probe: c.URL + "/readyz", Client: c.Client(), Args: []string{
		"--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--secure-port", port, "--cert-dir", c.dir,
		"--service-cluster-ip-range", "10.96.0.0/24", "--token-auth-file", c.path("tokens.csv"), "--authorization-mode", "RBAC",
		"--service-account-issuer", c.URL, "--service-account-signing-key-file", key, "--service-account-key-file", key,
		"--advertise-address", "192.0.2.1", "--endpoint-reconciler-type", "none", "--disable-admission-plugins", "ServiceAccount", "--allow-privileged",
		"--audit-policy-file", c.path("audit.yaml"), "--audit-log-path", c.Audit, "--audit-log-mode", "blocking",
	}}
}

// Client returns a client that trusts the API server's certificate, which
// exists once the server listens.
func (c *Cluster) Client() *http.Client {
	return &http.Client{Timeout: soak.Patience, Transport: &http.Transport{DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		text, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, err
		}
		pool, err := pemfile.Pool(text)
		if err != nil {
			return nil, err
		}
		return (&tls.Dialer{Config: &tls.Config{RootCAs: pool}}).DialContext(ctx, network, address)
	}}}
}

// writeKubeconfig writes the file with a context for each user, and returns the
// API server's list of their tokens.
func (c *Cluster) writeKubeconfig() (tokens []byte, err error) {
	config := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: %s\nclusters:\n- name: rig\n  cluster: {server: %q, certificate-authority: %q}\nusers:\n", Admin.Name, c.URL, c.CA)
	contexts := "contexts:\n"
	for _, u := range users {
		token := rand.Text()
		if u.Name == Admin.Name {
			c.AdminToken = token
		}
		tokens = fmt.Appendf(tokens, "%s,%s,%s,%q\n", token, u.Name, hex.EncodeToString([]byte(u.Name)), strings.Join(u.Groups, ","))
		config += fmt.Sprintf("- name: %s\n  user: {token: %q}\n", u.Name, token)
		contexts += fmt.Sprintf("- name: %s\n  context: {cluster: rig, user: %s}\n", u.Name, u.Name)
	}
	return tokens, os.WriteFile(c.Kubeconfig, []byte(config+contexts), 0o600)
}

// writeKey writes a key for the tokens of service accounts.
func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

func (c *Cluster) bindRoles(ctx context.Context) error {
	if out, err := c.Kubectl(ctx, roles, "create", "-f", "-"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// Kubectl runs kubectl as Admin with a standard input, and returns its output.
// To run it as another user, use --context.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	bin, err := peers.Find("kubectl")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "HOME="+c.dir)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
	}
	return string(out), err
}

// Port returns the port of the API server on 127.0.0.1.
func (c *Cluster) Port() string { return c.URL[strings.LastIndex(c.URL, ":")+1:] }

// Stop stops the API server and then etcd.
func (c *Cluster) Stop() {
	for len(c.processes) > 0 {
		last := len(c.processes) - 1
		c.processes[last].Stop()
		c.processes = c.processes[:last]
	}
}
