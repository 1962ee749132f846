package operate

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"muniment.dev/muniment/api/admission"
	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/remote"
	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/evaluate"
	"muniment.dev/muniment/controls/images"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/safetext"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/proto/kinds"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/verifiers/dsse"
)

// The label and annotations of break-glass
// (docs/decisions/13-cluster-admission.md).
const (
	labelBreakGlass    = "muniment.dev/break-glass"
	annotationBy       = "muniment.dev/break-glass-by"
	annotationReason   = "muniment.dev/break-glass-reason"
	annotationRequests = "muniment.dev/break-glass-requests"
)

// recordTime limits the work on one Pod.
const recordTime = time.Minute

// A glassUse is one use of the label: by one owner, with the same images.
type glassUse struct {
	pod    *corev1.Pod
	row    *admission.Row
	images []string // references, sorted
	client *muniment.Client
	origin string // of the log; for signed requests
	key    string // of the use
}

// record records the use of the label by a Pod, by the first server that
// answers.
func (r *reconciler) record(ctx context.Context, p *corev1.Pod) (result string, err error) {
	ctx, cancel := context.WithTimeout(ctx, recordTime)
	defer cancel()
	config, err := r.readConfig()
	if err != nil {
		return useFailed, err
	}
	u := &glassUse{pod: p, row: config.Row(p.Namespace)}
	if u.row == nil {
		return useFailed, fmt.Errorf("namespace %s has no row in %s, which maps it to an environment", p.Namespace, r.AdmissionConfig)
	}
	u.find()
	for _, client := range r.clients {
		u.client = client
		if result, err = r.recordBy(ctx, u); result != useFailed {
			return result, err
		}
	}
	return useFailed, err
}

// find finds the images, and the key of the use.
func (u *glassUse) find() {
	s := &u.pod.Spec
	for _, c := range slices.Concat(s.InitContainers, s.Containers) {
		u.images = append(u.images, c.Image)
	}
	for _, v := range s.Volumes {
		if v.Image != nil && v.Image.Reference != "" {
			u.images = append(u.images, v.Image.Reference)
		}
	}
	slices.Sort(u.images)
	u.images = slices.Compact(u.images)
	owner := u.pod.UID
	if o := metav1.GetControllerOf(u.pod); o != nil {
		owner = o.UID
	}
	// The user can name any owner, so a use of another day is another one.
	day := u.pod.CreationTimestamp.UTC().Format(time.DateOnly)
	u.key = fmt.Sprintf("%q", append([]string{string(owner), day, u.pod.Namespace, u.pod.Annotations[annotationBy]}, u.images...))
}

func (r *reconciler) recordBy(ctx context.Context, u *glassUse) (result string, err error) {
	if r.key != nil {
		if u.origin, err = remote.OriginOf(ctx, u.client); err != nil {
			return useFailed, err
		}
	}
	signed := r.submitSigned(ctx, u)
	controls, err := u.controls(ctx)
	if err != nil {
		return useFailed, err
	}
	if len(controls) == 0 && signed == 0 {
		return useFailed, errors.New("no control is enforced for images there, from which the Pod could be exempt")
	}
	result = useKnown
	if signed > 0 {
		result = useRecorded
	}
	for _, control := range controls {
		m := r.request(u, control)
		known, err := isRequested(ctx, u.client, m.Id)
		if err != nil {
			return useFailed, err
		}
		if known {
			continue
		}
		if err := r.append(ctx, u, m); isRefused(err) {
			return useRefused, fmt.Errorf("break-glass from control %s: %s", control, remote.ErrorText(err))
		} else if err != nil {
			return useFailed, err
		}
		result = useRecorded
	}
	return result, nil
}

// maxSigned is the number of signed requests of a Pod that are submitted.
const maxSigned = 64

// submitSigned submits the requests that a person has signed, and returns how
// many the log has. Refused ones record nothing, so the use is recorded
// without them.
func (r *reconciler) submitSigned(ctx context.Context, u *glassUse) (recorded int) {
	for _, line := range u.signedRequests() {
		_, key, _ := strings.Cut(entry.SHA256([]byte(line)), ":")
		err := checkSigned(line)
		if err == nil {
			var res muniment.Result
			res, err = u.client.Append(ctx, muniment.Submission{Kind: kindname.ExceptionRequest, MediaType: dsse.MediaType, Payload: []byte(line), IdempotencyKey: key})
			err = cmp.Or(err, res.Err)
		}
		if err != nil {
			r.log.Warn("signed request of a Pod not recorded", "namespace", u.pod.Namespace, "pod", u.pod.Name, "err", remote.ErrorText(err))
			continue
		}
		recorded++
	}
	return recorded
}

// signedRequests returns the requests in the Pod's annotation.
func (u *glassUse) signedRequests() (all []string) {
	for line := range strings.SplitSeq(u.pod.Annotations[annotationRequests], "\n") {
		if line = strings.TrimSpace(line); line != "" && len(all) < maxSigned {
			all = append(all, line)
		}
	}
	return all
}

// checkSigned returns an error unless a request is in an envelope, of which the
// ledger verifies the signature. Otherwise the user of the label could make any
// request in the name of the reconciler.
func checkSigned(request string) error {
	e, err := dsse.Parse([]byte(request))
	if err == nil && e.PayloadType != kinds.BreakGlassType {
		err = fmt.Errorf("it has the payload type %s instead of %s", safetext.Quoted(e.PayloadType), kinds.BreakGlassType)
	}
	if err != nil {
		return fmt.Errorf("not a signed request: %w", err)
	}
	return nil
}

// controls returns the controls from which the Pod is exempt: those that block
// its images. If none does, because evidence was added since, they are all that
// are enforced.
func (u *glassUse) controls(ctx context.Context) ([]string, error) {
	request := &munimentv1.DecideRequest{Tenant: u.client.Tenant, Stage: u.row.Stage, Environment: u.row.Environment, DryRun: true}
	tags := false
	for _, reference := range u.images {
		if pinned := pinnedArtifact(reference); pinned != nil {
			request.Subjects = append(request.Subjects, &munimentv1.GateSubject{Type: artifact.Image, Artifact: pinned})
		} else {
			tags = true
		}
	}
	var enforced, blocking []string
	if len(request.Subjects) > 0 {
		res, err := u.client.Gate.Decide(ctx, connect.NewRequest(request))
		if err != nil {
			return nil, err
		}
		for _, d := range res.Msg.Decisions {
			for _, c := range d.Decision.GetResults() {
				if c.Mode != string(evaluate.Enforce) || c.Result == evaluate.NotApplicable {
					continue
				}
				enforced = append(enforced, c.Control)
				if c.Result == evaluate.NotSatisfied || c.Result == evaluate.Unclear {
					blocking = append(blocking, c.Control)
				}
			}
		}
	}
	if tags {
		all, err := u.enforced(ctx)
		if err != nil {
			return nil, err
		}
		blocking = append(blocking, all...)
	}
	if len(blocking) == 0 {
		blocking = enforced
	}
	slices.Sort(blocking)
	return slices.Compact(blocking), nil
}

// pinnedArtifact returns the image of a reference with a digest, or nil.
func pinnedArtifact(reference string) *munimentv1.Artifact {
	name, digest, ok := images.Pinned(reference)
	if !ok {
		return nil
	}
	alg, value, _ := strings.Cut(digest, ":")
	return &munimentv1.Artifact{Name: name, Digest: map[string]string{alg: value}}
}

// enforced returns the controls that are enforced for images in the
// environment, for images without a digest to decide about.
func (u *glassUse) enforced(ctx context.Context) (all []string, err error) {
	res, err := u.client.Gate.GetControlSet(ctx, connect.NewRequest(&munimentv1.GetControlSetRequest{Tenant: u.client.Tenant}))
	if err != nil {
		return nil, err
	}
	for _, c := range res.Msg.Controls {
		if types := c.AppliesTo.GetTypes(); len(types) > 0 && !slices.Contains(types, artifact.Image) {
			continue
		}
		if evaluate.ModeOf(c, u.row.Stage, u.row.Environment) == evaluate.Enforce {
			all = append(all, c.Id)
		}
	}
	return all, nil
}

// request returns the request for an exception from a control.
func (r *reconciler) request(u *glassUse, control string) *munimentv1.ExceptionRequest {
	p, scope := u.pod, &munimentv1.ExceptionScope{}
	for _, reference := range u.images {
		if pinned := pinnedArtifact(reference); pinned != nil {
			scope.Subjects = append(scope.Subjects, pinned)
		} else if !strings.Contains(reference, "*") {
			scope.Globs = append(scope.Globs, reference)
		}
	}
	if u.row.Environment != "" {
		scope.Environments = []string{u.row.Environment}
	}
	used := p.CreationTimestamp.UTC()
	m := &munimentv1.ExceptionRequest{Id: fmt.Sprintf("BG-K8S-%x", sha256.Sum256([]byte(u.key+" "+control)))[:7+24], Control: control, Scope: scope, BreakGlass: true, Expires: timestamppb.New(used.Add(r.Expires))}
	m.Reason = fmt.Sprintf("label %s=%s on Pod %s/%s by the Kubernetes user %s: %s", labelBreakGlass, p.Labels[labelBreakGlass], p.Namespace, p.Name,
		cmp.Or(safetext.Quoted(p.Annotations[annotationBy]), "(unknown)"), cmp.Or(firstRunes(safetext.Quoted(p.Annotations[annotationReason]), 1024), "(no reason)"))
	if r.key != nil {
		m.Used = &munimentv1.BreakGlassUse{Origin: u.origin, Tenant: u.client.Tenant, Time: timestamppb.New(used)}
		return m
	}
	// What was used longer ago is still to be confirmed, but exempts nothing
	// any more. The ledger requires a time in the future.
	if soon := time.Now().Add(time.Minute); m.Expires.AsTime().Before(soon) {
		m.Expires = timestamppb.New(soon.Truncate(time.Millisecond))
	}
	return m
}

func firstRunes(s string, n int) string {
	if all := []rune(s); len(all) > n {
		return string(all[:n])
	}
	return s
}

// append appends a request, signed if there is a key.
func (r *reconciler) append(ctx context.Context, u *glassUse, m *munimentv1.ExceptionRequest) error {
	payload, err := protojson.Marshal(m)
	if err == nil && r.key != nil {
		payload, err = dsse.Sign(kinds.BreakGlassType, payload, r.key)
	}
	if err != nil {
		return err
	}
	res, err := u.client.Append(ctx, muniment.Submission{Kind: kindname.ExceptionRequest, Payload: payload, IdempotencyKey: m.Id})
	return cmp.Or(err, res.Err)
}

// isRequested reports whether the log has a request with the ID, by any
// submitter.
func isRequested(ctx context.Context, client *muniment.Client, id string) (bool, error) {
	res, err := client.ListEntries(ctx, connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: client.Tenant, PageSize: 1, Filter: &munimentv1.Filter{Kind: kindname.ExceptionRequest, Attribute: "exception=" + id}}))
	if err != nil {
		return false, err
	}
	return len(res.Msg.Entries) > 0, nil
}

// isRefused reports whether the log will never accept what it has refused.
func isRefused(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeFailedPrecondition, connect.CodePermissionDenied, connect.CodeAlreadyExists, connect.CodeOutOfRange:
		return err != nil
	}
	return false
}
