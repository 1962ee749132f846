package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// An incidentRig records the entries of an executor.
type incidentRig struct {
	*exceptionRig
	id      string
	intents map[int]uint64
}

// put records an entry with further members, and returns its index.
func (r *incidentRig) put(token, action, members string) uint64 {
	r.t.Helper()
	playbook, _, _ := strings.Cut(r.id, "/")
	e, err := r.event(token, "triage-action", r.key(), fmt.Sprintf(`{"incident":%q,"playbook":%q,"action":%q,"actor":"conductor@host","correlation":{"alerts":["High"],"traces":["4bf92f3577b34da6a3ce929d0e0e4736"]}%s}`, r.id, playbook, action, members))
	if err != nil {
		r.t.Fatal(err)
	}
	return e.Index
}

const atNoon = `,"started":"2026-11-01T12:00:00Z"`

// step records a step that sets a target, with its outcome.
func (r *incidentRig) step(n int, action, target, result string) {
	r.t.Helper()
	undo := fmt.Sprintf(`,"step":%d,"undo":{"action":"restore","parameters":{"target":%q}}`, n, target) + atNoon
	r.both(n, action, undo, result)
}

// undo records a step that undoes another.
func (r *incidentRig) undo(n, of int, action, target, result string) {
	r.t.Helper()
	r.both(n, "restore", fmt.Sprintf(`,"step":%d,"parameters":{"target":%q},"undo":{"action":%q},"undoes":{"index":"%d","leafHash":%q}`, n, target, action, r.intents[of], strings.Repeat("1", 64))+atNoon, result)
}

func (r *incidentRig) both(n int, action, members, result string) {
	r.t.Helper()
	r.intents[n] = r.put(acmeToken, action, members+`,"phase":"intent","detail":"planned"`)
	r.put(acmeToken, action, members+fmt.Sprintf(`,"phase":"outcome","detail":"done","result":%q,"finished":"2026-11-01T12:00:0%dZ","intent":{"index":"%d","leafHash":%q}`, result, n, r.intents[n], strings.Repeat("1", 64)))
}

// notice records an entry about no step.
func (r *incidentRig) notice(token, action, members string) uint64 {
	r.t.Helper()
	return r.put(token, action, `,"result":"succeeded","irreversible":true`+atNoon+members)
}

// TestIncidents checks the list of incidents, and one incident with what its
// payloads contain.
func TestIncidents(t *testing.T) {
	ctx := context.Background()
	r := &incidentRig{newExceptionRig(t), "P1-surge/016a05057c41-3", map[int]uint64{}}
	kim := r.people.token(r.testServer, "kim", "admin")
	p := r.portal(kim)
	r.step(1, "set", "flag/a", "succeeded")
	r.step(2, "set", "flag/b", "succeeded")
	r.undo(3, 1, "set", "flag/a", "skipped")
	asked := r.notice(acmeToken, "request-approval", `,"parameters":{"place":3,"action":"flush","target":"cache/assets","until":"2026-11-01T13:00:00Z"},"detail":"it needs a person"`)
	r.id = "P2-slow/0123456789ab-1"
	r.step(1, "warm", "cache/b", "succeeded")
	r.notice(acmeToken, "quarantine", "")
	r.id = "P1-surge/016a05057c41-3"

	get := func() *munimentv1.IncidentRecord {
		t.Helper()
		res, err := p.GetIncident(ctx, connect.NewRequest(&munimentv1.GetIncidentRequest{Tenant: "acme", Id: r.id}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg.Incident
	}
	x := get()
	if x.State != "waiting" || x.Key != "016a05057c41" || x.Number != 3 || x.GetFirstActionSeconds() != 1 || fmt.Sprint(x.Alerts, x.Traces) != "[High] [4bf92f3577b34da6a3ce929d0e0e4736]" {
		t.Errorf("the incident: %v", x)
	}
	var steps []string
	for _, s := range x.Steps {
		steps = append(steps, fmt.Sprint(s.Number, " ", s.Action, " ", s.Target, " ", s.State, " ", s.Detail, " ", s.Undoes, " ", s.UndoneBy))
	}
	if got, want := strings.Join(steps, "; "), "1 set flag/a kept done 0 3; 2 set flag/b confirmed done 0 0; 3 restore flag/a kept done 1 0"; got != want {
		t.Errorf("the steps:\n got %s\nwant %s", got, want)
	}
	if w := x.Waiting; w.GetIndex() != asked || w.Place != 3 || w.StepAction != "flush" || w.Target != "cache/assets" || w.Detail != "it needs a person" || w.Until == nil || w.By.IsPerson {
		t.Errorf("what waits: %v", w)
	}
	list := func(req *munimentv1.ListIncidentsRequest) *munimentv1.ListIncidentsResponse {
		t.Helper()
		req.Tenant = "acme"
		res, err := p.ListIncidents(ctx, connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg
	}
	one := list(&munimentv1.ListIncidentsRequest{PageSize: 1})
	two := list(&munimentv1.ListIncidentsRequest{PageSize: 1, PageToken: one.NextPageToken})
	if one.Total != 2 || len(one.Incidents) != 1 || one.Incidents[0].Playbook != "P2-slow" || len(two.Incidents) != 1 || two.Incidents[0].Id != r.id || two.NextPageToken != "" {
		t.Errorf("two pages: %v and %v", one, two)
	}
	if q := one.Quarantined; len(q) != 1 || q[0].Playbook != "P2-slow" || one.KillSwitch != nil {
		t.Errorf("quarantined: %v; the kill switch: %v", q, one.KillSwitch)
	}
	for req, want := range map[*munimentv1.ListIncidentsRequest]uint64{{States: []string{"waiting"}}: 1, {States: []string{"closed"}}: 0, {Playbook: "P1-surge"}: 1, {Misfired: true}: 1} {
		if got := list(req); got.Total != want {
			t.Errorf("%v: %d incidents, want %d", req, got.Total, want)
		}
	}
	_, err := p.ListIncidents(ctx, connect.NewRequest(&munimentv1.ListIncidentsRequest{Tenant: "acme", PageSize: 1, Misfired: true, PageToken: one.NextPageToken}))
	if connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a page token of another query: %v", err)
	}

	r.notice(kim, "approve", fmt.Sprintf(`,"parameters":{"request":%q,"place":3}`, strings.Repeat("5", 64)))
	if x := get(); x.State != "waiting" || len(x.Notes) != 2 || x.Notes[1].Void || !x.Notes[1].By.IsPerson || !strings.HasPrefix(x.Actions[0].Refusal, "you have answered already") {
		t.Errorf("after the approval: %v", x)
	}
	r.id = "*"
	r.notice(kim, "kill", "")
	if k := list(&munimentv1.ListIncidentsRequest{}).KillSwitch; !k.GetBy().GetIsPerson() {
		t.Errorf("the kill switch: %v", k)
	}
	r.id = "P1-surge/016a05057c41-3"
	scope := munimentv1.ErasureScope_ERASURE_SCOPE_HEADER_AND_PAYLOAD
	if _, err := r.admin(acmeToken).Erase(ctx, connect.NewRequest(&munimentv1.EraseRequest{Tenant: "acme", Index: asked, Scope: scope, Reason: "x"})); err != nil {
		t.Fatal(err)
	}
	if x := get(); x.State != "undoing" || x.Waiting != nil || len(x.Notes) != 1 {
		t.Errorf("after the erasure of the request for an approval: %v", x)
	}
}
