// Package pods finds the artifacts that the Pods of a Kubernetes cluster run.
//
// The digest of what runs is the one that the node reports in a container's
// status (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/).
// Without one it is the digest that the Pod's specification pins.
package pods

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// ErrTooMuch is wrapped by errors about clusters and dumps that exceed a bound.
var ErrTooMuch = errors.New("above the limit")

// Uses of an image by a Pod, besides its containers.
const (
	initContainer = "init"
	ephemeral     = "ephemeral"
	volume        = "volume"
)

// maxUses is the largest number of different uses of images.
const maxUses = 1_000_000

// A use is one place in which Pods use an image. Uses that are equal are
// counted together.
type use struct {
	name, digest     string // without a digest: reason
	declared, reason string
	workload, kind   string
	static           bool
}

// A Tally counts what Pods use.
type Tally struct {
	Pods       int // that have not ended
	Static     int // of these, static Pods
	Terminated int

	uses map[use]int // number of Pods
}

// Add adds a Pod. A Pod that has ended runs nothing.
func (t *Tally) Add(p *corev1.Pod) error {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		t.Terminated++
		return nil
	}
	t.Pods++
	static := isStatic(p)
	if static {
		t.Static++
	}
	if t.uses == nil {
		t.uses = map[use]int{}
	}
	for _, u := range uses(p, workloadOf(p, static), static) {
		if t.uses[u]++; len(t.uses) > maxUses {
			return fmt.Errorf("%w: more than %d different uses of images", ErrTooMuch, maxUses)
		}
	}
	return nil
}

// Merge adds the uses that only the other tally has, which have ended since.
func (t *Tally) Merge(o *Tally) error {
	if t.uses == nil {
		t.uses = map[use]int{}
	}
	for u := range o.uses {
		if _, ok := t.uses[u]; !ok {
			t.uses[u] = 0
		}
	}
	if len(t.uses) > maxUses {
		return fmt.Errorf("%w: more than %d different uses of images", ErrTooMuch, maxUses)
	}
	return nil
}

// Items returns what was counted as inventories list it, in a fixed order.
func (t *Tally) Items() (items []*munimentv1.InventoryItem, unidentified []*munimentv1.UnidentifiedItem) {
	all := slices.SortedFunc(maps.Keys(t.uses), func(a, b use) int {
		return cmp.Or(cmp.Compare(a.workload, b.workload), cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name), cmp.Compare(a.digest, b.digest), cmp.Compare(a.declared, b.declared), cmp.Compare(a.reason, b.reason))
	})
	for _, u := range all {
		if u.digest == "" {
			unidentified = append(unidentified, &munimentv1.UnidentifiedItem{Name: u.name, Reason: u.reason, Workload: u.workload, Use: u.kind, StaticPod: u.static})
			continue
		}
		algorithm, value, _ := strings.Cut(u.digest, ":")
		n := uint32(t.uses[u])
		items = append(items, &munimentv1.InventoryItem{Artifact: &munimentv1.Artifact{Name: u.name, Digest: map[string]string{algorithm: value}},
			Workload: u.workload, Replicas: &n, Use: u.kind, StaticPod: u.static, Declared: u.declared})
	}
	return items, unidentified
}

// The annotations of Pods that the kubelet has not received from the API
// server. A mirror Pod represents one of them in the API.
const (
	mirrorAnnotation = corev1.MirrorPodAnnotationKey
	sourceAnnotation = "kubernetes.io/config.source"
)

func isStatic(p *corev1.Pod) bool {
	if _, ok := p.Annotations[mirrorAnnotation]; ok {
		return true
	}
	source := p.Annotations[sourceAnnotation]
	return source != "" && source != "api"
}

// workloadOf returns what a Pod belongs to, as NAMESPACE/KIND/NAME. Pods of one
// Deployment have it in common, and static Pods of one name on several nodes.
func workloadOf(p *corev1.Pod, static bool) string {
	kind, name := "pod", p.Name
	owner := metav1.GetControllerOf(p)
	switch {
	case static:
		name = strings.TrimSuffix(name, "-"+p.Spec.NodeName)
	case owner == nil:
	default:
		kind, name = strings.ToLower(owner.Kind), owner.Name
		if hash := p.Labels["pod-template-hash"]; kind == "replicaset" && hash != "" && strings.HasSuffix(name, "-"+hash) {
			kind, name = "deployment", strings.TrimSuffix(name, "-"+hash)
		}
	}
	return p.Namespace + "/" + kind + "/" + name
}

// uses returns each use of an image by a Pod once.
func uses(p *corev1.Pod, workload string, static bool) []use {
	found := map[use]bool{}
	add := func(kind, image, running string) {
		u := identify(image, running)
		if kind == volume && running == "" && u.reason != "" {
			u.reason = "its node reports no digest of an image volume, and its reference has none"
		}
		u.kind, u.workload, u.static = kind, workload, static
		found[u] = true
	}
	status := p.Status
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		add("", c.Image, imageID(status.ContainerStatuses, c.Name))
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		add(initContainer, c.Image, imageID(status.InitContainerStatuses, c.Name))
	}
	for i := range p.Spec.EphemeralContainers {
		c := &p.Spec.EphemeralContainers[i]
		add(ephemeral, c.Image, imageID(status.EphemeralContainerStatuses, c.Name))
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Image != nil && v.Image.Reference != "" {
			add(volume, v.Image.Reference, mounted(&status, v.Name))
		}
	}
	return slices.Collect(maps.Keys(found))
}

func imageID(all []corev1.ContainerStatus, name string) string {
	for i := range all {
		if all[i].Name == name {
			return all[i].ImageID
		}
	}
	return ""
}

// mounted returns the image that is mounted as a volume, if its node reports
// it.
func mounted(s *corev1.PodStatus, volume string) string {
	for _, all := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range all {
			for _, m := range all[i].VolumeMounts {
				if m.Name == volume && m.VolumeStatus != nil && m.VolumeStatus.Image != nil {
					return m.VolumeStatus.Image.ImageRef
				}
			}
		}
	}
	return ""
}

// digestPattern matches the digest at the end of a reference. Container
// runtimes write others without a repository, which identify the image's
// configuration and not its manifest.
var digestPattern = regexp.MustCompile(`@(sha(?:256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128}))$`)

func pinned(reference string) string {
	if m := digestPattern.FindStringSubmatch(strings.ToLower(reference)); m != nil {
		return m[1]
	}
	return ""
}

// identify returns the name and the digest of an image by its reference in the
// specification, and by the identifier that the node reports, which is empty if
// it has not started.
func identify(reference, running string) use {
	name, _, _ := strings.Cut(reference, "@")
	u := use{name: shorten(name, maxName), digest: pinned(running)}
	declared := pinned(reference)
	switch {
	case u.digest != "" && declared != "" && u.digest != declared:
		u.declared = shorten(reference, maxName)
	case u.digest != "":
	case declared != "":
		u.digest = declared
	case running == "":
		u.reason = "it has not started, and its reference has no digest"
	default:
		u.reason = "the node reports only the identifier " + shorten(running, maxID) + ", as for an image that it has not pulled"
	}
	if u.name == "" {
		u.name = "(no name)"
	}
	return u
}

// Sizes of texts in an inventory, in bytes. The API server does not limit
// references.
const (
	maxName = 1024
	maxID   = 256
)

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
