package connector_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
)

// A front stands between a connector and the API of its target. It forwards all
// requests, unless a test replaces its answers.
type front struct {
	url     string
	backend http.Handler

	mu     sync.Mutex // guards answer
	answer http.HandlerFunc
}

// newFront returns a front of an API.
func newFront(t *testing.T, backend string, transport http.RoundTripper) *front {
	t.Helper()
	to, err := url.Parse(backend)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{backend: &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		answer := f.answer
		f.mu.Unlock()
		if answer == nil {
			f.backend.ServeHTTP(w, r)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// set replaces the answers until the next call. Nil: requests are forwarded.
func (f *front) set(answer http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// writes replaces the answers to requests that change something.
func (f *front) writes(answer http.HandlerFunc) {
	f.set(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			f.backend.ServeHTTP(w, r)
			return
		}
		answer(w, r)
	})
}

// A rehearsal is an action through a front.
type rehearsal struct {
	front      *front
	connector  connector.Connector
	target     string
	parameters map[string]string
	// change changes the target as a person would. Nil: the API has no
	// compare-and-set.
	change func()
	// ready makes a lapsing action possible again.
	ready func()
}

func (r *rehearsal) read(t *testing.T) string {
	t.Helper()
	r.front.set(nil)
	image, err := r.connector.Read(t.Context(), r.target)
	if err != nil {
		t.Fatal(err)
	}
	return string(image)
}

func (r *rehearsal) plan(t *testing.T) (before, after connector.Image) {
	t.Helper()
	if r.ready != nil {
		r.ready()
	}
	before = connector.Image(r.read(t))
	after, err := r.connector.Plan(t.Context(), r.target, r.parameters, before)
	if err != nil {
		t.Fatal(err)
	}
	return before, after
}

// end undoes an action that took effect. One that lapses must not take effect
// again instead.
func (r *rehearsal) end(t *testing.T, what string, before, after connector.Image) {
	t.Helper()
	if got := r.read(t); got != string(after) {
		t.Fatalf("%s: the target has the image %s, want %s", what, got, after)
	}
	if err := r.connector.Set(t.Context(), r.target, before, after); !errors.Is(err, connector.ErrChanged) {
		t.Errorf("%s, and a second time: %v, want ErrChanged", what, err)
	}
	if r.connector.Undo() == action.Lapse {
		return
	}
	if err := r.connector.Set(t.Context(), r.target, after, before); err != nil {
		t.Fatalf("undo after %s: %v", what, err)
	}
	if got := r.read(t); got != string(before) {
		t.Fatalf("undo after %s: the target has the image %s, want %s", what, got, before)
	}
}

// rehearse runs an action and its undo through all faults of an API.
func rehearse(t *testing.T, r rehearsal) {
	t.Helper()
	before, after := r.plan(t)
	refuse := func(what string) {
		t.Helper()
		if image, err := r.connector.Read(t.Context(), r.target); err == nil {
			t.Errorf("%s: read %q", what, image)
		}
		if err := r.connector.Set(t.Context(), r.target, before, after); err == nil || errors.Is(err, connector.ErrChanged) {
			t.Errorf("%s: set: %v", what, err)
		}
	}
	answers := map[string]http.HandlerFunc{
		"no target":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone", http.StatusNotFound) },
		"unauthorized": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "who", http.StatusUnauthorized) },
		"forbidden":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) },
		"overloaded":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "later", http.StatusServiceUnavailable) },
		"connection closed": func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		},
		"endless string": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"a"`)
			_, _ = io.WriteString(w, `{"metadata": "`)
			for chunk := strings.Repeat("a", 64<<10); ; {
				if _, err := io.WriteString(w, chunk); err != nil {
					return
				}
			}
		},
		"endless header": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) },
		"deep": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"a"`)
			_, _ = io.WriteString(w, `{"spec":`+strings.Repeat("[", 1<<20))
		},
	}
	for _, garbage := range []string{"", "{", "[]", "null", `"x"`, "{}", `{"x":1}`, `{"x":1,"x":2}`, "{}{}", "{\"\xff\":1}", "<html>"} {
		answers["garbage "+garbage] = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"a"`)
			_, _ = io.WriteString(w, garbage)
		}
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed: %s %s", r.Method, r.URL)
	}))
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		answers["redirect "+http.StatusText(status)] = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, status)
		}
	}
	for what, answer := range answers {
		// Read and Set each make one request, which fails and is not repeated.
		var requests atomic.Int32
		r.front.set(func(w http.ResponseWriter, q *http.Request) { requests.Add(1); answer(w, q) })
		refuse(what)
		if n := requests.Load(); n != 2 {
			t.Errorf("%s: %d requests, want 2", what, n)
		}
	}
	if got := r.read(t); got != string(before) {
		t.Fatalf("after refused calls: the target has the image %s, want %s", got, before)
	}
	rehearseTimeouts(t, r)
	rehearseLosses(t, r)
}

// rehearseTimeouts ends calls whose answer never comes.
func rehearseTimeouts(t *testing.T, r rehearsal) {
	t.Helper()
	// until calls with a context that ends when the front reports progress.
	until := func(progress <-chan struct{}, call func(ctx context.Context) error) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stop := make(chan struct{})
		var wait sync.WaitGroup
		wait.Go(func() {
			select {
			case <-progress:
			case <-stop:
			}
			cancel()
		})
		err := call(ctx)
		close(stop)
		wait.Wait()
		return err
	}
	report := func(progress chan struct{}) {
		select {
		case progress <- struct{}{}:
		default:
		}
	}
	progress := make(chan struct{}, 1)
	r.front.set(func(w http.ResponseWriter, q *http.Request) { // a body without an end
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		report(progress)
		<-q.Context().Done()
	})
	if err := until(progress, func(ctx context.Context) error { _, err := r.connector.Read(ctx, r.target); return err }); err == nil {
		t.Error("an answer without an end is read")
	}
	before, after := r.plan(t)
	r.front.writes(func(w http.ResponseWriter, q *http.Request) {
		r.front.backend.ServeHTTP(httptest.NewRecorder(), q)
		report(progress)
		<-q.Context().Done()
	})
	if err := until(progress, func(ctx context.Context) error { return r.connector.Set(ctx, r.target, before, after) }); err == nil {
		t.Error("a timeout after success: no error")
	}
	r.end(t, "a timeout after success", before, after)
}

// rehearseLosses loses requests and answers, and lets a person be faster.
func rehearseLosses(t *testing.T, r rehearsal) {
	t.Helper()
	before, after := r.plan(t)
	r.front.writes(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if err := r.connector.Set(t.Context(), r.target, before, after); err == nil || errors.Is(err, connector.ErrChanged) {
		t.Errorf("a lost request: %v", err)
	}
	if got := r.read(t); got != string(before) {
		t.Errorf("after a lost request: the target has the image %s, want %s", got, before)
	}
	for what, answer := range map[string]http.HandlerFunc{
		"a lost answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"an error after success": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "failed", http.StatusInternalServerError)
		},
	} {
		before, after := r.plan(t)
		r.front.writes(func(w http.ResponseWriter, q *http.Request) {
			r.front.backend.ServeHTTP(httptest.NewRecorder(), q)
			answer(w, q)
		})
		if err := r.connector.Set(t.Context(), r.target, before, after); err == nil || errors.Is(err, connector.ErrChanged) {
			t.Errorf("%s: %v", what, err)
		}
		r.end(t, what, before, after)
	}
	if r.change == nil {
		return
	}
	before, after = r.plan(t)
	var once sync.Once
	r.front.writes(func(w http.ResponseWriter, q *http.Request) {
		once.Do(r.change)
		r.front.backend.ServeHTTP(w, q)
	})
	if err := r.connector.Set(t.Context(), r.target, before, after); !errors.Is(err, connector.ErrChanged) {
		t.Errorf("a person who is faster: %v, want ErrChanged", err)
	}
	if got := r.read(t); got == string(after) || got == string(before) {
		t.Errorf("a person who is faster: their change was reverted: %s", got)
	}
}
