package main

import (
	"crypto/sha256"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/internal/kindname"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	surge, stampede, slowSearch, latency = "P1-gateway-5xx-surge", "P2-cache-stampede", "P2-search-slow", "P1-checkout-latency"
	executor                             = "conductor@triage-1"
)

// An action is a step of a playbook.
type action struct {
	name, target string
	parameters   map[string]any
	lapses       bool
}

var (
	raiseBurst = action{name: "increase_rate_limit_burst", target: "limit/gateway", parameters: map[string]any{"limit": "gateway", "burst": "200"}}
	prefetch   = action{name: "enable_cache_prefetch", target: "cache/assets", parameters: map[string]any{"cache": "assets"}}
	raiseTTL   = action{name: "raise_cache_ttl", target: "cache/prices", parameters: map[string]any{"cache": "prices", "ttl": "600"}}
	flushCache = action{name: "flush_cache", target: "cache/search", parameters: map[string]any{"cache": "search"}, lapses: true}
	setReplica = action{name: "toggle_flag", target: "flag/search.readReplica", parameters: map[string]any{"key": "search.readReplica", "variant": "on"}}
	setBuffer  = action{name: "toggle_flag", target: "flag/subs.optimizedBuffer", parameters: map[string]any{"key": "subs.optimizedBuffer", "variant": "on"}}
	shedLoad   = action{name: "toggle_flag", target: "flag/checkout.shedLoad", parameters: map[string]any{"key": "checkout.shedLoad", "variant": "on"}}
)

// An incident records what the executor of the triage and persons have done
// about it.
type incident struct {
	*company
	id, playbook string
	alerts       []string
	steps        []step
	taken        []*taken
}

// A taken action has its intent once it is recorded.
type taken struct {
	action
	intent *munimentv1.EntryReference
}

// incidents returns the steps in which the log records what the triage has done
// in two weeks.
func (c *company) incidents(day func(int, string) time.Time, ago func(int) time.Time) (steps []step) {
	for _, x := range []*incident{
		c.undone(day(-11, "07:42")), c.approved(day(-8, "13:05")), c.kept(day(-6, "07:18")), c.misfired(day(-4, "10:31"), day(-3, "08:20")),
		c.withoutLedger(ago(292), ago(255)), c.escalated(ago(75)), c.waiting(ago(14)),
	} {
		steps = append(steps, x.steps...)
	}
	return steps
}

// incident returns the n-th one of a type with a key.
func (c *company) incident(playbook, key string, n int, alerts ...string) *incident {
	sum := sha256.Sum256([]byte(playbook + key))
	return &incident{company: c, id: fmt.Sprintf("%s/%x-%d", playbook, sum[:6], n), playbook: playbook, alerts: alerts}
}

// undone is an incident whose steps are undone when its condition clears.
func (c *company) undone(at time.Time) *incident {
	x := c.incident(surge, "eu-central-1", 1, "GatewayErrorRatioHigh", "LatencyP99High")
	for i, a := range []action{raiseBurst, prefetch, setBuffer} {
		x.act(at.Add(time.Duration(i)*900*time.Millisecond), a)
	}
	return x.clear(at.Add(11*time.Minute), 3, 2, 1)
}

// approved is an incident with a step that a person approves.
func (c *company) approved(at time.Time) *incident {
	x := c.incident(stampede, "prices", 1, "CacheHitRatioLow")
	x.act(at, raiseTTL)
	x.ask(at.Add(2*time.Second), 2, shedLoad, at.Add(time.Hour))
	x.request(at.Add(3*time.Minute), "lin", "approve", "Shedding costs few orders at this hour.")
	x.act(at.Add(3*time.Minute+2*time.Second), shedLoad)
	return x.clear(at.Add(16*time.Minute), 2, 1)
}

// kept is an incident in which a person changes the flag that the playbook has
// set.
func (c *company) kept(at time.Time) *incident {
	x := c.incident(surge, "eu-central-1", 2, "GatewayErrorRatioHigh")
	x.act(at, raiseBurst)
	x.act(at.Add(time.Second), setBuffer)
	x.undo(at.Add(9*time.Minute), 2, "skipped", "kept, the target has another state: somebody else has changed it")
	x.undo(at.Add(9*time.Minute+time.Second), 1, "succeeded", "confirmed")
	return x.notice(at.Add(9*time.Minute+2*time.Second), "close", "the condition has cleared", nil)
}

// misfired is an incident that a person marks as a misfire. Another person ends
// the quarantine.
func (c *company) misfired(at, released time.Time) *incident {
	x := c.incident(slowSearch, "search", 1, "SearchLatencyHigh")
	x.act(at, flushCache)
	x.act(at.Add(time.Second), setReplica)
	x.request(at.Add(6*time.Minute), "noor", "misfire", "The slow queries come from our own export. The replica makes them slower.")
	x.notice(at.Add(6*time.Minute+2*time.Second), "quarantine", "marked as a misfire by a person", nil)
	x.undo(at.Add(6*time.Minute+3*time.Second), 2, "succeeded", "confirmed")
	x.notice(at.Add(6*time.Minute+5*time.Second), "close", "marked as a misfire", nil)
	x.request(released, "lin", "release", "The matcher now excludes the export's queries, and has a test for them.")
	return x
}

// withoutLedger is an incident during an outage of the log, which gets the
// entries when it answers again.
func (c *company) withoutLedger(at, answers time.Time) *incident {
	x := c.incident(surge, "eu-west-1", 1, "GatewayErrorRatioHigh", "LatencyP99High")
	x.spooled(at, answers, setBuffer)
	return x.clear(answers.Add(4*time.Minute), 1)
}

// escalated is an incident whose alerts go on after the steps.
func (c *company) escalated(at time.Time) *incident {
	x := c.incident(stampede, "catalog", 1, "CacheHitRatioLow", "OriginSaturated")
	x.act(at, raiseTTL)
	x.act(at.Add(time.Second), prefetch)
	return x.notice(at.Add(10*time.Minute), "escalate", "the alerts still fire 10m after the last step", nil)
}

// waiting is an incident with a step that waits for a person.
func (c *company) waiting(at time.Time) *incident {
	x := c.incident(latency, "checkout", 1, "CheckoutLatencyP99High")
	x.act(at, raiseBurst)
	return x.ask(at.Add(2*time.Second), 2, shedLoad, at.Add(time.Hour))
}

// at adds something that happens at a time.
func (x *incident) at(t time.Time, do func()) { x.steps = append(x.steps, step{t, do}) }

// message returns an entry about the incident.
func (x *incident) message(t time.Time, name, by string) *munimentv1.TriageAction {
	return &munimentv1.TriageAction{
		Incident: x.id, Playbook: x.playbook, Action: name, Actor: by, Started: timestamppb.New(t),
		Correlation: &munimentv1.Correlation{Alerts: x.alerts, Traces: []string{digest(x.id)[:32]}},
	}
}

// object returns parameters as a message.
func (x *incident) object(values map[string]any) *structpb.Struct {
	m, err := structpb.NewStruct(values)
	x.failed(x.id, err)
	return m
}

// record records an entry, and returns the reference to it.
func (x *incident) record(m *munimentv1.TriageAction) *munimentv1.EntryReference {
	index := x.event(x.system("conductor"), kindname.TriageAction, m)
	return &munimentv1.EntryReference{Index: &index, LeafHash: x.leafHash(index)}
}

// planned returns the intent of an action, the number of which is the next.
func (x *incident) planned(t time.Time, a action) (*taken, *munimentv1.TriageAction) {
	one := &taken{action: a}
	x.taken = append(x.taken, one)
	m := x.message(t, a.name, executor)
	m.Phase, m.Step, m.Parameters, m.Detail = "intent", uint32(len(x.taken)), x.object(a.parameters), a.images(false)
	if m.Irreversible = a.lapses; !a.lapses {
		m.Undo = &munimentv1.UndoAction{Action: "restore", Parameters: x.object(map[string]any{"target": a.target})}
	}
	return one, m
}

// images returns the detail of an entry of a step: the target and the digests
// of both images.
func (a action) images(isUndo bool) string {
	before, after := digest("before "+a.target), digest("after "+a.target)
	if isUndo {
		before, after = after, before
	}
	return fmt.Sprintf("target %s, from sha256:%s to sha256:%s", a.target, before, after)
}

// outcome completes an intent to its outcome, a while after it.
func outcome(m *munimentv1.TriageAction, intent *munimentv1.EntryReference, result, state string) *munimentv1.TriageAction {
	m.Phase, m.Intent, m.Result = "outcome", intent, result
	m.Finished = timestamppb.New(m.Started.AsTime().Add(420 * time.Millisecond))
	m.Detail += ": " + state
	return m
}

// act takes a step, which succeeds.
func (x *incident) act(t time.Time, a action) {
	one, m := x.planned(t, a)
	x.at(t, func() { one.intent = x.record(m) })
	x.at(t.Add(420*time.Millisecond), func() { x.record(outcome(m, one.intent, "succeeded", "confirmed")) })
}

// spooled takes a step whose entries are recorded later.
func (x *incident) spooled(t, later time.Time, a action) {
	one, m := x.planned(t, a)
	x.at(later, func() {
		one.intent = x.record(m)
		m.WithoutLedger = true
		x.record(outcome(m, one.intent, "succeeded", "confirmed"))
	})
}

// undo undoes a step.
func (x *incident) undo(t time.Time, of int, result, state string) {
	undone := x.taken[of-1]
	x.taken = append(x.taken, &taken{action: action{name: "restore", target: undone.target}})
	m := x.message(t, "restore", executor)
	m.Phase, m.Step, m.Detail = "intent", uint32(len(x.taken)), undone.images(true)
	m.Parameters = x.object(map[string]any{"target": undone.target})
	m.Undo = &munimentv1.UndoAction{Action: undone.name, Parameters: x.object(undone.parameters)}
	var intent *munimentv1.EntryReference
	x.at(t, func() {
		m.Undoes = undone.intent
		intent = x.record(m)
	})
	x.at(t.Add(420*time.Millisecond), func() { x.record(outcome(m, intent, result, state)) })
}

// clear undoes steps because the condition has cleared, and closes the
// incident.
func (x *incident) clear(t time.Time, steps ...int) *incident {
	for i, of := range steps {
		x.undo(t.Add(time.Duration(i)*time.Second), of, "succeeded", "confirmed")
	}
	return x.notice(t.Add(time.Duration(len(steps))*time.Second), "close", "the condition has cleared", nil)
}

// notice records an entry of the executor about the incident as a whole.
func (x *incident) notice(t time.Time, name, reason string, parameters map[string]any) *incident {
	x.at(t, func() {
		m := x.message(t, name, executor)
		m.Result, m.Irreversible, m.Detail = "succeeded", true, reason
		if parameters != nil {
			m.Parameters = x.object(parameters)
		}
		index := x.event(x.system("conductor"), kindname.TriageAction, m)
		x.note(x.id+" "+name, index)
	})
	return x
}

// ask requests the approval of a step, whose place in the playbook is given.
func (x *incident) ask(t time.Time, place int, a action, until time.Time) *incident {
	return x.notice(t, "request-approval", "the action needs the approval of a person", map[string]any{
		"place": place, "action": a.name, "target": a.target, "parameters": a.parameters, "until": until.UTC().Format(time.RFC3339),
	})
}

// request records what a person requests of the executor.
func (x *incident) request(t time.Time, by, name, reason string) {
	x.at(t, func() {
		m := x.message(t, name, x.directory.submitter(by))
		m.Result, m.Irreversible, m.Detail, m.Correlation = "succeeded", true, reason, nil
		if name == "approve" {
			m.Parameters = x.object(map[string]any{"request": x.leafHash(x.indexes[x.id+" request-approval"]), "place": 2})
		}
		x.event(x.person(by), kindname.TriageAction, m)
	})
}
