package gitbranch

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/remote/forge"
	"muniment.dev/muniment/internal/peers/gitearig"
	"muniment.dev/muniment/internal/soak"
)

const (
	file  = "deploy/baselines.yaml"
	text  = "a: 1\r\n# x\r\n"
	limit = 1 << 20
)

func to(s string) func([]byte) ([]byte, error) {
	return func(have []byte) ([]byte, error) {
		i := bytes.IndexByte(have, ':') + 2
		out := bytes.Clone(have)
		out[i] = s[0]
		return out, nil
	}
}

// A world is a repository on the real Gitea.
type world struct {
	*testing.T
	*gitearig.Server
	repo  string
	path  string
	forge forge.Forge
}

// TestGitea runs the tests that share one Gitea, each with its own repository.
func TestGitea(t *testing.T) {
	soak.WithoutRace(t)
	s := gitearig.Start(t)
	for name, test := range map[string]func(w *world){
		"branch": testBranch, "others": testForeignBranches, "request": testChangeRequest, "token": testTokenIsKeptNowhere, "interrupted": testInterrupted,
	} {
		t.Run(name, func(t *testing.T) { test(newWorld(t, s, name)) })
	}
}

func newWorld(t *testing.T, s *gitearig.Server, repo string) *world {
	s.T = t
	w := &world{T: t, Server: s, repo: repo}
	w.path = w.Repository(repo, file, []byte(text))
	f, err := forge.New("gitea", w.URL, w.Token, false)
	if err != nil {
		t.Fatal(err)
	}
	w.forge = f
	return w
}

func (w *world) options() *Options {
	return &Options{URL: w.URL + "/acme/" + w.repo + ".git", Token: w.Token, Branch: "muniment/baselines", Name: "Muniment", Email: "muniment@acme.example", Now: time.Unix(1_800_000_000, 0).UTC()}
}

func (w *world) open() *Clone {
	w.Helper()
	c, err := Open(w.Context(), w.options())
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := c.Close(); err != nil {
			w.Error(err)
		}
	})
	return c
}

func (w *world) propose(value, action string) *Result {
	w.Helper()
	return w.proposeFrom(w.open(), value, action)
}

func (w *world) proposeFrom(c *Clone, value, action string) *Result {
	w.Helper()
	r, err := c.Propose(w.Context(), file, "Update the base images", limit, to(value))
	if err != nil {
		w.Fatal(err)
	}
	if r.Action != action {
		w.Fatalf("the branch was %s, want %s", r.Action, action)
	}
	return r
}

// at returns the text and blob of a file on a branch.
func (w *world) at(branch, path string) (content, sha string) {
	w.Helper()
	var out struct{ Content, Sha string }
	w.Call("GET", w.path+"/contents/"+path+"?ref="+branch, nil, &out)
	raw, err := base64.StdEncoding.DecodeString(out.Content)
	if err != nil {
		w.Fatal(err)
	}
	return string(raw), out.Sha
}

// commits returns the number of commits of the branch that main lacks.
func (w *world) commits() int {
	w.Helper()
	var out struct {
		Total int `json:"total_commits"`
	}
	w.Call("GET", w.path+"/compare/main...muniment/baselines", nil, &out)
	return out.Total
}

func (w *world) want(branch, want string, commits int) {
	w.Helper()
	if got, _ := w.at(branch, file); got != want {
		w.Errorf("%s has %q, want %q", branch, got, want)
	}
	if got := w.commits(); got != commits {
		w.Errorf("the branch has %d commits, want %d", got, commits)
	}
}

// testBranch follows a branch through its life on the real Gitea: it is
// created, left alone, replaced, kept with commits by others, and never loses
// one that is pushed at the same time.
func testBranch(w *world) {
	t := w.T
	branch := w.options().Branch
	first := w.propose("2", Created)
	w.want(branch, strings.Replace(text, "1", "2", 1), 1)
	if again := w.propose("2", Unchanged); again.Commit != first.Commit {
		t.Errorf("the tip is %s, want %s", again.Commit, first.Commit)
	}
	w.propose("3", Replaced)
	w.want(branch, strings.Replace(text, "1", "3", 1), 1)

	// the base branch moves on: the change is left alone, and the next one is
	// based on the new tip
	w.Commit(w.repo, "main", "", "other.txt", []byte("x"))
	w.propose("3", Unchanged)
	w.propose("4", Replaced)
	w.want(branch, strings.Replace(text, "1", "4", 1), 1)
	w.at(branch, "other.txt")

	// another process replaces the branch after it was copied
	late := w.open()
	w.propose("5", Replaced)
	if _, err := late.Propose(t.Context(), file, "m", limit, to("6")); err == nil || !strings.Contains(err.Error(), "non-fast-forward") {
		t.Fatalf("a commit that was pushed meanwhile was replaced: %v", err)
	}
	// and so does a person
	late = w.open()
	w.Commit(w.repo, branch, "", "notes.txt", []byte("by a person"))
	if _, err := late.Propose(t.Context(), file, "m", limit, to("6")); err == nil {
		t.Fatal("a person's commit was replaced")
	}
	w.want(branch, strings.Replace(text, "1", "5", 1), 2)

	// commits by others stay
	w.propose("5", Unchanged)
	w.propose("7", Added)
	w.want(branch, strings.Replace(text, "1", "7", 1), 3)
	if got, _ := w.at(branch, "notes.txt"); got != "by a person" {
		t.Errorf("notes.txt has %q", got)
	}
	w.propose("8", Added)
	w.want(branch, strings.Replace(text, "1", "8", 1), 4)
}

// testForeignBranches checks what counts as the work of others.
func testForeignBranches(w *world) {
	t := w.T
	branch := w.options().Branch
	for name, make := range map[string]func(dir string){
		"another committer": func(dir string) {
			w.git(dir, "-c", "user.name=Eve", "-c", "user.email=e@x.example", "commit", "--amend", "--no-edit", "--reset-author")
		},
		"another file": func(dir string) {
			if err := os.WriteFile(filepath.Join(dir, "more"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			w.git(dir, "add", ".")
			w.own(dir, "commit", "--amend", "--no-edit")
		},
		"no trailer": func(dir string) { w.own(dir, "commit", "--amend", "-m", "Update") },
		"an empty commit": func(dir string) {
			w.git(dir, "-c", "user.name=Eve", "-c", "user.email=e@x.example", "commit", "--allow-empty", "-m", "x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{T: t, Server: w.Server, repo: w.repo, path: w.path, forge: w.forge}
			dir := t.TempDir()
			if r, err := http.NewRequest(http.MethodDelete, w.URL+"/api/v1"+w.path+"/branches/"+branch, nil); err == nil {
				r.Header.Set("Authorization", "token "+w.Token)
				if res, err := http.DefaultClient.Do(r); err == nil {
					res.Body.Close()
				}
			}
			w.propose("2", Created)
			w.git("", "clone", "-q", "-b", branch, w.clone(), dir)
			make(dir)
			w.git(dir, "push", "-q", "-f", "origin", "HEAD:"+branch)
			before := strings.TrimSpace(w.git(dir, "rev-parse", "HEAD"))
			w.propose("3", Added)
			w.git(dir, "fetch", "-q")
			w.git(dir, "merge-base", "--is-ancestor", before, "origin/"+branch)
		})
	}
}

func (w *world) clone() string {
	return strings.Replace(w.URL, "://", "://acme:"+w.Token+"@", 1) + "/acme/" + w.repo + ".git"
}

func (w *world) own(dir string, args ...string) {
	o := w.options()
	w.git(dir, append([]string{"-c", "user.name=" + o.Name, "-c", "user.email=" + o.Email}, args...)...)
}

func (w *world) git(dir string, args ...string) string {
	w.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// testChangeRequest opens and updates a change request on the real Gitea.
func testChangeRequest(w *world) {
	t := w.T
	w.propose("2", Created)
	c := &forge.Change{Owner: "acme", Repo: w.repo, Base: "main", Branch: w.options().Branch, Title: "Update", Text: "one\ntwo"}
	want := func(action string) *forge.Request {
		t.Helper()
		r, err := w.forge.Propose(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if r.Action != action || r.Number != 1 {
			t.Errorf("%+v, want 1 %s", r, action)
		}
		return r
	}
	r := want(forge.Opened)
	if r.URL != w.URL+"/acme/"+w.repo+"/pulls/1" {
		t.Errorf("the URL is %s", r.URL)
	}
	want(forge.Unchanged)
	w.propose("3", Replaced)
	c.Text = "three"
	want(forge.Updated)
	want(forge.Unchanged)
	var pull struct{ Title, Body string }
	w.Call("GET", w.path+"/pulls/1", nil, &pull)
	if pull.Title != "Update" || pull.Body != "three" {
		t.Errorf("%+v", pull)
	}
	// an open one that the list did not show yet: Gitea answers 409
	racing := &lagging{base: http.DefaultTransport}
	late, err := forge.NewWith("gitea", w.URL, w.Token, racing)
	if err != nil {
		t.Fatal(err)
	}
	c.Text = "four"
	if r, err := late.Propose(t.Context(), c); err != nil || r.Action != forge.Updated || r.Number != 1 || racing.conflicts != 1 {
		t.Errorf("%+v %v, %d conflicts", r, err, racing.conflicts)
	}
	// a wrong token is an error that does not contain it
	bad, err := forge.New("gitea", w.URL, "secret-token-4711", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bad.Propose(t.Context(), c); err == nil || !strings.Contains(err.Error(), "wrong or expired") || strings.Contains(err.Error(), "4711") {
		t.Errorf("%v", err)
	}
	o := w.options()
	o.Token = "secret-token-4711"
	clone, err := Open(t.Context(), o)
	if err == nil { // the repository is public
		_, err = clone.Propose(t.Context(), file, "m", limit, to("9"))
		clone.Close()
	}
	if err == nil || strings.Contains(err.Error(), "4711") {
		t.Errorf("%v", err)
	}
}

// A lagging transport hides everything from the first list.
type lagging struct {
	base      http.RoundTripper
	hidden    bool
	conflicts int
}

func (l *lagging) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodGet && !l.hidden {
		l.hidden = true
		q := req.URL.Query()
		q.Set("page", "1000")
		req = req.Clone(req.Context())
		req.URL.RawQuery = q.Encode()
	}
	res, err := l.base.RoundTrip(req)
	if err == nil && res.StatusCode == http.StatusConflict {
		l.conflicts++
	}
	return res, err
}

// testTokenIsKeptNowhere checks that the copy of the repository does not
// contain the token.
func testTokenIsKeptNowhere(w *world) {
	t := w.T
	c := w.open()
	w.proposeFrom(c, "2", Created)
	found := 0
	err := filepath.Walk(c.dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(w.Token)) {
			t.Errorf("%s contains the token", path)
		}
		found++
		return err
	})
	if err != nil || found < 5 {
		t.Errorf("%d files, %v", found, err)
	}
}

// TestLocate finds the remote and path of a file, also in a linked worktree.
func TestLocate(t *testing.T) {
	dir := t.TempDir()
	w := &world{T: t}
	w.git(dir, "init", "-q", "-b", "main", "repo")
	repo := filepath.Join(dir, "repo")
	if err := os.MkdirAll(filepath.Join(repo, "deploy"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(repo, file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.git(repo, "add", ".")
	w.git(repo, "-c", "user.name=x", "-c", "user.email=x@x.example", "commit", "-qm", "x")
	if _, _, err := Locate(filepath.Join(repo, file), "origin"); err == nil || !strings.Contains(err.Error(), "no remote origin") {
		t.Errorf("%v", err)
	}
	w.git(repo, "remote", "add", "origin", "https://git.example.com/acme/app.git")
	w.git(repo, "worktree", "add", "-q", filepath.Join(dir, "linked"))
	for _, root := range []string{repo, filepath.Join(dir, "linked")} {
		url, path, err := Locate(filepath.Join(root, file), "origin")
		if err != nil || url != "https://git.example.com/acme/app.git" || path != file {
			t.Errorf("%s: %q %q %v", root, url, path, err)
		}
	}
	if _, _, err := Locate(filepath.Join(dir, "repo", "..", "linked", "..", fmt.Sprintf("%d", 1)), "origin"); err == nil {
		t.Error("a missing file was found")
	}
}

// testInterrupted checks that the end of the context ends a copy.
func testInterrupted(w *world) {
	t := w.T
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, w.options()); err == nil {
		t.Error("no error")
	}
}
