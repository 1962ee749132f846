package forge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// A mock takes the place of GitHub. It checks each request against GitHub's
// description of its REST API (testdata/github.json), and answers as
// documented.
type mock struct {
	*testing.T
	operations map[string]*operation
	token      string
	hide       bool // the next list is empty, as if the request were opened later

	mu       sync.Mutex
	pulls    []pull
	requests []string
}

type operation struct {
	Query map[string]any
	Body  any

	body *jsonschema.Schema
}

func newMock(t *testing.T) (*mock, *httptest.Server) {
	text, err := os.ReadFile("testdata/github.json")
	if err != nil {
		t.Fatal(err)
	}
	m := &mock{T: t, token: "token-of-github"}
	var described struct{ Operations map[string]*operation }
	if err := json.Unmarshal(text, &described); err != nil {
		t.Fatal(err)
	}
	m.operations = described.Operations
	for name, o := range m.operations {
		if o.Body == nil {
			continue
		}
		o.Body.(map[string]any)["additionalProperties"] = false
		c := jsonschema.NewCompiler()
		if err := c.AddResource("body.json", o.Body); err != nil {
			t.Fatal(name, err)
		}
		if o.body, err = c.Compile("body.json"); err != nil {
			t.Fatal(name, err)
		}
	}
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return m, s
}

// ServeHTTP implements http.Handler.
func (m *mock) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Header.Get("Accept") != "application/vnd.github+json" || r.Header.Get("X-GitHub-Api-Version") != "2022-11-28" || r.UserAgent() == "" {
		m.Errorf("%s %s: headers %v", r.Method, r.URL, r.Header)
	}
	if r.Header.Get("Authorization") != "Bearer "+m.token {
		m.answer(w, http.StatusUnauthorized, map[string]string{"message": "Bad credentials " + r.Header.Get("Authorization")})
		return
	}
	number := 0
	path := r.URL.Path
	if n, _ := fmt.Sscanf(path, "/api/v3/repos/acme/app/pulls/%d", &number); n == 1 {
		path = "/repos/{owner}/{repo}/pulls/{pull_number}"
	} else if path == "/api/v3/repos/acme/app/pulls" {
		path = "/repos/{owner}/{repo}/pulls"
	}
	name := r.Method + " " + path
	m.requests = append(m.requests, name)
	o := m.operations[name]
	if o == nil {
		m.answer(w, http.StatusNotFound, map[string]string{"message": "Not Found"})
		return
	}
	for key := range r.URL.Query() {
		if _, ok := o.Query[key]; !ok {
			m.Errorf("%s: unknown parameter %s", name, key)
		}
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		m.Error(err)
	}
	var body map[string]any
	if o.body == nil && len(text) > 0 {
		m.Errorf("%s has a body: %s", name, text)
	}
	if o.body != nil {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err == nil {
			err = o.body.Validate(v)
		}
		if err != nil {
			m.Errorf("%s: %v: %s", name, err, text)
		}
		body, _ = v.(map[string]any)
	}
	m.operate(w, r, body, number)
}

func (m *mock) operate(w http.ResponseWriter, r *http.Request, body map[string]any, number int) {
	switch r.Method {
	case http.MethodGet:
		open := []pull{}
		q := r.URL.Query()
		for _, p := range m.pulls {
			if q.Get("head") == "acme:"+p.Head.Ref && q.Get("base") == p.Base.Ref && q.Get("page") == "1" && !m.hide {
				open = append(open, p)
			}
		}
		m.hide = false
		m.answer(w, http.StatusOK, open)
	case http.MethodPost:
		for _, p := range m.pulls {
			if p.Head.Ref == body["head"] {
				m.answer(w, http.StatusUnprocessableEntity, map[string]any{"message": "Validation Failed", "errors": []any{map[string]string{"message": "A pull request already exists for acme:" + p.Head.Ref + "."}}})
				return
			}
		}
		p := pull{Number: int64(len(m.pulls)) + 7, URL: "https://github.example/acme/app/pull/7", Title: body["title"].(string), Body: body["body"].(string)}
		p.Head.Ref, p.Base.Ref = body["head"].(string), body["base"].(string)
		p.Head.Repo = &struct {
			FullName string `json:"full_name"`
		}{"acme/app"}
		m.pulls = append(m.pulls, p)
		m.answer(w, http.StatusCreated, p)
	case http.MethodPatch:
		for i := range m.pulls {
			if p := &m.pulls[i]; p.Number == int64(number) {
				p.Title, p.Body = body["title"].(string), body["body"].(string)
				m.answer(w, http.StatusOK, p)
			}
		}
	}
}

func (m *mock) answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		m.Error(err)
	}
}

// TestGitHub opens and updates a change request.
func TestGitHub(t *testing.T) {
	m, s := newMock(t)
	f, err := New("github", s.URL, m.token, false)
	if err != nil {
		t.Fatal(err)
	}
	c := &Change{Owner: "acme", Repo: "app", Base: "main", Branch: "muniment/baselines", Title: "Update", Text: "one"}
	for _, step := range []struct {
		change   func()
		action   string
		requests int
	}{
		{func() {}, Opened, 2},
		{func() {}, Unchanged, 1},
		{func() { m.pulls[0].Body = "one\r\n" }, Unchanged, 1}, // as its form stores it
		{func() { c.Text = "two" }, Updated, 2},
		{func() { c.Text, m.hide = "three", true }, Updated, 4}, // opened in the meantime
	} {
		step.change()
		m.requests = nil
		r, err := f.Propose(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if r.Number != 7 || r.Action != step.action || len(m.requests) != step.requests {
			t.Errorf("%+v after %q, want %s after %d requests", r, m.requests, step.action, step.requests)
		}
	}
	if m.pulls[0].Body != "three" || len(m.pulls) != 1 {
		t.Errorf("%+v", m.pulls)
	}
}

// TestTokenIsHidden checks that a forge which repeats the token does not make
// it part of the error.
func TestTokenIsHidden(t *testing.T) {
	_, s := newMock(t)
	f, err := New("github", s.URL, "wrong-4711", false)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Propose(t.Context(), &Change{Owner: "acme", Repo: "app", Base: "main", Branch: "b"})
	if err == nil || !strings.Contains(err.Error(), "wrong or expired") || strings.Contains(err.Error(), "4711") {
		t.Errorf("%v", err)
	}
}

// TestRedirect checks that a redirect is an error, and that its target does not
// get the token.
func TestRedirect(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	t.Cleanup(other.Close)
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusMovedPermanently))
	t.Cleanup(s.Close)
	for _, kind := range Names() {
		f, err := New(kind, s.URL, "token-4711", false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Propose(t.Context(), &Change{Owner: "o", Repo: "r"}); err == nil || !strings.Contains(err.Error(), "the forge redirects to "+other.URL) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if reached {
		t.Error("the redirect was followed")
	}
}

func TestCheckURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://git.example.com/":        "https://git.example.com",
		"https://git.example.com/gitea/":  "https://git.example.com/gitea",
		"http://127.0.0.1:3000":           "http://127.0.0.1:3000",
		"http://localhost:3000":           "http://localhost:3000",
		"http://[::1]:3000":               "http://[::1]:3000",
		"http://git.example.com":          "plain HTTP would reveal the token",
		"https://u:p@git.example.com":     "must not contain a user or token",
		"https://git.example.com?token=x": "no query",
		"ssh://git.example.com":           "must be such as",
		"git.example.com":                 "must be such as",
	} {
		got, err := CheckURL(in, false)
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if _, err := CheckURL("http://git.example.com", true); err != nil {
		t.Error(err)
	}
}

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]Address{
		"https://github.com/acme/app.git":                 {"https://github.com", "acme", "app"},
		"https://x-access-token:secret@github.com/acme/a": {"https://github.com", "acme", "a"},
		"git@github.com:acme/app.git":                     {"https://github.com", "acme", "app"},
		"ssh://git@git.example.com:2222/acme/app.git":     {"https://git.example.com", "acme", "app"},
		"https://example.com/gitea/acme/app/":             {"https://example.com/gitea", "acme", "app"},
		"http://127.0.0.1:3000/acme/app.git":              {"http://127.0.0.1:3000", "acme", "app"},
	} {
		got, err := ParseAddress(in, "")
		if err != nil || *got != want {
			t.Errorf("%s: %+v %v", in, got, err)
		}
	}
	for _, in := range []string{"/srv/repo.git", "file:///srv/repo", "../repo", "https://github.com/acme", "https://github.com", "C:\\repo", "ftp://x/y/z"} {
		if got, err := ParseAddress(in, ""); err == nil {
			t.Errorf("%s: %+v", in, got)
		}
	}
	got, err := ParseAddress("git@10.0.0.1:acme/app.git", "http://10.0.0.1:3000/")
	if err != nil || got.Clone() != "http://10.0.0.1:3000/acme/app.git" || got.Kind() != "" {
		t.Errorf("%+v %v", got, err)
	}
}
