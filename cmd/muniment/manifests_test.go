package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/clusterrig"
	"muniment.dev/muniment/internal/soak"
)

const chart = "../../deploy/helm"

// chartValues are the settings with which the chart is rendered, besides the
// defaults.
var chartValues = map[string][]string{
	"default":          nil,
	"namespace":        {"createNamespace=true"},
	"only admission":   {"ledger.enabled=false", "admission.servers={https://ledger.example.com}", "breakGlass.reconcile=false"},
	"only ledger":      {"admission.enabled=false", "networkPolicy.enabled=false"},
	"outside":          {"webhooks.url=https://admission.example.com:8443", "webhooks.mutate=false", "webhooks.warnWorkloads=false"},
	"everything":       {"image.digest=sha256:" + strings.Repeat("a", 64), "imagePullSecrets[0].name=pull", "ledger.initialize=false", "ledger.storage.storageClassName=fast", "webhooks.exemptNamespaces={cert-manager,kube-system}", "breakGlass.group=corp:on-call", "networkPolicy.clients.matchLabels.team=payments", "admission.replicas=3"},
	"other namespaces": {"admission.config.namespaces[0].names={payments,shop-*}", "admission.config.namespaces[0].environment=production/eu", "admission.config.namespaces[0].tags=resolve"},
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
		{"admission.servers={http://ledger.example.com}", "/admission/servers/0"},
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
					Metadata meta            `json:"metadata"`
					Spec     json.RawMessage `json:"spec"`
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
