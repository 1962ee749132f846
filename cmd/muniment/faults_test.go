package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"muniment.dev/muniment/clients/go/audit"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/soak"
)

// TestServerFaults runs three servers on one log in PostgreSQL with a
// synchronous standby, and clients that append, read, erase and change the
// policy through all of them, while a seeded schedule kills and stops servers,
// loses answers, delays and cuts connections, fails over and fills the disk of
// the database. Then it checks what the clients were promised.
//
// The clocks of the servers differ by up to 50 seconds: one that is a minute
// behind the last entry refuses appends. Go reads the time without the C
// library, so no process can be given another clock. The program is therefore
// built with an offset that it reads from its environment.
func TestServerFaults(t *testing.T) {
	soak.WithoutRace(t)
	if testing.Short() {
		t.Skip("takes tens of seconds")
	}
	seed, steps := soak.Seed(t), 4
	if soak.Full() {
		steps = 10
	}
	n := soak.Length(t, "logs with faults", 10, 200)
	bin := nextProgram(t)
	const rigs = 2 // most of the time is spent waiting
	for k := range rigs {
		t.Run(fmt.Sprint("database ", k), func(t *testing.T) {
			t.Parallel()
			rig := newFaultRig(t, bin)
			for i := k; i < n; i += rigs {
				t.Run(fmt.Sprint(seed+uint64(i)), func(t *testing.T) { runFaults(t, rig, seed+uint64(i), steps) })
				if t.Failed() {
					return
				}
			}
		})
	}
}

// runFaults runs the campaign of a seed.
func runFaults(t *testing.T, rig *faultRig, seed uint64, steps int) {
	rng := rand.New(rand.NewPCG(seed, 19))
	l := newFaultLog(t, rig, fmt.Sprintf("faults_%d", seed), rng.IntN(3) > 0, skews(rng)...)
	c := newFaultClients(t, l, seed)
	running, stop := context.WithCancel(context.Background())
	var servers sync.WaitGroup
	for _, s := range l.servers {
		servers.Go(func() { s.keep(running, t) })
	}
	defer servers.Wait()
	defer stop()
	defer func() {
		if t.Failed() {
			for _, s := range l.servers {
				if p := s.current(); p != nil {
					text := p.log.String()
					t.Logf("%s:\n%s", s.url, text[max(0, len(text)-4000):])
				}
			}
			t.Logf("faults: %v", c.faults)
		}
	}()
	c.start()
	for range steps {
		c.inject(t, rng)
	}
	for i, s := range l.servers {
		await(t, fmt.Sprintf("server %d to record again", i), func() bool { return c.works(s, "the faults have ended") })
	}
	c.finish()
	c.checkLog(t)
	for _, s := range l.servers {
		c.checkServer(t, s)
	}
	t.Logf("%d operations, %d entries, %d without an answer, %d erased, %d policies, faults: %v", len(c.history.ops), c.size, c.unanswered, len(c.erased), len(c.policies), c.faults)
}

// skews returns by how much the clocks of servers are ahead, or behind.
func skews(rng *rand.Rand) (all []time.Duration) {
	for range faultServers {
		all = append(all, time.Duration(rng.Int64N(int64(50*time.Second)))-25*time.Second)
	}
	return all
}

// A fault happens to a server or to the database, for a time.
type fault struct {
	name     string
	database bool
	run      func(c *faultClients, t *testing.T, server int, lasts time.Duration, n int)
}

var faults = []fault{
	{"kill", false, func(c *faultClients, t *testing.T, i int, lasts time.Duration, _ int) {
		c.log.servers[i].kill()
		time.Sleep(lasts / 4)
	}},
	{"stop", false, func(c *faultClients, t *testing.T, i int, lasts time.Duration, _ int) {
		s := c.log.servers[i]
		s.signal(syscall.SIGSTOP)
		time.Sleep(1500*time.Millisecond + lasts) // longer than the lease
		s.signal(syscall.SIGCONT)
	}},
	{"lost answers", false, func(c *faultClients, t *testing.T, i int, lasts time.Duration, n int) {
		cure := c.log.rig.poison(t, i, "timeout", "downstream", map[string]any{"timeout": n % 2 * 300})
		time.Sleep(lasts)
		cure()
	}},
	{"lost requests", false, func(c *faultClients, t *testing.T, i int, lasts time.Duration, n int) {
		cure := c.log.rig.poison(t, i, "timeout", "upstream", map[string]any{"timeout": n % 2 * 300})
		time.Sleep(lasts)
		cure()
	}},
	{"cut answers", false, func(c *faultClients, t *testing.T, i int, lasts time.Duration, n int) {
		cure := c.log.rig.poison(t, i, "limit_data", "downstream", map[string]any{"bytes": 200 + n})
		time.Sleep(lasts)
		cure()
	}},
	{"reset", false, func(c *faultClients, t *testing.T, i int, lasts time.Duration, n int) {
		cure := c.log.rig.poison(t, i, "reset_peer", "downstream", map[string]any{"timeout": n % 50})
		time.Sleep(lasts)
		cure()
	}},
	{"latency", false, func(c *faultClients, t *testing.T, i int, lasts time.Duration, n int) {
		cure := c.log.rig.poison(t, i, "latency", []string{"upstream", "downstream"}[n%2], map[string]any{"latency": 20 + n%400, "jitter": n % 20})
		time.Sleep(lasts)
		cure()
	}},
	{"no network", false, func(c *faultClients, t *testing.T, i int, lasts time.Duration, _ int) {
		c.log.rig.enable(t, i, false)
		time.Sleep(lasts)
		c.log.rig.enable(t, i, true)
	}},
	{"failover", true, func(c *faultClients, t *testing.T, _ int, lasts time.Duration, _ int) {
		c.log.rig.failOver(t, func() { time.Sleep(lasts / 4) })
	}},
	{"crash of the database", true, func(c *faultClients, t *testing.T, _ int, lasts time.Duration, _ int) {
		db := c.log.rig.pair.Primary
		if err := db.Kill(); err != nil {
			t.Error(err)
		}
		time.Sleep(lasts / 4)
		if err := db.Restart(context.Background()); err != nil {
			t.Error(err)
		}
	}},
	{"no standby", true, func(c *faultClients, t *testing.T, _ int, lasts time.Duration, _ int) {
		db := c.log.rig.pair.Standby
		if err := db.Kill(); err != nil {
			t.Error(err)
		}
		time.Sleep(lasts)
		if err := db.Restart(context.Background()); err != nil {
			t.Error(err)
		}
	}},
	{"disk full", true, func(c *faultClients, t *testing.T, _ int, lasts time.Duration, _ int) {
		if !c.log.rig.diskFills {
			t.Log("the disk of the database was not filled: this requires root")
			return
		}
		db := c.log.rig.pair.Primary
		if err := db.FillDisk(); err != nil {
			t.Error(err)
		}
		time.Sleep(lasts)
		if err := db.FreeDisk(); err != nil {
			t.Error(err)
		}
		// It ends if it cannot write its WAL, and again if it cannot recover.
		await(t, "the database after its disk was full", func() bool {
			if !db.Running() {
				return db.Restart(context.Background()) == nil
			}
			return db.Exec(context.Background(), "postgres", "SELECT 1") == nil
		})
	}},
}

// inject makes one or two faults happen at a time: of the database one at most.
func (c *faultClients) inject(t *testing.T, rng *rand.Rand) {
	var wg sync.WaitGroup
	first := faults[rng.IntN(len(faults))]
	chosen := []fault{first}
	if rng.IntN(2) > 0 {
		if second := faults[rng.IntN(len(faults))]; !second.database || !first.database {
			chosen = append(chosen, second)
		}
	}
	server := rng.IntN(faultServers)
	for k, f := range chosen {
		i, lasts, n := (server+k)%faultServers, 300*time.Millisecond+time.Duration(rng.Int64N(int64(2*time.Second))), rng.IntN(4000)
		c.faults = append(c.faults, f.name)
		wg.Go(func() { f.run(c, t, i, lasts, n) })
	}
	wg.Wait()
	time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
}

// kill kills the process of the server, if there is one.
func (s *faultServer) kill() {
	if p := s.current(); p != nil {
		s.kills.Add(1)
		_ = p.cmd.Process.Kill()
	}
}

// checkServer checks what a server serves at the end.
func (c *faultClients) checkServer(t *testing.T, s *faultServer) {
	src, err := audit.NewHTTPSource(s.url+"/tlog/", nil)
	if err != nil {
		t.Fatal(err)
	}
	report, _, err := audit.Run(context.Background(), src, c.log.policy, nil, audit.Options{StreamKey: c.log.key})
	if err != nil {
		t.Fatalf("audit of %s: %v", s.url, err)
	}
	if report.Size < c.size || report.Stream == nil || !report.Stream.Complete() {
		t.Errorf("audit of %s: %d of %d entries, stream %+v", s.url, report.Size, c.size, report.Stream)
	}
	c.fsck(t, s)
	for _, index := range slices.Sorted(maps.Keys(c.erased)) {
		if err := c.isErased(c.client(s.url), index); err != nil {
			t.Errorf("%s: %v", s.url, err)
		}
	}
}

// fsck runs Tessera's fsck on the log that a server serves.
func (c *faultClients) fsck(t *testing.T, s *faultServer) {
	vkey, err := os.ReadFile(filepath.Join(c.log.dir, "policy"))
	if err != nil {
		t.Fatal(err)
	}
	var key string
	for line := range strings.Lines(string(vkey)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "log" {
			key = words[1]
		}
	}
	file := filepath.Join(t.TempDir(), "log.pub")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(peers.Path(t, "fsck"), "--storage_url="+s.url+"/tlog/", "--public_key="+file, "--ui=false").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("Successfully fsck'd log")) || bytes.Contains(out, []byte("failed")) {
		t.Errorf("fsck of %s: %v\n%s", s.url, err, out)
	}
}

// A balancer sends each request to a server at random.
type balancer struct {
	servers []string // hosts with ports
	next    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b *balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Host = b.servers[rand.IntN(len(b.servers))]
	req.Host = ""
	return b.next.RoundTrip(req)
}
