package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/datadir"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
)

// faultServers is the number of servers of a log.
const faultServers = 3

// A faultRig is a database with a synchronous standby, and a network to it that
// can lose, delay and cut.
type faultRig struct {
	bin  string
	pair *postgresrig.Pair
	// diskFills is set if the disk of the database can be filled.
	diskFills bool
	toxiproxy string // URL of its API
	// links are the names of each server's links to the two database servers.
	// The one of the primary is at place primary.
	links   [faultServers][2]faultLink
	primary int
}

// A faultLink is a proxy of toxiproxy.
type faultLink struct{ name, address string }

// faultDisk is the size of a database's disk, which holds some WAL beside the
// tables of a campaign.
const faultDisk = 384 << 20

func newFaultRig(t *testing.T, bin string) *faultRig {
	r := &faultRig{bin: bin, diskFills: true}
	settings := map[string]string{"max_wal_size": "64MB", "min_wal_size": "32MB", "wal_keep_size": "0"}
	var err error
	r.pair, err = postgresrig.StartPairWith(t.Context(), postgresrig.Config{Settings: settings, DiskBytes: faultDisk})
	if errors.Is(err, os.ErrPermission) {
		r.diskFills = false
		r.pair, err = postgresrig.StartPairWith(t.Context(), postgresrig.Config{Settings: settings})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.pair.Stop() })
	ports, err := peers.FreePorts(1 + 2*faultServers)
	if err != nil {
		t.Fatal(err)
	}
	r.toxiproxy = "http://127.0.0.1:" + ports[0]
	p, err := peers.Program{Name: "toxiproxy-server", Args: []string{"-host", "127.0.0.1", "-port", ports[0]}, Dir: t.TempDir(), Probe: r.toxiproxy + "/version"}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	for i := range r.links {
		for j, db := range []*postgresrig.Rig{r.pair.Primary, r.pair.Standby} {
			l := faultLink{fmt.Sprintf("%d-%d", i, j), "127.0.0.1:" + ports[1+2*i+j]}
			r.links[i][j] = l
			r.ask(t, http.MethodPost, "/proxies", map[string]any{"name": l.name, "listen": l.address, "upstream": "127.0.0.1:" + db.Port, "enabled": true})
		}
	}
	return r
}

// newPlainRig returns a rig whose network does what it should.
func newPlainRig(t *testing.T) *faultRig {
	r := &faultRig{bin: plainProgram(t)}
	var err error
	if r.pair, err = postgresrig.StartPair(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.pair.Stop)
	for i := range r.links {
		for j, db := range []*postgresrig.Rig{r.pair.Primary, r.pair.Standby} {
			r.links[i][j].address = "127.0.0.1:" + db.Port
		}
	}
	return r
}

// ask calls toxiproxy's API.
func (r *faultRig) ask(t *testing.T, method, path string, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		t.Error(err)
		return
	}
	req, err := http.NewRequest(method, r.toxiproxy+path, bytes.NewReader(data))
	if err != nil {
		t.Error(err)
		return
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Errorf("toxiproxy: %v", err)
		return
	}
	defer res.Body.Close()
	if answer, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16)); res.StatusCode >= 300 {
		t.Errorf("toxiproxy: %s %s: %s %s", method, path, res.Status, answer)
	}
}

// poison adds a toxic to the links of a server, and returns a function that
// removes it.
func (r *faultRig) poison(t *testing.T, server int, toxic, stream string, attributes map[string]any) (cure func()) {
	for _, l := range r.links[server] {
		r.ask(t, http.MethodPost, "/proxies/"+l.name+"/toxics", map[string]any{"name": toxic, "type": toxic, "stream": stream, "attributes": attributes})
	}
	return func() {
		for _, l := range r.links[server] {
			r.ask(t, http.MethodDelete, "/proxies/"+l.name+"/toxics/"+toxic, nil)
		}
	}
}

// enable cuts the links of a server, or joins them.
func (r *faultRig) enable(t *testing.T, server int, on bool) {
	for _, l := range r.links[server] {
		r.ask(t, http.MethodPost, "/proxies/"+l.name, map[string]any{"enabled": on})
	}
}

// failOver kills the primary and promotes the standby, which gets a standby of
// its own.
func (r *faultRig) failOver(t *testing.T, down func()) {
	if err := r.pair.FailOver(context.Background(), down); err != nil {
		t.Errorf("fail over: %v", err)
		return
	}
	old := r.primary
	r.primary = 1 - old
	for i := range r.links {
		r.ask(t, http.MethodPost, "/proxies/"+r.links[i][old].name, map[string]any{"upstream": "127.0.0.1:" + r.pair.Standby.Port})
	}
}

// A faultLog is a log on the rig with its servers.
type faultLog struct {
	rig     *faultRig
	schema  string
	servers [faultServers]*faultServer
	token   string
	policy  *receipt.TrustPolicy
	key     *entry.StreamKey
	dir     string // of the first server
}

// newFaultLog starts the servers of a new log. If they elect none that records,
// each records what it is asked to record. The clocks of the first servers are
// ahead by the given times.
func newFaultLog(t *testing.T, r *faultRig, name string, elect bool, ahead ...time.Duration) *faultLog {
	root := t.TempDir()
	l := &faultLog{rig: r, schema: name, dir: filepath.Join(root, "0")}
	if out, err := exec.Command(r.bin, "init", l.dir, "--origin", "faults.example", "--tenant", "acme").CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	l.read(t)
	ports, err := peers.FreePorts(faultServers)
	if err != nil {
		t.Fatal(err)
	}
	var urls []string
	for _, p := range ports {
		urls = append(urls, "http://127.0.0.1:"+p)
	}
	for i := range l.servers {
		s := &faultServer{bin: r.bin, dir: filepath.Join(root, fmt.Sprint(i)), url: urls[i]}
		if i < len(ahead) {
			s.ahead = ahead[i]
		}
		l.servers[i] = s
		if i > 0 {
			if out, err := exec.Command("cp", "-r", l.dir, s.dir).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
	}
	for i, s := range l.servers {
		config := fmt.Sprintf("\nstore: postgres://%[1]s@%[2]s,%[3]s/%[1]s?sslmode=disable&target_session_attrs=read-write&schema=%[4]s\n", postgresrig.User, r.links[i][0].address, r.links[i][1].address, name)
		if elect {
			config += "servers: {urls: [" + strings.Join(urls, ", ") + "]}\n"
		}
		f, err := os.OpenFile(filepath.Join(s.dir, "muniment.yaml"), os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(config)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := s.start(t); err != nil { // one after the other: the first makes the schema
			t.Fatal(err)
		}
	}
	return l
}

// read reads what clients have of the data folder.
func (l *faultLog) read(t *testing.T) {
	token, err := os.ReadFile(filepath.Join(l.dir, "tokens", "acme.token"))
	if err != nil {
		t.Fatal(err)
	}
	l.token = strings.TrimSpace(string(token))
	policies, err := datadir.LoadPolicies([]string{filepath.Join(l.dir, "policy")})
	if err != nil {
		t.Fatal(err)
	}
	l.policy = policies[0]
	if l.key, err = datadir.ReadStreamKey(filepath.Join(l.dir, "streams", "acme.key")); err != nil {
		t.Fatal(err)
	}
}

// A faultServer is a server that is started again whenever it has ended.
type faultServer struct {
	bin, dir, url string
	ahead         time.Duration // of its clock

	mu    sync.Mutex // guards p
	p     *process
	kills atomic.Int64 // signals of this test that end it
	ends  int          // that it ended by itself
}

func (s *faultServer) start(t *testing.T) error {
	p, err := startProcessIn(context.Background(), []string{clockVariable + "=" + s.ahead.String()}, s.bin, "--data", s.dir, "--listen", strings.TrimPrefix(s.url, "http://"))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.p = p // nil if it did not start
	return err
}

// end kills the processes of the servers.
func (l *faultLog) end(t *testing.T) {
	for _, s := range l.servers {
		if p := s.current(); p != nil {
			if t.Failed() {
				text := p.log.String()
				t.Logf("%s:\n%s", s.url, text[max(0, len(text)-4000):])
			}
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	}
}

// current returns the process, or nil while there is none.
func (s *faultServer) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p
}

// signal sends a signal to the process, if there is one.
func (s *faultServer) signal(sig syscall.Signal) {
	if p := s.current(); p != nil {
		_ = p.cmd.Process.Signal(sig) // an error means that it has ended
	}
}

// keep starts the server whenever it has ended, until the context ends. Then it
// kills the process.
func (s *faultServer) keep(ctx context.Context, t *testing.T) {
	for ctx.Err() == nil {
		p := s.current()
		if p == nil {
			if err := s.start(t); err != nil {
				s.failedToStart(t, err)
			}
			continue
		}
		ended := make(chan struct{})
		go func() { _ = p.cmd.Wait(); close(ended) }()
		select {
		case <-ctx.Done():
			_ = p.cmd.Process.Signal(syscall.SIGCONT)
			_ = p.cmd.Process.Kill()
			<-ended
		case <-ended:
			s.judge(t, p)
		}
		s.mu.Lock()
		s.p = nil
		s.mu.Unlock()
	}
}

// judge checks why a server has ended. It may end because a commit was
// undecided for too long, and for no other reason of its own.
func (s *faultServer) judge(t *testing.T, p *process) {
	state := p.cmd.ProcessState
	log := p.log.String()
	if strings.Contains(log, "panic") {
		t.Errorf("%s: a panic:\n%s", s.url, log)
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() && s.kills.Load() > 0 {
		s.kills.Add(-1)
		return
	}
	s.ends++
	if state.ExitCode() != 1 || !strings.Contains(log, "given up after") {
		t.Errorf("%s ended by itself (%s):\n%s", s.url, state, log)
		return
	}
	t.Logf("%s ended by itself: a commit was undecided for too long", s.url)
}

// failedToStart checks why a server did not start: it may only be because the
// database did not answer.
func (s *faultServer) failedToStart(t *testing.T, err error) {
	text := err.Error()
	switch {
	case strings.Contains(text, "exit status 3"), strings.Contains(text, "panic"):
		t.Errorf("%s did not start: %v", s.url, err)
	case strings.Contains(text, "signal: killed") && s.kills.Load() > 0:
		s.kills.Add(-1)
	}
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(soak.Patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", soak.Patience, what)
		}
	}
}
