package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/clusterrig"
	"muniment.dev/muniment/internal/soak"
)

const chart = "../../deploy/helm"

// chartValues are the settings with which the chart is rendered, besides the
// defaults.
var chartValues = map[string][]string{
	"default":             nil,
	"namespace":           {"createNamespace=true"},
	"several servers":     {"ledger.replicas=3", "ledger.initialize=false", "ledger.folderSecret=folder", "ledger.databaseSecret=database"},
	"only admission":      {"ledger.enabled=false", "replica.enabled=false", "admission.servers={https://ledger.example.com,https://other.example.com:7480}", "breakGlass.reconcile=false"},
	"only ledger":         {"admission.enabled=false", "replica.enabled=false", "networkPolicy.enabled=false"},
	"only replicas":       {"ledger.enabled=false", "ledger.url=https://ledger.example.com:7480", "admission.enabled=false", "replica.tenant=acme", "replica.replicas=1"},
	"ledger elsewhere":    {"ledger.enabled=false", "ledger.url=https://ledger.example.com", "ledger.caSecret=ledger-ca"},
	"no replicas":         {"replica.enabled=false"},
	"outside":             {"webhooks.url=https://admission.example.com:8443", "webhooks.mutate=false", "webhooks.warnWorkloads=false"},
	"everything":          {"image.digest=sha256:" + strings.Repeat("a", 64), "imagePullSecrets[0].name=pull", "ledger.initialize=false", "ledger.storage.storageClassName=fast", "replica.storage.storageClassName=fast", "replica.replicas=3", "replica.refresh=1s", "webhooks.exemptNamespaces={cert-manager,kube-system}", "breakGlass.group=corp:on-call", "networkPolicy.clients.matchLabels.team=payments", "admission.replicas=3"},
	"client certificates": {"admission.clientCASecret=front-proxy", "admission.clientNames={kube-apiserver,front-proxy-client}"},
	"other namespaces":    {"admission.config.namespaces[0].names={payments,shop-*}", "admission.config.namespaces[0].environment=production/eu", "admission.config.namespaces[0].tags=resolve"},
}

// setFlags returns helm's flags for settings.
func setFlags(settings []string) (flags []string) {
	for _, s := range settings {
		flags = append(flags, "--set", s)
	}
	return flags
}

// helm runs helm with an empty configuration.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), peers.Path(t, "helm"), args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// render returns the objects of the chart for settings.
func render(t *testing.T, settings []string) string {
	t.Helper()
	out, err := helm(t, slices.Concat([]string{"template", "muniment", chart, "--namespace", "muniment"}, setFlags(settings))...)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, out)
	}
	return out
}

func TestChartLints(t *testing.T) {
	soak.WithoutRace(t)
	for name, settings := range chartValues {
		if out, err := helm(t, slices.Concat([]string{"lint", "--strict", chart}, setFlags(settings))...); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestChartRefusesValues checks that mistakes which would weaken admission, or
// be ignored, are refused.
func TestChartRefusesValues(t *testing.T) {
	soak.WithoutRace(t)
	for _, tt := range []struct{ setting, reason string }{
		{"admission.replicas=1", "/admission/replicas"},
		{"admission.maxAge=forever", "/admission/maxAge"},
		{"admission.clientCASecret=Front_Proxy", "/admission/clientCASecret"},
		{"ledger.replicas=3", "several servers of the ledger need ledger.folderSecret"},
		{"ledger.replicas=3,ledger.folderSecret=folder", "several servers of the ledger need ledger.databaseSecret"},
		{"admission.clientNames={kube-apiserver}", "admission.clientNames requires admission.clientCASecret"},
		{"admission.clientCASecret=ca,admission.clientNames={a b}", "/admission/clientNames/0"},
		{"admission.servers={http://ledger.example.com}", "/admission/servers/0"},
		{"replica.replicas=0", "/replica/replicas"},
		{"replica.refresh=often", "/replica/refresh"},
		{"replica.tenant=Acme", "/replica/tenant"},
		{"replica.policy=text", "policy"},
		{"ledger.url=http://ledger.example.com", "/ledger/url"},
		{"ledger.url=https://ledger.example.com", "ledger.url is for a ledger elsewhere"},
		{"ledger.enabled=false", "set ledger.url"},
		{"ledger.enabled=false,replica.enabled=false,breakGlass.reconcile=false", "admission has nothing to ask"},
		{"admission.config.version=2", "/admission/config/version"},
		{"admission.config.namespaces=null", "/admission/config"},
		{"webhooks.timeoutSeconds=31", "/webhooks/timeoutSeconds"},
		{"webhooks.failurePolicy=Ignore", "failurePolicy"},
		{"webhooks.caBundle=-----BEGIN", "/webhooks/caBundle"},
		{"webhooks.exemptNamespaces={*}", "/webhooks/exemptNamespaces/0"},
		{"webhooks.url=http://admission.example.com", "/webhooks/url"},
		{"breakGlass.group=", "/breakGlass/group"},
		{`breakGlass.group=a" in request.userInfo.groups || "a`, "/breakGlass/group"},
		{"image.digest=sha256:abc", "/image/digest"},
		{"ledgers.enabled=true", "ledgers"},
	} {
		out, err := helm(t, "template", "muniment", chart, "--set", tt.setting)
		if err == nil || !strings.Contains(out, tt.reason) {
			t.Errorf("--set %s: error %v, want one that names %s:\n%s", tt.setting, err, tt.reason, out)
		}
	}
}

// TestChartClientCertificates checks that admission serve accepts the flags of
// the chart, and reads the authorities from the Secret.
func TestChartClientCertificates(t *testing.T) {
	soak.WithoutRace(t)
	const authority, name, mount = "--client-ca=/etc/muniment/clients/ca.crt", "--client-name=kube-apiserver", "/etc/muniment/clients"
	for settings, want := range map[string]bool{"default": false, "client certificates": true} {
		found := render(t, chartValues[settings])
		for _, part := range []string{authority, name, mount, "secretName: front-proxy"} {
			if strings.Contains(found, part) != want {
				t.Errorf("%s: has %q: %t, want %t", settings, part, !want, want)
			}
		}
	}
	c := newCompany(t, "chart")
	if out, code := c.run("admission", "serve", authority, name, "--server=https://127.0.0.1:1"); code != 2 || !strings.Contains(out, "--admission-config") {
		t.Errorf("admission serve: exit code %d, want one that names the first file that is missing:\n%s", code, out)
	}
}

// TestChartServers checks that init and serve accept the flags of several
// servers, which are three Pods whose names the README lists.
func TestChartServers(t *testing.T) {
	soak.WithoutRace(t)
	text, err := helm(t, "template", "muniment", chart, "--namespace", "muniment", "--values", chart+"/values-ha.yaml", "--set", "certManager.enabled=true")
	if err != nil {
		t.Fatal(text)
	}
	readme, err := os.ReadFile(chart + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"replicas: 3\n  serviceName: muniment-ledger-servers\n", "name: muniment-ledger-servers\n", `    - "*.muniment-ledger-servers.muniment.svc"` + "\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the chart has no %q", want)
		}
	}
	c := newCompany(t, "chart")
	advertised := ""
	for _, document := range strings.Split(text, "\n---\n") {
		if !strings.Contains(document, "# Source: muniment/templates/ledger-ha.yaml\n") || !strings.Contains(document, "kind: StatefulSet\n") {
			continue
		}
		var set struct {
			Spec struct {
				Template struct {
					Spec struct {
						InitContainers, Containers []struct{ Args []string }
					}
				}
			}
		}
		var tree map[string]any
		if err := yaml.Unmarshal([]byte(document), &tree); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &set); err != nil {
			t.Fatal(err)
		}
		pod := set.Spec.Template.Spec
		for _, container := range append(pod.InitContainers, pod.Containers...) {
			if out, code := c.run(container.Args...); code != 2 || !strings.Contains(out, "is not a data folder") {
				t.Errorf("%q: exit code %d, want one for a folder that is missing:\n%s", container.Args, code, out)
			}
			for _, arg := range container.Args {
				if url, ok := strings.CutPrefix(arg, "--advertise="); ok {
					advertised = url
				}
			}
		}
	}
	for _, pod := range []string{"muniment-ledger-0", "muniment-ledger-1", "muniment-ledger-2"} {
		if url := strings.Replace(advertised, "$(POD_NAME)", pod, 1); !strings.Contains(string(readme), "- "+url+"\n") {
			t.Errorf("the README does not list %s, which a Pod advertises", url)
		}
	}
}

func TestPlainManifestsAreCurrent(t *testing.T) {
	soak.WithoutRace(t)
	cmd := exec.CommandContext(t.Context(), "../../.ci/manifests", "check")
	cmd.Env = append(os.Environ(), "HELM="+peers.Path(t, "helm"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestManifestsAreAccepted sends every object to a real API server, which
// applies its own schemas, and their Pods to a namespace with the strictest
// Pod Security Standard.
func TestManifestsAreAccepted(t *testing.T) {
	soak.WithoutRace(t)
	cluster, err := clusterrig.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Stop()
	kubectl := func(stdin string, args ...string) string {
		t.Helper()
		out, err := cluster.Kubectl(t.Context(), stdin, args...)
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return out
	}
	kubectl("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: muniment\n  labels: {pod-security.kubernetes.io/enforce: restricted}\n", "create", "-f", "-")
	sources := map[string]string{}
	for name, settings := range chartValues {
		sources[name] = render(t, settings)
	}
	if sources["values-ha.yaml"], err = helm(t, "template", "muniment", chart, "--namespace", "muniment", "--values", chart+"/values-ha.yaml"); err != nil {
		t.Fatal(sources["values-ha.yaml"])
	}
	sources["kustomize"] = kubectl("", "kustomize", "../../deploy/kubernetes")
	for name, objects := range sources {
		out := kubectl(objects, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-")
		if strings.Contains(out, "Warning:") {
			t.Errorf("%s: the API server warns:\n%s", name, out)
		}
		for _, pod := range podsOf(t, out) {
			kubectl(pod, "create", "--dry-run=server", "--validate=strict", "-f", "-")
		}
	}
}

// TestAdmissionAsksReplicas compares the servers that admission asks, and that
// replicas follow, with the values.
func TestAdmissionAsksReplicas(t *testing.T) {
	soak.WithoutRace(t)
	const ledger, one, two = "https://muniment-ledger.muniment.svc:7480", "https://muniment-replica-0.muniment-replica.muniment.svc:7480", "https://muniment-replica-1.muniment-replica.muniment.svc:7480"
	for _, tt := range []struct {
		settings []string
		asked    []string
		followed string
	}{
		{nil, []string{one, two}, ledger},
		{[]string{"replica.replicas=1"}, []string{one}, ledger},
		{[]string{"replica.enabled=false"}, []string{ledger}, ""},
		{[]string{"admission.servers={" + one + "," + ledger + "}"}, []string{one, ledger}, ledger},
		{[]string{"ledger.enabled=false", "ledger.url=https://ledger.example.com"}, []string{one, two}, "https://ledger.example.com"},
		{[]string{"ledger.enabled=false", "replica.enabled=false", "admission.servers={https://ledger.example.com}", "breakGlass.reconcile=false"}, []string{"https://ledger.example.com"}, ""},
	} {
		text := render(t, tt.settings)
		var asked []string
		for _, m := range regexp.MustCompile(`--server=(\S+)`).FindAllStringSubmatch(admissionPart(text), -1) {
			asked = append(asked, m[1])
		}
		if !slices.Equal(asked, tt.asked) {
			t.Errorf("%q: admission asks %q, want %q", tt.settings, asked, tt.asked)
		}
		followed := ""
		if m := regexp.MustCompile(`--follow=(\S+)`).FindStringSubmatch(text); m != nil {
			followed = m[1]
		}
		if followed != tt.followed {
			t.Errorf("%q: replicas follow %q, want %q", tt.settings, followed, tt.followed)
		}
	}
}

// TestCertificates checks that a certificate is issued for each part, with the
// names of its Pods. The API server has no schema for them.
func TestCertificates(t *testing.T) {
	soak.WithoutRace(t)
	text := render(t, []string{"certManager.enabled=true", "ledger.origin=log.example.com"})
	for _, name := range []string{"muniment-ledger.muniment.svc", "log.example.com", "muniment-replica.muniment.svc", `"*.muniment-replica.muniment.svc"`, "muniment-admission.muniment.svc"} {
		if !strings.Contains(text, "    - "+name+"\n") {
			t.Errorf("no certificate has the name %s", name)
		}
	}
	if n := strings.Count(text, "kind: Certificate\n"); n != 4 {
		t.Errorf("%d certificates, want 4", n)
	}
}

// admissionPart returns the documents of the template of admission.
func admissionPart(rendered string) string {
	var b strings.Builder
	for document := range strings.SplitSeq(rendered, "\n---\n") {
		if strings.Contains(document, "# Source: muniment/templates/admission.yaml\n") {
			b.WriteString(document)
		}
	}
	return b.String()
}

// TestChartReadme checks that the README has each value, and no other.
func TestChartReadme(t *testing.T) {
	values, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(values, &tree); err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(chart + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z.]+)`").FindAllStringSubmatch(string(readme), -1) {
		listed = append(listed, m[1])
	}
	slices.Sort(listed)
	if want := valuePaths("", tree); !slices.Equal(listed, want) {
		t.Errorf("the README of the chart lists\n%q\nwant\n%q", listed, want)
	}
}

// valuePaths returns the paths of the chart's values, in order. Values that
// Kubernetes defines are not divided.
func valuePaths(prefix string, tree map[string]any) (paths []string) {
	for name, value := range tree {
		path := prefix + name
		child, divided := value.(map[string]any)
		if divided && len(child) > 0 && !slices.Contains([]string{"resources", "config", "clients", "monitoring"}, name) {
			paths = append(paths, valuePaths(path+".", child)...)
		} else {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// podsOf returns a Pod for each Pod template in the JSON of a list.
func podsOf(t *testing.T, list string) (pods []string) {
	t.Helper()
	type meta struct {
		Labels map[string]string `json:"labels"`
	}
	var objects struct {
		Items []struct {
			Kind string
			Spec struct {
				Template *struct {
					Metadata meta           `json:"metadata"`
					Spec     map[string]any `json:"spec"`
				}
				VolumeClaimTemplates []struct {
					Metadata struct{ Name string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(list[strings.Index(list, "{"):]), &objects); err != nil {
		t.Fatalf("%v in %s", err, list)
	}
	for _, o := range objects.Items {
		if o.Spec.Template == nil {
			continue
		}
		for _, c := range o.Spec.VolumeClaimTemplates { // as the controller does
			volumes, _ := o.Spec.Template.Spec["volumes"].([]any)
			o.Spec.Template.Spec["volumes"] = append(volumes, map[string]any{"name": c.Metadata.Name, "persistentVolumeClaim": map[string]any{"claimName": c.Metadata.Name + "-rendered"}})
		}
		pod, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Pod", "spec": o.Spec.Template.Spec,
			"metadata": map[string]any{"generateName": "rendered-", "namespace": "muniment", "labels": o.Spec.Template.Metadata.Labels},
		})
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, string(pod))
	}
	if len(pods) == 0 {
		t.Error("no object has a Pod")
	}
	return pods
}
