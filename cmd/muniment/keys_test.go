package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/term"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// serveSSHAgent runs an SSH agent with one key, for this process and its
// children, and returns the key's fingerprint.
func serveSSHAgent(t *testing.T) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: &private}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "agent.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			// ends with the process at the other end
			go func() { _ = agent.ServeAgent(keyring, c) }()
		}
	}()
	t.Setenv("SSH_AUTH_SOCK", socket)
	p, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(p)
}

// keep copies the log's policy for a verifier, so that later changes do not
// affect the copy.
func (c *company) keep() string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.data, datadir.PolicyFile))
	if err != nil {
		c.t.Fatal(err)
	}
	path := filepath.Join(c.t.TempDir(), "policy")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// wantVerdicts verifies a receipt under each policy.
func (c *company) wantVerdicts(what, receipt string, verdicts map[string]bool) {
	c.t.Helper()
	for policy, good := range verdicts {
		if out, code := c.run("verify", receipt, "--policy", policy); (code == term.ExitOK) != good || code == term.ExitFailed {
			c.t.Fatalf("%s under %s: exit code %d; should it verify: %t\n%s", what, policy, code, good, out)
		}
	}
}

// Old receipts are verified after each of two rotations, the second to a key in
// an SSH agent, and after two changes of the quorum.
func TestKeyLifeCycle(t *testing.T) {
	fingerprint := serveSSHAgent(t)
	c, first, second := newCompany(t, "east"), newCompany(t, "west"), newCompany(t, "north")
	token := filepath.Join(c.data, "tokens", "acme.token")
	record := func(text string, args ...string) string {
		t.Helper()
		if out, code := c.appendFile(text, args...); code != term.ExitOK {
			t.Fatalf("append %s: exit code %d\n%s\n%s", text, code, out, c.log.log)
		}
		return c.receipt
	}
	restart := func() {
		t.Helper()
		c.stopLog()
		c.startLog()
	}
	// tell configures the witnesses with the log's newest key.
	tell := func(witnesses ...*company) {
		t.Helper()
		for _, w := range witnesses {
			address := "127.0.0.1:0"
			if w.cosign != nil {
				address = strings.TrimPrefix(w.cosign.url, "http://")
				_ = w.cosign.cmd.Process.Kill()
				_ = w.cosign.cmd.Wait()
			}
			w.must("witness", "add-log", c.logKey(0), "--data", w.witness)
			w.startWitness(address)
		}
	}

	// key A, no witness
	c.startLog()
	unwitnessed := c.keep()
	r0 := record("key A, no witness")

	// key A, one witness
	tell(first)
	c.must("trust", "add-witness", "west", first.witnessKeys()[0], first.cosign.url, "--data", c.data)
	restart()
	policyA := c.keep()
	r1 := record("key A, a witness", "--wait", "witnessed")
	c.wantVerdicts("r0", r0, map[string]bool{unwitnessed: true, policyA: false})
	c.wantVerdicts("r1", r1, map[string]bool{unwitnessed: true, policyA: true})

	// keys A and B: the witness has only A, which is enough
	c.must("keys", "rotate", "--data", c.data)
	restart()
	policyB := c.keep()
	r2 := record("keys A and B", "--wait", "witnessed")
	c.wantVerdicts("r1", r1, map[string]bool{policyA: true, policyB: false})
	c.wantVerdicts("r2", r2, map[string]bool{policyA: true, policyB: true})

	// key B
	tell(first)
	keyA := c.keyID(0)
	if out := c.must("keys", "retire", keyA, "--data", c.data); !strings.Contains(out, "stays valid") {
		t.Fatalf("retire a key whose policy asks for a witness: %s", out)
	}
	restart()
	r3 := record("key B", "--wait", "witnessed")
	keptA := filepath.Join(c.data, datadir.PolicyDir, keyA[strings.LastIndex(keyA, "+")+1:])
	c.wantVerdicts("r1", r1, map[string]bool{keptA: true, policyB: false})
	c.wantVerdicts("r3", r3, map[string]bool{keptA: false, policyB: true})

	// keys B and C, which is in an SSH agent
	c.must("keys", "rotate", "--data", c.data, "--source", "ssh-agent:"+fingerprint)
	restart()
	policyC := c.keep()
	r4 := record("keys B and C", "--wait", "witnessed")
	c.wantVerdicts("r4", r4, map[string]bool{keptA: false, policyB: true, policyC: true})

	// key C, and two witnesses
	tell(first, second)
	c.must("trust", "add-witness", "north", second.witnessKeys()[0], second.cosign.url, "--data", c.data)
	c.must("keys", "retire", c.keyID(1), "--data", c.data)
	restart()
	policyBoth := c.keep()
	r5 := record("key C, two witnesses", "--wait", "witnessed")
	c.wantVerdicts("r5", r5, map[string]bool{policyB: false, policyC: true, policyBoth: true})
	c.wantVerdicts("r4", r4, map[string]bool{policyBoth: false})

	// every receipt comes under the policy of today, with the opening that it
	// had
	all := []string{r0, r1, r2, r3, r4, r5}
	before := map[string]*receipt.Receipt{}
	for _, path := range all {
		before[path] = parseReceipt(t, path)
	}
	_ = second.cosign.cmd.Process.Kill()
	_ = second.cosign.cmd.Wait()
	record("the newest entry, which not enough witnesses have seen")
	c.must(append([]string{"receipt", "refresh", "--policy", policyBoth, "--server", c.log.url, "--token-file", token}, all...)...)
	for _, path := range all {
		c.wantVerdicts("refreshed", path, map[string]bool{unwitnessed: false, keptA: false, policyB: false, policyBoth: true})
		after := parseReceipt(t, path)
		after.Proof, before[path].Proof = nil, nil
		a, errA := after.AppendJSON(nil)
		b, errB := before[path].AppendJSON(nil)
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("refreshing changed the opening of %s: %v %v", path, errA, errB)
		}
	}
	c.must("audit", c.log.url, "--policy", policyBoth)

	// A thief of the retired key A signs a forged past. It is refused, because
	// the key's policy requires the witness.
	skey, err := os.ReadFile(filepath.Join(c.data, datadir.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	stolen, err := note.NewSigner(strings.TrimSpace(string(skey)))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := receipt.Checkpoint{Origin: "log.east.example", Size: 2, Root: entry.Hash{1}}.Sign(stolen)
	if err != nil {
		t.Fatal(err)
	}
	for path, accepts := range map[string]bool{keptA: false, policyA: false, unwitnessed: true} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p, err := receipt.ParseTrustPolicy(path, text)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.VerifyCheckpoint(forged); (err == nil) != accepts {
			t.Errorf("a checkpoint forged with the stolen key, under %s: %v", path, err)
		}
	}
	c.stopLog()
}

// keyID returns the ID of the log's i-th key, the oldest being 0.
func (c *company) keyID(i int) string {
	c.t.Helper()
	_, records, err := datadir.LoadKeys(c.data, "log."+c.name+".example")
	if err != nil {
		c.t.Fatal(err)
	}
	return records[i].ID()
}

func parseReceipt(t *testing.T, path string) *receipt.Receipt {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := receipt.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
