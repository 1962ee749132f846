package execute

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/encoding/protojson"

	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/connector/connectortest"
	"muniment.dev/muniment/conductor/triage/playbook"
	"muniment.dev/muniment/internal/fieldrules"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const actions = `
version: 1
budgets: {incidents_per_hour: 1000, actions_per_hour: 1000}
approvers: ["oidc:https://id.example#ada", "oidc:https://id.example#robot"]
actions:
  careful: {connector: fake, target: a, undo: restore, undo_after: 10m, cooldown: 1s, per_target: {actions: 10, within: 1h}}
  urgent: {connector: fake, target: b, undo: restore, undo_after: 5m, cooldown: 1s, per_target: {actions: 10, within: 1h}, act_without_ledger: true}
  last: {connector: fake, target: c, undo: restore, undo_after: 1h, cooldown: 1s, per_target: {actions: 10, within: 1h}, approval: person}
`

// A ledger is one in memory, which can be down and lose answers.
type ledger struct {
	entries map[string]Reference
	texts   map[string][]byte
	taken   int // calls with another payload
	fault   func(done bool) error

	next     uint64 // index
	requests []Request

	clock func() time.Time     // nil: no trails are read
	times map[uint64]time.Time // by index
}

// robot is the submitter of the executor.
const robot = "oidc:https://id.example#robot"

// Self implements Feed.
func (l *ledger) Self(context.Context) (string, error) { return robot, l.fault(false) }

// Requests implements Feed, one by one.
func (l *ledger) Requests(_ context.Context, from Cursor) (Page, error) {
	if err := l.fault(false); err != nil {
		return Page{}, err
	}
	for n, r := range l.requests {
		if r.Index >= from.Next {
			return Page{Requests: []Request{r}, Next: Cursor{Next: r.Index + 1}, More: n < len(l.requests)-1}, nil
		}
	}
	return Page{Next: from}, nil
}

// submit appends an entry of a submitter.
func (l *ledger) submit(submitter, payload string) {
	l.requests = append(l.requests, Request{Reference: Reference{Index: l.next, LeafHash: sum([]byte(payload))}, Submitter: submitter, Payload: []byte(payload)})
	l.stamp()
}

// stamp gives the next entry its time.
func (l *ledger) stamp() {
	if l.clock != nil {
		l.times[l.next] = l.clock()
	}
	l.next++
}

func newLedger() *ledger {
	return &ledger{entries: map[string]Reference{}, texts: map[string][]byte{}, times: map[uint64]time.Time{}, fault: func(bool) error { return nil }}
}

func (l *ledger) Record(_ context.Context, key string, payload []byte) (Reference, error) {
	if err := l.fault(false); err != nil {
		return Reference{}, err
	}
	at, ok := l.entries[key]
	if ok && !bytes.Equal(l.texts[key], payload) {
		l.taken++
		return Reference{}, fmt.Errorf("key %s: %w", key, ErrTaken)
	}
	if !ok {
		at = Reference{Index: l.next, LeafHash: sum(payload)}
		l.stamp()
		l.entries[key], l.texts[key] = at, bytes.Clone(payload)
	}
	return at, l.fault(true)
}

func (l *ledger) entry(t testing.TB, key string) *munimentv1.TriageAction {
	t.Helper()
	text, ok := l.texts[key]
	if !ok {
		t.Fatalf("no entry %s", key)
	}
	var m munimentv1.TriageAction
	err := protojson.Unmarshal(text, &m)
	if err == nil {
		err = fieldrules.Validate(&m)
	}
	if err != nil {
		t.Fatalf("entry %s: %v", key, err)
	}
	return &m
}

// key is that of all executors here.
var key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// crashed is what a crash panics with.
type crashed struct{}

// A world is everything that an executor meets. Its faults are drawn from rng.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	now    time.Time
	fs     *vfs.MemFS
	ledger *ledger
	fake   *connectortest.Fake
	exec   *Executor
	steps  []playbook.Step
	late   []late
	calm   bool // no faults
	down   bool // the ledger
	human  map[string]string
	early  []string // calls without an intent in the ledger
}

// A late call takes effect after the process that made it has ended.
type late struct {
	at                    time.Time
	target, before, after string
}

// id is that of the incident.
const id = "T/0123456789ab-1"

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 18)), now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), fs: vfs.NewCrashableMem(),
		ledger: newLedger(), fake: connectortest.NewFake(map[string]string{"a": "a0", "b": "b0", "c": "c0"}), human: map[string]string{},
	}
	w.ledger.fault = func(bool) error { return w.fault() }
	c, err := action.Parse([]byte(actions))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"careful", "urgent", "last"} {
		a := c.Actions[name]
		w.steps = append(w.steps, playbook.Step{Action: a, Target: a.Target, Parameters: map[string]action.Value{"value": {Text: a.Target + "1", Type: action.String, Given: true}}})
	}
	w.rng.Shuffle(len(w.steps), func(i, j int) { w.steps[i], w.steps[j] = w.steps[j], w.steps[i] })
	w.exec = &Executor{Ledger: w.ledger, Feed: w.ledger, Key: key, Connectors: map[string]connector.Connector{"fake": w}, Actions: c, Actor: "conductor@test", Now: func() time.Time { return w.now }}
	w.open()
	return w
}

func (w *world) open() {
	store, err := OpenStore("state", w.fs)
	if err != nil {
		w.t.Fatal(err)
	}
	store.fault = func(bool) { w.maybeCrash(80) }
	w.exec.Store = store
}

// fault is called before and after each call of the ledger.
func (w *world) fault() error {
	w.maybeCrash(60)
	if !w.calm && (w.down || w.rng.IntN(12) == 0) {
		return errors.New("the ledger does not answer")
	}
	return nil
}

func (w *world) maybeCrash(every int) {
	if !w.calm && w.rng.IntN(every) == 0 {
		panic(crashed{})
	}
}

// run calls f. If it crashes, the executor starts anew with what was synced.
func (w *world) run(f func()) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case crashed{}:
			image := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.rng.IntN(3) * 50, RNG: w.rng})
			w.exec.Store.fault = nil
			if err := w.exec.Store.Close(); err != nil {
				w.t.Error(err)
			}
			w.fs = image
			w.open()
		default:
			panic(r)
		}
	}()
	f()
}

// pass advances the clock.
func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	for _, l := range w.late {
		if !l.at.After(w.now) {
			// It can find another image, and then does nothing.
			_ = w.fake.Set(context.Background(), l.target, connector.Image(l.before), connector.Image(l.after))
		}
	}
	kept := w.late[:0]
	for _, l := range w.late {
		if l.at.After(w.now) {
			kept = append(kept, l)
		}
	}
	w.late = kept
}

// Undo implements connector.Connector.
func (w *world) Undo() string { return action.Restore }

// Read implements connector.Connector.
func (w *world) Read(ctx context.Context, target string) (connector.Image, error) {
	w.maybeCrash(60)
	if !w.calm && w.rng.IntN(20) == 0 {
		return nil, errors.New("the target does not answer")
	}
	return w.fake.Read(ctx, target)
}

// Plan implements connector.Connector.
func (w *world) Plan(ctx context.Context, target string, parameters map[string]string, before connector.Image) (connector.Image, error) {
	return w.fake.Plan(ctx, target, parameters, before)
}

// Set implements connector.Connector.
func (w *world) Set(ctx context.Context, target string, before, after connector.Image) error {
	w.checkIntent(target, before, after)
	if w.calm {
		return w.fake.Set(ctx, target, before, after)
	}
	switch w.rng.IntN(10) {
	case 0:
		return errors.New("no connection")
	case 1: // timeout after success
		if err := w.fake.Set(ctx, target, before, after); err != nil {
			return err
		}
		return context.DeadlineExceeded
	case 2: // the process ends while the call is on its way
		w.late = append(w.late, late{w.now.Add(time.Duration(w.rng.IntN(5000)) * time.Millisecond), target, string(before), string(after)})
		panic(crashed{})
	case 3:
		if err := w.fake.Set(ctx, target, before, after); err != nil {
			return err
		}
		panic(crashed{})
	}
	return w.fake.Set(ctx, target, before, after)
}

// checkIntent notes a call whose intent is not in the ledger, unless the action
// may be taken without it.
func (w *world) checkIntent(target string, before, after []byte) {
	undo := strings.HasSuffix(string(before), "1")
	if target == "b" || undo {
		return
	}
	detail := fmt.Sprintf("target %s, from sha256:%s to sha256:%s", target, sum(before), sum(after))
	for key, text := range w.ledger.texts {
		if strings.HasSuffix(key, "/intent") && bytes.Contains(text, []byte(detail)) {
			return
		}
	}
	w.early = append(w.early, detail)
}

// event does one thing at random.
func (w *world) event() {
	switch w.rng.IntN(20) {
	case 0:
		w.down = !w.down
	case 1:
		target := string("abc"[w.rng.IntN(3)])
		w.human[target] = fmt.Sprintf("human-%d", w.rng.Uint64())
		w.fake.Put(target, w.human[target])
	case 2:
		if w.rng.IntN(8) == 0 {
			w.run(func() { w.ignore(w.exec.Clear(id)) })
		}
	case 3:
		if w.rng.IntN(12) == 0 {
			w.run(func() { w.ignore(w.exec.Store.Kill(w.rng.IntN(2) == 0)) })
		}
	case 4, 5:
		w.pass(time.Duration(w.rng.IntN(20_000)) * time.Millisecond)
	case 6:
		w.pass(time.Duration(w.rng.IntN(180)) * time.Second)
	case 7:
		w.run(func() { w.ignore(w.exec.Open(w.opening())) })
	case 8, 9:
		w.run(func() { w.ignore(w.exec.Follow(context.Background())) })
	case 10, 11:
		w.person()
	case 12:
		w.run(func() {
			w.ignore(w.exec.Observe(id, Observation{Counting: w.rng.IntN(9) / 8 * 2, Anchors: map[string]bool{"x": w.rng.IntN(9) > 0}}))
		})
	default:
		w.run(func() { _, err := w.exec.Advance(context.Background(), id); w.ignore(err) })
	}
}

// person makes a request at random, mostly one that answers the executor's.
func (w *world) person() {
	who := []string{"oidc:https://id.example#ada", "oidc:https://id.example#eve", "token:ci", robot}[max(0, w.rng.IntN(6)-2)]
	switch w.rng.IntN(40) {
	case 0:
		w.submit(who, ActionUndo, nil)
	case 1:
		w.submit(who, ActionMisfire, nil)
	case 2:
		w.submit(who, []string{ActionKill, ActionUnkill}[w.rng.IntN(2)], nil)
	case 3:
		w.submit(who, ActionRelease, nil)
	case 4:
		w.answer(who, ActionReject)
	default:
		w.answer(who, ActionApprove)
	}
}

// answer answers the latest request for approval in the ledger, if any.
func (w *world) answer(who, action string) {
	for place := range w.steps {
		if at, ok := w.ledger.entries[fmt.Sprintf("triage/%s/request-approval/%d", id, place+1)]; ok {
			w.submit(who, action, map[string]any{"request": at.LeafHash, "place": place + 1})
		}
	}
}

// submit makes a request about the incident.
func (w *world) submit(who, action string, parameters map[string]any) {
	w.t.Helper()
	m := map[string]any{"incident": id, "playbook": "T", "action": action, "result": "succeeded", "irreversible": true, "actor": who, "started": w.now.Format(time.RFC3339Nano)}
	if action == ActionKill || action == ActionUnkill {
		m["incident"], m["playbook"] = All, All
	}
	if parameters != nil {
		m["parameters"] = parameters
	}
	text, err := json.Marshal(m)
	w.must(err)
	w.ledger.submit(who, string(text))
}

func (w *world) opening() Opening {
	return Opening{ID: id, Type: "T", Steps: w.steps, Alerts: []string{"Errors"}, Traces: []string{strings.Repeat("a", 32)}, Observation: Observation{Counting: 1, Anchors: map[string]bool{"x": true}}}
}

// ignore drops errors that faults have caused.
func (w *world) ignore(error) {}
