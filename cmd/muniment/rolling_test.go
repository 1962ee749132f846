package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"muniment.dev/muniment/internal/peers/postgresrig"
	"muniment.dev/muniment/internal/soak"
)

// TestRollingUpgrade runs three servers on one log in PostgreSQL, and clients
// that append, read, erase and change the policy through all of them, while the
// servers are replaced one after the other by another build of the program, as
// docs/scale-out.md describes. Then it checks what the clients were promised,
// and what a newer schema does to servers of this program.
func TestRollingUpgrade(t *testing.T) {
	soak.WithoutRace(t)
	if testing.Short() {
		t.Skip("takes tens of seconds")
	}
	rig, next := newPlainRig(t), nextProgram(t)
	seed := soak.Seed(t)
	for i := range soak.Length(t, "logs with rolling upgrades", 1, 20) {
		t.Run(fmt.Sprint(seed+uint64(i)), func(t *testing.T) { runUpgrade(t, rig, next, seed+uint64(i)) })
		if t.Failed() {
			return
		}
	}
}

const (
	nextVersion = "v9.9.9-next"
	// clockVariable has the time by which the clock of a server of that version
	// is ahead.
	clockVariable = "MUNIMENT_TEST_CLOCK"
)

// nextProgram builds the program with another version, and with a clock that
// can differ from that of the machine.
func nextProgram(t *testing.T) string {
	bin, err := filepath.Abs("../../.cache/plain/muniment-next")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-ldflags=-s -w -X main.version="+nextVersion+" -X muniment.dev/muniment/cmd/muniment/internal/operate.testClock="+clockVariable, "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return bin
}

// runUpgrade runs the upgrade of a seed.
func runUpgrade(t *testing.T, rig *faultRig, next string, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 23))
	l := newFaultLog(t, rig, fmt.Sprintf("rolling_%d", seed), true, skews(rng)...)
	defer l.end(t)
	c := newFaultClients(t, l, seed)
	c.planned, c.try = true, soak.Patience
	c.start()
	rounds := [][]string{{next}}
	if soak.Full() { // and back, and forth
		rounds = append(rounds, []string{rig.bin}, []string{next, rig.bin, next})
	}
	for n, bins := range rounds {
		for _, i := range rng.Perm(faultServers) {
			for k, bin := range bins {
				c.replace(t, l.servers[i], bin, fmt.Sprintf("replaced %d.%d", n, k))
			}
		}
	}
	c.finish()
	c.checkLog(t)
	for i, s := range l.servers {
		if soak.Full() || i == 0 { // they have one store
			c.checkServer(t, s)
		}
		c.checkVersion(t, s, nextVersion)
	}
	t.Logf("%d operations, %d entries, %d calls found a server unavailable", len(c.history.ops), c.size, c.refused.Load())
	c.checkNewerSchema(t)
}

// replace replaces the process of a server by one of another program, once the
// clients have had some more answers.
func (c *faultClients) replace(t *testing.T, s *faultServer, bin, event string) {
	c.awaitOperations(t, 25)
	p := s.current()
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Fatalf("%s did not end as it should: %v\n%s", s.url, err, p.log)
	}
	if log := p.log.String(); strings.Contains(log, "cut off") {
		t.Errorf("%s has cut off calls:\n%s", s.url, log)
	}
	s.bin = bin
	if err := s.start(t); err != nil {
		t.Fatal(err)
	}
	await(t, s.url+" to record again", func() bool { return c.works(s, event) })
}

// awaitOperations waits until the clients have done n operations more.
func (c *faultClients) awaitOperations(t *testing.T, n int) {
	before := c.history.count()
	await(t, "the clients to go on", func() bool { return c.history.count() >= before+n })
}

// checkVersion checks which version of the program a server is.
func (c *faultClients) checkVersion(t *testing.T, s *faultServer, want string) {
	out, err := exec.Command(filepath.Join("/proc", fmt.Sprint(s.current().cmd.Process.Pid), "exe"), "version").Output()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%s is version %q, want %s (error %v)", s.url, out, want, err)
	}
}

// checkNewerSchema gives the schema the version of a newer program. Servers
// that run go on, because steps of the schema only add. One that starts
// refuses, and names the remedy.
func (c *faultClients) checkNewerSchema(t *testing.T) {
	db, l := c.log.rig.pair.Primary, c.log
	set := func(change string) {
		t.Helper()
		if err := db.Exec(context.Background(), postgresrig.User, fmt.Sprintf(`UPDATE %s.log SET version = version %s`, l.schema, change)); err != nil {
			t.Fatal(err)
		}
	}
	set("+ 1")
	for _, s := range l.servers {
		await(t, s.url+" to record beside a newer program", func() bool { return c.works(s, "beside a newer program") })
	}
	s := l.servers[0]
	if err := s.current().stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	const remedy = "use the program that made it, or a newer one"
	if err := s.start(t); err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), remedy) {
		t.Errorf("a server whose log has a newer schema started: %v", err)
	}
	set("- 1")
	if err := s.start(t); err != nil {
		t.Errorf("a server whose log has the schema of its program: %v", err)
	}
}
