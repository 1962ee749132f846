package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/api/oidc/oidctest"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

const ciFolder = "../../deploy/ci"

// ciSteps are the scripts that each CI system contains.
var ciSteps = []string{"install", "append", "gate"}

// A ciSystem is the integration of one CI system, with a model of how the
// system passes inputs to the shell.
type ciSystem struct {
	name     string
	inputs   map[string]string // with the defaults; required ones are missing
	required []string
	steps    []ciStep
	together bool     // one shell runs all steps
	private  []string // folders of the job that are not in its workspace
}

// A ciStep is a script with its environment, in which inputs are not replaced.
type ciStep struct {
	script string
	env    map[string]string
}

// ciPlaces matches where each system replaces an expression by its value.
var ciPlaces = map[string]*regexp.Regexp{
	"github": regexp.MustCompile(`\$\{\{ *(.*?) *\}\}`),
	"gitlab": regexp.MustCompile(`\$\[\[ *(.*?) *\]\]`),
	"tekton": regexp.MustCompile(`\$\(((?:params|workspaces|context|steps|tasks|results)\b[^)]*)\)`),
}

func decodeStrictly(t *testing.T, path string, into ...any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(ciFolder, path))
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	for _, v := range into {
		if err := decoder.Decode(v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		t.Fatalf("%s: more documents than expected (%v)", path, err)
	}
}

// githubAction has the syntax of
// https://docs.github.com/actions/reference/workflows-and-actions/metadata-syntax.
type githubAction struct {
	Name, Description string
	Inputs            map[string]struct {
		Description string
		Required    bool
		Default     *string
	}
	Runs struct {
		Using string
		Steps []struct {
			Name, ID, If, Shell, Run, Uses string
			Env, With                      map[string]string
		}
	}
}

var pinnedAction = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40}$`)

func readGitHub(t *testing.T) *ciSystem {
	var a githubAction
	decodeStrictly(t, "github/action.yml", &a)
	s := &ciSystem{name: "github", inputs: map[string]string{}}
	for name, i := range a.Inputs {
		switch {
		case i.Description == "" || i.Required == (i.Default != nil):
			t.Errorf("github: input %s: must have a description, and either a default or required: true", name)
		case i.Required:
			s.required = append(s.required, name)
		default:
			s.inputs[name] = *i.Default
		}
	}
	if a.Runs.Using != "composite" {
		t.Errorf("github: not a composite action: %q", a.Runs.Using)
	}
	text := ""
	for _, step := range a.Runs.Steps {
		for _, v := range step.Env {
			text += v
		}
		for _, v := range step.With {
			text += v
		}
		text += step.If
		if step.Uses != "" {
			if !pinnedAction.MatchString(step.Uses) {
				t.Errorf("github: %s is not pinned to a commit", step.Uses)
			}
			continue
		}
		if step.Shell != "bash" {
			t.Errorf("github: step %q has the shell %q", step.Name, step.Shell)
		}
		s.steps = append(s.steps, ciStep{step.Run, step.Env})
	}
	checkInputsUsed(t, s, text)
	return s
}

// readGitLab reads a component of
// https://docs.gitlab.com/ci/components/.
func readGitLab(t *testing.T) *ciSystem {
	var spec struct {
		Spec struct {
			Inputs map[string]struct {
				Description, Regex string
				Default            *string
			}
		}
	}
	type variable struct {
		Value  string
		Expand *bool
	}
	var jobs map[string]struct {
		Stage string
		Image struct {
			Name       string
			Entrypoint []string
		}
		IDTokens  map[string]struct{ Aud string } `yaml:"id_tokens"`
		Variables map[string]variable
		Script    []string
		Artifacts struct {
			When    string
			Paths   []string
			Reports map[string]string
		}
	}
	decodeStrictly(t, "gitlab/templates/muniment/template.yml", &spec, &jobs)
	s := &ciSystem{name: "gitlab", inputs: map[string]string{}, together: true}
	for name, i := range spec.Spec.Inputs {
		if i.Description == "" {
			t.Errorf("gitlab: input %s has no description", name)
		}
		if i.Default == nil {
			s.required = append(s.required, name)
		} else {
			s.inputs[name] = *i.Default
		}
	}
	if len(jobs) != 1 {
		t.Fatalf("gitlab: %d jobs", len(jobs))
	}
	for name, job := range jobs {
		env := map[string]string{}
		for name, v := range job.Variables {
			if v.Expand == nil || *v.Expand {
				t.Errorf("gitlab: the variable %s is expanded", name)
			}
			env[name] = v.Value
		}
		text := name + job.Stage + job.Image.Name + fmt.Sprint(job.IDTokens, env, job.Artifacts)
		for name := range job.IDTokens {
			env[name] = "id_token:" + name
		}
		for _, script := range job.Script {
			s.steps = append(s.steps, ciStep{script, env})
		}
		checkInputsUsed(t, s, text)
	}
	return s
}

// readTekton reads a task of https://tekton.dev/docs/pipelines/tasks/, and
// checks the pipeline that uses it.
func readTekton(t *testing.T) *ciSystem {
	type meta struct {
		Name   string
		Labels map[string]string
	}
	type param struct {
		Name, Description, Type string
		Default                 *string
	}
	type workspace struct {
		Name, Description string
		ReadOnly          bool `yaml:"readOnly"`
	}
	var task struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   meta
		Spec       struct {
			Description  string
			Params       []param
			Workspaces   []workspace
			StepTemplate struct {
				Image        string
				WorkingDir   string `yaml:"workingDir"`
				VolumeMounts []struct {
					Name      string
					MountPath string `yaml:"mountPath"`
				} `yaml:"volumeMounts"`
				Env []struct{ Name, Value string }
			} `yaml:"stepTemplate"`
			Volumes []struct {
				Name     string
				EmptyDir *struct{} `yaml:"emptyDir"`
			}
			Steps []struct{ Name, Script string }
		}
	}
	decodeStrictly(t, "tekton/task.yaml", &task)
	s := &ciSystem{name: "tekton", inputs: map[string]string{}}
	for _, p := range task.Spec.Params {
		if p.Description == "" || p.Type != "string" {
			t.Errorf("tekton: parameter %s: must have a description and the type string", p.Name)
		}
		if p.Default == nil {
			s.required = append(s.required, p.Name)
		} else {
			s.inputs[p.Name] = *p.Default
		}
	}
	for i, m := range task.Spec.StepTemplate.VolumeMounts {
		if i >= len(task.Spec.Volumes) || task.Spec.Volumes[i].Name != m.Name || task.Spec.Volumes[i].EmptyDir == nil {
			t.Errorf("tekton: %s is not an empty volume", m.Name)
		}
		s.private = append(s.private, m.MountPath)
	}
	env, text := map[string]string{}, task.Spec.StepTemplate.Image
	for _, e := range task.Spec.StepTemplate.Env {
		env[e.Name] = e.Value
		text += e.Value
	}
	for _, step := range task.Spec.Steps {
		script, ok := strings.CutPrefix(step.Script, "#!/usr/bin/env sh\n")
		if !ok {
			t.Errorf("tekton: step %s does not name its shell", step.Name)
		}
		s.steps = append(s.steps, ciStep{script, env})
	}
	checkInputsUsed(t, s, text)

	var pipeline struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   meta
		Spec       struct {
			Params     []param
			Workspaces []workspace
			Tasks      []struct {
				Name       string
				TaskRef    struct{ Name string } `yaml:"taskRef"`
				Params     []struct{ Name, Value string }
				Workspaces []struct{ Name, Workspace string }
			}
		}
	}
	decodeStrictly(t, "tekton/pipeline.yaml", &pipeline)
	for _, use := range pipeline.Spec.Tasks {
		var given []string
		for _, p := range use.Params {
			given = append(given, p.Name)
			if _, ok := s.inputs[p.Name]; !ok && !slices.Contains(s.required, p.Name) {
				t.Errorf("tekton: the pipeline sets %s, which the task does not have", p.Name)
			}
		}
		for _, name := range s.required {
			if !slices.Contains(given, name) {
				t.Errorf("tekton: the pipeline does not set %s", name)
			}
		}
		if use.TaskRef.Name != task.Metadata.Name || len(use.Workspaces) != len(task.Spec.Workspaces) {
			t.Errorf("tekton: the pipeline does not fit the task: %+v", use)
		}
	}
	return s
}

var inputNames = regexp.MustCompile(`(?:inputs|params)\.([\w-]+)`)

// checkInputsUsed requires each input to be used, and each used one to exist.
func checkInputsUsed(t *testing.T, s *ciSystem, text string) {
	t.Helper()
	used := map[string]bool{}
	for _, m := range inputNames.FindAllStringSubmatch(text, -1) {
		used[m[1]] = true
		if _, ok := s.inputs[m[1]]; !ok && !slices.Contains(s.required, m[1]) {
			t.Errorf("%s: %s is used, but is no input", s.name, m[1])
		}
	}
	for name := range s.inputs {
		if !used[name] {
			t.Errorf("%s: the input %s has no use", s.name, name)
		}
	}
}

func ciSystems(t *testing.T) []*ciSystem {
	return []*ciSystem{readGitHub(t), readGitLab(t), readTekton(t)}
}

// TestCIScripts checks that all systems run the same scripts, into which no
// system interpolates, and that shellcheck has no remarks.
func TestCIScripts(t *testing.T) {
	for i, name := range ciSteps {
		path := filepath.Join(ciFolder, "steps", name+".sh")
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(peers.Path(t, "shellcheck"), "-s", "sh", path).CombinedOutput(); err != nil {
			t.Errorf("shellcheck: %v\n%s", err, out)
		}
		for _, s := range ciSystems(t) {
			if len(s.steps) != len(ciSteps) {
				t.Fatalf("%s: %d scripts, want %d", s.name, len(s.steps), len(ciSteps))
			}
			if s.steps[i].script != string(want) {
				t.Errorf("%s: its script differs from deploy/ci/steps/%s.sh", s.name, name)
			}
			for other, place := range ciPlaces {
				if m := place.FindString(s.steps[i].script); m != "" {
					t.Errorf("%s: %s would interpolate %s into the script %s", s.name, other, m, name)
				}
			}
		}
	}
}

// A ciJob runs the steps of a system as a runner does.
type ciJob struct {
	t      *testing.T
	system *ciSystem
	dir    string // the workspace
	temp   string // what is private to the job
	issuer *oidctest.Issuer
	token  string // file
	env    []string
}

// value replaces the expressions in a value of the environment.
func (j *ciJob) value(text string, inputs map[string]string) string {
	if strings.HasPrefix(text, "id_token:") {
		return j.issuer.Token(j.issuer.Job)
	}
	if slices.Contains(j.system.private, text) {
		return filepath.Join(j.temp, text)
	}
	return ciPlaces[j.system.name].ReplaceAllStringFunc(text, func(place string) string {
		expression := ciPlaces[j.system.name].FindStringSubmatch(place)[1]
		switch m := inputNames.FindStringSubmatch(expression); {
		case expression == "runner.temp":
			return j.temp
		case expression == "workspaces.source.path":
			return j.dir
		case expression == "workspaces.credentials.path":
			return filepath.Dir(j.token)
		case expression == "inputs.token == '' && 'auto' || ''":
			if inputs["token"] == "" {
				return "auto"
			}
			return ""
		case m != nil && m[0] == expression:
			v, ok := inputs[m[1]]
			if !ok {
				v, ok = j.system.inputs[m[1]]
			}
			if !ok {
				j.t.Fatalf("%s: the required input %s is missing", j.system.name, m[1])
			}
			return v
		}
		j.t.Fatalf("%s: unknown expression %s", j.system.name, expression)
		return ""
	})
}

// run runs the steps with the inputs, up to the first that fails.
func (j *ciJob) run(inputs map[string]string) (out string, code int) {
	j.t.Helper()
	var scripts []ciStep
	if j.system.together {
		all := ciStep{env: j.system.steps[0].env}
		for _, s := range j.system.steps {
			all.script += s.script + "\n"
		}
		scripts = []ciStep{all}
	} else {
		scripts = j.system.steps
	}
	for _, s := range scripts {
		file := filepath.Join(j.t.TempDir(), "step.sh")
		if err := os.WriteFile(file, []byte(s.script), 0o600); err != nil {
			j.t.Fatal(err)
		}
		cmd := exec.CommandContext(j.t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", file)
		cmd.Dir = j.dir
		cmd.Env = append(os.Environ(), "HOME="+j.t.TempDir(), "PATH="+filepath.Dir(plainProgram(j.t))+":"+os.Getenv("PATH"))
		cmd.Env = append(cmd.Env, j.env...)
		for name, v := range s.env {
			if name != "HOME" {
				cmd.Env = append(cmd.Env, name+"="+j.value(v, inputs))
			}
		}
		text, err := cmd.CombinedOutput()
		out += string(text)
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit):
			return out, exit.ExitCode()
		case err != nil:
			j.t.Fatal(err)
		}
	}
	return out, 0
}

// hostileNames are names of files that a shell could take for something else.
var hostileNames = []string{"it's $(touch pwned).intoto.json", "a\nb \"q\" `touch pwned`; touch pwned.intoto.json", "-x --kind=finding.intoto.json", "${IFS}*?[a].intoto.json"}

// TestCIJobs runs the scripts of all systems against a real server.
func TestCIJobs(t *testing.T) {
	soak.WithoutRace(t)
	issuer := oidctest.Start()
	t.Cleanup(issuer.Close)
	c := newCompany(t, "ci")
	issuer.Job = map[string]any{"iss": issuer.URL, "sub": "repo:acme/app:ref:refs/heads/main", "repository_id": "74", "ref": "refs/heads/main", "aud": "log.ci.example"}
	config := filepath.Join(c.data, "muniment.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "tenants:\n", "identity: {issuers: [{issuer: '"+issuer.URL+"', audience: [log.ci.example]}]}\ntenants:\n", 1)
	changed = strings.Replace(changed, "    tokens:", "    identities: [{name: ci, issuer: '"+issuer.URL+"', claims: {repository_id: 74}, role: appender}]\n    tokens:", 1)
	if err := os.WriteFile(config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	c.startLog()
	token := filepath.Join(c.data, "tokens", "acme.token")
	controls := filepath.Join(t.TempDir(), "controls.yaml")
	if err := os.WriteFile(controls, []byte(ciControls), 0o600); err != nil {
		t.Fatal(err)
	}
	c.must("control", "apply", controls, "--server", c.log.url, "--token-file", token)
	credentials := filepath.Join(t.TempDir(), "token")
	data, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(credentials, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, system := range ciSystems(t) {
		t.Run(system.name, func(t *testing.T) {
			t.Parallel()
			j := &ciJob{t: t, system: system, dir: t.TempDir(), temp: t.TempDir(), issuer: issuer, token: credentials, env: []string{"MUNIMENT_AUDIENCE=log.ci.example"}}
			if system.name == "github" {
				j.env = append(j.env, "ACTIONS_ID_TOKEN_REQUEST_URL="+issuer.URL+"/github", "ACTIONS_ID_TOKEN_REQUEST_TOKEN="+issuer.RequestToken, "GITHUB_OUTPUT="+filepath.Join(j.dir, "output"), "GITHUB_PATH="+filepath.Join(j.dir, "path"))
			}
			testCIJob(t, j, c)
		})
	}
}

const ciControls = `version: "1"
stages: [deploy]
controls:
  - id: REVIEW
    title: Files are reviewed
    severity: high
    check: {require: [{name: review, predicate_types: ["https://example.com/review/v1"], unsigned: true}]}
    modes: [{stage: deploy, mode: enforce}]
`

func testCIJob(t *testing.T, j *ciJob, c *company) {
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(j.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// a program in the repository is never run in place of the real one
	for _, place := range []string{".", ".muniment-bin", "muniment-bin", "bin"} {
		if err := os.MkdirAll(filepath.Join(j.dir, place), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(j.dir, place, "muniment"), []byte("#!/bin/sh\ntouch pwned\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	app := "the artifact of " + j.system.name
	write("app $(touch pwned).bin", app)
	write("unproven.bin", "unproven "+j.system.name)
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"%x"}}],"predicateType":"https://example.com/review/v1","predicate":{"n":%%d}}`, sha256.Sum256([]byte(app)))
	for i, name := range hostileNames {
		write(name, fmt.Sprintf(statement, i))
	}
	policy, err := os.ReadFile(filepath.Join(c.data, "policy"))
	if err != nil {
		t.Fatal(err)
	}
	write("policy", string(policy))
	base := map[string]string{"server": c.log.url, "tenant": "acme", "policy": "policy", "image": "registry.example.com/muniment@sha256:" + strings.Repeat("0", 64), "stage": "deploy"}
	run := func(want int, more map[string]string) string {
		t.Helper()
		inputs := map[string]string{}
		for k, v := range base {
			inputs[k] = v
		}
		for k, v := range more {
			inputs[k] = v
		}
		out, code := j.run(inputs)
		if (want == 0) != (code == 0) || want == 1 && code != 1 {
			t.Fatalf("%q: exit code %d, want %d:\n%s", more, code, want, out)
		}
		if err := filepath.WalkDir(j.dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Name() == "pwned" {
				t.Errorf("%q: an input was run as a command", more)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return out
	}
	sarif := func() (text string) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(j.dir, "muniment-reports", "gate.sarif"))
		if err != nil {
			t.Fatal(err)
		}
		var v struct{ Version string }
		if err := json.Unmarshal(data, &v); err != nil || v.Version != "2.1.0" {
			t.Fatalf("SARIF %q: %v", v.Version, err)
		}
		return string(data)
	}

	out := run(1, map[string]string{"subjects": "unproven.bin"})
	if !strings.Contains(out, "✗ BLOCKED  unproven.bin") || !strings.Contains(out, "missing-evidence") || !strings.Contains(sarif(), `"level": "error"`) {
		t.Errorf("a blocked artifact: no reasons:\n%s\n%s", out, sarif())
	}
	out = run(0, map[string]string{"files": "*.intoto.json\n\n", "environment": "production/eu", "subjects": "app*.bin"})
	if !strings.Contains(out, "4 appended (0 already recorded), 0 failed") || !strings.Contains(out, "✓ PASS  app $(touch pwned).bin (file) at stage deploy, environment production/eu") {
		t.Errorf("a pass:\n%s", out)
	}
	if strings.Contains(sarif(), `"level": "error"`) {
		t.Errorf("SARIF of a pass:\n%s", sarif())
	}
	receipts, err := os.ReadDir(filepath.Join(j.dir, "receipts"))
	if err != nil || len(receipts) != len(hostileNames) {
		t.Errorf("%d receipts (%v), want %d", len(receipts), err, len(hostileNames))
	}
	if _, err := os.Stat(filepath.Join(j.dir, "muniment-reports", "gate.xml")); err != nil {
		t.Error(err)
	}
	// names as they are, and both artifacts
	run(0, map[string]string{"files": hostileNames[0] + "\n" + hostileNames[3], "subjects": "app $(touch pwned).bin"})
	run(1, map[string]string{"subjects": "app*.bin\nunproven.bin"})
	// without a question, nothing is decided, and nothing is uploaded
	if out := run(0, map[string]string{"stage": ""}); !strings.Contains(out, "the gate is not asked") {
		t.Error(out)
	}
	// a question without subjects, evidence that does not exist, and no ledger
	run(-1, nil)
	run(-1, map[string]string{"subjects": "\n\n"})
	run(-1, map[string]string{"files": "missing*.json", "subjects": "app*.bin"})
	run(-1, map[string]string{"server": "http://127.0.0.1:1", "subjects": "app*.bin"})
	if _, err := os.Stat(filepath.Join(j.dir, "muniment-reports", "gate.sarif")); err == nil {
		t.Error("the SARIF of an earlier run is left after a run without an answer")
	}
	for _, hostile := range []string{`$(touch pwned)`, "\"; touch pwned; '; touch pwned; `touch pwned`", "END\ntouch pwned", "--help"} {
		run(-1, map[string]string{"subjects": hostile})
		run(-1, map[string]string{"manifests": hostile, "subjects": "app*.bin"})
		run(-1, map[string]string{"files": hostile, "subjects": "app*.bin"})
		run(-1, map[string]string{"from-oci": hostile, "subjects": "app*.bin"})
		run(-1, map[string]string{"stage": hostile, "subjects": "app*.bin"})
		run(-1, map[string]string{"tenant": hostile, "subjects": "app*.bin"})
		run(-1, map[string]string{"environment": hostile, "subjects": "unproven.bin"})
	}
}

// TestCIInstall downloads a program with and without its checksum, and builds
// one from a module proxy.
func TestCIInstall(t *testing.T) {
	soak.WithoutRace(t)
	program := "#!/bin/sh\necho downloaded\n"
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, program) }))
	t.Cleanup(server.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(program)))
	proxy := smallProxy(t)
	tests := []struct {
		name     string
		env      []string
		code     int
		says     string
		leftover bool // the program of another job is there
	}{
		{"from PATH", nil, 0, "", false},
		{"from PATH, with a leftover", nil, 0, "", true},
		{"download", []string{"MUNIMENT_URL=" + server.URL + "/muniment", "MUNIMENT_SHA256=" + sum}, 0, "downloaded", false},
		{"no checksum", []string{"MUNIMENT_URL=" + server.URL + "/muniment"}, 2, "no checksum", false},
		{"two checksums", []string{"MUNIMENT_URL=" + server.URL + "/muniment", "MUNIMENT_SHA256=" + sum + "\n" + sum}, 2, "no checksum", false},
		{"another program", []string{"MUNIMENT_URL=" + server.URL + "/muniment", "MUNIMENT_SHA256=" + strings.Repeat("0", 64)}, 1, "another SHA-256", false},
		{"without TLS", []string{"MUNIMENT_URL=" + strings.Replace(server.URL, "https", "http", 1), "MUNIMENT_SHA256=" + sum}, 1, "not supported", false},
		{"a flag for a URL", []string{"MUNIMENT_URL=--output=/dev/null", "MUNIMENT_SHA256=" + sum}, 3, "", false},
		{"go install", []string{"MUNIMENT_VERSION=v0.0.1", "GOPROXY=file://" + proxy, "GONOSUMDB=*", "GOFLAGS=-modcacherw", "GOMODCACHE=" + t.TempDir()}, 0, "built", false},
		{"an unknown version", []string{"MUNIMENT_VERSION=$(touch pwned)", "GOPROXY=file://" + proxy, "GONOSUMDB=*", "GOFLAGS=-modcacherw", "GOMODCACHE=" + t.TempDir()}, 1, "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bin := filepath.Join(t.TempDir(), "new bin")
			if test.leftover {
				if err := os.Mkdir(bin, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(bin, "muniment"), []byte("#!/bin/sh\nexit 7\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-e", filepath.Join(absolute(t, ciFolder), "steps", "install.sh"))
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(plainProgram(t))+":"+os.Getenv("PATH"), "MUNIMENT_BIN="+bin, "CURL_CA_BUNDLE="+authority)
			cmd.Env = append(cmd.Env, test.env...)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != test.code || !strings.Contains(string(out), test.says) {
				t.Errorf("%v, want exit code %d and %q:\n%s", err, test.code, test.says, out)
			}
			if _, err := os.Stat(filepath.Join(bin, "muniment")); test.code != 0 && err == nil {
				t.Error("a program was installed")
			}
		})
	}
}

// smallProxy returns the folder of a module proxy, with a small program in
// place of this module's.
func smallProxy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	versions := filepath.Join(dir, "muniment.dev", "muniment", "@v")
	if err := os.MkdirAll(versions, 0o700); err != nil {
		t.Fatal(err)
	}
	mod := "module muniment.dev/muniment\n\ngo 1.26\n"
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for name, content := range map[string]string{"go.mod": mod, "cmd/muniment/main.go": "package main\n\nfunc main() { println(\"built\") }\n"} {
		f, err := w.Create("muniment.dev/muniment@v0.0.1/" + name)
		if err == nil {
			_, err = io.WriteString(f, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"list": "v0.0.1\n", "v0.0.1.info": `{"Version":"v0.0.1"}`, "v0.0.1.mod": mod, "v0.0.1.zip": archive.String()} {
		if err := os.WriteFile(filepath.Join(versions, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
