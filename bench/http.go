package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A server is a real process on a data folder of its own.
type server struct {
	cmd    *exec.Cmd
	url    string
	token  string
	policy *receipt.TrustPolicy
	log    string // file with its standard error
}

func (b *bench) build() string {
	bin := filepath.Join(b.dir, "muniment")
	if _, err := os.Stat(bin); err != nil {
		out, err := exec.Command("go", "build", "-o", bin, "./cmd/muniment").CombinedOutput()
		if err != nil {
			check(fmt.Errorf("build the program: %w\n%s", err, out))
		}
	}
	return bin
}

func (b *bench) start(name string) *server { return b.serve(b.initialise(name)) }

// initialise makes a data folder.
func (b *bench) initialise(name string) string {
	bin, data := b.build(), filepath.Join(b.dir, name)
	out, err := exec.Command(bin, "init", data, "--origin", "bench.example", "--tenant", "bench").CombinedOutput()
	if err != nil {
		check(fmt.Errorf("init: %w\n%s", err, out))
	}
	return data
}

// serve starts the server on a data folder.
func (b *bench) serve(data string) *server { return b.serveOn(data, "127.0.0.1:0") }

// serveOn is serve with an address.
func (b *bench) serveOn(data, address string) *server {
	s := &server{cmd: exec.Command(b.build(), "serve", "--data", data, "--listen", address), log: data + ".log"}
	log, err := os.Create(s.log)
	check(err)
	defer log.Close()
	s.cmd.Stderr = log
	s.url = listen(s.cmd, "listening on ")
	token, err := os.ReadFile(filepath.Join(data, "tokens", "bench.token"))
	check(err)
	s.token = strings.TrimSpace(string(token))
	text, err := os.ReadFile(filepath.Join(data, "policy"))
	check(err)
	s.policy, err = receipt.ParseTrustPolicy("bench", text)
	check(err)
	return s
}

// listen starts the command and returns what follows the prefix on its standard
// output.
func listen(cmd *exec.Cmd, prefix string) string {
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), prefix); ok {
			return url
		}
	}
	check(fmt.Errorf("%s ended", cmd.Path))
	return ""
}

func (s *server) stop() {
	check(s.cmd.Process.Signal(os.Interrupt))
	check(s.cmd.Wait())
}

// kill ends the server at once, if it runs.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// client returns a client that keeps n connections open.
func (s *server) client(n int) *muniment.Client {
	c, err := muniment.New(muniment.Options{Server: s.url, Token: s.token, HTTPClient: pool(n)})
	check(err)
	return c
}

func pool(n int) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConns: n, MaxIdleConnsPerHost: n, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}}
}

// oneWriter measures from the request to a receipt that verifies.
func (b *bench) oneWriter() {
	s := b.start("http-one")
	defer s.stop()
	c := s.client(1)
	rng := newRNG()
	work := func(int) {
		payload := evidence(rng)
		r, err := c.Append(context.Background(), muniment.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: payload})
		check(err)
		_, err = receipt.Verify(r.Receipt, []*receipt.TrustPolicy{s.policy}, receipt.Options{Payload: payload, Tenant: new("bench")})
		check(err)
	}
	times(200, work)
	t := times(4000, work)
	row("HTTP, one writer of 1 KiB: request to verified receipt", t.String(),
		fmt.Sprintf("goals 2ms, 10ms: %.1f×, %.1f×; %.1f× one fsync", 2e-3/t.quantile(0.5).Seconds(), 10e-3/t.quantile(0.99).Seconds(), t.quantile(0.5).Seconds()/b.limits["fsync"]))
}

// connections measures many clients at once, beside calls that do nothing.
func (b *bench) connections() {
	d := time.Duration(*seconds) * time.Second
	s := b.start("http-many")
	defer s.stop()
	c := s.client(512)
	ctx := context.Background()
	empty := during(512, d, func(int, *mrand.ChaCha8) {
		_, err := c.GetCheckpoint(ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{}))
		check(err)
	})
	row("HTTP, 512 connections: GetCheckpoint, which only reads memory", rate(empty), "")
	plain := s.plain(pool(512))
	r := during(512, d, func(_ int, rng *mrand.ChaCha8) { check(plain.append(evidence(rng))) })
	b.limits["appends"] = r
	row("HTTP, 512 connections: single appends of 1 KiB, full receipts", rate(r), fmt.Sprintf("goal 19,000: %.2f×; %.2f× an empty call", r/19_000, r/empty))

	const batch = 256
	calls := during(8, d, func(_ int, rng *mrand.ChaCha8) {
		req := &munimentv1.AppendBatchRequest{Tenant: "bench", Submissions: make([]*munimentv1.Submission, batch)}
		for i := range req.Submissions {
			req.Submissions[i] = &munimentv1.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: evidence(rng)}
		}
		res, err := c.LedgerServiceClient.AppendBatch(ctx, connect.NewRequest(req))
		check(err)
		for _, r := range res.Msg.Results {
			if len(r.GetAppended().GetReceipt()) == 0 {
				check(fmt.Errorf("not recorded: %s", r.GetError().GetMessage()))
			}
		}
	})
	row("HTTP, 8 connections: AppendBatch of 256, full receipts", rate(calls*batch), fmt.Sprintf("goal 60,000: %.2f×", calls*batch/60_000))
}

// A plainClient appends over HTTP without an RPC library, as the peer's clients
// do.
type plainClient struct {
	http       *http.Client
	url, token string
}

func (s *server) plain(c *http.Client) *plainClient {
	return &plainClient{c, s.url + munimentv1connect.LedgerServiceAppendProcedure, "Bearer " + s.token}
}

// append appends a payload, and checks that the answer contains a receipt.
func (c *plainClient) append(payload []byte) error {
	body, err := proto.Marshal(&munimentv1.AppendRequest{Tenant: "bench", Submission: &munimentv1.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: payload}})
	if err != nil {
		return err
	}
	answer, err := post(c.http, c.url, "application/proto", c.token, body)
	if err == nil && !bytes.Contains(answer, []byte("c2sp.org/tlog-proof@v1")) {
		err = fmt.Errorf("not a receipt: %q", answer)
	}
	return err
}

// post sends a request of either server, and returns the body of a 200.
func post(c *http.Client, url, contentType, authorization string, body []byte) ([]byte, error) {
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s %s", url, res.Status, answer)
	}
	return answer, err
}

const tesseraVersion = "v1.0.4"

// installTessera installs one of Tessera's conformance servers, and returns its
// path.
func (b *bench) installTessera(name string) string {
	bin := filepath.Join(b.dir, "bin")
	install := exec.Command("go", "install", "github.com/transparency-dev/tessera/cmd/conformance/"+name+"@"+tesseraVersion)
	install.Env = append(os.Environ(), "GOBIN="+bin)
	if out, err := install.CombinedOutput(); err != nil {
		check(fmt.Errorf("install Tessera: %w\n%s", err, out))
	}
	return filepath.Join(bin, name)
}

// awaitTessera repeats a request until the server answers it, for ten seconds.
func awaitTessera(send func() error, output func() string) {
	for try := 0; ; try++ {
		err := send()
		if err == nil {
			return
		}
		if try == 200 {
			check(fmt.Errorf("%w\n%s", err, output()))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// tessera measures the peer: Tessera's POSIX conformance server, which returns
// the bare index of each entry.
func (b *bench) tessera() {
	if !*peer {
		return
	}
	posix := b.installTessera("posix")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	addr := ln.Addr().String()
	check(ln.Close())
	key := filepath.Join(b.dir, "tessera.key")
	check(os.WriteFile(key, []byte(tesseraKey()), 0o600))
	cmd := exec.Command(posix, "--storage_dir="+filepath.Join(b.dir, "tessera"), "--listen="+addr, "--private_key="+key)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	check(cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	hc := pool(512)
	send := func(payload []byte) error {
		_, err := post(hc, "http://"+addr+"/add", opaque, "", payload)
		return err
	}
	rng := newRNG()
	awaitTessera(func() error { return send(evidence(rng)) }, errs.String)
	d := time.Duration(*seconds) * time.Second
	var refused atomic.Int64 // it pushes back when it has too much to do
	r := during(512, d, func(_ int, rng *mrand.ChaCha8) {
		if err := send(evidence(rng)); err != nil {
			refused.Add(1)
		}
	})
	r -= float64(refused.Load()) / d.Seconds()
	note := ""
	if b.limits["appends"] > 0 {
		note = fmt.Sprintf("Muniment's full receipts: %.2f×", b.limits["appends"]/r)
	}
	row("peer: Tessera POSIX "+tesseraVersion+", 512 connections, bare indexes", rate(r), note)
}
