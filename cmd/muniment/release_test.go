package main

import (
	"archive/tar"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	images "github.com/google/go-containerregistry/pkg/v1/mutate"
	"gopkg.in/yaml.v3"

	"muniment.dev/muniment/internal/soak"
)

// releaseVersion is the version on the pages about releases.
const releaseVersion = "v1.6.0"

// releaseFolder returns a release of the current commit for one system, made by
// deploy/release, with a private Sigstore and a ledger of its own.
func releaseFolder(t *testing.T) string {
	t.Helper()
	dir, err := makeRelease()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var makeRelease = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs("../../.cache/release")
	if err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	cmd := exec.Command("../../deploy/release/release.sh", dir, releaseVersion)
	cmd.Env = append(os.Environ(), "SYSTEMS=linux/amd64", "WARM=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a release: %v\n%s", err, out)
	}
	return dir, nil
})

// TestRelease checks what a release consists of. Two builds of it were equal,
// or there would be none.
func TestRelease(t *testing.T) {
	soak.WithoutRace(t)
	t.Parallel()
	if testing.Short() {
		t.Skip("make test runs it: it builds the program and signs with a private Sigstore")
	}
	dir := releaseFolder(t)
	file := func(name string) string { return filepath.Join(dir, name) }

	t.Run("program", func(t *testing.T) {
		unpacked := t.TempDir()
		if out, err := exec.Command("tar", "-xzf", file("muniment_1.6.0_linux_amd64.tar.gz"), "-C", unpacked).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		program := filepath.Join(unpacked, "muniment")
		requireStatic(t, program)
		out, err := exec.Command(program, "--version").Output()
		if err != nil || strings.TrimSpace(string(out)) != "muniment "+releaseVersion {
			t.Errorf("the program is version %q (%v), want %s", out, err, releaseVersion)
		}
	})
	t.Run("image", func(t *testing.T) { checkImage(t, file("muniment_1.6.0_image.tar")) })
	t.Run("sboms", func(t *testing.T) {
		for name, component := range map[string]string{
			"muniment_1.6.0_linux_amd64.cdx.json": "github.com/cockroachdb/pebble/v2",
			"muniment-verify-npm.cdx.json":        "@noble/hashes",
			"muniment-python.cdx.json":            "cryptography",
		} {
			if listed := components(t, file(name)); !slices.Contains(listed, component) {
				t.Errorf("%s does not list %s, but %v", name, component, listed)
			}
		}
	})
	t.Run("every file is signed, recorded and decided", func(t *testing.T) {
		names, err := filepath.Glob(file("muniment?*"))
		if err != nil {
			t.Fatal(err)
		}
		checked := 0
		for _, path := range names {
			name := filepath.Base(path)
			if strings.HasSuffix(name, ".sigstore.json") || strings.HasSuffix(name, ".cdx.json") {
				continue
			}
			checked++
			for _, companion := range []string{name + ".sigstore.json", "receipts/" + name + ".sigstore.json.receipt.json", "decisions/" + name} {
				if _, err := os.Stat(file(companion)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if checked != 9 { // archive, deb, rpm, image, chart, wheel, sdist, two npm packages
			t.Errorf("the release has %d files, want 9: %v", checked, names)
		}
	})
}

const releaseWorkflow = ".github/workflows/release.yml"

// TestReleaseWorkflow checks that the workflow exists as which releases are
// signed, that it runs the tested script, and that only its job can sign.
func TestReleaseWorkflow(t *testing.T) {
	read := func(path string) string {
		data, err := os.ReadFile("../../" + path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var w struct {
		Name        string
		On          map[string]any
		Permissions map[string]string
		Concurrency map[string]any
		Defaults    map[string]any
		Jobs        map[string]struct {
			If, Environment string
			RunsOn          string `yaml:"runs-on"`
			TimeoutMinutes  int    `yaml:"timeout-minutes"`
			Permissions     map[string]string
			Steps           []struct {
				Name, Uses, Run string
				With, Env       map[string]string
			}
		}
	}
	text := read(releaseWorkflow)
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&w); err != nil {
		t.Fatal(err)
	}
	if len(w.On) != 1 || w.On["workflow_dispatch"] == nil || len(w.Permissions) != 0 || len(w.Jobs) != 1 {
		t.Errorf("must have one job, which people start, and no permissions elsewhere: on %v, permissions %v", w.On, w.Permissions)
	}
	job := w.Jobs["release"]
	if job.If != "github.ref == 'refs/heads/main'" || job.Environment == "" || job.Permissions["id-token"] != "write" {
		t.Errorf("the job must be limited to main and an environment, and be able to sign: %+v", job)
	}
	script := 0
	for _, step := range job.Steps {
		if step.Uses != "" && !pinnedAction.MatchString(step.Uses) {
			t.Errorf("%s is not pinned to a commit", step.Uses)
		}
		if strings.Contains(step.Run, "${{") {
			t.Errorf("step %q: inputs reach the shell by interpolation", step.Name)
		}
		if strings.Contains(step.Run, "deploy/release/release.sh dist") && step.Env["SIGSTORE"] == "public" {
			script++
			for _, name := range []string{"MUNIMENT_SERVER", "MUNIMENT_POLICY", "GATE_KEY"} {
				if step.Env[name] == "" {
					t.Errorf("step %q: release.sh needs %s", step.Name, name)
				}
			}
		}
	}
	if script != 1 {
		t.Errorf("release.sh runs %d times, want once", script)
	}
	for _, path := range []string{"docs/verify-release.md", "deploy/release/release.sh"} {
		if !strings.Contains(read(path), "/"+releaseWorkflow+"@refs/heads/main") {
			t.Errorf("%s names another identity than that of %s on main", path, releaseWorkflow)
		}
	}
}

// TestReleasePublicly checks what release.sh requires before it builds and
// signs publicly.
func TestReleasePublicly(t *testing.T) {
	const workflow = "GITHUB_WORKFLOW_REF=muniment/muniment/" + releaseWorkflow + "@refs/heads/main"
	for _, c := range []struct {
		want string
		env  []string
	}{
		{"SIGSTORE=staging: must be local or public", []string{"SIGSTORE=staging"}},
		{"this job is not https://github.com/muniment/muniment/" + releaseWorkflow, []string{"SIGSTORE=public", "GITHUB_WORKFLOW_REF=muniment/muniment/.github/workflows/ci.yml@refs/heads/main"}},
		{"SIGSTORE=public needs MUNIMENT_SERVER", []string{"SIGSTORE=public", workflow}},
		{"SIGSTORE=public needs GATE_KEY", []string{"SIGSTORE=public", workflow, "MUNIMENT_SERVER=https://ledger.example", "MUNIMENT_POLICY=policy"}},
	} {
		cmd := exec.Command("../../deploy/release/release.sh", filepath.Join(t.TempDir(), "out"), releaseVersion)
		cmd.Env = append(os.Environ(), c.env...)
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: %v, want %q\n%s", c.env, err, c.want, out)
		}
	}
}

func requireStatic(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the program needs %v (%v)", libraries, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program needs a dynamic linker")
		}
	}
}

// components returns the names of a CycloneDX SBOM's components. npm has the
// scope of a package in a member of its own.
func components(t *testing.T, path string) (names []string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var sbom struct {
		BOMFormat  string
		Components []struct{ Group, Name string }
	}
	if err := json.Unmarshal(data, &sbom); err != nil || sbom.BOMFormat != "CycloneDX" {
		t.Fatalf("%s: %v, format %q", path, err, sbom.BOMFormat)
	}
	for _, c := range sbom.Components {
		if c.Group != "" {
			c.Name = c.Group + "/" + c.Name
		}
		names = append(names, c.Name)
	}
	return names
}

// checkImage reads the image's layout, and runs its entrypoint in its files.
func checkImage(t *testing.T, path string) {
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xf", path, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	l, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	outer, err := l.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := outer.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatalf("the layout has %d images, want 1 (%v)", len(m.Manifests), err)
	}
	index, err := outer.ImageIndex(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := index.IndexManifest()
	if err != nil || len(platforms.Manifests) != 1 || platforms.Manifests[0].Platform.String() != "linux/amd64" {
		t.Fatalf("platforms %v (%v), want linux/amd64", platforms.Manifests, err)
	}
	image, err := index.Image(platforms.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" {
		t.Errorf("the image runs as %q", config.Config.User)
	}
	root := t.TempDir()
	extract(t, image, root)
	requireStatic(t, filepath.Join(root, "bin/cat"))
	if roots, err := os.ReadFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt")); err != nil || strings.Count(string(roots), "BEGIN CERTIFICATE") < 50 {
		t.Errorf("root certificates: %d bytes (%v)", len(roots), err)
	}
	if os.Getuid() != 0 {
		t.Log("only root can run a program in the image's files")
		return
	}
	run := exec.Command(config.Config.Entrypoint[0], "--version")
	run.Env, run.Dir = config.Config.Env, "/"
	run.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	if out, err := run.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "muniment "+releaseVersion {
		t.Errorf("the image's program: %v\n%s", err, out)
	}
}

func extract(t *testing.T, image v1.Image, root string) {
	t.Helper()
	files := images.Extract(image)
	defer files.Close()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(files); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(root, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, h.FileInfo().Mode()); err != nil {
			t.Fatal(err)
		}
	}
}
