package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"muniment.dev/muniment/internal/owner"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
)

// The numbers of an account that exists on no machine.
const serviceUID, serviceGID = 54321, 54322

// asRoot skips a test that only root can run.
func asRoot(t *testing.T) {
	t.Helper()
	if !owner.Root() {
		t.Skip("NOT TESTED: only root can act for several accounts; run this test as root, as CI does")
	}
}

// giveAway gives a folder and its content to the service's account.
func giveAway(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, serviceUID, serviceGID)
		}
		if os.IsNotExist(err) { // a server is running
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkOwner checks that the service owns a folder and its content.
func checkOwner(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != serviceUID || s.Gid != serviceGID {
			t.Errorf("%s belongs to %d:%d", path, s.Uid, s.Gid)
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// TestOwner runs each command that has a data folder as root, on folders of the
// service's account. The service still owns everything in them.
func TestOwner(t *testing.T) {
	soak.WithoutRace(t)
	asRoot(t)
	w := newWorkshop(t)
	giveAway(t, ".")
	folder := regexp.MustCompile(`--data (\S+)|^(?:replica |witness )?init (\S+)`)
	for _, command := range slices.Sorted(maps.Keys(commandLines)) {
		c := commandLines[command]
		if c.runs || !folder.MatchString(c.args) {
			continue
		}
		t.Run(command, func(t *testing.T) {
			w.t = t
			args := w.args(c.args)
			w.must(strings.Join(args, " "), c.code)
			m := folder.FindStringSubmatch(strings.Join(args, " "))
			checkOwner(t, cmp.Or(m[1], m[2]))
		})
	}
	checkOwner(t, "data") // on which a server runs as root
	checkOwner(t, "witness")
}

// A serviceAccount runs the program as an account that cannot read its home, as
// under systemd's ProtectHome.
type serviceAccount struct {
	dir, bin string
	env      []string
}

func newServiceAccount(t *testing.T) *serviceAccount {
	t.Helper()
	asRoot(t)
	dir, err := os.MkdirTemp("", "muniment-service-") // others can't enter those of t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &serviceAccount{dir: dir, bin: filepath.Join(dir, "muniment")}
	self, err := os.Executable()
	if err == nil {
		err = copyFile(s.bin, self)
	}
	home := filepath.Join(dir, "home")
	if err == nil {
		err = os.Mkdir(home, 0o000)
	}
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "SSH_AUTH_SOCK=" + filepath.Join(home, "agent"), "DOCKER_CONFIG=" + filepath.Join(home, ".docker")}
	return s
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

func (s *serviceAccount) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: serviceUID, Gid: serviceGID, NoSetGroups: false}}
	return cmd
}

func (s *serviceAccount) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.command(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("muniment %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// A service account without a readable home can run the server and the witness,
// even after root ran commands on its folder.
func TestServiceAccount(t *testing.T) {
	s := newServiceAccount(t)
	s.must(t, "init", "data", "--origin", "ledger.example", "--rekor-origin", "rekor.example")
	s.must(t, "witness", "init", "witness", "--name", "w.example")
	data := filepath.Join(s.dir, "data")
	for _, line := range []string{"tenant add beta", "operator add someone", "keys rotate", "reindex", "scitt init", "trust post-quantum"} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append(strings.Fields(line), "--data", data), strings.NewReader(""), &stdout, &stderr); code != 0 {
			t.Fatalf("muniment %s: exit code %d\n%s%s", line, code, &stdout, &stderr)
		}
	}
	for _, args := range [][]string{{"serve", "--data", "data", "--listen", "127.0.0.1:0"}, {"witness", "--data", "witness", "--listen", "127.0.0.1:0"}} {
		ctx, cancel := context.WithTimeout(t.Context(), soak.Patience)
		defer cancel()
		cmd := s.command(ctx, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 4096)
		n, _ := stdout.Read(line)
		if !strings.Contains(string(line[:n]), "listening on ") {
			cancel()
			t.Fatalf("muniment %q did not start: %v\n%s%s", args, cmd.Wait(), line[:n], &stderr)
		}
		if args[0] == "serve" {
			url := regexp.MustCompile(`http://\S+`).FindString(string(line[:n]))
			if err := os.WriteFile(filepath.Join(s.dir, "f"), []byte("hello"), 0o644); err != nil {
				t.Fatal(err)
			}
			s.must(t, "append", "f", "--media-type", "text/plain", "--no-receipts", "--server", url, "--token-file", "data/tokens/beta.token")
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("muniment %q: %v\n%s", args, err, &stderr)
		}
		if strings.Contains(stderr.String(), "permission denied") {
			t.Errorf("muniment %q: %s", args, &stderr)
		}
	}
	// verify-image works without ~/.docker/config.json.
	image := registryImage(t)
	key := filepath.Join(s.dir, "key.pub")
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := s.command(t.Context(), "verify-image", image, "--key", "key.pub").CombinedOutput()
	if code := cmdExit(err); code != term.ExitNo {
		t.Errorf("verify-image: exit code %d\n%s", code, out)
	}
	checkOwner(t, data)
}

func cmdExit(err error) int {
	if err == nil {
		return 0
	}
	if ee, ok := err.(*exec.ExitError); ok {
		return ee.ExitCode()
	}
	return -1
}

// TestUnits has systemd check the shipped units.
func TestUnits(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("NOT TESTED: the units are checked by systemd-analyze, of the package systemd")
	}
	units, err := filepath.Glob("../../deploy/*.service")
	if err != nil || len(units) < 2 {
		t.Fatal(units, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range units {
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		// Neither the program nor its account needs to exist here.
		checked := strings.NewReplacer("/usr/local/bin/muniment", self).Replace(string(text))
		checked = regexp.MustCompile(`(?m)^User=.*$`).ReplaceAllString(checked, "User=root")
		path := filepath.Join(t.TempDir(), filepath.Base(unit))
		if err := os.WriteFile(path, []byte(checked), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path).CombinedOutput()
		if err != nil || strings.Contains(string(out), filepath.Base(unit)+":") {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}
