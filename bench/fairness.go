package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

var flood = flag.String("flood", "", "flood the server of this URL with what the tenant of MUNIMENT_TOKEN appends, until standard input ends (a part of the fairness measurement)")

// floodConnections is how many appends the noisy tenant has under way at once.
const floodConnections = 256

// floodServer appends as fast as it can, whatever the server answers, and
// prints how many a second were recorded.
func floodServer() {
	// The server is measured, not the processors that are left for its clients.
	// (The system call gives 20 less the niceness.)
	now, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
	check(err)
	check(syscall.Setpriority(syscall.PRIO_PROCESS, 0, 20-now+5))
	token := os.Getenv("MUNIMENT_TOKEN")
	c, err := muniment.New(muniment.Options{Server: *flood, Token: token, HTTPClient: pool(floodConnections)})
	check(err)
	var ended atomic.Bool
	var recorded atomic.Int64
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		ended.Store(true)
	}()
	start := time.Now()
	done := make(chan struct{})
	for range floodConnections {
		go func() {
			for rng := newRNG(); !ended.Load(); {
				_, err := c.LedgerServiceClient.Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: c.Tenant,
					Submission: &munimentv1.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: evidence(rng)}}))
				if err == nil {
					recorded.Add(1)
				}
			}
			done <- struct{}{}
		}()
	}
	fmt.Println("flooding")
	for range floodConnections {
		<-done
	}
	fmt.Println(float64(recorded.Load()) / time.Since(start).Seconds())
}

// fairness measures one writer of a quiet tenant alone, and while another
// tenant floods the server, without and with a limit.
func (b *bench) fairness() {
	var alone sample
	for _, c := range []struct{ name, limits string }{
		{"alone", ""},
		{"while another tenant floods", ""},
		{"while another, limited to 500 entries/s, floods", "    limits: {entries_per_second: 500, entry_burst: 500}\n"},
	} {
		data := b.initialise("fair-" + strings.ReplaceAll(c.name, " ", "-"))
		out, err := exec.Command(b.build(), "tenant", "add", "noisy", "--data", data).CombinedOutput()
		if err != nil {
			check(fmt.Errorf("tenant add: %w\n%s", err, out))
		}
		config := filepath.Join(data, "muniment.yaml")
		text, err := os.ReadFile(config)
		check(err)
		check(os.WriteFile(config, []byte(strings.Replace(string(text), "  - name: noisy\n", "  - name: noisy\n"+c.limits, 1)), 0o600))
		s := b.serve(data)
		stopFlood := func() float64 { return 0 }
		if c.name != "alone" {
			stopFlood = flooding(s, filepath.Join(data, "tokens", "noisy.token"))
		}
		client := s.client(1)
		rng := newRNG()
		work := func(int) { appendOne(client, rng) }
		times(200, work)
		t := times(3000, work)
		noisy := stopFlood()
		s.stop()
		beside := ""
		if c.name == "alone" {
			alone = t
		} else {
			beside = fmt.Sprintf("p99 %.1f× alone; %.0f entries/s of the other", t.quantile(0.99).Seconds()/alone.quantile(0.99).Seconds(), noisy)
		}
		row("HTTP, one writer of a tenant "+c.name, t.String(), beside)
	}
}

// appendOne appends one entry.
func appendOne(c *muniment.Client, rng *mrand.ChaCha8) {
	_, err := c.Append(context.Background(), muniment.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: evidence(rng)})
	check(err)
}

// flooding starts a process that floods the server. The function that it
// returns ends it, and returns how many entries a second it got in.
func flooding(s *server, tokenFile string) func() float64 {
	token, err := os.ReadFile(tokenFile)
	check(err)
	self, err := os.Executable()
	check(err)
	cmd := exec.Command(self, "-flood", s.url)
	cmd.Env = append(os.Environ(), "MUNIMENT_TOKEN="+strings.TrimSpace(string(token)))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	check(err)
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	lines := bufio.NewScanner(out)
	lines.Scan() // it floods
	return func() float64 {
		check(in.Close())
		lines.Scan()
		n, err := strconv.ParseFloat(lines.Text(), 64)
		check(err)
		check(cmd.Wait())
		return n
	}
}
