package execute

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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
	"muniment.dev/muniment/internal/soak"
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
	l.next++
}

func newLedger() *ledger {
	return &ledger{entries: map[string]Reference{}, texts: map[string][]byte{}, fault: func(bool) error { return nil }}
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
		l.next++
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

// settle ends the faults and the incident.
func (w *world) settle() *Incident {
	w.calm, w.down = true, false
	if err := w.exec.Open(w.opening()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.exec.Clear(id); err != nil {
		w.t.Fatal(err)
	}
	var state State
	var err error
	for range 100 {
		if state == Escalated { // an undo has failed too often
			w.submit("oidc:https://id.example#ada", ActionUndo, nil)
		}
		w.must(w.exec.Follow(context.Background()))
		if state, err = w.exec.Advance(context.Background(), id); state == Closed && err == nil {
			break
		}
		w.pass(time.Minute)
	}
	i, stored := w.exec.Store.Incident(id)
	active, listed := w.exec.Store.Active()
	if stored != nil || listed != nil || state != Closed || err != nil || !i.recorded() || len(active) > 0 {
		w.t.Fatalf("the incident is %s: %v, %v, %v; active: %v", state, err, stored, listed, active)
	}
	return i
}

// check checks the invariants.
func (w *world) check(i *Incident) {
	t := w.t
	effects := map[connectortest.Call]int{}
	for _, c := range w.fake.Calls() {
		if effects[c]++; effects[c] > 1 {
			t.Errorf("%+v took effect twice", c)
		}
	}
	if len(w.early) > 0 {
		t.Errorf("before the intent: %q", w.early)
	}
	if w.ledger.taken > 0 {
		t.Errorf("%d entries were sent with other bytes", w.ledger.taken)
	}
	if len(w.ledger.entries) != 2*len(i.Steps)+len(i.Notices) {
		t.Errorf("%d entries of %d steps and %d notices", len(w.ledger.entries), len(i.Steps), len(i.Notices))
	}
	w.checkNotices(i)
	confirmed, foreign := map[connectortest.Call]int{}, map[connectortest.Call]int{}
	for _, s := range i.Steps {
		key := fmt.Sprintf("triage/%s/%d/", id, s.Number)
		intent, outcome := w.ledger.entry(t, key+"intent"), w.ledger.entry(t, key+"outcome")
		at := w.ledger.entries[key+"intent"]
		if intent.Step != uint32(s.Number) || outcome.Intent.GetIndex() != at.Index || outcome.Intent.GetLeafHash() != at.LeafHash || outcome.Result != results[s.State] || outcome.WithoutLedger != s.Spooled ||
			at.Index >= w.ledger.entries[key+"outcome"].Index {
			t.Errorf("step %d: %v, %v", s.Number, intent, outcome)
		}
		if s.Undoes == 0 && s.Approval && (s.Approved == nil || s.Approved.Index >= at.Index || !strings.Contains(intent.Detail, fmt.Sprintf("approved by entry %d", s.Approved.Index))) {
			t.Errorf("step %d was not approved before its intent: %v", s.Number, s.Approved)
		}
		call := connectortest.Call{Target: s.Target, Before: string(s.Before), After: string(s.After)}
		switch s.State {
		case Confirmed:
			confirmed[call]++
		case Foreign: // it can have taken effect before somebody else's change
			foreign[call]++
		}
		if s.Undoes == 0 && s.State == Confirmed && (s.Undone == "" || s.Undone == Failed) {
			t.Errorf("step %d is not undone: %q", s.Number, s.Undone)
		}
	}
	for call, n := range confirmed {
		if n > effects[call] {
			t.Errorf("%+v is confirmed %d times, and took effect %d times", call, n, effects[call])
		}
	}
	for call, n := range effects {
		if n > confirmed[call]+foreign[call] {
			t.Errorf("%+v took effect, and no outcome states it", call)
		}
	}
	for _, target := range []string{"a", "b", "c"} {
		want := target + "0"
		if w.human[target] != "" {
			want = w.human[target]
		}
		if got, _ := w.fake.Read(context.Background(), target); string(got) != want {
			t.Errorf("target %s is %s, want %s", target, got, want)
		}
	}
}

// checkNotices checks the entries about the incident as a whole.
func (w *world) checkNotices(i *Incident) {
	t := w.t
	actions := map[string]int{}
	for _, n := range i.Notices {
		actions[n.Action]++
		if m := w.ledger.entry(t, n.key(id)); m.Action != n.Action || m.Phase != "" || m.Detail != n.Reason || m.Incident != id {
			t.Errorf("notice %s: %v", n.Action, m)
		}
	}
	q, err := w.exec.Store.quarantine("T")
	w.must(err)
	released := slices.ContainsFunc(w.ledger.requests, func(r Request) bool { return bytes.Contains(r.Payload, []byte(ActionRelease)) })
	if actions[ActionClose] > 1 || (actions[ActionQuarantine] > 0) != i.Misfire.Misfired || i.Misfire.Misfired && q == nil && !released {
		t.Errorf("notices %v, quarantine %v", actions, q)
	}
	for _, s := range i.Steps {
		if s.Approved == nil {
			continue
		}
		at := slices.IndexFunc(w.ledger.requests, func(r Request) bool { return r.Index == s.Approved.Index })
		if at < 0 || w.ledger.requests[at].Submitter != "oidc:https://id.example#ada" {
			t.Errorf("step %d was approved by entry %d, whose submitter may not", s.Number, s.Approved.Index)
		}
	}
}

// TestFaults runs an incident under seeded schedules of crashes, lost answers,
// delayed and failed calls, outages of the ledger, changes by people and steps
// of the clock. Each action takes effect at most once, each is recorded, and
// each is undone or kept for the change of a person.
func TestFaults(t *testing.T) {
	soak.WithoutRace(t)
	seed, n := soak.Seed(t), soak.Length(t, "schedules of faults", 300, 10_000)
	acted, states, notices := 0, map[StepState]int{}, map[string]int{}
	for k := range n {
		w := newWorld(t, seed<<32+uint64(k))
		for range 30 + w.rng.IntN(90) {
			w.event()
		}
		i := w.settle()
		w.check(i)
		acted += len(w.fake.Calls())
		for _, s := range i.Steps {
			states[s.State]++
			if s.Approved != nil && s.State == Confirmed && s.Undoes == 0 {
				notices[ActionApprove]++
			}
		}
		for _, n := range i.Notices {
			notices[n.Action]++
		}
		w.exec.Store.fault = nil
		if err := w.exec.Store.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Fatalf("schedule %d of seed %d", k, seed)
		}
	}
	t.Logf("%d effects; steps by state: %v; notices and approved steps: %v", acted, states, notices)
	for _, state := range []StepState{Confirmed, Failed, Foreign, Skipped, Kept} {
		if states[state] == 0 {
			t.Errorf("no step became %s: the schedules do not test it", state)
		}
	}
	for _, action := range []string{ActionApprove, ActionRequestApproval, ActionEscalate, ActionQuarantine, ActionClose} {
		if notices[action] == 0 {
			t.Errorf("no %s: the schedules do not test it", action)
		}
	}
}
