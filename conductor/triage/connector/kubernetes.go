package connector

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/internal/safetext"
)

// A kubernetesAPI is the API server of a cluster.
type kubernetesAPI struct{ *remote }

// serviceAccount is where a Pod has the credentials of its service account.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"

// fieldManager owns the fields that triage applies.
const fieldManager = "muniment-triage"

// maxConflicts is how often a change is tried with another resourceVersion. A
// controller that writes the status of an object changes its version, too.
const maxConflicts = 5

func readKubernetes(s *settings) kubernetesAPI {
	api := s.remote("https://kubernetes.default.svc", serviceAccount+"token", serviceAccount+"ca.crt")
	s.read()
	return kubernetesAPI{api()}
}

// workloads are the kinds of objects that can be scaled and restarted, and
// their resources.
var workloads = map[string]struct{ kind, resource string }{
	"deployment":  {"Deployment", "deployments"},
	"statefulset": {"StatefulSet", "statefulsets"},
}

// objectName matches the names of objects and namespaces. They are DNS names,
// so they need no escape in a path.
var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

// A workload is a target.
type workload struct {
	kind, namespace, name string
	path                  string
}

// parseWorkload reads a target such as deployment/NAMESPACE/NAME.
func parseWorkload(target string) (*workload, error) {
	kind, _, _ := strings.Cut(target, "/")
	of, ok := workloads[kind]
	if !ok {
		return nil, fmt.Errorf("target %s: must be deployment/NAMESPACE/NAME or statefulset/NAMESPACE/NAME", safetext.Quoted(target))
	}
	namespace, name, err := objectNames(target, kind+"/")
	if err != nil {
		return nil, err
	}
	return &workload{of.kind, namespace, name, "/apis/apps/v1/namespaces/" + namespace + "/" + of.resource + "/" + name}, nil
}

func objectNames(target, prefix string) (namespace, name string, err error) {
	names, err := parts(target, prefix, 2)
	if err != nil {
		return "", "", err
	}
	for _, n := range names {
		if !objectName.MatchString(n) {
			return "", "", fmt.Errorf("target %s: %s is not the name of an object", safetext.Quoted(target), safetext.Quoted(n))
		}
	}
	return names[0], names[1], nil
}

// workloadPrefix returns the prefix of targets of an action.
func workloadPrefix(target string) string {
	if strings.HasPrefix(target, "statefulset/") {
		return "statefulset/"
	}
	return "deployment/"
}

// apply returns the request for server-side apply of a configuration, which is
// JSON and so YAML. With force it takes fields over from other managers.
func apply(path string, force bool, configuration []byte) request {
	query := url.Values{"fieldManager": {fieldManager}, "fieldValidation": {"Strict"}}
	if force {
		query.Set("force", "true")
	}
	return request{
		method: http.MethodPatch, path: path + "?" + query.Encode(), body: configuration,
		header: map[string]string{"Content-Type": "application/apply-patch+yaml"},
	}
}

// inside returns the raw value at a path of members, or nil if one is missing.
func inside(all []member, path ...string) (jsontext.Value, error) {
	for i, name := range path {
		m, err := find(all, name)
		if err != nil {
			return nil, nil
		}
		if i == len(path)-1 {
			return m.value, nil
		}
		if all, err = members(m.value); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// insideText is inside for a string that must exist.
func insideText(all []member, path ...string) (string, error) {
	raw, err := inside(all, path...)
	if err != nil {
		return "", err
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	if err != nil || len(text) == 0 {
		return "", fmt.Errorf("the object has no %s", strings.Join(path, "."))
	}
	return string(text), nil
}
