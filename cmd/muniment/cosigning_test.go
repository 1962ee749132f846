package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/cmd/muniment/internal/operate"
	"muniment.dev/muniment/internal/peers/witnessrig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/mark"
	"muniment.dev/muniment/ledger/receipt"
)

// A company has a log and a witness for the logs of others.
type company struct {
	t       *testing.T
	name    string
	data    string // of the log
	witness string // folder of the witness
	receipt string // of what was appended last
	log     *process
	cosign  *process
}

func newCompany(t *testing.T, name string, initArgs ...string) *company {
	t.Helper()
	dir := t.TempDir()
	c := &company{t: t, name: name, data: filepath.Join(dir, "data"), witness: filepath.Join(dir, "witness")}
	c.must(append([]string{"init", c.data, "--origin", "log." + name + ".example", "--tenant", "acme"}, initArgs...)...)
	c.must("witness", "init", c.witness, "--name", "witness."+name+".example")
	return c
}

// must runs a command that must succeed, and returns its output.
func (c *company) must(args ...string) string {
	c.t.Helper()
	out, code := c.run(args...)
	if code != 0 {
		c.t.Fatalf("muniment %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (c *company) run(args ...string) (string, int) {
	var out bytes.Buffer
	code := run(c.t.Context(), args, nil, &out, &out)
	return out.String(), code
}

// logKey returns the log's verifier key i: of policy, or of policy.pq.
func (c *company) logKey(i int) string {
	c.t.Helper()
	var p struct {
		Log string `json:"log"`
	}
	if err := json.Unmarshal([]byte(strings.Split(c.must("trust", "show", "--data", c.data, "--json"), "\n")[i]), &p); err != nil {
		c.t.Fatal(err)
	}
	return p.Log
}

// witnessKeys returns the witness's verifier keys.
func (c *company) witnessKeys() []string {
	c.t.Helper()
	var w struct {
		Keys []string `json:"keys"`
	}
	if err := json.Unmarshal([]byte(c.must("witness", "show", "--data", c.witness, "--json")), &w); err != nil {
		c.t.Fatal(err)
	}
	return w.Keys
}

// startWitness starts the company's witness on an address.
func (c *company) startWitness(address string) {
	c.t.Helper()
	bin := program(c.t)
	p := &process{cmd: exec.Command(bin, "witness", "--data", c.witness, "--listen", address), log: &logBuffer{}}
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, url, ok := strings.Cut(lines.Text(), " listening on "); ok {
			p.url, c.cosign = url, p
			return
		}
	}
	c.t.Fatalf("the witness ended: %v\n%s", p.cmd.Wait(), p.log)
}

func program(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("muniment")
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// startLog starts the company's log, which must succeed.
func (c *company) startLog(args ...string) {
	c.t.Helper()
	p, err := startProcess(context.WithoutCancel(c.t.Context()), program(c.t), append([]string{"--data", c.data}, args...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	c.log = p
}

func (c *company) stopLog() {
	c.t.Helper()
	if err := c.log.stop(os.Interrupt); err != nil {
		c.t.Fatalf("%v\n%s", err, c.log.log)
	}
}

// refused starts the log, which must not serve, with the exit
// code.
func (c *company) refused(code int, says string, args ...string) {
	c.t.Helper()
	_, err := startProcess(c.t.Context(), program(c.t), append([]string{"--data", c.data}, args...)...)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("exit status %d", code)) || !strings.Contains(err.Error(), says) {
		c.t.Fatalf("the server ended with %v; want exit code %d, and %q", err, code, says)
	}
}

// rolledBack starts the log, and expects that it is served read-only, and that
// no file of it changes.
func (c *company) rolledBack(says string, args ...string) {
	c.t.Helper()
	c.startLog(args...)
	if log := c.log.log.String(); !strings.Contains(log, says) || !strings.Contains(log, "served read-only") {
		c.t.Fatalf("the log has no line with %q:\n%s", says, log)
	}
	before := storeFiles(c.t, c.data)
	if code, body := c.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "older than its newest checkpoint") {
		c.t.Fatalf("readyz: %d %s", code, body)
	}
	if out, code := c.appendFile("after the rollback"); code != term.ExitNo && code != term.ExitFailed || !strings.Contains(out, "begin a new log under another origin") {
		c.t.Fatalf("append: exit code %d\n%s", code, out)
	}
	receipt := filepath.Join(c.t.TempDir(), "receipt.json")
	c.must("receipt", "2", "--server", c.log.url, "--token-file", filepath.Join(c.data, "tokens", "acme.token"), "-o", receipt)
	c.must("verify", receipt, "--policy", filepath.Join(c.data, "policy"), "--header-only")
	c.must("audit", c.log.url, "--policy", filepath.Join(c.data, "policy"), "--stream-key", filepath.Join(c.data, "streams", "acme.key"))
	c.stopLog()
	if after := storeFiles(c.t, c.data); !maps.EqualFunc(after, before, bytes.Equal) {
		c.t.Fatal("files of the store changed")
	}
}

// storeFiles returns the content of the store, its mark and its anchor.
func storeFiles(t *testing.T, data string) map[string][]byte {
	files := folderFiles(t, data)
	maps.DeleteFunc(files, func(path string, _ []byte) bool {
		return !strings.HasPrefix(path, filepath.Join(data, datadir.StoreDir))
	})
	return files
}

// appendFile appends a text to the log, and leaves the receipt at c.receipt.
func (c *company) appendFile(text string, args ...string) (string, int) {
	c.t.Helper()
	dir := c.t.TempDir()
	file := filepath.Join(dir, "evidence.txt")
	c.receipt = file + ".receipt.json"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return c.run(append([]string{"append", file, "--media-type", "text/plain", "--server", c.log.url, "--token-file", filepath.Join(c.data, "tokens", "acme.token"), "--receipt-dir", dir}, args...)...)
}

func (c *company) copyData() string {
	c.t.Helper()
	to := filepath.Join(c.t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(c.data)); err != nil {
		c.t.Fatal(err)
	}
	return to
}

func (c *company) restore(from string) {
	c.t.Helper()
	if err := errors.Join(os.RemoveAll(c.data), os.CopyFS(c.data, os.DirFS(from))); err != nil {
		c.t.Fatal(err)
	}
}

// get returns the log's response.
func (c *company) get(path string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodGet, c.log.url+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if path == "/metrics" {
		token, err := os.ReadFile(filepath.Join(c.data, operate.OperatorToken(operate.FirstOperator)))
		if err != nil {
			c.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func awaitThat(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(soak.Patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

// Two companies witness each other's logs, with keys of both kinds, over the
// real programs.
func TestTwoCompanies(t *testing.T) {
	east, west := newCompany(t, "east", "--post-quantum"), newCompany(t, "west")
	west.must("trust", "post-quantum", "--data", west.data)
	for _, pair := range [][2]*company{{east, west}, {west, east}} {
		from, to := pair[0], pair[1]
		from.must("witness", "add-log", to.logKey(0), "--data", from.witness)
		from.must("witness", "add-log", to.logKey(1), "--data", from.witness) // of the same log
		from.startWitness("127.0.0.1:0")
		for _, key := range from.witnessKeys() {
			to.must("trust", "add-witness", from.name, key, from.cosign.url, "--data", to.data)
		}
	}
	for _, c := range []*company{east, west} {
		c.startLog()
		policy, pq := filepath.Join(c.data, "policy"), filepath.Join(c.data, "policy.pq")
		out, code := c.appendFile("evidence of "+c.name, "--wait", "witnessed", "--policy", policy)
		if code != 0 {
			t.Fatalf("append: %s", out)
		}
		for _, p := range []string{policy, pq} {
			if out := c.must("verify", c.receipt, "--policy", p); !strings.Contains(out, "cosigned by the witnesses that the policy requires") {
				t.Fatalf("verify with %s: %s", p, out)
			}
			c.must("checkpoint", "--witnessed", "--server", c.log.url, "--token-file", filepath.Join(c.data, "tokens", "acme.token"), "--policy", p)
		}
		if code, body := c.get("/tlog/checkpoint"); code != 200 || strings.Count(body, "\n— ") != 4 {
			t.Fatalf("the served checkpoint: %d\n%s", code, body)
		}
		c.must("audit", c.log.url, "--policy", policy)
		c.must("audit", c.log.url, "--policy", pq)
	}

	// A killed witness continues from its state when it is started again.
	address := strings.TrimPrefix(west.cosign.url, "http://")
	_ = west.cosign.cmd.Process.Kill()
	_ = west.cosign.cmd.Wait()
	// It is recorded first, so that only the wait can be cut short.
	if out, code := east.appendFile("while the witness is away"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	out, code := east.appendFile("while the witness is away", "--wait", "witnessed", "--wait-time", "300ms")
	if code != term.ExitFailed || !strings.Contains(out, "not witnessed after 300ms: the evidence may be recorded") {
		t.Fatalf("append without a witness: exit code %d\n%s", code, out)
	}
	out, code = east.run("receipt", "3", "--witnessed", "--server", east.log.url, "--token-file", filepath.Join(east.data, "tokens", "acme.token"))
	if code == 0 || !strings.Contains(out, "entry 3 is not witnessed yet; the latest witnessed checkpoint has size 3") {
		t.Fatalf("a witnessed receipt without a witness: exit code %d\n%s", code, out)
	}
	west.startWitness(address)
	if out, code := east.appendFile("while the witness is away", "--wait", "witnessed"); code != 0 || !strings.Contains(out, "already recorded") {
		t.Fatalf("append again: exit code %d\n%s", code, out)
	}

	// An old copy of the log is readable, and accepts no appends.
	east.stopLog()
	old := east.copyData()
	east.startLog()
	if out, code := east.appendFile("later", "--wait", "witnessed"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	east.stopLog()
	newest := east.copyData()
	east.restore(old)
	east.rolledBack("witness west: it has cosigned a larger tree than this log has: 5 entries instead of 4")
	east.rolledBack("Restore the newest copy of the data folder", "--accept-unconfirmed")
	east.restore(newest)
	east.startLog()
	if out, code := east.appendFile("goes on", "--wait", "witnessed"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	awaitThat(t, "the metrics show the witness", func() bool {
		_, body := east.get("/metrics")
		return strings.Contains(body, "muniment_witnessed_size 6") && strings.Contains(body, `muniment_witness_lag_entries{witness="west"} 0`) && strings.Contains(body, `muniment_witness_size{witness="west"} 6`)
	})
	east.stopLog()
	west.stopLog()
}

// Until a witness confirms the log, it is readable and accepts no appends,
// unless the operator overrides that.
func TestUnconfirmed(t *testing.T) {
	c, w := newCompany(t, "east"), newCompany(t, "west")
	w.must("witness", "add-log", c.logKey(0), "--data", w.witness)
	w.startWitness("127.0.0.1:0")
	c.startLog()
	if out, code := c.appendFile("before there was a witness"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	if !strings.Contains(c.log.log.String(), "rollback is not detectable") {
		t.Errorf("the log does not say that a rollback is not detectable:\n%s", c.log.log)
	}
	if out, code := c.appendFile("x", "--wait", "witnessed"); code == 0 || !strings.Contains(out, "the log's policy requires no cosignature") {
		t.Fatalf("waiting for witnesses that there are not: exit code %d\n%s", code, out)
	}
	c.stopLog()
	c.must("trust", "add-witness", "west", w.witnessKeys()[0], w.cosign.url, "--data", c.data)
	address := strings.TrimPrefix(w.cosign.url, "http://")
	_ = w.cosign.cmd.Process.Kill()
	_ = w.cosign.cmd.Wait()

	c.startLog()
	if code, body := c.get("/readyz"); code != 503 || !strings.Contains(body, "the witnesses have not cosigned its checkpoint of size 3") {
		t.Fatalf("readyz: %d %s", code, body)
	}
	if code, body := c.get("/tlog/checkpoint"); code != 503 || !strings.Contains(body, "no checkpoint has met the quorum") {
		t.Fatalf("the served checkpoint: %d %s", code, body)
	}
	c.must("receipt", "0", "--server", c.log.url, "--token-file", filepath.Join(c.data, "tokens", "acme.token"))
	w.startWitness(address)
	awaitThat(t, "the log is ready", func() bool { code, _ := c.get("/readyz"); return code == 200 })
	if out, code := c.appendFile("now", "--wait", "witnessed"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	c.stopLog()
	_ = w.cosign.cmd.Process.Kill()
	_ = w.cosign.cmd.Wait()
	c.startLog("--accept-unconfirmed")
	if out, code := c.appendFile("on the operator's own responsibility"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	if code, body := c.get("/tlog/checkpoint"); code != 200 || !strings.HasPrefix(body, "log.east.example\n4\n") {
		t.Fatalf("the latest witnessed checkpoint is not served after a restart: %d\n%s", code, body)
	}
	c.stopLog()
}

// Anchor files outside of the data folder show a rollback, too.
func TestAnchors(t *testing.T) {
	c := newCompany(t, "east")
	outside := t.TempDir()
	anchor := filepath.Join(outside, "log.anchor")
	file := filepath.Join(c.data, datadir.ConfigFile)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	configure := func(path string) {
		t.Helper()
		if err := os.WriteFile(file, append(fmt.Appendf(nil, "anchors: [%q]\n", path), text...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure(filepath.Join(c.data, "anchor"))
	c.refused(term.ExitFailed, "anchors[0]: "+filepath.Join(c.data, "anchor")+" is in the data folder")
	configure(filepath.Join(outside, "missing", "anchor"))
	c.refused(term.ExitFailed, "anchors[0]: ")
	configure(anchor)
	c.startLog()
	if strings.Contains(c.log.log.String(), "rollback is not detectable") {
		t.Errorf("the log says that a rollback is not detectable:\n%s", c.log.log)
	}
	for i := range 3 {
		if out, code := c.appendFile(fmt.Sprint("first ", i)); code != 0 {
			t.Fatalf("append: %s", out)
		}
	}
	c.stopLog()
	old := c.copyData()
	c.startLog()
	if out, code := c.appendFile("second"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	c.stopLog()
	newest := c.copyData()
	written, err := os.ReadFile(anchor)
	if err != nil || !strings.HasPrefix(string(written), "log.east.example\n6\n") {
		t.Fatalf("the anchor: %v\n%s", err, written)
	}
	c.restore(old)
	restored := storeFiles(t, c.data)
	c.rolledBack("the anchor is for a larger tree than this log has: 6 entries instead of 5")
	if now := storeFiles(t, c.data); !maps.EqualFunc(now, restored, bytes.Equal) {
		t.Fatal("opening the old copy changed files of the store")
	}
	// Without the mark, nothing proves that the store is whole.
	if err := os.Remove(mark.Path(filepath.Join(c.data, datadir.StoreDir))); err != nil {
		t.Fatal(err)
	}
	c.refused(term.ExitFailed, "the anchor is for a larger tree than this log has: 6 entries instead of 5")
	c.restore(old)
	if now, err := os.ReadFile(anchor); err != nil || !bytes.Equal(now, written) {
		t.Fatalf("the anchor was changed: %v\n%s", err, now)
	}
	// A fork is refused even where it is longer.
	if err := os.Rename(anchor, anchor+".aside"); err != nil {
		t.Fatal(err)
	}
	c.startLog()
	if !strings.Contains(c.log.log.String(), "the anchor did not exist") {
		t.Errorf("the log does not say that the anchor is new:\n%s", c.log.log)
	}
	for i := range 3 {
		if out, code := c.appendFile(fmt.Sprint("fork ", i)); code != 0 {
			t.Fatalf("append: %s", out)
		}
	}
	c.stopLog()
	if err := os.Rename(anchor+".aside", anchor); err != nil {
		t.Fatal(err)
	}
	c.refused(term.ExitRollback, "the anchor is for another tree than this log's at size 6")
	for text, says := range map[string]string{"garbage": "not an anchor file", strings.Replace(string(written), "log.east", "log.west", 1): "the anchor of another log"} {
		if err := os.WriteFile(anchor, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.refused(term.ExitFailed, says)
	}
	if err := os.WriteFile(anchor, written, 0o600); err != nil {
		t.Fatal(err)
	}
	c.restore(newest)
	c.startLog()
	c.stopLog()
}

// A real litewitness and a real omniwitness cosign the log of the real program;
// an ML-DSA-44 omniwitness does for policy.pq.
func TestServeWithRealWitnesses(t *testing.T) {
	c := newCompany(t, "east", "--post-quantum")
	lite, err := witnessrig.Litewitness(t.TempDir(), "lite.example", c.logKey(0))
	if err != nil {
		t.Fatal(err)
	}
	defer lite.Close()
	quantum, err := witnessrig.Omniwitness(t.TempDir(), "quantum.example", true, c.logKey(0))
	if err != nil {
		t.Fatal(err)
	}
	defer quantum.Close()
	c.must("trust", "add-witness", "lite", lite.VKey, lite.URL, "--data", c.data)
	c.must("trust", "add-witness", "quantum", quantum.VKey, quantum.URL, "--data", c.data)
	c.startLog()
	policy, pq := filepath.Join(c.data, "policy"), filepath.Join(c.data, "policy.pq")
	for i := range 3 {
		if out, code := c.appendFile(fmt.Sprint("evidence ", i), "--policy", pq); code != 0 {
			// which implies --wait witnessed
			t.Fatalf("append: %s", out)
		}
		c.must("verify", c.receipt, "--policy", policy)
		c.must("verify", c.receipt, "--policy", pq)
		if i == 1 { // litewitness is killed, and started again after the log has asked in vain
			lite.Stop()
			if out, code := c.appendFile("in between"); code != 0 {
				t.Fatalf("append: %s", out)
			}
			awaitThat(t, "litewitness is out of reach", func() bool {
				_, body := c.get("/metrics")
				return strings.Contains(body, `muniment_witness_failures_total{reason="unreachable",witness="lite"}`)
			})
			if err := lite.Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	old := c.copyData() // of a running log, as a careless backup
	if out, code := c.appendFile("later", "--wait", "witnessed"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	c.stopLog()
	c.restore(old)
	c.rolledBack("it has cosigned a larger tree than this log has: 7 entries instead of 6")
}

// A log that is killed at any time is never behind the checkpoints that its
// witness and its anchor have. The witness is killed, too.
func TestKillWitnessed(t *testing.T) {
	c, w := newCompany(t, "east"), newCompany(t, "west")
	w.must("witness", "add-log", c.logKey(0), "--data", w.witness)
	w.startWitness("127.0.0.1:0")
	address := strings.TrimPrefix(w.cosign.url, "http://")
	c.must("trust", "add-witness", "west", w.witnessKeys()[0], w.cosign.url, "--data", c.data)
	file := filepath.Join(c.data, datadir.ConfigFile)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(fmt.Appendf(nil, "anchors: [%q]\n", filepath.Join(t.TempDir(), "anchor")), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(c.data, "tokens", "acme.token"))
	if err != nil {
		t.Fatal(err)
	}
	witnessed := uint64(0) // the largest size at which a receipt was witnessed
	for round := range 6 {
		c.startLog()
		policies, err := datadir.LoadPolicies([]string{filepath.Join(c.data, "policy")})
		if err != nil {
			t.Fatal(err)
		}
		client, err := muniment.New(muniment.Options{Server: c.log.url, Token: strings.TrimSpace(string(token)), Policy: policies[0]})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		acked := 0
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 8 {
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					r, err := client.Append(ctx, muniment.Submission{Kind: "attestation", MediaType: "text/plain", Payload: fmt.Appendf(nil, "%d %d %d", round, i, n)})
					if err != nil {
						return // killed
					}
					s, err := receipt.Verify(r.Receipt, policies, receipt.Options{HeaderOnly: true})
					mu.Lock()
					if err != nil {
						t.Error(err)
					} else {
						witnessed = max(witnessed, s.Size)
					}
					acked++
					if acked == 40*(round+1) {
						if round%2 == 1 {
							_ = w.cosign.cmd.Process.Kill()
						}
						_ = c.log.cmd.Process.Kill()
						cancel()
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		cancel()
		_ = c.log.cmd.Wait()
		if round%2 == 1 {
			_ = w.cosign.cmd.Wait()
			w.startWitness(address)
		}
	}
	c.startLog()
	code, body := c.get("/tlog/checkpoint")
	cp, err := receipt.ParseCheckpointUnverified([]byte(body))
	if code != 200 || err != nil || cp.Size < witnessed {
		t.Fatalf("the served checkpoint: %d, %v; size %d, and receipts were witnessed at size %d", code, err, cp.Size, witnessed)
	}
	c.stopLog()
	t.Logf("%d entries, the last witnessed receipt at size %d", cp.Size, witnessed)
}
