package connector_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/connector/connectortest"
)

// An objectAPI stores documents by path, with or without ETags.
type objectAPI struct {
	etags bool

	mu        sync.Mutex // guards the rest
	documents map[string]string
}

func (o *objectAPI) get(path string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.documents[path]
}

func (o *objectAPI) put(path, document string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.documents[path] = document
}

// ServeHTTP implements http.Handler.
func (o *objectAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	path := r.URL.RequestURI()
	document, ok := o.documents[path]
	sum := sha256.Sum256([]byte(document))
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	switch {
	case !ok:
		http.NotFound(w, r)
		return
	case r.Method == http.MethodPut && o.etags && r.Header.Get("If-Match") != tag:
		w.WriteHeader(http.StatusPreconditionFailed)
		return
	case r.Method == http.MethodPut:
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		o.documents[path] = string(body)
		return
	}
	if o.etags {
		w.Header().Set("ETag", tag)
	}
	_, _ = io.WriteString(w, document)
}

const limitObject = `{ "name":"größer", "burst" : 100, "rate": 1.50,  "note": {"a":[1,2]} }`

// TestHTTP changes members of an object of an API that compares ETags, and of
// one that does not. All other bytes of the object stay as they are.
func TestHTTP(t *testing.T) {
	for _, etags := range []bool{true, false} {
		api := &objectAPI{etags: etags, documents: map[string]string{"/limits/gateway?scope=a%26b%3Dc+d": limitObject}}
		server := httptest.NewServer(api)
		defer server.Close()
		compare := map[bool]string{true: "etag", false: "read"}[etags]
		make := func(url string) connector.Connector {
			return connect(t, `type: http, url: %q, target: "limit/{name}/in/{scope}", path: "/limits/{name}?scope={scope}", compare: %s,
				set: {burst: "{burst:integer}", note: {a: ["{on:boolean}", 2.5], text: "by {who}", "{who}": null}}`, url, compare)
		}
		const target = "limit/gateway/in/a&b=c d"
		parameters := map[string]string{"burst": "200", "on": "true", "who": `x", "burst": 1, "y": "<\`}
		c := make(server.URL)
		var change func()
		theirs := strings.Replace(limitObject, "100", "150", 1)
		if etags {
			change = func() { api.put("/limits/gateway?scope=a%26b%3Dc+d", theirs) }
		}
		connectortest.Run(t, connectortest.Subject{
			Connector: c, Target: target, Parameters: parameters, Wrong: map[string]string{"burst": "2}", "on": "true", "who": ""},
			State:  func(*testing.T) string { return api.get("/limits/gateway?scope=a%26b%3Dc+d") },
			Change: func(*testing.T) { api.put("/limits/gateway?scope=a%26b%3Dc+d", theirs) },
		})
		api.put("/limits/gateway?scope=a%26b%3Dc+d", limitObject)
		before, err := c.Read(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		after, err := c.Plan(t.Context(), target, parameters, before)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Set(t.Context(), target, before, after); err != nil {
			t.Fatal(err)
		}
		const want = `{ "name":"größer", "burst" : 200, "rate": 1.50,  "note": {"a":[true,2.5],"text":"by x\", \"burst\": 1, \"y\": \"<\\","{who}":null} }`
		if got := api.get("/limits/gateway?scope=a%26b%3Dc+d"); got != want {
			t.Errorf("the object is\n%s, want\n%s", got, want)
		}
		api.put("/limits/gateway?scope=a%26b%3Dc+d", limitObject)
		f := newFront(t, server.URL, nil)
		rehearse(t, rehearsal{front: f, connector: make(f.url), target: target, parameters: parameters, change: change})
	}
}

// TestHTTPPlaces checks that no name of a target leaves its place in a path.
func TestHTTPPlaces(t *testing.T) {
	var seen string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.RequestURI
		w.Header().Set("ETag", `"a"`)
		_, _ = io.WriteString(w, `{"on":true}`)
	}))
	defer server.Close()
	c := connect(t, `type: http, url: "%s/base/", target: "limit/{name}", path: "/limits/{name}/x?n={name}&m=1", set: {on: "{on:boolean}"}`, server.URL)
	for name, want := range map[string]string{
		"a": "/base/limits/a/x?n=a&m=1", "?b=c": "/base/limits/%3Fb=c/x?n=%3Fb%3Dc&m=1", "#": "/base/limits/%23/x?n=%23&m=1", "%2e%2e": "/base/limits/%252e%252e/x?n=%252e%252e&m=1",
		"a&m=2": "/base/limits/a&m=2/x?n=a%26m%3D2&m=1", "@evil:80": "/base/limits/@evil:80/x?n=%40evil%3A80&m=1", "a b": "/base/limits/a%20b/x?n=a+b&m=1",
		"\r\nHost: x": "/base/limits/%0D%0AHost:%20x/x?n=%0D%0AHost%3A+x&m=1", "..": "", ".": "", "a/b": "", "": "", `a\b`: "", "a\x00": "",
	} {
		seen = ""
		if _, err := c.Read(t.Context(), "limit/"+name); seen != want || (err == nil) != (want != "") {
			t.Errorf("%q: requested %q, want %q: %v", name, seen, want, err)
		}
	}
}

// TestHTTPRetry runs a job again. The service runs it once for each idempotency
// key, and counts when it accepts a run.
func TestHTTPRetry(t *testing.T) {
	var mu sync.Mutex
	run, status, keys := 3, "failed", map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		switch r.Method + " " + r.URL.Path {
		case "GET /runs/17":
			_, _ = fmt.Fprintf(w, `{"id":17,"run_attempt":%d,"status":%q}`, run, status)
		case "POST /runs/17/rerun":
			key := r.Header.Get("Idempotency-Key")
			if len(key) != 32 {
				t.Errorf("idempotency key %q", key)
			}
			if keys[key] {
				return
			}
			keys[key], status = true, "queued"
			run++
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	fail := func() {
		mu.Lock()
		defer mu.Unlock()
		status = "failed"
	}
	make := func(url string) connector.Connector {
		return connect(t, `type: http_retry, url: %q, target: "run/{id}", path: "/runs/{id}", retry_path: "/runs/{id}/rerun", counter: run_attempt, only_if: {status: failed}`, url)
	}
	c := make(server.URL)
	connectortest.Run(t, connectortest.Subject{
		Connector: c, Target: "run/17", Parameters: map[string]string{"id": "17"},
		State: func(*testing.T) string { mu.Lock(); defer mu.Unlock(); return strconv.Itoa(run) },
	})
	before, err := c.Read(t.Context(), "run/17")
	if err != nil || string(before) != `{"run_attempt":4}` {
		t.Fatalf("%s, %v", before, err)
	}
	if _, err := c.Plan(t.Context(), "run/17", nil, before); err == nil || !strings.Contains(err.Error(), "the job is not run again unless its status is failed") {
		t.Errorf("plan while the job runs: %v", err)
	}
	if err := c.Set(t.Context(), "run/17", before, connector.Image(`{"run_attempt":5}`)); err == nil {
		t.Error("a running job is run again")
	}
	f := newFront(t, server.URL, nil)
	rehearse(t, rehearsal{front: f, connector: make(f.url), target: "run/17", ready: fail})
}

// TestHTTPSettings checks what is refused in the settings of connectors for
// APIs.
func TestHTTPSettings(t *testing.T) {
	const valid = `version: 1
connectors:
  one:
    type: http
    url: https://127.0.0.1:1/a
    target: limit/{name}
    path: /limits/{name}
    set: {burst: "{burst:integer}"}
`
	load := func(text string) error { _, err := connector.Load([]byte(text)); return err }
	if err := load(valid); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"https://127.0.0.1:1/a", "ftp://x", "line 5, column 10: connectors.one.url: must be an http or https URL"},
		{"https://127.0.0.1:1/a", "https://u:p@x", "must not contain credentials: use token_file"},
		{"https://127.0.0.1:1/a", "https://x/?a=b", "must not have a query or a fragment"},
		{"https://127.0.0.1:1/a", "http://example.com\n    token_file: t", "connectors.one.url: must be https: a token is not sent over http"},
		{"    url: https://127.0.0.1:1/a\n", "", "line 4, column 5: connectors.one.url: must be specified"},
		{"    url:", "    token: secret\n    url:", "connectors.one.token: unknown member"},
		{"limit/{name}", "limit/{name", "connectors.one.target: a brace is not part of a placeholder"},
		{"limit/{name}", "limit/{name}{x}", "two placeholders without text between them"},
		{"/limits/{name}", "/limits/{x}", "connectors.one.path: {x} is not part of the setting target"},
		{"/limits/{name}", "//evil/{name}", "must be the path of a URL"},
		{"/limits/{name}", "limits/{name}", "must be the path of a URL"},
		{"/limits/{name}", `"/limits/{name}#a"`, "must be the path of a URL"},
		{"/limits/{name}", "http://evil/", "must be the path of a URL"},
		{`{burst: "{burst:integer}"}`, `{burst: "{burst:number}"}`, "line 8, column 18: connectors.one.set.burst: a brace is not part of a placeholder"},
		{`{burst: "{burst:integer}"}`, `{burst: "{burst:integer} per second"}`, "a brace is not part of a placeholder"},
		{`{burst: "{burst:integer}"}`, `{burst: "{burst:integer}", b: "{burst}"}`, "the parameter burst has two types"},
		{`{burst: "{burst:integer}"}`, `{}`, "must have a member"},
		{"    set:", "    compare: never\n    set:", "must be etag or read"},
	} {
		text := strings.Replace(valid, c.old, c.new, 1)
		if err := load(text); text == valid || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %s: %v, want %q", c.new, c.old, err, c.want)
		}
	}
}

// TestCheck checks that each type refuses actions that it cannot carry out.
func TestCheck(t *testing.T) {
	const api = "url: https://127.0.0.1:1, token_file: t"
	all := map[string]struct{ settings, target, parameters, undo string }{
		"cache":              {api, "cache/a", "prefetch: {type: boolean, default: true}", action.Restore},
		"cache_flush":        {api, "cache/a", "", action.Lapse},
		"flagd":              {"file: f", "flag/a", "variant: {type: string, values: [on]}", action.Restore},
		"http":               {api + ", target: 'limit/{n}', path: '/{n}', set: {a: '{a:integer}', b: '{b}'}", "limit/a", "a: {type: integer, min: 1, max: 2}, b: {type: string, values: [c]}", action.Restore},
		"http_retry":         {api + ", target: 'run/{n}', path: '/{n}', retry_path: '/{n}/r', counter: n, only_if: {s: failed}", "run/1", "", action.Lapse},
		"kubernetes_job":     {"{}", "cronjob/a/b", "", action.Lapse},
		"kubernetes_restart": {"{}", "deployment/a/b", "", action.Lapse},
		"kubernetes_scale":   {"{}", "statefulset/a/b", "replicas: {type: integer, min: 1, max: 9}", action.Restore},
		"muniment_limit":     {"file: f", "limit/a/requests_per_second", "value: {type: integer, min: 1, max: 9}", action.Restore},
		"ratelimit":          {"file: f", "limit/a=b", "requests_per_unit: {type: integer, min: 1, max: 9}", action.Restore},
		"toxiproxy":          {api, "toxic/a/b", "rate: {type: integer, min: 1, max: 9}", action.Restore},
	}
	for _, of := range connector.Types() {
		c, ok := all[of]
		if !ok {
			t.Errorf("no test of the type %s", of)
			continue
		}
		settings := "type: " + of
		if c.settings != "{}" {
			settings += ", " + c.settings
		}
		check := func(target, parameters, undo string) error {
			actions, err := action.Parse(fmt.Appendf(nil, "{version: 1, actions: {a: {connector: one, target: %s, parameters: {%s}, undo: %s, cooldown: 1m, per_target: {actions: 1, within: 1h}}}}", target, parameters, undo))
			if err != nil {
				t.Fatal(err)
			}
			return connector.Check(actions, map[string]connector.Connector{"one": connect(t, "%s", settings)})
		}
		if err := check(c.target, c.parameters, c.undo); err != nil {
			t.Errorf("%s: %v", of, err)
		}
		other := map[string]string{action.Restore: action.Lapse, action.Lapse: action.Restore}[c.undo]
		wrong := map[string]error{
			"another undo":   check(c.target, c.parameters, other),
			"another target": check("x/y", c.parameters, c.undo),
		}
		if c.parameters != "" {
			wrong["no parameters"] = check(c.target, "", c.undo)
			wrong["parameters of another type"] = check(c.target, strings.NewReplacer("integer, min: 1, max: 9", "boolean", "integer, min: 1, max: 2", "boolean", "boolean, default: true", "string, values: [x]", "string, values: [on]", "boolean").Replace(c.parameters), c.undo)
		}
		if of == "toxiproxy" {
			delete(wrong, "parameters of another type") // the toxic determines them
		} else {
			wrong["a parameter without effect"] = check(c.target, strings.TrimPrefix(c.parameters+", without: {type: boolean}", ", "), c.undo)
		}
		for what, err := range wrong {
			if err == nil {
				t.Errorf("%s: %s: no error", of, what)
			}
		}
	}
}
