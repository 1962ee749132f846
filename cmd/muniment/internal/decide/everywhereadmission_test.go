package decide

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/admission"
	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/controls/answer"
	"muniment.dev/muniment/controls/artifact"
	"muniment.dev/muniment/controls/decide"
	"muniment.dev/muniment/controls/images"
	"muniment.dev/muniment/controls/spool"
)

// reference returns the reference by which a Pod runs the artifact of the case,
// or "" if no Pod can.
func (c *recordedCase) reference() string {
	reference := c.Subject.Name + "@" + answer.DigestText(c.Subject.Digest)
	name, digest, ok := images.Pinned(reference)
	alg, value, _ := strings.Cut(digest, ":")
	if c.Subject.Type != artifact.Image || len(c.Parts) > 0 || !ok || name != c.Subject.Name || c.Subject.Digest[alg] != value {
		return ""
	}
	return reference
}

// admit asks the admission of a cluster about a Pod with the image of the case,
// and compares the answer with that of the gate. It returns the digest of the
// spooled document.
func (r *caseRig) admit(client *muniment.Client, kept *spool.Spool, reference string) string {
	r.t.Helper()
	before, err := kept.Digests()
	r.must(err)
	h := admission.New(r.t.Context(), admission.Options{
		Servers: []*admission.Server{{Name: "replica", Tenant: "acme", Gate: client.Gate}},
		Config:  &admission.Config{Namespaces: []admission.Row{{Names: []string{"shop"}, Stage: r.c.Stage, Environment: r.c.Environment, Mode: admission.Enforce}}},
		MaxAge:  1<<63 - 1, Refresh: time.Hour, Timeout: time.Minute, CacheEntries: 100, CacheBytes: 1 << 20,
		Now: r.clock.time, Logger: slog.New(slog.DiscardHandler), Metrics: admission.NewMetrics(),
	})
	defer h.Close()
	pod := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "web"}, "spec": map[string]any{"containers": []any{map[string]any{"name": "web", "image": reference}}}}
	review, err := json.Marshal(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": map[string]any{
		"uid": "1", "kind": map[string]any{"group": "", "version": "v1", "kind": "Pod"}, "resource": map[string]any{"group": "", "version": "v1", "resource": "pods"}, "namespace": "shop", "operation": "CREATE", "object": pod}})
	r.must(err)
	request := httptest.NewRequest(http.MethodPost, admission.PathValidate, bytes.NewReader(review))
	request.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.Webhook(admission.PathValidate).ServeHTTP(w, request)
	var got struct {
		Response struct {
			Allowed bool
			Status  struct{ Message string }
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		r.t.Errorf("admission: status %d, %s", w.Code, w.Body)
		return ""
	}
	if got.Response.Allowed != (r.want.Decision == outcomePass) {
		r.t.Errorf("admission: allowed: %t; want %s\n%s", got.Response.Allowed, r.want.Decision, got.Response.Status.Message)
	}
	if !got.Response.Allowed {
		r.compareReasons(client, got.Response.Status.Message)
	}
	after, err := kept.Digests()
	r.must(err)
	for _, digest := range after {
		if document, err := kept.Get(digest); err == nil && !slices.Contains(before, digest) {
			if spooled, err := decide.ReadSpooled(document); err != nil || spooled.Gate != decide.GateAdmission {
				r.t.Errorf("admission: spooled %s, %v", document, err)
			}
			return digest
		}
	}
	r.t.Error("admission: nothing was spooled")
	return ""
}

// compareReasons checks that a denial has every line that the command prints.
func (r *caseRig) compareReasons(client *muniment.Client, message string) {
	r.t.Helper()
	res, err := client.Gate.Decide(r.t.Context(), connect.NewRequest(r.request))
	r.must(err)
	s := answer.NewSubject(r.request.Subjects[0], nil, res.Msg.Decisions[0])
	var b strings.Builder
	s.Write(&b, answer.AtStage(r.c.Stage, r.c.Environment))
	has := maps.Collect(func(yield func(string, bool) bool) {
		for line := range strings.SplitSeq(message, "\n") {
			if !yield(line, true) {
				return
			}
		}
	})
	for line := range strings.SplitSeq(strings.TrimSpace(b.String()), "\n") {
		if !has[line] {
			r.t.Errorf("admission: the denial lacks %q:\n%s", line, message)
		}
	}
}
