package admission

import (
	"fmt"
	"slices"

	"muniment.dev/muniment/internal/safetext"
)

// The paths of the webhooks.
const (
	PathValidate  = "/validate"
	PathEphemeral = "/ephemeralcontainers"
	PathWorkloads = "/workloads"
	PathMutate    = "/mutate"
)

// Paths lists the webhooks.
var Paths = []string{PathValidate, PathEphemeral, PathWorkloads, PathMutate}

// An action is what a webhook does with a request.
type action int

const (
	toRefuse  action = iota // the webhook configuration is wrong
	toAllow                 // nothing is started
	toPass                  // the request starts nothing by itself, and is not checked
	toDecide                // deny images that may not run
	toAdvise                // warn of images that may not run
	toResolve               // write digests for tags
)

// workloads are the types whose controllers make Pods.
var workloads = map[groupKind]bool{
	{"apps", "v1", "Deployment"}:        true,
	{"apps", "v1", "ReplicaSet"}:        true,
	{"apps", "v1", "StatefulSet"}:       true,
	{"apps", "v1", "DaemonSet"}:         true,
	{"batch", "v1", "Job"}:              true,
	{"batch", "v1", "CronJob"}:          true,
	{"", "v1", "ReplicationController"}: true,
	{"", "v1", "PodTemplate"}:           true,
}

var pod = groupKind{"", "v1", "Pod"}

// starts are the operations that can start images.
var starts = []string{"CREATE", "UPDATE"}

// ends are the operations that start no image.
var ends = []string{"DELETE", "CONNECT"}

// podActions are the webhooks for Pods and their subresources.
var podActions = map[string]action{PathValidate: toDecide, PathEphemeral: toDecide, PathMutate: toResolve}

// rule returns what a webhook does with a request, and why it refuses or does
// not check it. Only Pods start images, so what is not a Pod can pass: the Pods
// that its controller makes are decided. A Pod passes only if a row lists it.
func rule(path string, r *request) (action, string) {
	isPod := r.Kind.Group == "" && r.Kind.Kind == pod.Kind
	switch {
	case slices.Contains(ends, r.Operation):
		return toAllow, ""
	case !isPod && r.Resource.Group == "" && r.Resource.Resource == "pods" && r.SubResource == "":
		return toRefuse, fmt.Sprintf("the request is about pods, and its object is a %s", safetext.Quoted(r.Kind.Kind))
	case isPod && r.Kind != pod:
		return toRefuse, fmt.Sprintf("version %s of Pods is unknown to this version of muniment admission: upgrade it", safetext.Quoted(r.Kind.Version))
	case isPod && !slices.Contains(starts, r.Operation):
		return toRefuse, fmt.Sprintf("operation %s is unknown to this version of muniment admission: upgrade it", safetext.Quoted(r.Operation))
	case isPod && podActions[path] == toRefuse:
		return toRefuse, fmt.Sprintf("%s only warns: send Pods to %s", path, PathValidate)
	case isPod:
		return podActions[path], ""
	case workloads[r.Kind] && path == PathWorkloads && slices.Contains(starts, r.Operation):
		return toAdvise, ""
	case workloads[r.Kind]:
		return toPass, fmt.Sprintf("%s is for Pods: send %s to %s", path, safetext.Quoted(r.Resource.String()), PathWorkloads)
	}
	return toPass, fmt.Sprintf("%s of %s is not known to run images: remove it from the rules of the webhook", safetext.Quoted(r.Kind.Kind), safetext.Quoted(r.Kind.apiVersion()))
}
