package admission

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"muniment.dev/muniment/controls/images"
)

// The reviews that the webhooks answer
// (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/).
const (
	reviewVersion = "admission.k8s.io/v1"
	reviewKind    = "AdmissionReview"
)

// MaxReview is the size of a review in bytes. An API server takes objects of 3
// MiB, and a review can contain the old one, too.
const MaxReview = 8 << 20

// maxUID is the length of the UID that an answer repeats.
const maxUID = 256

// A review is the members of an AdmissionReview that decide.
type review struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Request    *request `json:"request"`
}

type request struct {
	UID         string         `json:"uid"`
	Kind        groupKind      `json:"kind"`
	Resource    groupResource  `json:"resource"`
	SubResource string         `json:"subResource"`
	Name        string         `json:"name"`
	Namespace   string         `json:"namespace"`
	Operation   string         `json:"operation"`
	DryRun      bool           `json:"dryRun"`
	Object      jsontext.Value `json:"object"`
	OldObject   jsontext.Value `json:"oldObject"`
}

type groupKind struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

type groupResource struct {
	Group    string `json:"group"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
}

// apiVersion returns the version as objects contain it.
func (k *groupKind) apiVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

func (r *groupResource) String() string {
	if r.Group == "" {
		return r.Resource
	}
	return r.Resource + "." + r.Group
}

// parseReview reads a review. Its texts are bounded by the size of the body,
// and its nesting by images.CountJSON, which the caller has called.
func parseReview(body []byte) (*request, error) {
	var r review
	if err := json.Unmarshal(body, &r); err != nil {
		var semantic *json.SemanticError
		if errors.As(err, &semantic) {
			return nil, fmt.Errorf("not an AdmissionReview: %s has the wrong type", semantic.JSONPointer)
		}
		return nil, fmt.Errorf("not an AdmissionReview: %w", err)
	}
	switch {
	case r.APIVersion != reviewVersion || r.Kind != reviewKind:
		return nil, fmt.Errorf("not an %s of %s: set admissionReviewVersions: [v1] in the webhook configuration", reviewKind, reviewVersion)
	case r.Request == nil || r.Request.UID == "":
		return nil, errors.New("the AdmissionReview has no request")
	case len(r.Request.UID) > maxUID:
		return nil, fmt.Errorf("the UID of the request has more than %d bytes", maxUID)
	}
	return r.Request, nil
}

// object returns an object of the review, or nil if it is absent.
func object(v jsontext.Value) (*images.Resource, error) {
	if len(v) == 0 || v.Kind() == 'n' {
		return nil, nil
	}
	r, err := images.ParseJSON(v)
	if err != nil {
		return nil, err
	}
	// What the API server has written, and what a Pod has run, starts nothing.
	r.Drop("metadata", "managedFields")
	r.Drop("status")
	return r, nil
}

// A response is what the webhook answers.
type response struct {
	UID       string            `json:"uid"`
	Allowed   bool              `json:"allowed"`
	Status    *status           `json:"status,omitzero"`
	Warnings  []string          `json:"warnings,omitzero"`
	PatchType string            `json:"patchType,omitempty"`
	Patch     []byte            `json:"patch,omitempty"`
	Audit     map[string]string `json:"auditAnnotations,omitempty"`
}

type status struct {
	Message string `json:"message"`
	Reason  string `json:"reason"`
	Code    int    `json:"code"`
}

// A patch is an operation of RFC 6902.
type patch struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value string `json:"value"`
}

// encode returns the review that contains the answer.
func (r *response) encode() ([]byte, error) {
	return json.Marshal(struct {
		APIVersion string    `json:"apiVersion"`
		Kind       string    `json:"kind"`
		Response   *response `json:"response"`
	}{reviewVersion, reviewKind, r})
}
