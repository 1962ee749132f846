package admission

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"
	admissionv1 "k8s.io/api/admission/v1"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A gate decides by the first characters of digests: good ones pass.
type gate struct {
	mu      sync.Mutex
	now     time.Time
	age     time.Duration // of its state
	size    uint64
	log     string // origin
	noSet   bool   // no control set is in force
	revoked bool
	err     error
	asked   int // images
	records int // images to be recorded
}

func (g *gate) Decide(_ context.Context, req *connect.Request[munimentv1.DecideRequest]) (*connect.Response[munimentv1.DecideResponse], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return nil, g.err
	}
	res := &munimentv1.DecideResponse{TreeSize: g.size, AsOf: timestamppb.New(g.now.Add(-g.age)), Log: g.log}
	for _, s := range req.Msg.Subjects {
		g.asked++
		d := &munimentv1.SubjectDecision{Decision: &munimentv1.GateDecision{Decision: "pass", Decided: timestamppb.New(g.now), ValidUntil: timestamppb.New(g.now.Add(24 * time.Hour)), TreeSize: &g.size, Inputs: "sha256:" + s.Artifact.Digest["sha256"],
			Results: []*munimentv1.ControlResult{{Control: "SIGNED", Mode: "enforce", Result: "satisfied", Reason: "satisfied"}, {Control: "SCANNED", Mode: "warn", Result: "not-satisfied", Reason: "missing-evidence: no scan"}}}}
		if g.revoked || !strings.HasPrefix(s.Artifact.Digest["sha256"], "a") {
			d.Decision.Decision = "blocked"
			d.Decision.Results[0].Result, d.Decision.Results[0].Reason, d.Decision.Results[0].Missing = "not-satisfied", "missing-evidence: nothing is signed", []string{"signature: none by release"}
		}
		if !req.Msg.DryRun {
			g.records++
			d.Spooled = "sha256:00"
		}
		res.Decisions = append(res.Decisions, d)
	}
	return connect.NewResponse(res), nil
}

func (g *gate) GetControlSet(context.Context, *connect.Request[munimentv1.GetControlSetRequest]) (*connect.Response[munimentv1.GetControlSetResponse], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return nil, g.err
	}
	state := &munimentv1.LogState{Log: g.log, TreeSize: g.size, AsOf: timestamppb.New(g.now.Add(-g.age))}
	if g.noSet {
		err := connect.NewError(connect.CodeNotFound, errors.New("no control set is in force"))
		detail, _ := connect.NewErrorDetail(state)
		err.AddDetail(detail)
		return nil, err
	}
	return connect.NewResponse(&munimentv1.GetControlSetResponse{Set: &munimentv1.ControlSet{}, State: state}), nil
}

func (g *gate) clock() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now
}

func (g *gate) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

var (
	good = "registry.example.com/app@sha256:" + strings.Repeat("a", 64)
	bad  = "registry.example.com/app@sha256:" + strings.Repeat("b", 64)
)

const testConfig = `version: 1
stage: deploy
namespaces:
  - {names: [shop], environment: production/eu}
  - {names: [tags], environment: production/eu, tags: resolve}
  - {names: [late], environment: production/eu, stale: warn}
  - {names: ["dev-*"], environment: "development/{namespace}", mode: warn}
  - {names: [quiet], mode: audit}
`

func start(t *testing.T, g *gate, more ...Gate) *Handler {
	t.Helper()
	config, err := ParseConfig([]byte(testConfig))
	if err != nil {
		t.Fatal(err)
	}
	servers := []*Server{{Name: "first", Tenant: "acme", Gate: g}}
	for i, m := range more {
		servers = append(servers, &Server{Name: fmt.Sprint("replica ", i+2), Tenant: "acme", Gate: m})
	}
	resolve := func(_ context.Context, reference string) (string, error) {
		if strings.HasPrefix(reference, "down.example.com/") {
			return "", errors.New("connection refused")
		}
		return "sha256:" + strings.Repeat("a", 64), nil
	}
	// The cache is renewed only when a test calls renew.
	h := New(t.Context(), Options{Servers: servers, Config: config, Resolver: resolve, MaxAge: 5 * time.Minute, Refresh: time.Hour, Timeout: time.Minute, CacheEntries: 100, CacheBytes: 1 << 20,
		Now: g.clock, Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics()})
	t.Cleanup(h.Close)
	return h
}

func newGate() *gate {
	return &gate{now: time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC), size: 10, log: "log.example"}
}

func podOf(images ...string) string {
	var all []string
	for i, image := range images {
		name, _ := json.Marshal(image) // a string
		all = append(all, fmt.Sprintf(`{"name":"c%d","image":%s}`, i, name))
	}
	return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","managedFields":[{"fieldsV1":{"f:image":{}}}]},"spec":{"containers":[` + strings.Join(all, ",") + `]},"status":{"containerStatuses":[{"image":"x:1"}]}}`
}

// A call is a request to a webhook.
type call struct {
	path, namespace, operation, kind, sub, object, old string
	dryRun                                             bool
}

func (c *call) body() string {
	gvk, resource := `{"group":"","version":"v1","kind":"Pod"}`, `{"group":"","version":"v1","resource":"pods"}`
	if c.kind != "" {
		gvk, resource = c.kind, `{"group":"x","version":"v1","resource":"things"}`
	}
	text := fmt.Sprintf(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"705ab4f5","kind":%s,"resource":%s,"subResource":%q,"requestKind":%s,"name":"web","namespace":%q,"operation":%q,"userInfo":{"username":"dev"},"dryRun":%t`, gvk, resource, c.sub, gvk, c.namespace, c.operation, c.dryRun)
	for name, object := range map[string]string{"object": c.object, "oldObject": c.old} {
		if object == "" {
			object = "null"
		}
		text += fmt.Sprintf(`,%q:%s`, name, object)
	}
	return text + "}}"
}

func post(h *Handler, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path+"?timeout=10s", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.Webhook(path).ServeHTTP(w, r)
	return w
}

func ask(t *testing.T, h *Handler, c call) *admissionv1.AdmissionResponse {
	t.Helper()
	if c.path == "" {
		c.path = PathValidate
	}
	if c.operation == "" {
		c.operation = "CREATE"
	}
	if c.namespace == "" {
		c.namespace = "shop"
	}
	w := post(h, c.path, c.body())
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || review.Response == nil || review.Response.UID != "705ab4f5" || review.APIVersion != "admission.k8s.io/v1" {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return review.Response
}

func TestRules(t *testing.T) {
	deployment := `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"template":{"spec":{"containers":[{"name":"c","image":"` + bad + `"}]}}}}`
	apps := `{"group":"apps","version":"v1","kind":"Deployment"}`
	debug := strings.Replace(podOf(good), `"containers"`, `"ephemeralContainers":[{"name":"d","image":"`+bad+`"}],"containers"`, 1)
	volume := strings.Replace(podOf(good), `"containers"`, `"volumes":[{"name":"v","image":{"reference":"`+bad+`"}}],"containers"`, 1)
	for _, c := range []struct {
		name    string
		call    call
		allowed bool
		want    string // in the message or the warnings
	}{
		{"signed", call{object: podOf(good)}, true, "SCANNED [warn]: missing-evidence: no scan"},
		{"unsigned", call{object: podOf(good, bad)}, false, "      missing   signature: none by release\n"},
		{"image volume", call{object: volume}, false, "spec.volumes[0].image.reference"},
		{"tag", call{object: podOf("registry.example.com/app:1")}, false, "a tag can stand for another image"},
		{"bad digest", call{object: podOf("registry.example.com/app@sha256:abc")}, false, "the digest is not valid"},
		{"weak digest", call{object: podOf("registry.example.com/app@md5:" + strings.Repeat("a", 32))}, false, "the digest is not valid"},
		{"annotation", call{object: strings.Replace(podOf(good), `"name":"web"`, `"name":"web","annotations":{"example.com/proxy-image":"x:1"}`, 1)}, false, "looks like an image (x:1)"},
		{"unknown namespace", call{namespace: "other", object: podOf(good)}, false, "namespace other has no row"},
		{"warn mode", call{namespace: "dev-1", object: podOf(bad)}, true, "muniment would deny " + bad[:20]},
		{"audit mode", call{namespace: "quiet", object: podOf(bad)}, true, ""},
		{"unchanged", call{operation: "UPDATE", object: podOf(bad), old: podOf(bad)}, true, ""},
		{"changed", call{operation: "UPDATE", object: podOf(bad), old: podOf(good)}, false, "missing-evidence"},
		{"moved", call{operation: "UPDATE", object: podOf(bad, bad), old: podOf(bad, good)}, false, "missing-evidence"},
		{"no old object", call{operation: "UPDATE", object: podOf(bad)}, false, "missing-evidence"},
		{"debug", call{path: PathEphemeral, operation: "UPDATE", sub: "ephemeralcontainers", object: debug, old: podOf(good)}, false, "spec.ephemeralContainers[0].image"},
		{"debug again", call{path: PathEphemeral, operation: "UPDATE", sub: "ephemeralcontainers", object: debug, old: debug}, true, ""},
		{"delete", call{operation: "DELETE", old: podOf(bad)}, true, ""},
		{"connect", call{operation: "CONNECT", sub: "exec", object: `{}`}, true, ""},
		{"unknown operation", call{operation: "PATCH", object: podOf(good)}, false, "operation PATCH is unknown"},
		{"no object", call{}, false, "the request has no object"},
		{"another object", call{object: deployment}, false, "and not a Pod"},
		{"another version", call{kind: `{"group":"","version":"v2","kind":"Pod"}`, object: podOf(good)}, false, "version v2 of Pods is unknown"},
		{"Pods where only warnings are", call{path: PathWorkloads, object: podOf(bad)}, false, "send Pods to /validate"},
		{"workload", call{path: PathWorkloads, kind: apps, object: deployment}, true, "muniment would deny"},
		{"workload elsewhere", call{kind: apps, object: deployment}, true, "not checked"},
		{"unknown kind", call{kind: `{"group":"example.com","version":"v1","kind":"Thing"}`, object: `{}`}, true, "not checked"},
		{"break-glass by itself", call{object: strings.Replace(podOf(bad), `"name":"web"`, `"name":"web","labels":{"muniment.dev/break-glass":"INC-1"}`, 1)}, false, "missing-evidence"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := ask(t, start(t, newGate()), c.call)
			text := strings.Join(res.Warnings, "\n")
			if res.Result != nil {
				text += res.Result.Message
			}
			if res.Allowed != c.allowed || !strings.Contains(text, c.want) {
				t.Errorf("allowed: %t, want %t with %q\n%s", res.Allowed, c.allowed, c.want, text)
			}
		})
	}
}

func TestMutation(t *testing.T) {
	h := start(t, newGate())
	res := ask(t, h, call{path: PathMutate, namespace: "tags", object: podOf(good, "registry.example.com/app:1")})
	want := `[{"op":"replace","path":"/spec/containers/1/image","value":"registry.example.com/app:1@sha256:` + strings.Repeat("a", 64) + `"}]`
	if !res.Allowed || string(res.Patch) != want || *res.PatchType != admissionv1.PatchTypeJSONPatch {
		t.Errorf("patch %s", res.Patch)
	}
	if res := ask(t, h, call{path: PathMutate, object: podOf("registry.example.com/app:1")}); !res.Allowed || res.Patch != nil {
		t.Errorf("where tags are refused: %+v", res)
	}
	if res := ask(t, h, call{path: PathMutate, namespace: "tags", object: podOf("down.example.com/app:1")}); res.Allowed || !strings.Contains(res.Result.Message, "connection refused") {
		t.Errorf("without the registry: %+v", res)
	}
}

// TestCache checks that answers are used for the interval, that the log's
// growth revokes them in the background, and that dry runs record nothing.
func TestCache(t *testing.T) {
	g := newGate()
	h := start(t, g)
	if !ask(t, h, call{object: podOf(good), dryRun: true}).Allowed || g.records != 0 {
		t.Fatalf("a dry run: %d recorded", g.records)
	}
	for range 3 {
		if !ask(t, h, call{object: podOf(good)}).Allowed || ask(t, h, call{object: podOf(bad)}).Allowed {
			t.Fatal("wrong answer")
		}
	}
	if g.asked != 3 || g.records != 2 {
		t.Errorf("%d asked, %d recorded: want 3 and 2", g.asked, g.records)
	}
	// The log grows by a revocation, and the answers are renewed.
	g.set(func() { g.revoked, g.size, g.now = true, 11, g.now.Add(30*time.Minute) })
	h.decider.renew(t.Context())
	if ask(t, h, call{object: podOf(good)}).Allowed {
		t.Error("revoked, and still allowed")
	}
	// Without an answer it is denied once the interval is over.
	g.set(func() { g.revoked, g.size, g.now = false, 12, g.now.Add(2*time.Hour) })
	if !ask(t, h, call{object: podOf(good)}).Allowed {
		t.Error("denied although it passes again")
	}
	g.set(func() {
		g.err = connect.NewError(connect.CodeUnavailable, errors.New("it is down"))
		g.now = g.now.Add(59 * time.Minute)
	})
	if !ask(t, h, call{object: podOf(good)}).Allowed && h.Age() <= 5*time.Minute {
		t.Error("denied within the interval")
	}
	g.set(func() { g.now = g.now.Add(2 * time.Minute) })
	if res := ask(t, h, call{object: podOf(good)}); res.Allowed || !strings.Contains(res.Result.Message, "no replica answers: first: it is down") {
		t.Errorf("without a replica: %+v", res)
	}
	if !ask(t, h, call{operation: "UPDATE", object: podOf(good), old: podOf(good)}).Allowed {
		t.Error("an update without a new image needs a replica")
	}
}

func TestFailoverAndAge(t *testing.T) {
	down, g := newGate(), newGate()
	down.err = connect.NewError(connect.CodeUnavailable, errors.New("it is down"))
	h := start(t, down, g)
	if !ask(t, h, call{object: podOf(good)}).Allowed {
		t.Error("the second replica was not asked")
	}
	old, fresh := newGate(), newGate()
	old.age = time.Hour
	if !ask(t, start(t, old, fresh), call{object: podOf(good)}).Allowed {
		t.Error("the replica with the newer state was not asked")
	}
	h = start(t, old)
	if res := ask(t, h, call{object: podOf(good)}); res.Allowed || !strings.Contains(res.Result.Message, "state of the log is 1h0m0s old, and the limit is 5m0s") {
		t.Errorf("from an old state: %+v", res)
	}
	if res := ask(t, h, call{namespace: "late", object: podOf(good)}); !res.Allowed || len(res.Warnings) < 2 {
		t.Errorf("from an old state, where it warns: %+v", res)
	}
}

func TestHostileBodies(t *testing.T) {
	h := start(t, newGate())
	whole := (&call{namespace: "shop", operation: "CREATE", object: podOf(good)}).body()
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"empty":      {"", 400},
		"not JSON":   {"kind: AdmissionReview", 400},
		"no request": {`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`, 400},
		"v1beta1":    {strings.Replace(whole, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1), 400},
		"duplicate":  {strings.Replace(whole, `"uid":"705ab4f5"`, `"uid":"1","uid":"705ab4f5"`, 1), 400},
		"deep":       {strings.Replace(whole, `"dryRun":false`, `"options":`+strings.Repeat("[", 200_000)+strings.Repeat("]", 200_000), 1), 400},
		"many":       {strings.Replace(whole, `"dryRun":false`, `"options":[`+strings.Repeat("0,", 2_000_000)+"0]", 1), 400},
		"wrong type": {strings.Replace(whole, `"uid":"705ab4f5"`, `"uid":{}`, 1), 400},
		"too large":  {whole + strings.Repeat(" ", MaxReview), 413},
	} {
		if w := post(h, PathValidate, c.body); w.Code != c.status {
			t.Errorf("%s: status %d, want %d: %.200s", name, w.Code, c.status, w.Body)
		}
	}
	if w := post(h, PathValidate, whole); w.Code != 200 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestTextsAreBounded(t *testing.T) {
	var images []string
	for i := range 500 {
		images = append(images, fmt.Sprintf("registry.example.com/a\x1b%d@sha256:%064x", i, i))
	}
	h := start(t, newGate())
	if res := ask(t, h, call{object: podOf(images...)}); res.Allowed || len(res.Result.Message) > maxMessage+200 || !strings.Contains(res.Result.Message, "more: muniment gate --stage deploy") || strings.Contains(res.Result.Message, "\x1b") {
		t.Errorf("%d bytes", len(res.Result.Message))
	}
	res := ask(t, h, call{namespace: "dev-1", object: podOf(images...)})
	total := 0
	for _, w := range res.Warnings {
		total += len([]rune(w))
	}
	if total > 4096 || len(res.Warnings) != maxWarnings+1 {
		t.Errorf("%d warnings of %d characters", len(res.Warnings), total)
	}
}

func TestConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":             "the configuration is empty",
		"version: 2\n": "line 1, column 10: version: must be 1",
		"version: 1\nstage: deploy\nnamespaces: [{names: [a], mod: warn}]\n":          "line 3, column 27: namespaces[0].mod: unknown member",
		"version: 1\nstage: deploy\nnamespaces: [{names: [a], mode: off}]\n":          "line 3",
		"version: 1\nnamespaces: [{names: [a]}]\n":                                    "namespaces[0]: has no stage",
		"version: 1\nstage: deploy\n":                                                 "namespaces: is required",
		"version: 1\nstage: deploy\nnamespaces: [{environment: x}]\n":                 "has no names",
		"version: 1\nstage: deploy\nnamespaces: [{names: [a], environment: 'x/*'}]\n": "must be one environment",
	} {
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	config, err := ParseConfig([]byte(testConfig))
	if err != nil {
		t.Fatal(err)
	}
	if r := config.Row("dev-7"); r == nil || r.Environment != "development/dev-7" || r.Mode != Warn {
		t.Errorf("%+v", r)
	}
}

// TestPersons maps users of a cluster to persons.
func TestPersons(t *testing.T) {
	config, err := ParseConfig([]byte(testConfig + `persons:
  - {user: oncall, person: "oidc:https://login.example#dana"}
  - {user: "sso:robot", person: "oidc:https://login.example#owner"}
  - {user_prefix: "sso:", issuer: https://login.example}
`))
	if err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{
		"oncall":                    "oidc:https://login.example#dana",
		"sso:kim":                   "oidc:https://login.example#kim",
		"sso:robot":                 "oidc:https://login.example#owner",
		"https://idp.example#kim":   "oidc:https://idp.example#kim",
		"sso:":                      "",
		"Oncall":                    "",
		"":                          "",
		"admin":                     "",
		"https://idp.example":       "",
		"https://idp.example#":      "",
		"system:serviceaccount:a:b": "",
		"http://idp.example#kim":    "",
		"oidc:https://x.example#a":  "",
	} {
		if got := config.Person(user); got != want {
			t.Errorf("%q: %q, want %q", user, got, want)
		}
	}
	for row, want := range map[string]string{
		`{user: a}`:            "must have user and person, or user_prefix and issuer",
		`{user: a, issuer: b}`: "must have user and person",
		`{user: a, person: "oidc:b#c", user_prefix: d}`: "must have user and person",
		`{user: a, person: kim}`:                        "persons[0].person: must be a person",
		`{user_prefix: a, issuer: b, x: y}`:             "persons[0].x: unknown member",
	} {
		if _, err := ParseConfig([]byte(testConfig + "persons: [" + row + "]\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", row, err, want)
		}
	}
}

// A busyGate refuses more than maxCalls calls at a time, as a server does, and
// lets others run before it answers.
type busyGate struct {
	*gate
	calls   atomic.Int32
	refused atomic.Int32
}

func (g *busyGate) Decide(ctx context.Context, req *connect.Request[munimentv1.DecideRequest]) (*connect.Response[munimentv1.DecideResponse], error) {
	defer g.calls.Add(-1)
	if g.calls.Add(1) > maxCalls {
		g.refused.Add(1)
		return nil, connect.NewError(connect.CodeResourceExhausted, errors.New("the caller has too many bytes in use"))
	}
	for range 10_000 {
		runtime.Gosched()
	}
	return g.gate.Decide(ctx, req)
}

// TestManyImages checks that many new images at a time wait for each other,
// instead of being denied because the server is busy.
func TestManyImages(t *testing.T) {
	g := &busyGate{gate: newGate()}
	h := start(t, g.gate)
	h.decider.servers = []*Server{{Name: "busy", Tenant: "acme", Gate: g}}
	var running sync.WaitGroup
	for i := range 5 * maxCalls {
		running.Go(func() {
			image := fmt.Sprintf("registry.example.com/app@sha256:a%063d", i)
			q, err := h.decider.decide(t.Context(), []question{{"deploy", "production", "registry.example.com/app", strings.SplitN(image, "@", 2)[1]}}, true)
			if err != nil || !q[0].passes() {
				t.Errorf("image %d: %v", i, err)
			}
		})
	}
	running.Wait()
	if n := g.refused.Load(); n > 0 {
		t.Errorf("the server refused %d calls", n)
	}
}
