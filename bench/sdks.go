package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"muniment.dev/muniment/clients/go/verify"
)

// The goals of the SDKs for a receipt.
const (
	goalGo    = 100 * time.Microsecond
	goalOther = 2 * time.Millisecond
)

// sdks measures the verification of a receipt by each SDK. Those in Python and
// TypeScript verify many in one process, from which the start is subtracted.
func (b *bench) sdks() {
	l := b.open("sdks")
	defer l.close()
	rng := newRNG()
	for range 40 {
		l.append(rng, 1000)
	}
	rec := l.append(rng, 1)
	policy := []byte(l.policy.Text())
	config, err := verify.ParseConfig([]byte(`{"trustPolicy":"policy"}`), func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(policy)), nil })
	check(err)
	v := verify.New(config)
	s := times(2000, func(int) {
		r, err := v.Receipt(context.Background(), verify.Bytes("receipt", rec), verify.ReceiptOptions{HeaderOnly: true})
		check(err)
		if r.Verdict != verify.Verified {
			check(errors.New(r.Message))
		}
	})
	row("SDK in Go: a receipt", s.String(), beside(s.quantile(0.5), goalGo))

	const many = 500
	single, all := b.receipts(rec, policy, 1), b.receipts(rec, policy, many+1)
	for _, sdk := range []struct {
		name, needs string
		command     []string
	}{
		{"Python", "clients/python/src/muniment", []string{"env", "PYTHONPATH=clients/python/src", "python3", "-m", "muniment.mutants"}},
		{"TypeScript", "clients/ts/packages/verify/dist/mutants.js", []string{"node", "clients/ts/packages/verify/dist/mutants.js"}},
	} {
		if _, err := os.Stat(sdk.needs); errors.Is(err, fs.ErrNotExist) {
			row("SDK in "+sdk.name+": a receipt", "not measured", "run it from the root of the repository, after make test-ts")
			continue
		}
		start := verifyAll(sdk.command, single)
		each := (verifyAll(sdk.command, all) - start) / many
		row("SDK in "+sdk.name+": a receipt", round(each).String(), beside(each, goalOther))
	}
}

func beside(took, goal time.Duration) string {
	return fmt.Sprintf("goal %s: %.2f×", goal, goal.Seconds()/took.Seconds())
}

// receipts writes a file of docs/spec/receipt.md, section 6, with n times the
// same receipt.
func (b *bench) receipts(rec, policy []byte, n int) string {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	for i := range n {
		check(enc.Encode(map[string]any{"id": i, "receipt": rec, "policies": [][]byte{policy}, "headerOnly": true}))
	}
	path := filepath.Join(b.dir, fmt.Sprintf("receipts-%d", n))
	check(os.WriteFile(path, text.Bytes(), 0o600))
	return path
}

// verifyAll returns how long a runner takes for a file, in which all receipts
// verify.
func verifyAll(command []string, path string) time.Duration {
	cmd := exec.Command(command[0], append(command[1:], path)...)
	cmd.Stderr = os.Stderr
	start := time.Now()
	out, err := cmd.Output()
	took := time.Since(start)
	check(err)
	if lines := bytes.Count(out, []byte("\n")); lines == 0 || bytes.Count(out, []byte(" verified ")) != lines {
		check(fmt.Errorf("%v: not all receipts verify: %.200s", command, out))
	}
	return took
}
