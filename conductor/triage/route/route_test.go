package route

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.opentelemetry.io/otel/trace"

	"muniment.dev/muniment/conductor/triage"
	"muniment.dev/muniment/conductor/triage/correlate"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/signal"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

const (
	catalogueText = `
version: 1
types:
  T:
    severity: P1
    correlate: [service]
    signals: [{name: errors, when: name == "Errors", for: 15s}]
    decay: 10m
  U:
    severity: P2
    correlate: [service]
    signals: [{name: slow, when: name == "Slow"}, {name: errors, when: name == "Errors"}]
`
	actionsText = `
version: 1
budgets: {incidents_per_hour: 2, actions_per_hour: 20}
actions:
  toggle:
    connector: flags
    target: flag/{key}
    parameters:
      key: {type: string, default: a, values: [a, b]}
      variant: {type: string, default: "on", values: ["on", "off"]}
    undo: restore
    cooldown: 1s
    per_target: {actions: 100, within: 1h}
`
	flagsText = `{"flags": {"a": {"variants": {"on": true, "off": false}, "defaultVariant": "off"}, "b": {"variants": {"on": true, "off": false}, "defaultVariant": "off"}}}`
)

// A world is a router with its executor, whose turns a test takes.
type world struct {
	*Router
	t      *testing.T
	edits  []string // of the configuration
	fs     *vfs.MemFS
	flags  string // path
	now    time.Time
	ledger ledger
	name   string // of the executor
	dry    bool
	traces trace.TracerProvider

	numbers execute.Numbers
	trails  execute.Trails
}

// A ledger records entries in memory.
type ledger struct{ entries map[string]string }

func (l ledger) Record(_ context.Context, key string, payload []byte) (execute.Reference, error) {
	if have, ok := l.entries[key]; ok && have != string(payload) {
		return execute.Reference{}, execute.ErrTaken
	}
	l.entries[key] = string(payload)
	return execute.Reference{LeafHash: strings.Repeat("0", 64)}, nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, fs: vfs.NewCrashableMem(), now: noon, flags: filepath.Join(t.TempDir(), "flags.json"), ledger: ledger{map[string]string{}}, name: "test"}
	w.must(os.WriteFile(w.flags, []byte(flagsText), 0o600))
	w.open()
	t.Cleanup(w.close)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) open() {
	w.t.Helper()
	w.must(w.tryOpen())
}

// load returns the configuration with edits, which are pairs of an old and a
// new text.
func (w *world) load(edits ...string) *triage.Config {
	w.t.Helper()
	file := func(text string) triage.File {
		return triage.File{Text: []byte(strings.NewReplacer(edits...).Replace(text))}
	}
	config, err := triage.Load(file(catalogueText), file("T: [{action: toggle}]\nU: [{action: toggle, key: b}]\n"), file(actionsText))
	w.must(err)
	w.must(config.Connect(file("{version: 1, connectors: {flags: {type: flagd, file: " + w.flags + "}}}")))
	return config
}

func (w *world) tryOpen() error {
	w.t.Helper()
	config := w.load(w.edits...)
	store, err := execute.OpenStore("executor", w.fs)
	w.must(err)
	now := func() time.Time { return w.now }
	router, err := Open(Options{
		Config: config, Dir: "router", FS: w.fs, Metrics: NewMetrics("test"), Now: now, Log: slog.New(slog.DiscardHandler), Traces: w.traces,
		Executor: &execute.Executor{Store: store, Ledger: w.ledger, Connectors: config.Connectors, Actions: config.Actions, Actor: w.name, Now: now, DryRun: w.dry, Numbers: w.numbers, Trails: w.trails},
	})
	if err != nil {
		w.must(store.Close())
		return err
	}
	w.Router = router
	return nil
}

func (w *world) close() {
	w.must(w.Router.Close())
	w.must(w.Executor.Store.Close())
}

// crash goes on with what is durable.
func (w *world) crash() {
	w.t.Helper()
	lost := w.fs.CrashClone(vfs.CrashCloneCfg{})
	w.close()
	w.fs = lost
	w.open()
}

// alert returns a signal of the alert of a service.
func (w *world) alert(name, state, service string, starts time.Time) signal.Signal {
	s := signal.Signal{Source: signal.Alertmanager, Name: name, State: state, Labels: map[string]string{"service": service}, Starts: starts, Received: w.now}
	if state == signal.Resolved {
		s.Ends = w.now
	}
	return s
}

func (w *world) deliver(signals ...signal.Signal) map[correlate.Effect]int {
	w.t.Helper()
	d := &delivery{signals: signals, effects: map[correlate.Effect]int{}, done: make(chan struct{})}
	w.must(w.apply(d))
	w.must(d.err)
	return d.effects
}

// pass moves the clock and takes a turn of everything.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	w.now = w.now.Add(d)
	w.turn()
}

func (w *world) turn() {
	w.t.Helper()
	for range 2 {
		w.dirty = true
		_, err := w.evaluate(context.Background())
		w.must(err)
		w.actor.obey()
		w.actor.round(context.Background())
		w.must(w.follow(w.actor.reports()))
	}
}

// want checks the states of all incidents, and the flags.
func (w *world) want(states, flags string) {
	w.t.Helper()
	all := map[string]execute.State{}
	for id, i := range w.incidents {
		typ, rest, _ := strings.Cut(id, "/")
		all[typ+rest[strings.LastIndex(rest, "-"):]+" "+i.Key.Values()[0]] = i.State
	}
	text, err := os.ReadFile(w.flags)
	w.must(err)
	if got := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(all), "map["), "]"); got != states {
		w.t.Errorf("incidents %s, want %s", got, states)
	}
	got := ""
	for part := range strings.SplitSeq(string(text), `"defaultVariant": "`) {
		if v, _, ok := strings.Cut(part, `"}`); ok && !strings.Contains(v, "{") {
			got += v + " "
		}
	}
	if got != flags+" " {
		w.t.Errorf("flags %s, want %s", got, flags)
	}
}

// TestIncident follows an alert from its first message to the next incident,
// and crashes before each turn.
func TestIncident(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash=%v", crash), func(t *testing.T) {
			w := newWorld(t)
			pass := func(d time.Duration) {
				t.Helper()
				w.pass(d)
				if crash {
					w.crash()
					w.turn()
				}
			}
			starts := noon.Add(-time.Second)
			firing := w.alert("Errors", signal.Firing, "x", starts)
			if got := w.deliver(firing, firing); !maps.Equal(got, map[correlate.Effect]int{correlate.Opened: 1, correlate.Continued: 1}) {
				t.Errorf("effects %v", got)
			}
			pass(14 * time.Second)
			w.want("", "off off")
			pass(time.Second)
			w.want("T-1 x:settling", "on off")
			w.deliver(firing)
			pass(time.Minute)
			w.deliver(w.alert("Errors", signal.Resolved, "x", starts))
			pass(59 * time.Second)
			w.want("T-1 x:settling", "on off")
			pass(time.Second)
			w.want("T-1 x:closed", "off off")

			// The same episode never opens another incident.
			w.deliver(firing)
			pass(time.Hour)
			w.want("T-1 x:closed", "off off")
			w.deliver(w.alert("Errors", signal.Firing, "x", w.now))
			pass(15 * time.Second)
			w.want("T-1 x:closed T-2 x:settling", "on off")
			if n := len(w.ledger.entries); n != 7 {
				t.Errorf("%d entries, want 7", n)
			}
		})
	}
}

// TestDecay checks that no incident opens for some time after one has closed.
func TestDecay(t *testing.T) {
	w := newWorld(t)
	again := func(name string) { w.deliver(w.alert(name, signal.Firing, "x", w.now)) }
	again("Errors")
	w.pass(15 * time.Second)
	w.deliver(w.alert("Errors", signal.Resolved, "x", noon))
	w.pass(time.Minute)
	again("Errors")
	w.pass(9*time.Minute + 59*time.Second)
	w.want("T-1 x:closed", "off off")
	w.pass(time.Second)
	w.want("T-1 x:closed T-2 x:settling", "on off")
}

// TestClaims checks that alerts of an incident count for no other type, and
// that those that arrive later belong to it as well.
func TestClaims(t *testing.T) {
	w := newWorld(t)
	w.deliver(w.alert("Errors", signal.Firing, "x", noon))
	w.pass(15 * time.Second)
	w.deliver(w.alert("Slow", signal.Firing, "x", w.now))
	w.pass(time.Minute)
	w.want("T-1 x:settling", "on off")
	// Another episode of the anchor keeps the incident from clearing.
	w.deliver(w.alert("Errors", signal.Resolved, "x", noon))
	w.pass(30 * time.Second)
	w.deliver(w.alert("Errors", signal.Firing, "x", w.now))
	w.pass(5 * time.Minute)
	w.want("T-1 x:settling", "on off")
	w.pass(time.Hour)
	w.want("T-1 x:closed", "off off")
	w.pass(time.Hour)
	w.want("T-1 x:closed", "off off")
}

// TestRefused checks that an incident above the budget is escalated once.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	for _, service := range []string{"x", "y", "z"} {
		w.deliver(w.alert("Errors", signal.Firing, service, noon))
		w.pass(15 * time.Second)
	}
	w.pass(15 * time.Second)
	w.crash()
	w.pass(time.Second)
	w.want("T-1 x:settling T-1 y:escalated T-1 z:escalated", "on off")
	w.deliver(w.alert("Errors", signal.Resolved, "z", noon))
	w.pass(time.Minute)
	w.want("T-1 x:settling T-1 y:escalated T-1 z:closed", "on off")
}

// TestRun delivers concurrently to a router that runs.
func TestRun(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	results := make(chan error)
	for n := range 8 {
		go func() {
			var err error
			for i := 0; i < 50 && err == nil; i++ {
				_, err = w.Deliver(ctx, []signal.Signal{w.alert("Other", signal.Firing, fmt.Sprint(n, i%10), noon)})
			}
			results <- err
		}()
	}
	for range 8 {
		w.must(<-results)
	}
	cancel()
	w.must(<-ended)
	if _, err := w.Deliver(t.Context(), nil); err != ErrStopped {
		t.Errorf("after the end: %v", err)
	}
	if firing, _ := w.table.Count(); firing != 80 {
		t.Errorf("%d alerts fire, want 80", firing)
	}
	w.crash()
	if firing, _ := w.table.Count(); firing != 80 {
		t.Errorf("%d alerts fire after a crash, want 80", firing)
	}
}
