package connector_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/connector/connectortest"
	"muniment.dev/muniment/internal/peers/clusterrig"
	"muniment.dev/muniment/internal/soak"
)

const workloads = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: triage, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway, namespace: shop, labels: {app: gateway}}
spec:
  replicas: 3
  selector: {matchLabels: {app: gateway}}
  template:
    metadata: {labels: {app: gateway}, annotations: {team: edge}}
    spec: {containers: [{name: gateway, image: registry.example/gateway}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: queue, namespace: shop}
spec:
  replicas: 1
  serviceName: queue
  selector: {matchLabels: {app: queue}}
  template:
    metadata: {labels: {app: queue}}
    spec: {containers: [{name: queue, image: registry.example/queue}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: billing, namespace: shop}
spec:
  schedule: "@daily"
  jobTemplate:
    metadata: {labels: {team: billing}}
    spec:
      backoffLimit: 2
      template:
        spec: {restartPolicy: Never, containers: [{name: billing, image: registry.example/billing}]}
`

// volatile are the lines of objects that each change writes, also an undo.
var volatile = regexp.MustCompile(`(?m)^ +(resourceVersion|generation): .*\n`)

// TestKubernetes changes workloads through the real API server, with the rights
// that docs/triage.md grants. kubectl reads the state.
func TestKubernetes(t *testing.T) {
	soak.WithoutRace(t)
	cluster, err := clusterrig.Start(context.WithoutCancel(t.Context()), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	kubectl := func(stdin string, args ...string) string {
		t.Helper()
		out, err := cluster.Kubectl(t.Context(), stdin, args...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return out
	}
	kubectl(workloads, "create", "-f", "-")
	kubectl(documentedRole(t), "create", "-f", "-")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(kubectl("", "create", "token", "triage", "-n", "shop")), 0o600); err != nil {
		t.Fatal(err)
	}
	direct := func(of string) connector.Connector {
		return connect(t, "type: %s, url: %q, token_file: %q, ca_file: %q", of, cluster.URL, token, cluster.CA)
	}
	f := newFront(t, cluster.URL, cluster.Client().Transport)
	through := func(of string) connector.Connector {
		return connect(t, "type: %s, url: %q, token_file: %q", of, f.url, token)
	}
	state := func(object string) func(t *testing.T) string {
		return func(*testing.T) string {
			return volatile.ReplaceAllString(kubectl("", "get", object, "-n", "shop", "-o", "yaml"), "")
		}
	}

	t.Run("scale", func(t *testing.T) {
		for _, s := range []struct{ target, object string }{{"deployment/shop/gateway", "deployment/gateway"}, {"statefulset/shop/queue", "statefulset/queue"}} {
			connectortest.Run(t, connectortest.Subject{
				Connector: direct("kubernetes_scale"), Target: s.target, State: state(s.object),
				Parameters: map[string]string{"replicas": "6"}, Wrong: map[string]string{"replicas": "-1"},
				Change: func(*testing.T) { kubectl("", "scale", s.object, "-n", "shop", "--replicas=4") },
			})
		}
		n := 4
		rehearse(t, rehearsal{
			front: f, connector: through("kubernetes_scale"), target: "deployment/shop/gateway", parameters: map[string]string{"replicas": "0"},
			change: func() { n++; kubectl("", "scale", "deployment/gateway", "-n", "shop", fmt.Sprintf("--replicas=%d", n)) },
		})
		// After an action and its undo, another manager must force its number.
		before, after := connector.Image("1"), connector.Image("2")
		c := direct("kubernetes_scale")
		kubectl("", "scale", "statefulset/queue", "-n", "shop", "--replicas=1")
		for _, change := range [][2]connector.Image{{before, after}, {after, before}} {
			if err := c.Set(t.Context(), "statefulset/shop/queue", change[0], change[1]); err != nil {
				t.Fatal(err)
			}
		}
		const other = "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: queue, namespace: shop}, spec: {replicas: 7}}"
		out, err := cluster.Kubectl(t.Context(), other, "apply", "--server-side", "--field-manager=other", "-f", "-")
		if err == nil || !strings.Contains(out, `conflict with "muniment-triage"`) {
			t.Errorf("apply by another manager: %v\n%s", err, out)
		}
	})
	t.Run("restart", func(t *testing.T) {
		c := direct("kubernetes_restart")
		connectortest.Run(t, connectortest.Subject{Connector: c, Target: "deployment/shop/gateway", State: state("deployment/gateway")})
		rehearse(t, rehearsal{
			front: f, connector: through("kubernetes_restart"), target: "statefulset/shop/queue",
			change: func() {
				kubectl("", "patch", "statefulset/queue", "-n", "shop", "--type=merge", "-p", `{"spec":{"template":{"metadata":{"annotations":{"muniment.dev/restarted":"theirs"}}}}}`)
			},
		})
	})
	t.Run("job", func(t *testing.T) {
		c := direct("kubernetes_job")
		retries := 0
		end := func() {
			before, err := c.Read(t.Context(), "cronjob/shop/billing")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Sscanf(string(before), `{"retries":%d}`, &retries); err != nil {
				t.Fatal(err)
			}
			if retries > 0 {
				kubectl("", "patch", fmt.Sprintf("job/billing-retry-%d", retries), "-n", "shop", "--subresource=status", "--type=merge", "-p",
					`{"status":{"startTime":"2026-01-01T00:00:00Z","conditions":[{"type":"FailureTarget","status":"True"},{"type":"Failed","status":"True"}]}}`)
			}
		}
		connectortest.Run(t, connectortest.Subject{Connector: c, Target: "cronjob/shop/billing", State: state("jobs")})
		if jobs := state("job/billing-retry-1")(t); !strings.Contains(jobs, "backoffLimit: 2") || !strings.Contains(jobs, "team: billing") {
			t.Errorf("the job is not that of the template:\n%s", jobs)
		}
		if _, err := c.Plan(t.Context(), "cronjob/shop/billing", nil, connector.Image(`{"retries":1}`)); err == nil || !strings.Contains(err.Error(), "retry 1 of the job has not ended") {
			t.Errorf("plan while a retry runs: %v", err)
		}
		rehearse(t, rehearsal{front: f, connector: through("kubernetes_job"), target: "cronjob/shop/billing", ready: end})
	})
	for _, target := range []string{"deployment/other/gateway", "deployment/shop/none", "deployment/shop/Gateway", "deployment/shop/..", "deployment/gateway", "pod/shop/gateway"} {
		if image, err := direct("kubernetes_scale").Read(t.Context(), target); err == nil {
			t.Errorf("%s: %q", target, image)
		}
	}
}

// documentedRole returns the rights in docs/triage.md.
func documentedRole(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/triage.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(# rights of the executor\n.*?)```").FindSubmatch(page)
	if m == nil {
		t.Fatal("docs/triage.md has no rights of the executor")
	}
	return string(m[1])
}
