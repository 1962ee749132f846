package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"muniment.dev/muniment/conductor/triage"
	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/route"
	"muniment.dev/muniment/conductor/triage/signal"
	"muniment.dev/muniment/internal/peers/promrig"
	"muniment.dev/muniment/internal/soak"
)

const (
	triageCatalogue = `
version: 1
types:
  T: {severity: P1, correlate: [service], signals: [{name: errors, when: name == "Errors"}]}
  U: {severity: P1, correlate: [service], signals: [{name: slow, when: name == "Slow"}]}
`
	triageActions = `
version: 1
actions:
  toggle: {connector: flags, target: flag/a, parameters: {variant: {type: string, default: "on", values: ["on"]}}, undo: restore, undo_after: 1s, cooldown: 1s, per_target: {actions: 9, within: 1h}}
  change: {connector: broken, target: x, undo: restore, cooldown: 1s, per_target: {actions: 9, within: 1h}}
`
	triageFlags = `{"flags": {"a": {"variants": {"on": true, "off": false}, "defaultVariant": "off"}}}`
)

// A triageRig is a router with an executor, whose metrics are served.
type triageRig struct {
	router  *route.Router
	store   *execute.Store
	flags   string // path
	address string // of the metrics
}

// broken is a connector whose target cannot be changed.
type broken struct{}

func (broken) Undo() string { return action.Restore }

func (broken) Read(context.Context, string) (connector.Image, error) {
	return connector.Image("0"), nil
}

func (broken) Plan(context.Context, string, map[string]string, connector.Image) (connector.Image, error) {
	return connector.Image("1"), nil
}

func (broken) Set(context.Context, string, connector.Image, connector.Image) error {
	return errors.New("refused")
}

// noLedger records nothing.
type noLedger struct{}

func (noLedger) Record(context.Context, string, []byte) (execute.Reference, error) {
	return execute.Reference{LeafHash: strings.Repeat("0", 64)}, nil
}

func startTriage(t *testing.T) *triageRig {
	t.Helper()
	r := &triageRig{flags: filepath.Join(t.TempDir(), "flags.json")}
	if err := os.WriteFile(r.flags, []byte(triageFlags), 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(text string) triage.File { return triage.File{Text: []byte(text)} }
	config, err := triage.Load(file(triageCatalogue), file("T: [{action: toggle}]\nU: [{action: change}]\n"), file(triageActions))
	if err != nil {
		t.Fatal(err)
	}
	config.Connectors = map[string]connector.Connector{"flags": connector.NewFlagd(r.flags), "broken": broken{}}
	fs := vfs.NewMem()
	store, err := execute.OpenStore("executor", fs)
	if err != nil {
		t.Fatal(err)
	}
	metrics := route.NewMetrics("v1")
	r.store = store
	r.router, err = route.Open(route.Options{
		Config: config, Dir: "router", FS: fs, Metrics: metrics, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Executor: &execute.Executor{Store: store, Ledger: noLedger{}, Connectors: config.Connectors, Actions: config.Actions, Actor: "test", Now: time.Now},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.router.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, r.router.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	s := httptest.NewServer(metrics.Handler())
	t.Cleanup(s.Close)
	r.address = strings.TrimPrefix(s.URL, "http://")
	return r
}

// alert fires an alert of a service.
func (r *triageRig) alert(t *testing.T, name, service string) {
	t.Helper()
	s := signal.Signal{Source: signal.Alertmanager, Name: name, State: signal.Firing, Labels: map[string]string{"service": service}, Starts: time.Now(), Received: time.Now()}
	if _, err := r.router.Deliver(t.Context(), []signal.Signal{s}); err != nil {
		t.Fatal(err)
	}
}

// ended waits until no incident has an effect, as another one on its target
// would not act before, and for the cooldown of the target.
func (r *triageRig) ended(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(soak.Patience); ; time.Sleep(50 * time.Millisecond) {
		active, err := r.store.Active()
		if err != nil {
			t.Fatal(err)
		}
		if len(active) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("still active: %v", active)
		}
	}
	time.Sleep(time.Second)
}

// misfire makes triage act twice and then fail, until the alert about it fires.
func (r *triageRig) misfire(t *testing.T, rig *promrig.Rig) {
	t.Helper()
	await := func(expression string) {
		t.Helper()
		if err := rig.Await(t.Context(), expression); err != nil {
			t.Fatal(err)
		}
	}
	r.alert(t, "Errors", "a")
	await(`muniment_triage_first_action_seconds_count{type="T"} == 1`)
	r.ended(t)
	r.alert(t, "Errors", "b")
	await(`muniment_triage_first_action_seconds_count{type="T"} == 2`)
	r.alert(t, "Slow", "a")
	await(`ALERTS{alertname="MunimentTriageExecutorFailure", alertstate="firing"}`)
}
