package execute_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	muniment "muniment.dev/muniment/clients/go"
	"muniment.dev/muniment/conductor/triage/account"
	"muniment.dev/muniment/conductor/triage/action"
	"muniment.dev/muniment/conductor/triage/connector"
	"muniment.dev/muniment/conductor/triage/connector/connectortest"
	"muniment.dev/muniment/conductor/triage/execute"
	"muniment.dev/muniment/conductor/triage/playbook"
	"muniment.dev/muniment/internal/peers/ledgerrig"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger/receipt"
)

// A rig is an executor with a real ledger.
type rig struct {
	*testing.T
	ledger *ledgerrig.Server
	policy *receipt.TrustPolicy
	exec   *execute.Executor
	fake   *connectortest.Fake
	now    time.Time
	steps  []playbook.Step
}

func newRig(t *testing.T) *rig {
	r := &rig{T: t, ledger: ledgerrig.StartWithPeople(), fake: connectortest.NewFake(map[string]string{"a": "a0", "b": "b0"}), now: time.Now()}
	t.Cleanup(r.ledger.Close)
	c, err := action.Parse([]byte(`
version: 1
approvers: ["` + r.ledger.Person("ada") + `"]
actions:
  free: {connector: fake, target: a, undo: restore, cooldown: 1s, per_target: {actions: 10, within: 1h}}
  asked: {connector: fake, target: b, undo: restore, cooldown: 1s, per_target: {actions: 10, within: 1h}, approval: person}
`))
	r.must(err)
	r.policy, err = receipt.ParseTrustPolicy("ledger.policy", r.ledger.Policy)
	r.must(err)
	for _, name := range []string{"free", "asked"} {
		a := c.Actions[name]
		r.steps = append(r.steps, playbook.Step{Action: a, Target: a.Target, Parameters: map[string]action.Value{"value": {Text: a.Target + "1", Type: action.String, Given: true}}})
	}
	o := muniment.Options{Server: r.ledger.URL, Token: r.ledger.Token, Policy: r.policy}
	recorder, err := execute.NewRecorder(o)
	r.must(err)
	reader, err := execute.NewReader(o, recorder)
	r.must(err)
	store, err := execute.OpenStore("state", vfs.NewMem())
	r.must(err)
	t.Cleanup(func() { r.must(store.Close()) })
	r.exec = &execute.Executor{
		Store: store, Ledger: recorder, Feed: reader, Connectors: map[string]connector.Connector{"fake": r.fake}, Actions: c, Actor: "conductor@test", Now: func() time.Time { return r.now },
	}
	return r
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// advance applies the requests and advances an incident.
func (r *rig) advance(id string, want execute.State) {
	r.Helper()
	r.must(r.exec.Follow(r.Context()))
	if state, err := r.exec.Advance(r.Context(), id); err != nil || state != want {
		r.Fatalf("the incident is %s, want %s: %v", state, want, err)
	}
}

// as returns a reader with the rights of a person, or of the administrator's
// token without a name.
func (r *rig) as(person string) *account.Reader {
	o := muniment.Options{Server: r.ledger.URL, Token: r.ledger.Token, Policy: r.policy}
	if person != "" {
		token := r.ledger.IdentityToken(person)
		o.Token, o.Tenant, o.Identity = "", "acme", func(context.Context) (string, error) { return token, nil }
	}
	client, err := muniment.New(o)
	r.must(err)
	return &account.Reader{Client: client, Policy: r.policy}
}

// request makes a request as a person.
func (r *rig) request(person string, q account.Request) {
	r.Helper()
	q.By = r.ledger.Person(person)
	s, err := q.Submission(r.now)
	r.must(err)
	_, err = r.as(person).Client.Append(r.Context(), s)
	r.must(err)
}

const id = "T/0123456789ab-1"

// TestPersons follows an incident that a person approves and undoes, in a real
// ledger to which persons sign in.
func TestPersons(t *testing.T) {
	r := newRig(t)
	r.must(r.exec.Open(execute.Opening{ID: id, Type: "T", Steps: r.steps, Alerts: []string{"Errors"}}))
	r.advance(id, execute.Waiting)
	admin := r.as("")
	i, err := admin.Incident(t.Context(), id)
	r.must(err)
	if i.State != account.Waiting || i.Waits == nil || i.Waits.Place != 2 || i.Waits.Target != "b" || i.Verified != 3 || len(i.Faults) > 0 || i.Steps[0].Result != "succeeded" {
		t.Fatalf("the incident: %+v", i)
	}
	approval := account.Request{Incident: id, Type: "T", Action: execute.ActionApprove, Waits: i.Waits}
	r.request("eve", approval) // is not in approvers
	r.advance(id, execute.Waiting)
	r.request("ada", approval)
	r.advance(id, execute.Settling)
	if got := strings.TrimSpace(r.fake.State()); got != "a=a1\nb=b1" {
		t.Errorf("state %q", got)
	}
	r.request("ada", account.Request{Incident: id, Type: "T", Action: execute.ActionMisfire, Reason: "not the cause"})
	r.advance(id, execute.Closed)
	if got := strings.TrimSpace(r.fake.State()); got != "a=a0\nb=b0" {
		t.Errorf("state after the undo %q", got)
	}
	if i, err = admin.Incident(t.Context(), id); err != nil || i.State != account.Closed || i.Verified != 14 || len(i.Steps) != 4 || i.Steps[2].Undoes == "" {
		t.Errorf("%v: %+v", err, i)
	}
	var notes []string
	for _, n := range i.Notes {
		if notes = append(notes, n.Action); n.Person != strings.HasPrefix(n.Submitter, "oidc:") {
			t.Errorf("note %+v", n)
		}
	}
	if got := strings.Join(notes, " "); got != "request-approval approve approve misfire quarantine close" {
		t.Errorf("notes: %s", got)
	}
	if from, err := admin.Quarantine(t.Context(), "T"); err != nil || from != id {
		t.Errorf("the quarantine began with %q: %v", from, err)
	}
	r.request("ada", account.Request{Incident: execute.All, Type: execute.All, Action: execute.ActionKill})
	r.request("ada", account.Request{Incident: id, Type: "T", Action: execute.ActionRelease})
	r.must(r.exec.Follow(t.Context()))
	if all, err := r.exec.Store.Quarantines(); err != nil || len(all) != 0 || r.exec.Ignored != 1 {
		t.Errorf("quarantines %v, %v; %d requests ignored", all, err, r.exec.Ignored)
	}
	all, more, err := admin.Incidents(t.Context(), r.now.Add(-time.Hour))
	if err != nil || more || len(all) != 2 || all[0].ID != id || all[1].ID != execute.All {
		t.Errorf("incidents %+v, %v, %v", all, more, err)
	}
	if _, err := admin.Incident(t.Context(), "T/0123456789ab-2"); !errors.Is(err, account.ErrNone) {
		t.Errorf("another incident: %v", err)
	}
	if _, err := (&account.Request{By: "token:admin", Action: execute.ActionKill}).Submission(r.now); !errors.Is(err, account.ErrNotPerson) {
		t.Errorf("a request by a token: %v", err)
	}
}

// TestPoller checks that requests arrive without a call of the ledger in the
// executor's goroutine.
func TestPoller(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	poller := execute.NewPoller(r.exec.Feed, func(err error) {
		if err != nil && ctx.Err() == nil {
			t.Errorf("read: %v", err)
		}
	})
	r.exec.Feed = poller
	if err := r.exec.Follow(t.Context()); !errors.Is(err, execute.ErrWait) {
		t.Errorf("before the first answer: %v", err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); poller.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	r.request("ada", account.Request{Incident: execute.All, Type: execute.All, Action: execute.ActionKill})
	r.must(r.exec.Open(execute.Opening{ID: id, Type: "T", Steps: r.steps[1:]}))
	for until := time.Now().Add(soak.Patience); ; time.Sleep(10 * time.Millisecond) {
		if err := r.exec.Follow(t.Context()); err != nil && !errors.Is(err, execute.ErrWait) {
			t.Fatal(err)
		}
		if state, err := r.exec.Advance(t.Context(), id); err == nil && state == execute.Closed {
			return
		}
		if time.Now().After(until) {
			t.Fatal("the request does not arrive")
		}
	}
}
