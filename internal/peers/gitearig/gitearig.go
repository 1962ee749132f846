// Package gitearig starts the real Gitea, for tests of change requests.
package gitearig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"muniment.dev/muniment/internal/peers"
)

// A Server is a running Gitea with one user.
type Server struct {
	URL   string
	User  string
	Token string // of the user, with access to everything

	T T // fails if a call fails
}

// T is the part of testing.TB that this package uses. Scripts have it, too.
type T interface {
	Helper()
	Fatal(...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

const user = "acme"

// Start starts Gitea for the duration of a test.
func Start(t T) *Server {
	t.Helper()
	dir := t.TempDir()
	bin, err := peers.Find("gitea")
	if err != nil {
		t.Fatal(err)
	}
	ports, err := peers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{URL: "http://127.0.0.1:" + ports[0], User: user, T: t}
	config := filepath.Join(dir, "app.ini")
	if err := os.WriteFile(config, []byte(Config(dir, bin+"-files", ports[0])), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		cmd := exec.Command(bin, append([]string{"--config", config}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("gitea %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("migrate")
	made := run("admin", "user", "create", "--username", user, "--random-password", "--email", "acme@acme.example", "--must-change-password=false", "--access-token")
	words := strings.Fields(made)
	s.Token = words[len(words)-1]
	p, err := peers.Program{Name: "gitea", Dir: dir, Args: []string{"--config", config, "web"}, Probe: s.URL + "/api/v1/version"}.Start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return s
}

// Config returns a configuration of Gitea on a folder, with the files that the
// program needs beside it.
func Config(dir, files, port string) string {
	return fmt.Sprintf(`RUN_MODE = prod
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = %[1]s/work
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = %[3]s
ROOT_URL = http://127.0.0.1:%[3]s/
STATIC_ROOT_PATH = %[2]s
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = %[1]s/gitea.db
SQLITE_JOURNAL_MODE = MEMORY
[repository]
ROOT = %[1]s/repositories
DEFAULT_BRANCH = main
[security]
INSTALL_LOCK = true
SECRET_KEY = 0123456789012345678901234567890123456789
[log]
LEVEL = Error
ROOT_PATH = %[1]s/log
[actions]
ENABLED = false
[packages]
ENABLED = false
`, dir, files, port)
}

// Call calls the API and decodes the answer, unless out is nil.
func (s *Server) Call(method, path string, in, out any) {
	s.T.Helper()
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			s.T.Fatal(err)
		}
	}
	req, err := http.NewRequest(method, s.URL+"/api/v1"+path, &body)
	if err != nil {
		s.T.Fatal(err)
	}
	req.Header.Set("Authorization", "token "+s.Token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.T.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil || res.StatusCode > 299 {
		s.T.Fatalf("%s %s: %s %s %v", method, path, res.Status, answer, err)
	}
	if out == nil {
		return
	}
	if err := json.Unmarshal(answer, out); err != nil {
		s.T.Fatalf("%s %s: %v: %s", method, path, err, answer)
	}
}

// Repository creates a repository with one file, and returns its path.
func (s *Server) Repository(name, file string, text []byte) string {
	s.T.Helper()
	s.Call("POST", "/user/repos", map[string]any{"name": name, "default_branch": "main", "private": true}, nil)
	s.Commit(name, "main", "", file, text)
	return "/repos/" + user + "/" + name
}

// Commit commits a file to a branch, as the user. sha is that of the blob that
// it replaces, or empty for a new file.
func (s *Server) Commit(repo, branch, sha, file string, text []byte) {
	s.T.Helper()
	method, body := "POST", map[string]any{"content": text, "branch": branch, "message": "Change " + file}
	if sha != "" {
		method, body["sha"] = "PUT", sha
	}
	s.Call(method, "/repos/"+user+"/"+repo+"/contents/"+file, body, nil)
}
