package drill

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/conductor/triage"
	"muniment.dev/muniment/conductor/triage/account"
)

const (
	types     = "version: 1\ntypes:\n  P1-a: {severity: P1, correlate: [service], signals: [{name: a, when: name == \"A\", for: 15s}]}\n  P2-b: {severity: P2, correlate: [service], signals: [{name: b, when: name == \"B\"}]}\n"
	playbooks = "P1-a: [{action: act}]\nP2-b: [{action: act}]\n"
	allowed   = "version: 1\nactions: {act: {connector: c, target: t, undo: restore, cooldown: 1s, per_target: {actions: 5, within: 1h}}}\n"
)

func scenario(t *testing.T, names ...string) (*Scenario, error) {
	t.Helper()
	c, err := triage.Load(triage.File{Name: "types", Text: []byte(types)}, triage.File{Name: "playbooks", Text: []byte(playbooks)}, triage.File{Name: "actions", Text: []byte(allowed)})
	if err != nil {
		t.Fatal(err)
	}
	var file strings.Builder
	for _, name := range names {
		file.WriteString(`{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"` + name + `","service":"x"},"startsAt":"2026-11-01T12:00:00Z"},{"status":"resolved","labels":{"alertname":"Old"}}]}`)
	}
	return Read(c, []byte(file.String()), "friday", time.Now())
}

func TestRead(t *testing.T) {
	s, err := scenario(t, "A")
	if err != nil || s.Type != "P1-a" || s.Severity != "P1" || !strings.HasPrefix(s.Prefix, "P1-a/") || !strings.HasSuffix(s.Prefix, "-") || len(s.Steps) != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	for body, status := range map[*[]byte]string{&s.fires: "firing", &s.resolves: "resolved"} {
		var m struct{ Alerts []alert }
		if err := json.Unmarshal(*body, &m); err != nil || len(m.Alerts) != 1 || m.Alerts[0].Status != status || m.Alerts[0].Labels[Label] != "friday" || (m.Alerts[0].EndsAt == "") != (status == "firing") {
			t.Errorf("%s: %s", status, *body)
		}
	}
	for want, names := range map[string][]string{"no evidence of an incident": {"C"}, "0 alerts that fire": nil} {
		if _, err := scenario(t, names...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", names, err)
		}
	}
}

// A ledger shows what a triage has done, one step at a time.
type ledger struct {
	shown []account.Incident // what each call returns
	sent  []string
	fails error
}

func (l *ledger) run(t *testing.T) (*Result, error) {
	t.Helper()
	s, err := scenario(t, "B")
	if err != nil {
		t.Fatal(err)
	}
	d := &Drill{
		Name: "friday", Scenario: s, ToAct: 2 * time.Second, ToUndo: 2 * time.Second,
		Send: func(_ context.Context, body []byte) error {
			l.sent = append(l.sent, string(body))
			return l.fails
		},
		Incidents: func(context.Context, time.Time) ([]*account.Incident, error) {
			if len(l.sent) == 0 || len(l.shown) == 0 {
				return nil, nil
			}
			i := l.shown[0]
			i.ID = s.Prefix + "1"
			if len(l.shown) > 1 {
				l.shown = l.shown[1:]
			}
			return []*account.Incident{&i}, nil
		},
	}
	return d.Run(t.Context())
}

func TestRun(t *testing.T) {
	act, undo := &account.Step{Number: 1, Result: "succeeded"}, &account.Step{Number: 2, Undoes: "00", Result: "succeeded"}
	flush := &account.Step{Number: 3, Result: "succeeded", Lapses: true}
	failed := &account.Step{Number: 1, Result: "failed"}
	for _, c := range []struct {
		name   string
		shown  []account.Incident
		reason string
	}{
		{"passes", []account.Incident{{State: "acting"}, {State: "acting", Steps: []*account.Step{act}}, {State: "closed", Steps: []*account.Step{act, undo}}}, ""},
		{"an effect that ends by itself", []account.Incident{{State: "acting", Steps: []*account.Step{flush}}, {State: "closed", Steps: []*account.Step{flush}}}, ""},
		{"nothing happens", nil, "no incident of the type P2-b"},
		{"the action fails", []account.Incident{{State: "escalated", Steps: []*account.Step{failed}}}, "no action had succeeded"},
		{"not closed", []account.Incident{{State: "acting", Steps: []*account.Step{act}}}, "not closed"},
		{"not undone", []account.Incident{{State: "acting", Steps: []*account.Step{act}}, {State: "closed", Steps: []*account.Step{act}}}, "0 of 1 actions were undone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &ledger{shown: c.shown}
			r, err := l.run(t)
			if err != nil || r.Passed != (c.reason == "") || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("%+v, %v; want the reason %q", r, err, c.reason)
			}
			if len(l.sent) != 2 || !strings.Contains(l.sent[1], `"resolved"`) {
				t.Errorf("the alerts are not resolved: %q", l.sent)
			}
			if _, err := r.Submission("token:x"); err != nil {
				t.Error(err)
			}
		})
	}
	refused := errors.New("refused")
	if _, err := (&ledger{fails: refused}).run(t); !errors.Is(err, refused) {
		t.Errorf("alerts that are refused: %v", err)
	}
}
