// Package noderig runs the Pods of a test cluster as processes of this machine.
// They are those of Deployments, StatefulSets and Jobs whose containers run
// Muniment. So a test runs manifests as they are: arguments, mounts, probes,
// service accounts and services.
//
// A container is a process in a root folder of its own, as the user that its
// manifest names. A Pod has an address, on which its listeners are put, and a
// Service forwards from its cluster IP. Both are added to the loopback
// interface. So the rig needs a network namespace of its own, and
// rights over it.
package noderig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/internal/peers/clusterrig"
)

// interval is the time between two looks at the objects of the cluster.
const interval = 100 * time.Millisecond

// maxList is the size limit of a list of objects.
const maxList = 64 << 20

// A Node runs the Pods of a namespace.
type Node struct {
	Cluster   *clusterrig.Cluster
	Namespace string
	Program   string // path of muniment, which every container runs
	Dir       string // for root folders, volumes and logs

	running  map[string]*container // by Pod
	services map[string]*service   // by name
	done     map[string]bool       // Jobs that have ended, by UID
	reported map[string]string     // the last status of each workload, by UID
	address  int                   // of the last Pod
	client   *http.Client
}

// Run runs Pods until the context ends.
func (n *Node) Run(ctx context.Context) error {
	n.running, n.services, n.done = map[string]*container{}, map[string]*service{}, map[string]bool{}
	n.reported, n.client = map[string]string{}, n.Cluster.Client()
	defer n.stop()
	again := time.NewTicker(interval)
	defer again.Stop()
	for {
		if err := n.reconcile(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}

// reconcile starts and stops processes as the objects of the namespace require.
func (n *Node) reconcile(ctx context.Context) error {
	if err := n.reconcileServices(ctx); err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, kind := range []string{"jobs", "statefulsets", "deployments"} {
		list, err := n.workloads(ctx, kind)
		if err != nil {
			return err
		}
		for _, w := range list {
			if err := n.runWorkload(ctx, w, wanted); err != nil {
				return fmt.Errorf("%s %s: %w", kind, w.Metadata.Name, err)
			}
		}
	}
	for name, c := range n.running {
		if !wanted[name] {
			c.stop()
			delete(n.running, name)
		}
	}
	hosts := n.hosts()
	for _, c := range n.running {
		if err := c.writeHosts(hosts); err != nil {
			return err
		}
	}
	return nil
}

// runWorkload runs the Pods of a workload, and reports those that are ready in
// its status.
func (n *Node) runWorkload(ctx context.Context, w workload, wanted map[string]bool) error {
	if w.kind == "jobs" {
		return n.runJob(ctx, w)
	}
	ready := 0
	for i := range w.Spec.Replicas {
		name := fmt.Sprintf("%s-%d", w.Metadata.Name, i)
		wanted[name] = true
		c := n.running[name]
		if c != nil && (c.generation != w.Metadata.Generation || c.ended()) {
			c.stop()
			delete(n.running, name)
			c = nil
		}
		if c == nil {
			var err error
			if c, err = n.start(ctx, name, w); errors.Is(err, errNotYet) {
				continue
			} else if err != nil {
				return err
			}
			n.running[name] = c
		}
		if c.ready(ctx) {
			ready++
		}
	}
	return n.report(ctx, w, map[string]any{
		"observedGeneration": w.Metadata.Generation, "replicas": w.Spec.Replicas, "updatedReplicas": w.Spec.Replicas,
		"readyReplicas": ready, "availableReplicas": ready, "unavailableReplicas": w.Spec.Replicas - ready,
		"currentRevision": "rig", "updateRevision": "rig", "currentReplicas": w.Spec.Replicas,
	})
}

// runJob runs a Job to its end, once.
func (n *Node) runJob(ctx context.Context, w workload) error {
	if n.done[w.Metadata.UID] {
		return nil
	}
	c, err := n.start(ctx, w.Metadata.Name, w)
	if errors.Is(err, errNotYet) {
		return nil
	} else if err != nil {
		return err
	}
	n.done[w.Metadata.UID] = true
	<-c.exited
	now := time.Now().UTC().Format(time.RFC3339)
	if c.cmd.ProcessState.Success() {
		return n.report(ctx, w, map[string]any{"startTime": now, "completionTime": now, "succeeded": 1, "conditions": []any{
			map[string]any{"type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": now, "lastProbeTime": now},
			map[string]any{"type": "Complete", "status": "True", "lastTransitionTime": now, "lastProbeTime": now},
		}})
	}
	return n.report(ctx, w, map[string]any{"startTime": now, "failed": 1, "conditions": []any{
		map[string]any{"type": "FailureTarget", "status": "True", "lastTransitionTime": now, "lastProbeTime": now},
		map[string]any{"type": "Failed", "status": "True", "lastTransitionTime": now, "lastProbeTime": now},
	}})
}

// report writes the status of a workload. A field that its kind does not have
// is ignored.
func (n *Node) report(ctx context.Context, w workload, status map[string]any) error {
	text := fmt.Sprint(status)
	if n.reported[w.Metadata.UID] == text {
		return nil
	}
	n.reported[w.Metadata.UID] = text
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	_, err = n.call(ctx, http.MethodPatch, w.path()+"/status?fieldValidation=Ignore", string(patch))
	return err
}

// A workload is an object with a Pod template.
type workload struct {
	Metadata struct {
		Name, UID  string
		Generation int64
	}
	Spec struct {
		Replicas    int
		ServiceName string
		Template    struct {
			Metadata struct{ Labels map[string]string }
			Spec     podSpec
		}
		VolumeClaimTemplates []struct{ Metadata struct{ Name string } }
	}

	kind, base string
}

// pod returns the specification of a Pod, with the claims that are made for it.
func (w workload) pod(name string) podSpec {
	pod := w.Spec.Template.Spec
	for _, t := range w.Spec.VolumeClaimTemplates {
		v := volume{Name: t.Metadata.Name, Claim: &claim{t.Metadata.Name + "-" + name}}
		pod.Volumes = append(slices.Clone(pod.Volumes), v)
	}
	return pod
}

func (w workload) path() string { return w.base + "/" + w.kind + "/" + w.Metadata.Name }

func (n *Node) workloads(ctx context.Context, kind string) ([]workload, error) {
	base := "/apis/apps/v1/namespaces/" + n.Namespace
	if kind == "jobs" {
		base = "/apis/batch/v1/namespaces/" + n.Namespace
	}
	var list struct{ Items []workload }
	if err := n.get(ctx, base+"/"+kind, &list); err != nil {
		return nil, err
	}
	for i := range list.Items {
		list.Items[i].kind, list.Items[i].base = kind, base
	}
	return list.Items, nil
}

// get reads an object. Its error is errNotYet if it does not exist.
func (n *Node) get(ctx context.Context, path string, into any) error {
	text, err := n.call(ctx, http.MethodGet, path, "")
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// errNotYet reports that something does not exist yet.
var errNotYet = errors.New("does not exist yet")

func (n *Node) call(ctx context.Context, method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, n.Cluster.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+n.Cluster.AdminToken)
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := n.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxList))
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", path, errNotYet)
	case res.StatusCode >= 300:
		return nil, fmt.Errorf("%s %s: %s\n%s", method, path, res.Status, text)
	}
	return text, nil
}

func (n *Node) stop() {
	for _, c := range n.running {
		c.stop()
	}
	for _, s := range n.services {
		s.close()
	}
}

// claim returns the folder of a claim, which outlives Pods.
func (n *Node) claim(name string) string { return filepath.Join(n.Dir, "claims", name) }

// makeFolder makes a folder for the user of a container.
func makeFolder(path string, uid int) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	if os.Getuid() != 0 || uid == 0 {
		return nil
	}
	return os.Chown(path, uid, uid)
}
