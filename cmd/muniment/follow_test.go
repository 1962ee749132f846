package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muniment.dev/muniment/cmd/muniment/internal/operate"
	"muniment.dev/muniment/internal/soak"
)

// A replica of a company's log.
type replica struct {
	*company
	folder string
	server *process
}

// newReplica makes the folder of a replica.
func (c *company) newReplica() *replica {
	c.t.Helper()
	r := &replica{company: c, folder: filepath.Join(c.t.TempDir(), "replica")}
	c.must("replica", "init", r.folder, "--policy", filepath.Join(c.data, "policy"), "--tenant", "acme="+filepath.Join(c.data, "streams", "acme.key"))
	c.must("operator", "add", operate.FirstOperator, "--data", r.folder)
	return r
}

// follow starts the replica's server, which follows the log.
func (r *replica) follow(args ...string) {
	r.t.Helper()
	r.serve(append([]string{"--follow", r.log.url, "--follow-token-file", filepath.Join(r.data, "tokens", "acme.token"), "--refresh", "100ms"}, args...)...)
}

func (r *replica) serve(args ...string) {
	r.t.Helper()
	p, err := startProcess(context.WithoutCancel(r.t.Context()), program(r.t), append([]string{"--data", r.folder}, args...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() })
	r.server = p
}

// get returns what the replica answers to its operator.
func (r *replica) get(path string) string {
	r.t.Helper()
	token, err := os.ReadFile(filepath.Join(r.folder, operate.OperatorToken(operate.FirstOperator)))
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, r.server.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(body)
}

// metric returns a value of /metrics.
func (r *replica) metric(series string) float64 {
	r.t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(r.get("/metrics"))
	if m == nil {
		r.t.Fatalf("there is no metric %s", series)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

const (
	asOfSeries    = "muniment_replica_as_of_timestamp_seconds"
	currentSeries = `muniment_replica_updates_total{result="current"}`
)

// asOf returns the time up to which the replica has the log.
func (r *replica) asOf() time.Time { return time.UnixMilli(int64(r.metric(asOfSeries) * 1000)) }

// afterUpdates waits until the replica has compared itself with the log twice,
// from the start to the end.
func (r *replica) afterUpdates() {
	r.t.Helper()
	before := r.metric(currentSeries)
	awaitThat(r.t, "the replica has not asked the log", func() bool { return r.metric(currentSeries) >= before+2 })
}

// TestReplicaWaitsForCosignatures checks that a replica of a witnessed log is
// not up to date while the log has entries that wait for cosignatures.
func TestReplicaWaitsForCosignatures(t *testing.T) {
	c, w := newCompany(t, "east"), newCompany(t, "west")
	w.must("witness", "add-log", c.logKey(0), "--data", w.witness)
	w.startWitness("127.0.0.1:0")
	address := strings.TrimPrefix(w.cosign.url, "http://")
	c.must("trust", "add-witness", "west", w.witnessKeys()[0], w.cosign.url, "--data", c.data)
	c.startLog()
	if out, code := c.appendFile("first", "--wait", "witnessed"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	r := c.newReplica()
	r.follow()
	r.afterUpdates()
	size := r.metric("muniment_tree_size")

	_ = w.cosign.cmd.Process.Kill()
	_ = w.cosign.cmd.Wait()
	if out, code := c.appendFile("not cosigned"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	appended := time.Now()
	r.afterUpdates()
	if got := r.asOf(); got.After(appended) || r.metric("muniment_tree_size") != size {
		t.Errorf("as of %s with %v entries, but an entry published before %s is missing", got, r.metric("muniment_tree_size"), appended)
	}
	w.startWitness(address)
	awaitThat(t, "the replica has what is cosigned now", func() bool { return r.metric("muniment_tree_size") > size && r.asOf().After(appended) })
}

// TestReplicaOfAReplica checks that a replica does not take another one for the
// log: what that lacks would seem not to exist.
func TestReplicaOfAReplica(t *testing.T) {
	c := newCompany(t, "east")
	c.startLog()
	if out, code := c.appendFile("first"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	first := c.newReplica()
	first.follow()
	first.afterUpdates()
	second := c.newReplica()
	second.follow()
	second.afterUpdates()
	if err := second.server.stop(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	opened := time.Now()
	second.serve("--follow", first.server.url, "--follow-token-file", filepath.Join(first.folder, "tokens", "acme.token"), "--refresh", "100ms")
	awaitThat(t, "the replica refuses to follow another", func() bool { return strings.Contains(second.get("/readyz"), "the server is a replica itself") })
	if got := second.asOf(); got.After(opened) {
		t.Errorf("as of %s, which only another replica has confirmed", got)
	}
	if second.metric(currentSeries) != 0 {
		t.Error("it counts as up to date")
	}
}

// TestKillReplica ends the server of a replica, by SIGKILL and by SIGTERM, at
// seeded moments of imports that were handed over to it, or of following. The
// replica then goes on from a state that it has served, or a later one.
func TestKillReplica(t *testing.T) {
	soak.WithoutRace(t)
	rng := rand.New(rand.NewPCG(1+soak.Seed(t), 3))
	c := newCompany(t, "east")
	c.startLog()
	if out, code := c.appendFile("first"); code != 0 {
		t.Fatalf("append: %s", out)
	}
	r := c.newReplica()
	r.follow()
	size, interrupted := 0.0, 0
	for round := range soak.Length(t, "kills", 4, 60) {
		for i := range 8 {
			if out, code := c.appendFile(fmt.Sprint(round, " ", i, strings.Repeat("x", 100<<10))); code != 0 {
				t.Fatalf("append: %s", out)
			}
		}
		sig := []os.Signal{os.Kill, syscall.SIGTERM}[rng.IntN(2)]
		delay := time.Duration(rng.IntN(60)) * time.Millisecond
		ended := make(chan error, 1)
		server := r.server
		file := filepath.Join(t.TempDir(), "next.delta")
		exported, code := c.run("export", "--since", fmt.Sprint(int(r.metric("muniment_tree_size"))), "-o", file, "--policy", filepath.Join(c.data, "policy"), "--server", c.log.url, "--token-file", filepath.Join(c.data, "tokens", "acme.token"))
		followed := strings.Contains(exported, "the log has not grown")
		if code != 0 && !followed {
			t.Fatalf("round %d: export: %s", round, exported)
		}
		time.AfterFunc(delay, func() { ended <- server.stop(sig) })
		out, code := "", 0
		if !followed {
			out, code = c.run("import", file, "--data", r.folder)
		}
		if err := <-ended; err != nil && sig != os.Kill {
			t.Fatalf("round %d: %v\n%s", round, err, server.log)
		}
		if code != 0 {
			interrupted++
			if again, code := c.run("import", file, "--data", r.folder); code != 0 && !strings.Contains(again, "imported before") {
				t.Fatalf("round %d: interrupted with %q, then %q", round, out, again)
			}
		}
		c.must("fsck", "--data", r.folder)
		if round%2 == 0 {
			r.serve()
		} else {
			r.follow()
		}
		now := r.metric("muniment_tree_size")
		if now <= size {
			t.Fatalf("round %d: %v entries, after %v", round, now, size)
		}
		size = now
		c.must("audit", r.server.url, "--policy", filepath.Join(r.folder, "policy"), "--stream-key", filepath.Join(r.folder, "streams", "acme.key"))
	}
	t.Logf("%d imports were interrupted", interrupted)
}
