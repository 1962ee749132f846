// Package witnessrig runs two independent witnesses on loopback, for tests and
// benchmarks: litewitness and omniwitness.
package witnessrig

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

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

	program    peers.Program
	process    *peers.Process // nil while it is stopped
	closeAgent func()         // nil without an ssh-agent
}

// Litewitness starts filippo.io/torchwood's witness in the folder, for the logs
// with the verifier keys. Its key is Ed25519, held by an ssh-agent.
func Litewitness(dir, name string, logs ...string) (*Witness, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := torchwood.NewCosignatureSigner(name, private)
	if err != nil {
		return nil, err
	}
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
	socket, closeAgent, err := serveAgent(private)
	if err != nil {
		return nil, err
	}
	w := &Witness{VKey: signer.Verifier().String(), closeAgent: closeAgent}
	return w.run(address, peers.Program{Name: "litewitness", Dir: dir, Args: []string{
		"-ssh-agent", socket, "-key", ssh.FingerprintSHA256(key), "-name", name, "-db", db, "-listen", address,
	}})
}

// serveAgent serves an ssh-agent with the key and returns its socket.
func serveAgent(key ed25519.PrivateKey) (socket string, stop func(), err error) {
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "agent") // the path of a socket must be short
	if err != nil {
		return "", nil, err
	}
	socket = filepath.Join(dir, "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			// It ends when the witness closes the connection.
			go func() { _ = agent.ServeAgent(ring, conn); conn.Close() }()
		}
	}()
	return socket, func() { ln.Close(); os.RemoveAll(dir) }, nil
}

// litewitnessLogs creates the database with the logs. The intended tool,
// witnessctl, requires a module that some proxies lack.
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

// Omniwitness starts transparency-dev's witness in the folder, for the logs
// with the verifier keys. Its key is Ed25519 or ML-DSA-44.
func Omniwitness(dir, name string, mldsa bool, logs ...string) (*Witness, error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err == nil && !mldsa {
		vkey, err = fnote.VKeyToCosignatureV1(vkey)
	} else if err == nil {
		skey, vkey, err = fnote.GenerateMLDSAKey(name)
	}
	if err != nil {
		return nil, err
	}
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
	w := &Witness{VKey: vkey}
	return w.run(address, peers.Program{Name: "omniwitness", Dir: dir, Args: []string{
		"--listen", address, "--metrics_listen", "", "--private_key_path", keyFile,
		"--additional_logs", logFile, "--db_file", filepath.Join(dir, "omniwitness.db"),
	}})
}

// run starts the program, which listens on the address.
func (w *Witness) run(address string, program peers.Program) (*Witness, error) {
	w.URL = "http://" + address
	w.program = program
	w.program.Probe, w.program.AnyStatus = w.URL+"/", true
	if err := w.Start(); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// freeAddress returns a free address on loopback. A witness keeps its address
// across restarts.
func freeAddress() (string, error) {
	ports, err := peers.FreePorts(1)
	if err != nil {
		return "", err
	}
	return "127.0.0.1:" + ports[0], nil
}

// Start starts the witness after Stop.
func (w *Witness) Start() (err error) {
	w.process, err = w.program.Start(context.Background())
	return err
}

// Stop kills the witness.
func (w *Witness) Stop() {
	if w.process != nil {
		w.process.Stop()
		w.process = nil
	}
}

// Close kills the witness and stops its agent.
func (w *Witness) Close() {
	w.Stop()
	if w.closeAgent != nil {
		w.closeAgent()
	}
}
