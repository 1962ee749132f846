package pods

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"muniment.dev/muniment/internal/peers/clusterrig"
)

// lines returns a line for each item of a tally.
func lines(t *Tally) (all []string) {
	items, unidentified := t.Items()
	for _, i := range items {
		line := fmt.Sprintf("%s %s %s %s %d", i.Workload, i.Use, i.Artifact.Name, i.Artifact.Digest["sha256"][:4], *i.Replicas)
		if i.StaticPod {
			line += " static"
		}
		if i.Declared != "" {
			line += " declared " + i.Declared[:strings.Index(i.Declared, ":")+5]
		}
		all = append(all, line)
	}
	for _, u := range unidentified {
		line := fmt.Sprintf("%s %s %s: %s", u.Workload, u.Use, u.Name, u.Reason)
		if u.StaticPod {
			line += " static"
		}
		all = append(all, line)
	}
	return all
}

func read(t *testing.T, text string) (*Tally, error) {
	t.Helper()
	tally := &Tally{}
	err := ReadDump(strings.NewReader(text), tally.Add)
	return tally, err
}

// TestDump reads a dump with Pods of every sort, as JSON and as YAML.
func TestDump(t *testing.T) {
	want := []string{
		"kube-system/pod/kube-apiserver  registry.k8s.io/kube-apiserver:v1.37.2 cccc 2 static",
		"shop/deployment/web  registry.example/web aaaa 1 declared registry.example/web@sha256:bbbb",
		"shop/deployment/web  registry.example/web:1.7 aaaa 2",
		"shop/deployment/web ephemeral registry.example/debug:1 eeee 1",
		"shop/deployment/web init registry.example/migrate:2 dddd 3",
		"shop/deployment/web volume registry.example/model abab 3",
		"shop/pod/pending  registry.example/pinned ffff 1",
		"shop/statefulset/db  localhost/db 1234 1",
		"shop/deployment/web volume registry.example/data:1: its node reports no digest of an image volume, and its reference has none",
		"shop/pod/loaded  local/app: the node reports only the identifier sha256:" + strings.Repeat("9", 64) + ", as for an image that it has not pulled",
		"shop/pod/pending  registry.example/web:1.8: it has not started, and its reference has no digest",
	}
	for _, name := range []string{"pods.json", "pods.yaml"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		tally, err := read(t, string(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := lines(tally); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if tally.Pods != 8 || tally.Static != 2 || tally.Terminated != 2 {
			t.Errorf("%s: %d Pods, %d static, %d terminated", name, tally.Pods, tally.Static, tally.Terminated)
		}
	}
}

// TestIdentify has the identifiers that container runtimes report.
func TestIdentify(t *testing.T) {
	a, b := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	for _, c := range []struct{ reference, running, name, digest string }{
		{"app:1", "docker.io/library/app@" + a, "app:1", a},
		{"app:1", "docker-pullable://app@" + a, "app:1", a},
		{"app:1@" + a, "docker.io/library/app@" + a, "app:1", a},
		{"app@" + a, "app@" + b, "app", b},
		{"app@" + a, a, "app", a}, // the identifier of the configuration
		{"app@" + a, b, "app", a},
		{"app@" + a, "", "app", a},
		{"app@" + strings.ToUpper(a[7:]), "", "app", ""},
		{"app@sha256:" + strings.ToUpper(a[7:]), "", "app", a},
		{"app:1", a, "app:1", ""},
		{"app:1", "docker://" + a, "app:1", ""},
		{"app:1", "", "app:1", ""},
		{"app@sha256:aa", "", "app", ""},
		{"", "x@" + a, "(no name)", a},
	} {
		u := identify(c.reference, c.running)
		if u.name != c.name || u.digest != c.digest || (u.digest == "") != (u.reason != "") {
			t.Errorf("%q, %q: %+v", c.reference, c.running, u)
		}
	}
}

// TestNoDump has inputs that are not whole dumps of Pods.
func TestNoDump(t *testing.T) {
	pod := `{"kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"image":"a:1"}]}}`
	for name, c := range map[string]struct{ text, want string }{
		"nothing":           {"", "no Pods"},
		"text":              {"No resources found", "not the output of kubectl get pods"},
		"an array":          {"[]", "not the output of kubectl get pods"},
		"cut off":           {`{"kind":"List","items":[` + pod, "it ends early"},
		"cut off in a Pod":  {`{"kind":"List","items":[` + pod[:20], "it ends early"},
		"without its end":   {`{"kind":"List","items":[` + pod + `]`, "it ends early"},
		"one page":          {`{"kind":"PodList","metadata":{"continue":"x"},"items":[` + pod + `]}`, "one page of several"},
		"the page at last":  {`{"kind":"PodList","items":[` + pod + `],"metadata":{"continue":"x"}}`, "one page of several"},
		"only other kinds":  {`{"kind":"List","items":[{"kind":"Service"}]}`, "no Pods"},
		"another object":    {`{"kind":"Service"}`, "no Pods"},
		"two lists":         {`{"items":[` + pod + `],"items":[]}`, "two members items"},
		"items of one Pod":  {`{"items":{"kind":"Pod"}}`, "items is not an array"},
		"a Pod of a type":   {`{"items":[{"kind":"Pod","spec":{"containers":7}}]}`, "not the output"},
		"an alias":          {"items:\n- &a {kind: Pod}\n- *a\n", "aliases are not read"},
		"malformed YAML":    {"items: [", "not the output of kubectl get pods"},
		"a list in a list":  {`{"items":[` + pod + `,{"kind":"PodList","items":[` + pod + `]}]}`, "a list within a list"},
		"text after it":     {pod + "error: timed out", "not the output of kubectl get pods"},
		"half a second one": {pod + pod[:40], "it ends early"},
		"items twice":       {"kind: List\nitems: [{kind: Pod}]\nitems: []\n", "line 3: a member that kubectl does not write"},
		"a merge":           {"kind: List\n<<: {items: [{kind: Pod}]}\nitems: []\n", "line 2: a member that kubectl does not write"},
		"a binary name":     {"kind: List\nitems: [{kind: Pod}]\n!!binary aXRlbXM=: []\n", "line 3: a member that kubectl does not write"},
		"an object too big": {`{"items":[{"kind":"Pod","metadata":{"name":"` + strings.Repeat("x", maxPod) + `"}}]}`, "above the limit"},
	} {
		if tally, err := read(t, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %q, want %q", name, err, lines(tally), c.want)
		}
	}
	if tally, err := read(t, `{"kind":"List","items":[]}`); err != nil || tally.Pods != 0 {
		t.Errorf("an empty cluster: %v", err)
	}
	if tally, err := read(t, pod); err != nil || tally.Pods != 1 {
		t.Errorf("one Pod: %v", err)
	}
	for name, text := range map[string]string{
		"two lists in a file": `{"items":[` + pod + `]}` + "\n" + `{"items":[` + pod + `]}`,
		"a list and a Pod":    `{"items":[` + pod + `]}` + pod,
		"two YAML documents":  "items: [" + pod + "]\n---\nitems: [" + pod + "]\n",
		"a YAML Pod and list": "kind: Pod\n---\nitems: [" + pod + "]\n",
	} {
		if tally, err := read(t, text); err != nil || tally.Pods != 2 {
			t.Errorf("%s: %d Pods, want 2: %v", name, tally.Pods, err)
		}
	}
	if _, err := read(t, `{"items":[`+pod+`],"kind":"List","metadata":{"continue":""}}`); err != nil {
		t.Errorf("a list whose items come first: %v", err)
	}
	if err := ReadDump(&capped{strings.NewReader(`{"items":[`), 5}, func(*corev1.Pod) error { return nil }); !errors.Is(err, ErrTooMuch) {
		t.Errorf("beyond the limit: %v", err)
	}
}

// TestCluster lists and follows the Pods of a real API server.
func TestCluster(t *testing.T) {
	ctx := t.Context()
	rig, err := clusterrig.Start(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rig.Stop)
	a, b := strings.Repeat("a", 64), strings.Repeat("b", 64)
	apply(t, rig, pod("web", "registry.example/web@sha256:"+a, nil), pod("tag", "registry.example/web:1", nil),
		pod("etcd-node", "registry.example/etcd@sha256:"+b, map[string]string{"kubernetes.io/config.mirror": "x"}))
	c, err := Connect(rig.Kubeconfig, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"default/pod/etcd  registry.example/etcd bbbb 1 static",
		"default/pod/web  registry.example/web aaaa 1",
		"default/pod/tag  registry.example/web:1: it has not started, and its reference has no digest",
	}
	tally, err := c.Count(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := lines(tally); !slices.Equal(got, want) {
		t.Errorf("listed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if id := c.ID(ctx); len(id) != 36 || id != c.ID(ctx) {
		t.Errorf("ID of the cluster: %q", id)
	}
	restricted, err := Connect(rig.Kubeconfig, clusterrig.Developer.Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restricted.Count(ctx); err != nil {
		t.Errorf("a user that may read Pods: %v", err)
	}
	if _, err := Connect(rig.Kubeconfig, "no-such-context"); err == nil {
		t.Error("connects to a context that does not exist")
	}

	f := NewFollower()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx, c, func(err error) { t.Log(err) })
	}()
	t.Cleanup(func() { cancel(); <-done })
	<-f.Synced()
	if first, err := f.Take(); err != nil || !slices.Equal(lines(first), want) {
		t.Errorf("followed\n%s\n%v", strings.Join(lines(first), "\n"), err)
	}
	// A Pod that comes and goes between two looks is seen nevertheless.
	apply(t, rig, pod("short", "registry.example/short@sha256:"+b, nil))
	awaitThat(f, func() bool { return f.pods["default/short"] != nil })
	if _, err := rig.Kubectl(ctx, "", "delete", "pod", "short", "--grace-period=0", "--force"); err != nil {
		t.Fatal(err)
	}
	awaitThat(f, func() bool { return f.pods["default/short"] == nil })
	second, err := f.Take()
	if err != nil {
		t.Fatal(err)
	}
	if got := lines(second); !slices.Contains(got, "default/pod/short  registry.example/short bbbb 0") {
		t.Errorf("what has ended:\n%s", strings.Join(got, "\n"))
	}
	if third, err := f.Take(); err != nil || !slices.Equal(lines(third), want) {
		t.Errorf("afterwards\n%s\n%v", strings.Join(lines(third), "\n"), err)
	}
	rig.Stop()
	// what an API server that does not answer runs is not known
	awaitThat(f, func() bool { return f.broken != nil })
	if _, err := f.Take(); err == nil {
		t.Error("reports Pods of a cluster that does not answer")
	}
}

// awaitThat waits for a state of the follower.
func awaitThat(f *Follower, state func() bool) {
	for {
		f.mu.Lock()
		reached, changed := state(), f.change
		f.mu.Unlock()
		if reached {
			return
		}
		<-changed
	}
}

func pod(name, image string, annotations map[string]string) string {
	text, _ := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "annotations": annotations},
		"spec": map[string]any{"nodeName": "node", "automountServiceAccountToken": false, "containers": []any{map[string]any{"name": "c", "image": image}}}})
	return string(text)
}

func apply(t *testing.T, rig *clusterrig.Cluster, objects ...string) {
	t.Helper()
	for _, o := range objects {
		if out, err := rig.Kubectl(t.Context(), o, "create", "-f", "-"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}
