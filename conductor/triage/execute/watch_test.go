package execute_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/triage/account"
	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/playbook"
	"muniment.dev/muniment/internal/peers"
)

// A targets are a flagd file and a toxiproxy, with the actions on them.
type targets struct {
	connectors map[string]connector.Connector
	actions    *action.Catalogue
	steps      []playbook.Step
	state      func() string // as the file and the command line have it
}

func newTargets(t *testing.T, approver string) *targets {
	t.Helper()
	ports, err := peers.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	url, flags := "http://127.0.0.1:"+ports[0], filepath.Join(t.TempDir(), "flags.json")
	server, err := peers.Program{Name: "toxiproxy-server", Dir: t.TempDir(), Args: []string{"-host", "127.0.0.1", "-port", ports[0]}, Probe: url + "/version"}.Start(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	program := peers.Path(t, "toxiproxy-cli")
	cli := func(args ...string) string {
		out, err := exec.Command(program, append([]string{"-host", url}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("toxiproxy-cli %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	cli("create", "-l", "127.0.0.1:0", "-u", "127.0.0.1:1", "gateway")
	cli("toxic", "add", "-t", "bandwidth", "-n", "limit", "-a", "rate=100", "gateway")
	if err := os.WriteFile(flags, []byte("{\"flags\": {\"a\":\t{\"variants\": {\"on\": true, \"off\": false},\n \"defaultVariant\" :\"off\"}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := &targets{state: func() string {
		text, err := os.ReadFile(flags)
		if err != nil {
			t.Fatal(err)
		}
		return string(text) + cli("list") + cli("inspect", "gateway")
	}}
	if all.connectors, err = connector.Load(fmt.Appendf(nil, "{version: 1, connectors: {flags: {type: flagd, file: %q}, limits: {type: toxiproxy, url: %q}}}", flags, url)); err != nil {
		t.Fatal(err)
	}
	if all.actions, err = action.Parse([]byte(`
version: 1
approvers: ["` + approver + `"]
actions:
  toggle: {connector: flags, target: flag/a, parameters: {variant: {type: string, default: "on", values: ["on"]}}, undo: restore, cooldown: 1s, per_target: {actions: 9, within: 1h}}
  widen: {connector: limits, target: toxic/gateway/limit, parameters: {rate: {type: integer, default: 400, min: 1, max: 400}}, undo: restore, cooldown: 1s, per_target: {actions: 9, within: 1h}}
`)); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]map[string]action.Value{"toggle": {"variant": {Text: "on", Type: action.String}}, "widen": {"rate": {Text: "400", Type: action.Integer}}} {
		a := all.actions.Actions[name]
		all.steps = append(all.steps, playbook.Step{Action: a, Target: a.Target, Parameters: value})
	}
	return all
}

// A twin is one of two executors with a real ledger.
type twin struct {
	*execute.Executor
	*execute.Watcher
}

// twin returns an executor with the ledger of a rig, and the watcher of it.
func (r *rig) twin(name string, of *targets, seal *execute.Seal) twin {
	r.Helper()
	o := muniment.Options{Server: r.ledger.URL, Token: r.ledger.Token, Policy: r.policy}
	recorder, err := execute.NewRecorder(o)
	r.must(err)
	reader, err := execute.NewReader(o, recorder)
	r.must(err)
	store, err := execute.OpenStore("state", vfs.NewMem())
	r.must(err)
	r.Cleanup(func() { r.must(store.Close()) })
	now := func() time.Time { return r.now }
	w := execute.NewWatcher(reader, now, func(error) {})
	return twin{&execute.Executor{
		Store: store, Ledger: recorder, Feed: reader, Trails: w, Seal: seal, Connectors: of.connectors, Actions: of.actions, Actor: name, Now: now,
	}, w}
}

// search reads the ledger and takes over what another executor has left.
func (r *rig) search(w twin) {
	r.Helper()
	r.must(w.Read(r.Context()))
	r.must(w.TakeOver(r.Context()))
}

// TestWatcher checks with a real ledger and real targets that a second executor
// undoes what the first one has done, byte for byte.
func TestWatcher(t *testing.T) {
	r := newRig(t)
	of := newTargets(t, r.ledger.Person("ada"))
	key := filepath.Join(t.TempDir(), "takeover.key")
	r.must(os.WriteFile(key, bytes.Repeat([]byte("5a"), 32), 0o600))
	seal, err := execute.LoadSeal(key)
	r.must(err)
	one, two := r.twin("conductor@one", of, seal), r.twin("conductor@two", of, seal)
	before := of.state()
	r.must(one.Open(execute.Opening{ID: id, Type: "T", Steps: of.steps, Alerts: []string{"Errors"}}))
	if state, err := one.Advance(t.Context(), id); err != nil || state != execute.Settling {
		t.Fatalf("the first executor: %s, %v", state, err)
	}
	acted := of.state()
	if acted == before {
		t.Fatal("the first executor has changed nothing")
	}
	if err := two.TakeOver(t.Context()); !errors.Is(err, execute.ErrWait) {
		t.Errorf("before the first read: %v", err)
	}
	latest := func(want execute.Latest) {
		t.Helper()
		got, err := two.Latest(strings.TrimSuffix(id, "1"))
		if want.Time = got.Time; err != nil || got != want || time.Since(got.Time).Abs() > time.Hour {
			t.Errorf("the latest incident: %+v, %v, want %+v", got, err, want)
		}
	}
	if _, err := two.Latest("T/"); !errors.Is(err, execute.ErrWait) {
		t.Errorf("before the first read: %v", err)
	}
	r.search(two)
	latest(execute.Latest{Number: 1})
	r.now = r.now.Add(34 * time.Minute) // undo_after is 30 minutes
	r.search(two)
	var used []string
	for _, u := range two.Watcher.Uses(time.Time{}) {
		used = append(used, u.Target)
	}
	if got := strings.Join(used, ", "); got != "flag/a, toxic/gateway/limit" && got != "toxic/gateway/limit, flag/a" {
		t.Errorf("uses of budgets: %s", got)
	}
	if of.state() != acted || two.TakenOver != 0 {
		t.Error("taken over too early")
	}
	r.now = r.now.Add(time.Minute)
	r.search(two)
	if state, err := two.Advance(t.Context(), id); err != nil || state != execute.Closed || two.TakenOver != 1 {
		t.Fatalf("the second executor: %s, %v", state, err)
	}
	if got := of.state(); got != before {
		t.Errorf("the state is\n%s\nwant\n%s", got, before)
	}
	if state, err := one.Advance(t.Context(), id); err != nil || state != execute.Following {
		t.Errorf("the first executor comes back: %s, %v", state, err)
	}
	r.search(one)
	r.search(two)
	if used := two.Watcher.Uses(time.Time{}); len(used) != 2 {
		t.Errorf("undo uses budgets: %+v", used)
	}
	latest(execute.Latest{Number: 1, Closed: true})
	i, err := one.Store.Incident(id)
	if err != nil || i.State != execute.Closed || of.state() != before {
		t.Errorf("the first executor has come back: %+v, %v", i, err)
	}
	r.now = r.now.Add(8 * 24 * time.Hour)
	late := r.twin("conductor@late", of, seal)
	r.must(late.Read(t.Context()))
	old, err := late.Latest(strings.TrimSuffix(id, "1"))
	if all, _, read := late.Watcher.Trails(); err != nil || read != nil || old.Number != 1 || !old.Closed || len(all) > 0 {
		t.Errorf("after eight days: %+v, %v, %+v, %v", old, err, all, read)
	}
	shown, err := r.as("").Incident(t.Context(), id)
	if err != nil || shown.State != account.Closed || len(shown.Faults) > 0 || shown.Verified != 10 || len(shown.Notes) != 2 || shown.Notes[0].Action != execute.ActionTakeover {
		t.Errorf("the entries: %+v, %v", shown, err)
	}

	r.must(os.WriteFile(key, []byte("5a"), 0o600))
	if _, err := execute.LoadSeal(key); err == nil {
		t.Error("a short key is accepted")
	}
}
