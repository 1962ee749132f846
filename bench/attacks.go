package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
	"muniment.dev/muniment/verifiers/intoto"
	"muniment.dev/muniment/verifiers/sigstore"
)

var attack = flag.String("attack", "", "attack the server of this URL in the way that MUNIMENT_ATTACK names, until standard input ends (a part of the attacks measurement)")

// An attacker is a tenant that does harm, as far as its calls get in.
type attacker struct {
	url, token string
	client     *muniment.Client
	http       *http.Client
	ended      atomic.Bool
}

// An attackKind is one way to attack. Requests are made before the attack
// begins, so that its cost is the server's and not the attacker's: both have
// the same processors.
type attackKind struct {
	name  string
	times int // goroutines
	// prepare returns what each goroutine does, over and over.
	prepare func(a *attacker) func(ctx context.Context)
}

var attacks = []attackKind{
	{"streams of requests that inflate", 12, (*attacker).inflate},
	{"batches of empty submissions", 8, (*attacker).emptyBatch},
	{"answers that are not read", 400, (*attacker).unread},
	{"watchers", 2000, (*attacker).watch},
	{"statements with 16,384 digests", 16, (*attacker).digests},
	{"bundles of empty log entries", 8, (*attacker).bundle},
	{"connections that send nothing", 4000, (*attacker).connect},
}

// post sends a body and reads the answer, whatever it is.
func (a *attacker) post(ctx context.Context, path string, header map[string]string, body io.Reader) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+path, body)
	check(err)
	req.Header.Set("Authorization", "Bearer "+a.token)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := a.http.Do(req)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, res.Body) // as far as it goes
	res.Body.Close()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	check(err)
	check(w.Close())
	return out.Bytes()
}

func frame(compressed byte, b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{compressed}, uint32(len(b))), b...)
}

func (a *attacker) inflate() func(ctx context.Context) {
	m, err := proto.Marshal(&munimentv1.WatchEntriesRequest{Tenant: a.client.Tenant})
	check(err)
	body := frame(1, gzipped(protowire.AppendBytes(protowire.AppendTag(m, 900, protowire.BytesType), make([]byte, 60<<20))))
	return func(ctx context.Context) {
		a.post(ctx, munimentv1connect.LedgerServiceWatchEntriesProcedure, map[string]string{"Content-Type": "application/connect+proto", "Connect-Content-Encoding": "gzip"}, bytes.NewReader(body))
	}
}

func (a *attacker) emptyBatch() func(ctx context.Context) {
	body := gzipped(bytes.Repeat([]byte{0x12, 0}, 30<<20))
	return func(ctx context.Context) {
		a.post(ctx, munimentv1connect.LedgerServiceAppendBatchProcedure, map[string]string{"Content-Type": "application/proto", "Content-Encoding": "gzip"}, bytes.NewReader(body))
	}
}

func (a *attacker) unread() func(ctx context.Context) {
	return func(ctx context.Context) {
		m, err := proto.Marshal(&munimentv1.GetPayloadRequest{Tenant: a.client.Tenant})
		check(err)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+munimentv1connect.LedgerServiceGetPayloadProcedure, bytes.NewReader(frame(0, m)))
		check(err)
		req.Header.Set("Authorization", "Bearer "+a.token)
		req.Header.Set("Content-Type", "application/connect+proto")
		res, err := a.http.Do(req)
		if err != nil {
			return
		}
		defer res.Body.Close()
		_, _ = io.ReadFull(res.Body, make([]byte, 5)) // it has begun, or was refused
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
}

func (a *attacker) watch() func(ctx context.Context) {
	return func(ctx context.Context) {
		s, err := a.client.LedgerServiceClient.WatchEntries(ctx, connect.NewRequest(&munimentv1.WatchEntriesRequest{Tenant: a.client.Tenant}))
		if err != nil {
			return
		}
		for s.Receive() {
		}
		_ = s.Close() // it has ended
		select {
		case <-ctx.Done():
		case <-time.After(time.Second): // refused
		}
	}
}

// digests sends statements that differ in the name of a subject alone.
func (a *attacker) digests() func(ctx context.Context) {
	const name = "0000000000000000"
	rng := newRNG()
	var b strings.Builder
	b.WriteString(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.com/p","predicate":{},"subject":[`)
	for i := range 1024 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"name":"` + name + `","digest":{`)
		for j := range 16 {
			if j > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"alg%d":"%016x"`, j, rng.Uint64())
		}
		b.WriteString("}}")
	}
	b.WriteString("]}")
	body, err := proto.Marshal(&munimentv1.AppendRequest{Tenant: a.client.Tenant,
		Submission: &munimentv1.Submission{Kind: kindname.Attestation, MediaType: intoto.MediaType, Payload: []byte(b.String())}})
	check(err)
	at := bytes.Index(body, []byte(name))
	var sent atomic.Uint64
	return func(ctx context.Context) {
		own := bytes.Clone(body)
		copy(own[at:], fmt.Sprintf("%016x", sent.Add(1)))
		a.post(ctx, munimentv1connect.LedgerServiceAppendProcedure, map[string]string{"Content-Type": "application/proto"}, bytes.NewReader(own))
	}
}

// bundle streams a bundle of 60 MB. Errors come with the answer.
func (a *attacker) bundle() func(ctx context.Context) {
	message := func(m *munimentv1.AppendStreamRequest) []byte {
		b, err := proto.Marshal(m)
		check(err)
		return frame(0, b)
	}
	chunk := func(b []byte) []byte {
		return message(&munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Chunk{Chunk: b}})
	}
	first := append(message(&munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Header{Header: &munimentv1.AppendStreamHeader{Tenant: a.client.Tenant, Kind: kindname.Attestation,
		MediaType: sigstore.MediaTypePrefix + ".v0.3+json"}}}),
		chunk([]byte(`{"mediaType":"`+sigstore.MediaTypePrefix+`.v0.3+json","verificationMaterial":{"tlogEntries":[{}`))...)
	many, last := chunk(bytes.Repeat([]byte(",{}"), 300_000)), chunk([]byte("]}}"))
	return func(ctx context.Context) {
		parts := []io.Reader{bytes.NewReader(first)}
		for range 66 {
			parts = append(parts, bytes.NewReader(many))
		}
		body := io.MultiReader(append(parts, bytes.NewReader(last))...)
		a.post(ctx, munimentv1connect.LedgerServiceAppendStreamProcedure, map[string]string{"Content-Type": "application/connect+proto"}, body)
	}
}

func (a *attacker) connect() func(ctx context.Context) {
	return func(ctx context.Context) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(a.url, "http://"))
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second)) // a connection has deadlines
		_, _ = c.Read(make([]byte, 1))
	}
}

// attackServer attacks until standard input ends.
func attackServer() {
	now, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	check(err)
	check(syscall.Setpriority(syscall.PRIO_PROCESS, 0, 20-now+5)) // as floodServer
	a := &attacker{url: *attack, token: os.Getenv("MUNIMENT_TOKEN"), http: pool(4096)}
	a.client, err = muniment.New(muniment.Options{Server: a.url, Token: a.token, HTTPClient: a.http})
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	_, err = a.client.Append(ctx, muniment.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: bytes.Repeat([]byte("x"), 8<<20)})
	check(err)
	var wg sync.WaitGroup
	for _, way := range attacks {
		if way.name != os.Getenv("MUNIMENT_ATTACK") {
			continue
		}
		once := way.prepare(a)
		for range way.times {
			wg.Go(func() {
				for !a.ended.Load() {
					once(ctx)
					if ctx.Err() == nil {
						time.Sleep(time.Millisecond) // a refused call costs the attacker nothing
					}
				}
			})
		}
	}
	fmt.Println("attacking")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	a.ended.Store(true)
	cancel()
	wg.Wait()
}

// measureAttack measures one writer of a quiet tenant alone and, on the same
// server, under an attack of another tenant, and what the server's process
// holds at most. The goals are twice the p99 alone, and 1 GiB.
func (b *bench) measureAttack(i int) {
	way := attacks[i]
	data := b.initialise(fmt.Sprint("attack-", i))
	out, err := exec.Command(b.build(), "tenant", "add", "noisy", "--data", data).CombinedOutput()
	if err != nil {
		check(fmt.Errorf("tenant add: %w\n%s", err, out))
	}
	token, err := os.ReadFile(filepath.Join(data, "tokens", "noisy.token"))
	check(err)
	s := b.serve(data)
	client, rng := s.client(1), newRNG()
	work := func(int) { appendOne(client, rng) }
	times(200, work)
	alone := times(3000, work)
	stop := attacking(s, way.name, strings.TrimSpace(string(token)))
	times(50, work)
	under := times(6000, work) // with the attack's first burst
	peak := peakMemory(s.cmd.Process.Pid)
	stop()
	s.stop()
	row("HTTP, one writer, while another tenant sends "+way.name, under.String(),
		fmt.Sprintf("p99 %.1f× alone, goal 2; at most %d MiB resident, goal 1024", under.quantile(0.99).Seconds()/alone.quantile(0.99).Seconds(), peak>>20))
}

func attacking(s *server, way, token string) (stop func()) {
	self, err := os.Executable()
	check(err)
	cmd := exec.Command(self, "-attack", s.url)
	cmd.Env = append(os.Environ(), "MUNIMENT_TOKEN="+token, "MUNIMENT_ATTACK="+way)
	_, stop = started(cmd) // it attacks
	return stop
}

// started starts a program that prints a line when it is ready, and ends with
// its standard input. It returns the line, and a function that ends it.
func started(cmd *exec.Cmd) (line string, stop func()) {
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(err)
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	lines := bufio.NewScanner(out)
	lines.Scan()
	check(lines.Err())
	return lines.Text(), func() {
		check(in.Close())
		check(cmd.Wait())
	}
}

// peakMemory returns the largest resident size that a process has had.
func peakMemory(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(err)
	for _, line := range strings.Split(string(text), "\n") {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}
