package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/torchwood"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/sumdb/tlog"

	"muniment.dev/muniment/api/oidc/oidctest"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/operate"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// raceOptions are set for the processes that tests start. By default, the race
// detector makes each of the hundreds of processes sleep for a second at exit.
var raceOptions = strings.TrimSpace(os.Getenv("GORACE") + " atexit_sleep_ms=0")

// TestMain makes the test binary the program for the scripts, and for the tests
// that kill a real process.
func TestMain(m *testing.M) {
	os.Setenv("GORACE", raceOptions)
	testscript.Main(m, map[string]func(){"muniment": main})
}

// TestScripts runs the shell-like scripts in testdata/script. Their servers and
// witnesses run under the race detector if the tests do. Their many short
// commands never do: it makes each start ten times slower.
func TestScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, "testdata/script")
}

// runScripts runs the scripts of a folder.
func runScripts(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
			if err != nil {
				return fmt.Errorf("find the sigstore-go module: %w", err)
			}
			env.Setenv("SIGSTORE", strings.TrimSpace(string(dir)))
			field, err := filepath.Abs("../../verifiers/testdata")
			if err != nil {
				return err
			}
			env.Setenv("FIELD", field)
			deploy, err := filepath.Abs("../../deploy")
			if err != nil {
				return err
			}
			env.Setenv("DEPLOY", deploy)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", raceOptions)
			plain, err := buildPlain()
			env.Setenv("PATH", filepath.Dir(plain)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"issuer": issuerScript, "idtoken": idTokenScript, "certificates": certificatesScript,
			"peer": peerScript, "pushimage": pushImageScript, "gitea": giteaScript, "postgres": postgresScript, "database": databaseScript, "bucket": bucketScript, "registry": registryScript, "attach": attachScript, "filehost": fileHostScript, "envelope": envelopeScript, "pgpkey": pgpKeyScript, "digestof": digestOfScript, "pipe": pipeScript, "remotedigest": remoteDigestScript,
			"bigfile": bigFileScript, "lines": linesScript, "statementlines": statementLinesScript, "peakmemory": peakMemoryScript, "plainprogram": plainProgramScript, "files": filesScript, "abortedupload": abortedUploadScript, "killserver": killServerScript, "metric": metricScript,
			"serve": serveScript, "stopserver": stopScript, "hup": hupScript, "edit": editScript, "torchwood-verify": torchwoodScript, "code": codeScript, "leafhash": leafHashScript, "sha256": sha256Script, "newest": newestScript, "flip": flipScript,
			"cluster": clusterScript, "replica": replicaScript, "admitter": admitterScript, "killadmitter": killAdmitterScript, "reconciler": reconcilerScript, "killreconciler": killReconcilerScript, "restartcluster": restartClusterScript, "link": linkScript, "cut": cutScript, "join": joinScript,
			"witnesskey": witnessKeyScript, "witness": witnessScript, "logkey": logKeyScript,
		},
	})
}

// A process is a running server.
type process struct {
	cmd    *exec.Cmd
	url    string
	rekor  string // URL of its Rekor log, if enabled
	health string // URL of its health listener, if enabled
	log    *logBuffer
}

// A logBuffer collects the standard error of a process.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) count(s string) int { return strings.Count(b.String(), s) }

// startProcess starts the server and waits until it is listening.
func startProcess(ctx context.Context, bin string, args ...string) (*process, error) {
	return startProcessIn(ctx, nil, bin, args...)
}

// startProcessIn is startProcess with variables added to the environment.
func startProcessIn(ctx context.Context, env []string, bin string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, bin, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...), log: &logBuffer{}}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Kill() }
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		switch server, url := listener(lines.Text()); server {
		case "rekor":
			p.rekor = url
		case "health":
			p.health = url
		case "api":
			p.url = url
			return p, nil
		}
	}
	err = p.cmd.Wait()
	return nil, fmt.Errorf("the server ended: %v\n%s", err, p.log)
}

// listener returns the server and the URL of a line that a server prints for
// each of its listeners, in either log format.
func listener(line string) (server, url string) {
	var o struct{ Msg, Server, URL string }
	if json.Unmarshal([]byte(line), &o) == nil && o.Msg == "listening" {
		return o.Server, o.URL
	}
	for introduction, server := range map[string]string{
		"Rekor log 127.0.0.1 listening on ": "rekor", "health checks on ": "health", "listening on ": "api",
	} {
		if url, ok := strings.CutPrefix(line, introduction); ok {
			return server, url
		}
	}
	return "", ""
}

func (p *process) stop(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	return p.cmd.Wait()
}

// serve DIR [args]: starts the server, and sets MUNIMENT_SERVER.
func serveScript(ts *testscript.TestScript, neg bool, args []string) {
	bin, err := exec.LookPath(cmp.Or(ts.Getenv("PLAIN_PROGRAM"), "muniment"))
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), soak.Patience)
	p, err := startProcess(ctx, bin, append([]string{"--data", ts.MkAbs(args[0])}, args[1:]...)...)
	if neg {
		cancel()
		if err == nil {
			ts.Fatalf("the server started")
		}
		ts.Logf("%v", err)
		return
	}
	ts.Check(err)
	ts.Setenv("MUNIMENT_SERVER", p.url)
	ts.Setenv("MUNIMENT_REKOR_SERVER", p.rekor)
	servers.Store(ts, p)
	ts.Defer(func() {
		if _, ok := servers.LoadAndDelete(ts); ok {
			_ = p.stop(os.Interrupt) // the script failed before stopserver
		}
		cancel()
	})
}

var servers sync.Map // *testscript.TestScript → *process

// stopserver interrupts the server and expects exit code 0.
func stopScript(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := servers.LoadAndDelete(ts)
	if !ok {
		ts.Fatalf("no server is running")
	}
	p := v.(*process)
	ts.Check(p.stop(os.Interrupt))
	ts.Logf("%s", p.log)
}

// hup sends SIGHUP to the server and waits until it has reloaded its files.
func hupScript(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := servers.Load(ts)
	if !ok {
		ts.Fatalf("no server is running")
	}
	p := v.(*process)
	before := p.log.count("trusted root in force")
	ts.Check(p.cmd.Process.Signal(syscall.SIGHUP))
	for p.log.count("trusted root in force") == before {
		time.Sleep(5 * time.Millisecond)
	}
}

// edit FILE REGEXP NEW: replaces the first match. In NEW, \n is a line break,
// and ISSUER is the URL of the running issuer.
func editScript(ts *testscript.TestScript, neg bool, args []string) {
	re := regexp.MustCompile(args[1])
	old := ts.ReadFile(args[0])
	at := re.FindStringIndex(old)
	if at == nil {
		ts.Fatalf("%s: no match of %s", args[0], args[1])
	}
	text := strings.NewReplacer(`\n`, "\n", "ISSUER", ts.Getenv("ISSUER")).Replace(args[2])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(old[:at[0]]+text+old[at[1]:]), 0o600))
}

// witness DIR: runs a witness until the script ends, and sets WITNESS_URL and
// WITNESS_KEY.
func witnessScript(ts *testscript.TestScript, neg bool, args []string) {
	bin, err := exec.LookPath("muniment")
	ts.Check(err)
	key, err := exec.Command(bin, "witness", "show", "--data", ts.MkAbs(args[0])).Output()
	ts.Check(err)
	cmd := exec.Command(bin, "witness", "--data", ts.MkAbs(args[0]), "--listen", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, url, ok := strings.Cut(lines.Text(), " listening on "); ok {
			ts.Setenv("WITNESS_URL", url)
			ts.Setenv("WITNESS_KEY", regexp.MustCompile(`\S+\+[0-9a-f]{8}\+\S+`).FindString(string(key)))
			return
		}
	}
	ts.Fatalf("the witness ended")
}

// flip FILE INDEX: flips one bit of a byte.
func flipScript(ts *testscript.TestScript, neg bool, args []string) {
	data := []byte(ts.ReadFile(args[0]))
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	data[at] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

// issuer ID: starts an issuer of identity tokens for the repository with this
// ID, and sets ISSUER and REQUEST_TOKEN.
func issuerScript(ts *testscript.TestScript, neg bool, args []string) {
	i := oidctest.Start()
	i.Job = map[string]any{"sub": "repo:acme/app:ref:refs/heads/main", "repository_id": args[0], "ref": "refs/heads/main", "aud": "ledger.test"}
	issuers.Store(ts, i)
	ts.Setenv("ISSUER", i.URL)
	ts.Setenv("REQUEST_TOKEN", i.RequestToken)
	ts.Defer(func() {
		issuers.Delete(ts)
		i.Close()
	})
}

var issuers sync.Map // *testscript.TestScript → *oidctest.Issuer

// idtoken FILE [name=value...]: writes an identity token of the issuer, with
// these claims.
func idTokenScript(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := issuers.Load(ts)
	if !ok {
		ts.Fatalf("no issuer is running")
	}
	i := v.(*oidctest.Issuer)
	claims := maps.Clone(i.Job)
	for _, c := range args[1:] {
		name, value, _ := strings.Cut(c, "=")
		claims[name] = value
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(i.Token(claims)+"\n"), 0o600))
}

// code N COMMAND...: runs a command and expects the exit code N.
func codeScript(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if ee, ok := err.(*exec.ExitError); ok {
		got = fmt.Sprint(ee.ExitCode())
	} else if err != nil {
		ts.Check(err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// torchwood-verify PROOF POLICY LEAFHASH: verifies a bare proof with
// filippo.io/torchwood, an independent implementation.
func torchwoodScript(ts *testscript.TestScript, neg bool, args []string) {
	policy, err := torchwood.ParsePolicy([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	leaf, err := entry.ParseHash(strings.TrimSpace(args[2]))
	ts.Check(err)
	err = torchwood.VerifyProof(policy, tlog.Hash(leaf), []byte(ts.ReadFile(args[0])))
	if neg != (err != nil) {
		ts.Fatalf("torchwood.VerifyProof: %v", err)
	}
}

// leafhash RECEIPT POLICY NAME: sets an environment variable to the leaf hash
// of a shared receipt.
func leafHashScript(ts *testscript.TestScript, neg bool, args []string) {
	policy, err := receipt.ParseTrustPolicy(args[1], []byte(ts.ReadFile(args[1])))
	ts.Check(err)
	s, err := receipt.Verify([]byte(ts.ReadFile(args[0])), []*receipt.TrustPolicy{policy}, receipt.Options{})
	ts.Check(err)
	ts.Setenv(args[2], s.LeafHash.String())
}

// sha256 FILE: sets SHA256 to its digest, as sha256:<hex>.
func sha256Script(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv("SHA256", fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(ts.ReadFile(args[0])))))
}

// witnesskey NAME DIR: sets NAME and NAME_PQ to the keys of a witness.
func witnessKeyScript(ts *testscript.TestScript, neg bool, args []string) {
	d, err := operate.LoadWitnessDir(ts.MkAbs(args[1]))
	ts.Check(err)
	ts.Setenv(args[0], d.VerifierKeys[0])
	if len(d.VerifierKeys) > 1 {
		ts.Setenv(args[0]+"_PQ", d.VerifierKeys[1])
	}
}

// logkey NAME POLICY: sets NAME to the log's key in a policy.
func logKeyScript(ts *testscript.TestScript, neg bool, args []string) {
	ts.Setenv(args[0], operate.LogLine(ts.ReadFile(args[1])))
}

// newest DATA: sets NEWEST and OLDEST to the IDs of a log's newest and oldest
// keys.
func newestScript(ts *testscript.TestScript, neg bool, args []string) {
	_, keys, err := datadir.LoadKeys(ts.MkAbs(args[0]), "ledger.example")
	ts.Check(err)
	ts.Setenv("OLDEST", keys[0].ID())
	ts.Setenv("NEWEST", keys[len(keys)-1].ID())
}
