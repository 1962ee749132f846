package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/triage/sim"
	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/internal/peers"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/internal/peers/promrig"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A stage runs patterns beside each other: each has a gateway per arm. All are
// behind one toxiproxy, and watched by one Prometheus with two Alertmanagers.
type stage struct {
	t      *testing.T
	dir    string
	toxi   toxiproxy
	ledger *ledgerrig.Server
	casts  []*cast
}

// A cast is a gateway in one arm, with its clients and the person on call.
type cast struct {
	sim.Scene
	cluster string // its name
	address string // of the metrics
	hooks   []promrig.Webhook

	mu     sync.Mutex    // guards the rest
	began  time.Time     // the first fault
	paged  time.Time     // the first alert with severity page after that
	length time.Duration // from the first fault until the end
}

// newStage starts the gateways.
func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, dir: t.TempDir()}
	ports, err := peers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	s.toxi.url = "http://127.0.0.1:" + ports[0]
	process, err := peers.Program{Name: "toxiproxy-server", Dir: s.dir, Probe: s.toxi.url + "/version", Args: []string{"-host", "127.0.0.1", "-port", ports[0]}}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Stop)
	s.ledger = ledgerrig.Start()
	t.Cleanup(s.ledger.Close)
	return s
}

// add adds a gateway for a pattern.
func (s *stage) add(p sim.Pattern, seed uint64, arm string) *cast {
	s.t.Helper()
	c := &cast{cluster: p.Name + "-" + arm}
	origin := sim.NewOrigin()
	upstream := httptest.NewServer(origin)
	s.t.Cleanup(upstream.Close)
	proxies := toxiproxy{url: s.toxi.url, prefix: c.cluster + "-"}
	urls := map[string]string{}
	for _, name := range sim.Proxies() {
		address, err := proxies.create(s.t.Context(), name, upstream.Listener.Addr().String())
		if err != nil {
			s.t.Fatal(err)
		}
		urls[name] = "http://" + address
	}
	g := sim.NewGateway(urls, seed)
	dir := filepath.Join(s.dir, c.cluster)
	if err := os.Mkdir(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	files, err := sim.NewFiles(dir, g)
	if err != nil {
		s.t.Fatal(err)
	}
	c.Scene = sim.Scene{Gateway: g, Files: files, Origin: origin, Proxies: proxies, Pattern: p, Seed: seed}
	control, err := g.Handler(cacheToken)
	if err != nil {
		s.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", control)
	mux.HandleFunc("POST /pager", c.page)
	server := httptest.NewServer(mux)
	s.t.Cleanup(server.Close)
	c.address = server.Listener.Addr().String()
	c.hooks = append(c.hooks, promrig.Webhook{URL: server.URL + "/pager"})
	s.casts = append(s.casts, c)
	return c
}

// page receives the alerts that a person on call would.
func (c *cast) page(_ http.ResponseWriter, r *http.Request) {
	var message struct {
		Alerts []struct {
			Status string
			Labels map[string]string
		}
	}
	if json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&message) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range message.Alerts {
		if a.Status == "firing" && a.Labels["severity"] == "page" && !c.began.IsZero() && c.paged.IsZero() {
			c.paged = time.Now()
		}
	}
}

// run plays all patterns until they have ended, or until done returns true.
func (s *stage) run(done func() bool) {
	s.t.Helper()
	var servers []promrig.Server
	for _, c := range s.casts {
		servers = append(servers, promrig.Server{Address: c.address, Cluster: c.cluster, Service: "gateway", Webhooks: c.hooks})
	}
	rules, err := filepath.Abs("../../conductor/triage/sim/config/rules.yaml")
	if err != nil {
		s.t.Fatal(err)
	}
	rig, err := promrig.StartPair(s.t.Context(), promrig.Pair{Dir: s.dir, Rules: rules, Servers: servers})
	if err != nil {
		s.t.Fatal(err)
	}
	defer rig.Stop()
	ctx, cancel := context.WithCancel(s.t.Context())
	var running, playing sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, c := range s.casts {
		running.Go(func() { c.Drive(ctx) })
		running.Go(func() {
			if err := c.Files.Watch(ctx); err != nil {
				s.t.Error(err)
			}
		})
	}
	// The windows of the alerts are full, and the caches are warm.
	if err := rig.Await(ctx, fmt.Sprintf(`count(sum_over_time(up[10s]) >= 9) == %d unless on () ALERTS{severity="page"}`, len(s.casts))); err != nil {
		s.t.Fatal(err)
	}
	for _, c := range s.casts {
		playing.Go(func() {
			if err := c.Play(ctx, c.start); err != nil && ctx.Err() == nil {
				s.t.Error(err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.length = time.Since(c.began)
		})
	}
	ended := make(chan struct{})
	running.Go(func() { playing.Wait(); close(ended) })
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-ended:
			return
		case <-again.C:
			if done() {
				return
			}
		}
	}
}

func (c *cast) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began = time.Now()
}

// A toxiproxy controls the proxies with a prefix.
type toxiproxy struct{ url, prefix string }

func (x toxiproxy) call(ctx context.Context, method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, x.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Close = true // a server that is short of time can close an idle connection
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return fmt.Errorf("toxiproxy: %s %s: %s", method, path, res.Status)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(answer)
}

func (x toxiproxy) create(ctx context.Context, proxy, upstream string) (address string, err error) {
	var answer struct{ Listen string }
	err = x.call(ctx, "POST", "/proxies", map[string]any{"name": x.prefix + proxy, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true}, &answer)
	return answer.Listen, err
}

// SetEnabled implements sim.Toxiproxy.
func (x toxiproxy) SetEnabled(ctx context.Context, proxy string, enabled bool) error {
	return x.call(ctx, "POST", "/proxies/"+x.prefix+proxy, map[string]any{"enabled": enabled}, nil)
}

// AddToxic implements sim.Toxiproxy.
func (x toxiproxy) AddToxic(ctx context.Context, proxy, kind string, toxicity float64, attributes map[string]int) error {
	return x.call(ctx, "POST", "/proxies/"+x.prefix+proxy+"/toxics", map[string]any{"name": kind, "type": kind, "stream": "downstream", "toxicity": toxicity, "attributes": attributes}, nil)
}

// RemoveToxics implements sim.Toxiproxy.
func (x toxiproxy) RemoveToxics(ctx context.Context, proxy string) error {
	var toxics []struct{ Name string }
	if err := x.call(ctx, "GET", "/proxies/"+x.prefix+proxy+"/toxics", nil, &toxics); err != nil {
		return err
	}
	for _, toxic := range toxics {
		if err := x.call(ctx, "DELETE", "/proxies/"+x.prefix+proxy+"/toxics/"+toxic.Name, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

const cacheToken = "token-of-the-cache"

// triageFor starts triage for a gateway, as a command with a configuration of
// its own. It records in the ledger of the stage.
func (s *stage) triageFor(c *cast) {
	s.t.Helper()
	dir := filepath.Dir(c.Files.Flags)
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		return path
	}
	const token = "token-of-both-alertmanagers"
	args := []string{
		"triage", "serve", "--server", s.ledger.URL, "--tenant", "acme", "--listen", "127.0.0.1:0", "--name", c.cluster, "--state", filepath.Join(dir, "state"),
		"--token-file", file("ledger.token", s.issue(c.cluster)), "--policy", file("policy", string(s.ledger.Policy)), "--senders", file("senders.yaml", "alertmanager: "+token+"\n"),
		"--connectors", file("connectors.yaml", fmt.Sprintf("version: 1\nconnectors:\n  flags: {type: flagd, file: %q}\n  limits: {type: ratelimit, file: %q}\n  cache: {type: cache_flush, url: http://%s/caches, token_file: %q}\n",
			c.Files.Flags, c.Files.Limits, c.address, file("cache.token", cacheToken))),
	}
	for _, name := range []string{"catalogue", "playbooks", "actions"} {
		args = append(args, "--"+name, filepath.Join("../../conductor/triage/sim/config", name+".yaml"))
	}
	url, _ := serve(s.t, args)
	c.hooks = append(c.hooks, promrig.Webhook{URL: url + "/alertmanager", Token: token})
}

// issue returns a token of the ledger for an executor.
func (s *stage) issue(id string) string {
	s.t.Helper()
	admin, err := muniment.New(muniment.Options{Server: s.ledger.URL, Token: s.ledger.Token})
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := admin.Admin.IssueToken(s.t.Context(), connect.NewRequest(&munimentv1.IssueTokenRequest{Tenant: "acme", Grant: &munimentv1.Grant{Id: id, Role: munimentv1.Role_ROLE_APPENDER}}))
	if err != nil {
		s.t.Fatal(err)
	}
	return res.Msg.Token
}

// result returns what happened in an arm.
func (s *stage) result(c *cast) sim.Arm {
	s.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var a sim.Arm
	if !c.paged.IsZero() {
		a.Alerted = c.paged.Sub(c.began)
	}
	if changes := c.Files.Changes(); len(changes) > 0 {
		a.Acted = changes[0].At.Sub(c.began)
	}
	client, err := muniment.New(muniment.Options{Server: s.ledger.URL, Token: s.ledger.Token, Tenant: "acme"})
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := client.ListEntries(s.t.Context(), connect.NewRequest(&munimentv1.ListEntriesRequest{
		Tenant: "acme", PageSize: 1000, Filter: &munimentv1.Filter{Kind: kindname.TriageAction, Submitter: "token:" + c.cluster},
	}))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range res.Msg.Entries {
		attributes := e.Attributes
		if attributes["phase"] != "intent" || attributes["action"] == "restore" {
			continue
		}
		a.Actions++
		if a.Classified == "" {
			a.Classified = attributes["playbook"]
		}
		if attributes["playbook"] != c.Pattern.Truth.Type {
			a.Wrong++
		}
	}
	return a
}
