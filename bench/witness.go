package main

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/peers/witnessrig"
	"muniment.dev/muniment/ledger/receipt"
)

// witnessed measures from the request to a receipt that verifies with a
// witness's cosignature, beside the same without one: with litewitness, with
// Muniment's own witness, and with that one and post-quantum keys.
func (b *bench) witnessed() {
	lite, err := witnessrig.Litewitness(b.folder("litewitness"), "lite.example", b.logKey("witnessed-lite"))
	check(err)
	b.witnessedReceipts("receipt cosigned by litewitness", "witnessed-lite", "policy", lite.VKey, lite.URL)
	lite.Close()
	for _, w := range []struct{ what, policy string }{{"receipt cosigned by Muniment's witness", "policy"}, {"receipt cosigned with post-quantum keys", "policy.pq"}} {
		name := "witnessed-" + w.policy
		dir, bin := filepath.Join(b.dir, name+"-witness"), b.build()
		key := b.logKey(name)
		command(bin, "witness", "init", dir, "--name", "witness.example")
		command(bin, "witness", "add-log", key, "--data", dir)
		cmd := exec.Command(bin, "witness", "--data", dir, "--listen", "127.0.0.1:0")
		url := listen(cmd, "witness witness.example listening on ")
		for _, line := range strings.Split(command(bin, "witness", "show", "--data", dir), "\n") {
			f := strings.Fields(line)
			if len(f) < 3 || f[0] != "witness" || (len(f[2]) > 1000) != (w.policy == "policy.pq") {
				continue
			}
			b.witnessedReceipts(w.what, name, w.policy, f[2], url)
		}
		check(cmd.Process.Signal(os.Interrupt))
		check(cmd.Wait())
	}
}

func (b *bench) folder(name string) string {
	dir := filepath.Join(b.dir, name)
	check(os.MkdirAll(dir, 0o700))
	return dir
}

// logKey makes the data folder of a log and returns its key.
func (b *bench) logKey(name string) string {
	data := filepath.Join(b.dir, name)
	command(b.build(), "init", data, "--origin", "bench.example", "--tenant", "bench", "--post-quantum")
	text, err := os.ReadFile(filepath.Join(data, "policy"))
	check(err)
	return strings.Fields(string(text))[1]
}

func command(bin string, args ...string) string {
	out, err := exec.Command(bin, args...).CombinedOutput()
	if err != nil {
		check(fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out))
	}
	return string(out)
}

func (b *bench) witnessedReceipts(what, name, policyFile, vkey, url string) {
	data := filepath.Join(b.dir, name)
	if policyFile == "policy" {
		check(os.Remove(filepath.Join(data, "policy.pq")))
	}
	command(b.build(), "trust", "add-witness", "w", vkey, url, "--data", data)
	s := b.serve(data)
	defer s.stop()
	text, err := os.ReadFile(filepath.Join(data, policyFile))
	check(err)
	policy, err := receipt.ParseTrustPolicy("bench", text)
	check(err)
	c, err := muniment.New(muniment.Options{Server: s.url, Token: s.token, Policy: policy, HTTPClient: pool(1)})
	check(err)
	rng := newRNG()
	work := func(int) {
		_, err := c.Append(context.Background(), muniment.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: evidence(rng)})
		check(err)
	}
	times(200, work)
	t := times(2000, work)
	if policyFile == "policy" {
		defer b.manyWitnessed(what, s, policy)
	}
	row(what, t.String(), fmt.Sprintf("goal 10ms: %.1f×; %.1f× one fsync", 10e-3/t.quantile(0.5).Seconds(), t.quantile(0.5).Seconds()/b.limits["fsync"]))
}

// manyWitnessed measures many clients at once: how many append, and how many
// get receipts that are cosigned. They share the rounds of the witness.
func (b *bench) manyWitnessed(what string, s *server, policy *receipt.TrustPolicy) {
	d := time.Duration(*seconds) * time.Second
	for _, p := range []*receipt.TrustPolicy{nil, policy} {
		c, err := muniment.New(muniment.Options{Server: s.url, Token: s.token, Policy: p, HTTPClient: pool(256)})
		check(err)
		r := during(256, d, func(_ int, rng *mrand.ChaCha8) {
			_, err := c.Append(context.Background(), muniment.Submission{Kind: kindname.Attestation, MediaType: opaque, Payload: evidence(rng)})
			check(err)
		})
		how := "don't wait"
		if p != nil {
			how = "wait and verify"
		}
		row("  256 connections that "+how, rate(r), "")
	}
}
