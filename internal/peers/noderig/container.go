package noderig

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A podSpec has the parts of a Pod's specification that the rig supports.
type podSpec struct {
	ServiceAccountName           string
	AutomountServiceAccountToken *bool
	SecurityContext              struct{ RunAsUser int }
	Containers                   []containerSpec
	Volumes                      []volume
	InitContainers               []containerSpec
}

type volume struct {
	Name      string
	Secret    *files
	ConfigMap *files
	EmptyDir  *struct{}
	Claim     *claim `json:"persistentVolumeClaim"`
}

type claim struct{ ClaimName string }

type containerSpec struct {
	Name           string
	Args           []string
	Env            []struct{ Name, Value string }
	Ports          []port
	ReadinessProbe *probe
	VolumeMounts   []struct{ Name, MountPath string }
}

type files struct {
	SecretName, Name string
	DefaultMode      os.FileMode
	Items            []struct{ Key, Path string }
}

type port struct {
	Name          string
	ContainerPort int
}

type probe struct {
	HTTPGet struct{ Path, Port, Scheme string }
}

// A container is a running process.
type container struct {
	cmd        *exec.Cmd
	exited     chan struct{} // closed after Wait has returned
	generation int64
	labels     map[string]string
	address    string
	ports      []port
	probe      *probe
	log        *os.File
	root       string // folder
	hosts      string // as last written to its root folder
	hostname   string // of a Pod with a stable name, below its namespace; or ""
}

// start runs the init containers of a workload's Pod and starts its container.
// It returns errNotYet if a Secret or a ConfigMap is missing, or if an init
// container has failed.
func (n *Node) start(ctx context.Context, name string, w workload) (*container, error) {
	pod := w.pod(name)
	if len(pod.Containers) != 1 {
		return nil, errors.New("the rig runs Pods of one container")
	}
	if err := pod.checkVolumes(); err != nil {
		return nil, err
	}
	for _, spec := range pod.InitContainers {
		c, err := n.startContainer(ctx, name, w, pod, spec)
		if err != nil {
			return nil, err
		}
		<-c.exited
		c.stop()
		if !c.cmd.ProcessState.Success() {
			return nil, fmt.Errorf("init container %s: %s: %w", spec.Name, c.cmd.ProcessState, errNotYet)
		}
	}
	return n.startContainer(ctx, name, w, pod, pod.Containers[0])
}

// startContainer starts a container in a root folder of its own.
func (n *Node) startContainer(ctx context.Context, name string, w workload, pod podSpec, spec containerSpec) (*container, error) {
	uid := pod.SecurityContext.RunAsUser
	// Never a folder that was used before: a claim is mounted in it.
	root := filepath.Join(n.Dir, "roots", fmt.Sprintf("%s.%d", name, n.address+1))
	if err := n.fill(ctx, root, pod, spec, uid); err != nil {
		return nil, err
	}
	n.address++
	c := &container{
		generation: w.Metadata.Generation, labels: w.Spec.Template.Metadata.Labels, exited: make(chan struct{}),
		address: fmt.Sprintf("10.244.%d.%d", n.address/250, n.address%250+1), ports: spec.Ports, probe: spec.ReadinessProbe, root: root,
	}
	if w.kind == "statefulsets" {
		c.hostname = name + "." + w.Spec.ServiceName
	}
	err := addAddress(c.address)
	if err != nil {
		return nil, err
	}
	if err := c.writeHosts(n.hosts()); err != nil {
		return nil, err
	}
	if c.log, err = os.OpenFile(filepath.Join(n.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return nil, err
	}
	c.cmd = exec.Command("/usr/local/bin/muniment", c.listenOn(spec.Args)...)
	c.cmd.Stdout, c.cmd.Stderr, c.cmd.Dir = c.log, c.log, "/"
	c.cmd.Env = append(c.cmd.Env, "PATH=/usr/local/bin", "HOME=/", "KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT="+n.Cluster.Port())
	for _, e := range spec.Env {
		c.cmd.Env = append(c.cmd.Env, e.Name+"="+e.Value)
	}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		c.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(err, c.log.Close())
	}
	go func() { _ = c.cmd.Wait(); close(c.exited) }()
	return c, nil
}

// checkVolumes returns an error if no container mounts a volume.
func (p *podSpec) checkVolumes() error {
	for _, v := range p.Volumes {
		if !slices.ContainsFunc(append(p.InitContainers, p.Containers...), func(c containerSpec) bool { return c.mountPath(v.Name) != "" }) {
			return fmt.Errorf("volume %s is not mounted", v.Name)
		}
	}
	return nil
}

// hosts returns the file that stands for the cluster's DNS: the names of
// services, and of the Pods with stable names.
func (n *Node) hosts() string {
	lines := []string{"127.0.0.1 localhost\n"}
	add := func(address, name string) {
		lines = append(lines, fmt.Sprintf("%s %s.%s.svc %[2]s.%[3]s.svc.cluster.local\n", address, name, n.Namespace))
	}
	for name, s := range n.services {
		for _, address := range s.addresses() {
			add(address, name)
		}
	}
	for _, c := range n.running {
		if c.hostname != "" {
			add(c.address, c.hostname)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// writeHosts gives the container the names.
func (c *container) writeHosts(text string) error {
	if c.hosts == text {
		return nil
	}
	c.hosts = text
	return writeFile(filepath.Join(c.root, "etc/hosts"), []byte(text), 0o644, 0)
}

// listenOn puts listeners on the Pod's address. Their ports are as in the
// manifest.
func (c *container) listenOn(args []string) []string {
	re := regexp.MustCompile(`^(--[a-z-]*listen=):(\d+)$`)
	moved := make([]string, len(args))
	for i, a := range args {
		moved[i] = re.ReplaceAllString(a, "${1}"+c.address+":${2}")
	}
	return moved
}

func (c *container) ended() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// stop asks the process to end, and waits for it.
func (c *container) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(time.Minute):
		_ = c.cmd.Process.Kill()
		<-c.exited
	}
	c.log.Close()
}

// port returns the number of a port by its name or number.
func (c *container) port(name string) string {
	for _, p := range c.ports {
		if p.Name == name {
			return fmt.Sprint(p.ContainerPort)
		}
	}
	return name
}

// ready asks the readiness probe as a kubelet does, which verifies no
// certificate.
func (c *container) ready(ctx context.Context) bool {
	if c.ended() {
		return false
	}
	if c.probe == nil {
		return true
	}
	get := c.probe.HTTPGet
	url := strings.ToLower(get.Scheme) + "://" + c.address + ":" + c.port(get.Port) + get.Path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := kubelet.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode < 400
}

var kubelet = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
	DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
}}

// fill makes the root folder of a container: volumes, then the program and its
// libraries.
func (n *Node) fill(ctx context.Context, root string, pod podSpec, spec containerSpec, uid int) error {
	claims := map[string]string{} // to their paths
	for _, v := range pod.Volumes {
		path := spec.mountPath(v.Name)
		if path == "" {
			continue
		}
		var err error
		switch dir := filepath.Join(root, path); {
		case v.Secret != nil:
			err = n.writeSecret(ctx, dir, *v.Secret, uid)
		case v.ConfigMap != nil:
			err = n.writeConfigMap(ctx, dir, *v.ConfigMap, uid)
		case v.EmptyDir != nil:
			err = makeFolder(dir, uid)
		case v.Claim != nil:
			claims[v.Claim.ClaimName] = dir
		default:
			err = errors.New("its type is not supported")
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		if err := n.writeServiceAccount(ctx, filepath.Join(root, "var/run/secrets/kubernetes.io/serviceaccount"), pod.ServiceAccountName); err != nil {
			return err
		}
	}
	if err := n.link(root, uid); err != nil {
		return err
	}
	for name, dir := range claims {
		if err := makeFolder(n.claim(name), uid); err != nil {
			return err
		}
		if err := bind(n.claim(name), dir); err != nil {
			return err
		}
	}
	return nil
}

// mountPath returns where the container has a volume, or "".
func (c *containerSpec) mountPath(volume string) string {
	for _, m := range c.VolumeMounts {
		if m.Name == volume {
			return m.MountPath
		}
	}
	return ""
}

// bind makes a folder appear at another path.
func bind(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	return syscall.Mount(from, to, "", syscall.MS_BIND, "")
}

// link puts the program, its libraries and the files of a minimal system into a
// root folder.
func (n *Node) link(root string, uid int) error {
	if err := copyFile(n.Program, filepath.Join(root, "usr/local/bin/muniment")); err != nil {
		return err
	}
	libraries, _ := exec.Command("ldd", n.Program).Output() // fails for a static program
	for _, path := range regexp.MustCompile(`/\S+\.so\S*`).FindAllString(string(libraries), -1) {
		if err := copyFile(path, filepath.Join(root, path)); err != nil {
			return err
		}
	}
	for path, text := range map[string]string{
		"etc/nsswitch.conf": "hosts: files dns\n",
		"etc/passwd":        fmt.Sprintf("nonroot:x:%d:%[1]d::/:/sbin/nologin\n", uid),
	} {
		if err := writeFile(filepath.Join(root, path), []byte(text), 0o644, 0); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies what a path leads to.
func copyFile(from, to string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

func writeFile(path string, data []byte, mode os.FileMode, gid int) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, mode); err != nil || os.Getuid() != 0 {
		return err
	}
	return os.Chown(path, 0, gid)
}

// writeSecret writes the files of a Secret.
func (n *Node) writeSecret(ctx context.Context, dir string, f files, gid int) error {
	var secret struct{ Data map[string]string }
	if err := n.get(ctx, "/api/v1/namespaces/"+n.Namespace+"/secrets/"+f.SecretName, &secret); err != nil {
		return err
	}
	decoded := map[string][]byte{}
	for key, text := range secret.Data {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return err
		}
		decoded[key] = data
	}
	return f.write(dir, decoded, gid)
}

func (n *Node) writeConfigMap(ctx context.Context, dir string, f files, gid int) error {
	var config struct{ Data map[string]string }
	if err := n.get(ctx, "/api/v1/namespaces/"+n.Namespace+"/configmaps/"+f.Name, &config); err != nil {
		return err
	}
	data := map[string][]byte{}
	for key, text := range config.Data {
		data[key] = []byte(text)
	}
	return f.write(dir, data, gid)
}

// write writes the items, or all keys if there are none, for a group.
func (f files) write(dir string, data map[string][]byte, gid int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	items := f.Items
	if len(items) == 0 {
		for key := range data {
			items = append(items, struct{ Key, Path string }{key, key})
		}
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok {
			return fmt.Errorf("key %s: %w", item.Key, errNotYet)
		}
		if err := writeFile(filepath.Join(dir, item.Path), value, f.DefaultMode, gid); err != nil {
			return err
		}
	}
	return nil
}

// writeServiceAccount writes what the kubelet mounts for calls of the API
// server.
func (n *Node) writeServiceAccount(ctx context.Context, dir, name string) error {
	text, err := n.call(ctx, http.MethodPost, "/api/v1/namespaces/"+n.Namespace+"/serviceaccounts/"+name+"/token", `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}`)
	if err != nil {
		return err
	}
	var request struct{ Status struct{ Token string } }
	if err := json.Unmarshal(text, &request); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, "token"), []byte(request.Status.Token), 0o644, 0); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, "namespace"), []byte(n.Namespace), 0o644, 0); err != nil {
		return err
	}
	return copyFile(n.Cluster.CA, filepath.Join(dir, "ca.crt"))
}
