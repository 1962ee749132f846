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

// A glassUse is the use of the label by one Pod.
type glassUse struct {
	pod    *corev1.Pod
	row    *admission.Row
	by     string   // who has created the Pod
	images []string // references, sorted
	client *muniment.Client
	origin string // of the log; for signed requests
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
	u := &glassUse{pod: p, row: config.Row(p.Namespace), by: creator(config, p)}
	if u.row == nil {
		return useFailed, fmt.Errorf("namespace %s has no row in %s, which maps it to an environment", p.Namespace, r.AdmissionConfig)
	}
	u.find()
	for _, c := range r.servers {
		u.client = c.current.Load().Client
		if result, err = r.recordBy(ctx, u); result != useFailed {
			return result, err
		}
	}
	return useFailed, err
}

// accountPrefix begins the users of a cluster that are not mapped to a person.
const accountPrefix = "kubernetes:"

// creator returns who has created a Pod with the label: a person, or a user of
// the cluster. The ValidatingAdmissionPolicy has compared the annotation with
// the user of the request.
func creator(config *admission.Config, p *corev1.Pod) string {
	user := p.Annotations[annotationBy]
	if person := config.Person(user); person != "" && person == safetext.Quoted(person) && person == firstRunes(person, maxUser) {
		return person
	}
	return accountPrefix + cmp.Or(firstRunes(safetext.Quoted(user), maxUser), "(unknown)")
}

// maxUser is the size of the name of a user, in characters. A request can
// contain a little more.
const maxUser = 1000

// find finds the images.
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
}

// id returns the ID of the request for an exception from a control. The first
// control has the ID of the use, which is requested last. So if the log has it,
// it has all of them, whatever is enforced by then.
func (u *glassUse) id(position int, control string) string {
	id := fmt.Sprintf("BG-K8S-%x", sha256.Sum256([]byte(u.pod.UID)))[:7+24]
	if position > 0 {
		id += fmt.Sprintf("-%x", sha256.Sum256([]byte(control)))[:1+8]
	}
	return id
}

func (r *reconciler) recordBy(ctx context.Context, u *glassUse) (result string, err error) {
	if known, err := isRequested(ctx, u.client, u.id(0, "")); err != nil {
		return useFailed, err
	} else if known {
		return useKnown, nil
	}
	if r.key != nil {
		if u.origin, err = remote.OriginOf(ctx, u.client); err != nil {
			return useFailed, err
		}
	}
	controls, err := u.controls(ctx)
	if err != nil {
		return useFailed, err
	}
	signed := r.submitSigned(ctx, u)
	if len(controls) == 0 && signed == 0 {
		return useNothing, nil
	}
	for i := len(controls) - 1; i >= 0; i-- {
		if result, err := r.requestOnce(ctx, u, i, controls[i]); err != nil {
			return result, fmt.Errorf("break-glass from control %s: %w", controls[i], err)
		}
	}
	return useRecorded, nil
}

// requestOnce requests an exception from a control, unless the log has the
// request already.
func (r *reconciler) requestOnce(ctx context.Context, u *glassUse, position int, control string) (result string, err error) {
	m := r.request(u, position, control)
	err = r.append(ctx, u, m)
	if isRefused(err) && r.key != nil {
		// The key was registered after the use, or a clock is wrong.
		r.asOfNow(m)
		err = r.append(ctx, u, m)
	}
	if err == nil {
		return useRecorded, nil
	}
	known, failed := isRequested(ctx, u.client, m.Id)
	switch {
	case failed != nil:
		return useFailed, failed
	case known: // by an earlier attempt, or by another process
		return useKnown, nil
	case isRefused(err):
		return useRefused, errors.New(remote.ErrorText(err))
	}
	return useFailed, err
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
	enforced, err := u.enforced(ctx)
	if err != nil || len(enforced) == 0 {
		return nil, err
	}
	request := &munimentv1.DecideRequest{Tenant: u.client.Tenant, Stage: u.row.Stage, Environment: u.row.Environment, DryRun: true}
	for _, reference := range u.images {
		pinned := pinnedArtifact(reference)
		if pinned == nil {
			return enforced, nil // there is no digest to decide about
		}
		request.Subjects = append(request.Subjects, &munimentv1.GateSubject{Type: artifact.Image, Artifact: pinned})
	}
	res, err := u.client.Gate.Decide(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	var blocking []string
	for _, d := range res.Msg.Decisions {
		for _, c := range d.Decision.GetResults() {
			if c.Mode == string(evaluate.Enforce) && (c.Result == evaluate.NotSatisfied || c.Result == evaluate.Unclear) {
				blocking = append(blocking, c.Control)
			}
		}
	}
	if len(blocking) == 0 {
		return enforced, nil
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
// environment, sorted.
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
	slices.Sort(all)
	return all, nil
}

// request returns the request for an exception from a control.
func (r *reconciler) request(u *glassUse, position int, control string) *munimentv1.ExceptionRequest {
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
	m := &munimentv1.ExceptionRequest{Id: u.id(position, control), Control: control, Scope: scope, BreakGlass: true, UsedBy: u.by, Expires: timestamppb.New(used.Add(r.Expires))}
	m.Reason = fmt.Sprintf("label %s=%s on Pod %s/%s, created at %s by the Kubernetes user %s: %s", labelBreakGlass, p.Labels[labelBreakGlass], p.Namespace, p.Name, used.Format(time.RFC3339),
		cmp.Or(firstRunes(safetext.Quoted(p.Annotations[annotationBy]), maxUser), "(unknown)"), cmp.Or(firstRunes(safetext.Quoted(p.Annotations[annotationReason]), 1024), "(no reason)"))
	if r.key != nil {
		m.Used = &munimentv1.BreakGlassUse{Origin: u.origin, Tenant: u.client.Tenant, Time: timestamppb.New(used)}
		return m
	}
	r.endsLater(m)
	return m
}

// asOfNow makes a request that is signed now for a use that was earlier.
func (r *reconciler) asOfNow(m *munimentv1.ExceptionRequest) {
	m.Used.Time = timestamppb.New(time.Now().UTC().Truncate(time.Millisecond))
	r.endsLater(m)
}

// endsLater gives a request an expiry in the future, as the ledger requires.
// What was used longer ago is still to be confirmed, but exempts nothing any
// more.
func (r *reconciler) endsLater(m *munimentv1.ExceptionRequest) {
	if soon := time.Now().UTC().Add(time.Minute).Truncate(time.Millisecond); m.Expires.AsTime().Before(soon) {
		m.Expires = timestamppb.New(soon)
	}
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
