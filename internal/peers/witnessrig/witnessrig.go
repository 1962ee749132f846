// Package witnessrig runs real witnesses, which this project did not write, on
// loopback for tests and benchmarks: litewitness and omniwitness.
package witnessrig

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/peers"
)

// A Witness is a process that can be stopped and started again.
type Witness struct {
	URL  string
	VKey string

	start  func() *exec.Cmd
	stops  []func()
	cmd    *exec.Cmd
	output bytes.Buffer
}

// Litewitness starts filippo.io/torchwood's witness in the folder, with
// the logs of the given verifier keys. It has an Ed25519 key in an ssh-agent.
func Litewitness(dir, name string, logs ...string) (*Witness, error) {
	bin, err := peers.Find("litewitness")
	if err != nil {
		return nil, err
	}
	w := &Witness{}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := torchwood.NewCosignatureSigner(name, private)
	if err != nil {
		return nil, err
	}
	w.VKey = signer.Verifier().String()
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		return nil, err
	}
	sockets, err := os.MkdirTemp("", "agent") // the path of a socket may not be long
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(sockets, "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			// ends with the connection
			go func() { _ = agent.ServeAgent(ring, conn); conn.Close() }()
		}
	}()
	w.stops = append(w.stops, func() { ln.Close(); os.RemoveAll(sockets) })
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	db := filepath.Join(dir, "litewitness.db")
	if err := litewitnessLogs(db, logs); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	w.URL = "http://" + address
	w.start = func() *exec.Cmd {
		return exec.Command(bin, "-ssh-agent", socket, "-key", ssh.FingerprintSHA256(key), "-name", name, "-db", db, "-listen", address)
	}
	return w, w.Start()
}

// litewitnessLogs makes the database with the logs. Its own tool for this,
// witnessctl, needs a module that is not at hand everywhere.
func litewitnessLogs(db string, logs []string) error {
	in := make([][2]string, 0, len(logs))
	for _, vkey := range logs {
		name, _, _ := strings.Cut(vkey, "+")
		in = append(in, [2]string{name, vkey})
	}
	data, err := json.Marshal(in)
	if err != nil {
		return err
	}
	cmd := exec.Command("python3", "-c", `
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript("""
CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL);
CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin));
""")
for origin, key in json.load(sys.stdin):
    db.execute("INSERT INTO log VALUES (?, 0, '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=')", (origin,))
    db.execute("INSERT INTO key VALUES (?, ?)", (origin, key))
db.commit()
`, db)
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make litewitness's database: %w\n%s", err, out)
	}
	return nil
}

// Omniwitness starts transparency-dev's witness in the folder, with the logs of
// the given verifier keys. It has an Ed25519 key, or an ML-DSA-44 key.
func Omniwitness(dir, name string, mldsa bool, logs ...string) (*Witness, error) {
	bin, err := peers.Find("omniwitness")
	if err != nil {
		return nil, err
	}
	w := &Witness{}
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err == nil && !mldsa {
		vkey, err = fnote.VKeyToCosignatureV1(vkey)
	} else if err == nil {
		skey, vkey, err = fnote.GenerateMLDSAKey(name)
	}
	if err != nil {
		return nil, err
	}
	w.VKey = vkey
	config := "Logs:\n"
	for _, l := range logs {
		origin, _, _ := strings.Cut(l, "+")
		config += fmt.Sprintf("  - Origin: %q\n    PublicKey: %q\n    URL: https://%s/\n", origin, l, origin)
	}
	keyFile, logFile := filepath.Join(dir, "omniwitness.key"), filepath.Join(dir, "logs.yaml")
	if err := os.WriteFile(keyFile, []byte(skey), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(logFile, []byte(config), 0o600); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	w.URL = "http://" + address
	w.start = func() *exec.Cmd {
		return exec.Command(bin, "--listen", address, "--metrics_listen", "", "--private_key_path", keyFile, "--additional_logs", logFile, "--db_file", filepath.Join(dir, "omniwitness.db"))
	}
	return w, w.Start()
}

// freeAddress returns a free address on loopback. A witness
// that is started again needs the one that it had.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// startTime is how long a witness may take until it listens.
const startTime = 30 * time.Second

// Start starts the witness after Stop.
func (w *Witness) Start() error {
	w.cmd = w.start()
	w.output.Reset()
	out := &lockedWriter{w: &w.output}
	w.cmd.Stdout, w.cmd.Stderr = out, out
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { _ = w.cmd.Wait(); close(exited) }() // killed
	w.stops = append(w.stops, func() { _ = w.cmd.Process.Kill(); <-exited })
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.URL+"/", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			return res.Body.Close()
		}
		select {
		case <-exited:
			return fmt.Errorf("the witness ended:\n%s", out)
		case <-ctx.Done():
			return fmt.Errorf("the witness does not listen: %w\n%s", err, out)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Stop kills the witness.
func (w *Witness) Stop() {
	last := len(w.stops) - 1
	w.stops[last]()
	w.stops = w.stops[:last]
}

// Close ends all that belongs to the witness.
func (w *Witness) Close() {
	for len(w.stops) > 0 {
		w.Stop()
	}
}

// A lockedWriter may be read while a process writes.
type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (l *lockedWriter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.String()
}
