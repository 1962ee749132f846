package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"muniment.dev/muniment/internal/soak"
)

// startTime is the time limit for a program's first response.
const startTime = soak.Patience

// maxAnswer is the size limit of the response to a probe.
const maxAnswer = 1 << 20

// A Program describes how to run a peer.
type Program struct {
	Name  string // in .ci/peers
	Args  []string
	Env   []string // in addition to that of the process
	Dir   string   // for its output, in NAME.log
	Probe string   // URL that responds once the program is ready

	// Ready replaces Probe for programs that do not speak HTTP: it returns nil
	// once the program is ready.
	Ready func(context.Context) error

	// AnyStatus accepts a response of any status. Otherwise it must be 200.
	AnyStatus bool

	// Client probes the program. The default is http.DefaultClient.
	Client *http.Client
}

// A Process is a running peer.
type Process struct {
	Answer []byte // to the probe

	program Program
	cmd     *exec.Cmd
	log     *os.File
	ended   chan struct{} // closed after Wait has returned
}

// Start runs a program and waits until it is ready. The caller must stop it.
func (p Program) Start(ctx context.Context) (*Process, error) {
	bin, err := Find(p.Name)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(p.Dir, p.Name+".log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(bin, p.Args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	run := &Process{program: p, cmd: cmd, log: log, ended: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(run.ended) }()
	if err := run.await(ctx); err != nil {
		run.Stop()
		return nil, err
	}
	return run, nil
}

// await probes the program until it is ready.
func (r *Process) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := r.probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-r.ended:
			return fmt.Errorf("%s ended: %s\n%s", r.program.Name, r.cmd.ProcessState, r.output())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", r.program.Name, err, r.output())
		case <-again.C:
		}
	}
}

func (r *Process) probe(ctx context.Context) error {
	if r.program.Ready != nil {
		return r.program.Ready(ctx)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.program.Probe, nil)
	if err != nil {
		return err
	}
	res, err := cmp.Or(r.program.Client, http.DefaultClient).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && !r.program.AnyStatus {
		return fmt.Errorf("%s: %s", r.program.Probe, res.Status)
	}
	r.Answer, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	return err
}

// output returns the program's output so far.
func (r *Process) output() []byte {
	text, err := os.ReadFile(r.log.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return text
}

// Stop kills the program and waits until it has ended.
func (r *Process) Stop() {
	_ = r.cmd.Process.Kill() // an error means that it has already ended
	<-r.ended
	r.log.Close()
}

// FreePorts returns n free ports on 127.0.0.1. Most peers cannot choose and
// report a port themselves. The ports are below those that Linux gives to
// connections and to listeners on port 0, any of which could otherwise take a
// port before its peer listens.
func FreePorts(n int) ([]string, error) {
	const lowest, ephemeral, attempts = 10_000, 32_768, 100
	var ports []string
	for range attempts {
		port := strconv.Itoa(lowest + rand.IntN(ephemeral-lowest))
		ln, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		defer ln.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("found %d of %d free ports on 127.0.0.1 in %d attempts", len(ports), n, attempts)
}
