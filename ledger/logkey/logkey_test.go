package logkey

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/mod/sumdb/note"
)

const origin = "ledger.example/log"

// wantSigner checks that the verifier key verifies the signatures of the key.
func wantSigner(t *testing.T, k *Key, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(k.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: "text\n"}, k)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
		t.Fatal(err)
	}
	if k.ID() != ID(v) {
		t.Errorf("the signer is %s, the verifier %s", k.ID(), ID(v))
	}
}

func TestFileAndEnvironment(t *testing.T) {
	dir := t.TempDir()
	for range 50 { // base64 has plus signs, the format's own separator
		skey, vkey, err := note.GenerateKey(rand.Reader, origin)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "log.key"), []byte(skey+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("MUNIMENT_TEST_KEY", skey)
		for _, source := range []string{"file:log.key", "file:" + filepath.Join(dir, "log.key"), "env:MUNIMENT_TEST_KEY"} {
			k, err := Open(source, dir, origin)
			wantSigner(t, k, err)
			if k.Verifier != vkey {
				t.Fatalf("%s: the verifier key is %s, not %s", source, k.Verifier, vkey)
			}
		}
	}
}

// serveAgent runs an SSH agent and returns the path of its socket.
func serveAgent(t *testing.T, keys ...any) (a agent.Agent, stop func()) {
	t.Helper()
	a = agent.NewKeyring()
	for _, k := range keys {
		if err := a.Add(agent.AddedKey{PrivateKey: k}); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(t.TempDir(), "agent.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSH_AUTH_SOCK", socket)
	var mu sync.Mutex
	var conns []net.Conn
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() { _ = agent.ServeAgent(a, c) }) // ends when the connection does
		}
	})
	cut := func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
		conns = nil
	}
	t.Cleanup(func() {
		ln.Close()
		cut()
		wg.Wait()
	})
	return a, cut
}

func fingerprint(t *testing.T, public any) string {
	t.Helper()
	p, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(p)
}

func TestSSHAgent(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a, cut := serveAgent(t, &private, other)
	source := "ssh-agent:" + fingerprint(t, public)
	k, err := Open(source, "", origin)
	wantSigner(t, k, err)
	cut() // the agent was restarted: the signer connects again
	wantSigner(t, k, nil)

	if _, err := Open("ssh-agent:"+fingerprint(t, other.Public()), "", origin); err == nil || !strings.Contains(err.Error(), "Ed25519") {
		t.Errorf("an RSA key: %v", err)
	}
	if err := a.RemoveAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Sign([]byte("x")); err == nil {
		t.Error("it signs without a key")
	}
	if _, err := Open(source, "", origin); err == nil || !strings.Contains(err.Error(), "ssh-add") {
		t.Errorf("a key that is gone: %v", err)
	}
	t.Setenv("SSH_AUTH_SOCK", filepath.Join(t.TempDir(), "nothing"))
	if _, err := Open(source, "", origin); err == nil {
		t.Error("an agent that is not there opens")
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	if _, err := Open(source, "", origin); err == nil || !strings.Contains(err.Error(), "SSH_AUTH_SOCK") {
		t.Errorf("no agent: %v", err)
	}
}

func TestBadSources(t *testing.T) {
	dir := t.TempDir()
	skey, vkey, err := note.GenerateKey(rand.Reader, "another.example")
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.SplitN(skey, "+", 5)[4]
	for name, text := range map[string]string{"other": skey, "public": vkey, "cut": skey[:len(skey)-3], "empty": "", "wrong-hash": strings.Replace(skey, "+KEY+", "+KEY+x", 1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for source, says := range map[string]string{
		"file:other": "another.example", "file:public": "not a note signing key", "file:cut": "not a note signing key", "file:empty": "not a note signing key",
		"file:wrong-hash": "not a note signing key", "file:missing": "no such file", "file:": "file:PATH", "log.key": "file:PATH", "": "file:PATH", "vault:x": "file:PATH",
		"env:MUNIMENT_NO_SUCH_KEY": "MUNIMENT_NO_SUCH_KEY", "ssh-agent:x": "",
	} {
		_, err := Open(source, dir, origin)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, which should say %q", source, err, says)
		}
		if err != nil && strings.Contains(err.Error(), secret[:12]) {
			t.Errorf("%q: the error shows the secret: %v", source, err)
		}
	}
}
