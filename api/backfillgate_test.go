package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/controls/catalog"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

const (
	conductorToken = "mnt_acme_i-am-the-conductor"
	strangerToken  = "mnt_acme_i-am-another-appender"
)

// A backfillGate asks the gate whether jobs may be cut over, by the controls of
// the template.
type backfillGate struct {
	*exceptionRig
	steps int
}

func newBackfillGate(t *testing.T) *backfillGate {
	g := &backfillGate{exceptionRig: newExceptionRig(t,
		withToken(conductorToken, auth.Token{ID: "conductor", Role: munimentv1.Role_ROLE_APPENDER}),
		withToken(strangerToken, auth.Token{ID: "stranger", Role: munimentv1.Role_ROLE_APPENDER}))}
	text, err := catalog.Template("backfill")
	if err != nil {
		t.Fatal(err)
	}
	set, err := catalog.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := set.Entries()
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if _, err := g.event(acmeToken, e.Kind, fmt.Sprint("template-", i), string(e.Payload)); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// A backfillStep is the outcome of a step of a job.
type backfillStep struct {
	step, more string
	run        string // empty: r1
	token      string // empty: the conductor's
}

var (
	rehearsed = backfillStep{step: "rehearsal", more: `"result":"succeeded","expires":"2099-01-01T00:00:00Z"`}
	green     = backfillStep{step: "checkpoint", more: judged("100%", "pass")}
	validated = backfillStep{step: "validation", more: `"result":"succeeded","differences":"0"`}
)

func judged(checkpoint, verdict string) string {
	return fmt.Sprintf(`"result":"succeeded","checkpoint":%q,"acaScore":0.96,"verdict":%q,"checkpointEntry":{"index":"2","leafHash":%q},"report":{}`, checkpoint, verdict, strings.Repeat("2", 64))
}

// records appends the outcomes of steps of the job with the digest.
func (g *backfillGate) records(digest string, steps ...backfillStep) {
	g.t.Helper()
	for _, s := range steps {
		g.steps++
		token, run := s.token, s.run
		if token == "" {
			token = conductorToken
		}
		if run == "" {
			run = "r1"
		}
		text := fmt.Sprintf(`{"entity":"Asset","job":{"name":"asset.yaml","digest":{"sha256":%q}},"run":%q,"step":%q,"phase":"outcome","ts":"2026-01-01T00:00:00Z","actor":"conductor","intent":{"index":"1","leafHash":%q},%s}`,
			digest, run, s.step, strings.Repeat("1", 64), s.more)
		if _, err := g.event(token, "backfill-step", fmt.Sprint("step-", g.steps), text); err != nil {
			g.t.Fatal(err)
		}
	}
}

// asks returns the decision about a job, with the controls that are not
// satisfied and their results.
func (g *backfillGate) asks(digest string) string {
	g.t.Helper()
	res, err := (&gateTest{g.testServer, nil, conductorToken}).client().Decide(context.Background(), connect.NewRequest(&munimentv1.DecideRequest{Tenant: "acme", Stage: "cutover",
		Subjects: []*munimentv1.GateSubject{{Type: "file", Artifact: &munimentv1.Artifact{Name: "asset.yaml", Digest: map[string]string{"sha256": digest}}}}}))
	if err != nil {
		g.t.Fatal(err)
	}
	d := res.Msg.Decisions[0].Decision
	text := d.Decision
	for _, r := range d.Results {
		if r.Result != "satisfied" {
			code, _, _ := strings.Cut(r.Reason, ":")
			text += fmt.Sprintf(" %s=%s(%s)", strings.TrimPrefix(r.Control, "BACKFILL-"), r.Result, code)
		}
	}
	return text
}

// TestBackfillGate asks for the cutover of jobs whose evidence is complete, and
// of jobs with one thing wrong.
func TestBackfillGate(t *testing.T) {
	g := newBackfillGate(t)
	const no = "=not-satisfied(condition-false)"
	of := func(s backfillStep, change func(*backfillStep)) backfillStep { change(&s); return s }
	stranger := func(s backfillStep) backfillStep { s.token = strangerToken; return s }
	for i, c := range []struct {
		what, want string
		steps      []backfillStep
	}{
		{"everything", "pass", []backfillStep{rehearsed, green, validated}},
		{"a rehearsal before the copy is complete, and one after it", "pass", []backfillStep{rehearsed, green, validated, rehearsed}},
		{"nothing", "blocked REHEARSED=not-satisfied(missing-evidence) CANARY=not-satisfied(missing-evidence) VALIDATED=not-satisfied(missing-evidence)", nil},
		{"no rehearsal", "blocked REHEARSED" + no, []backfillStep{green, validated}},
		{"no checkpoint", "blocked CANARY" + no, []backfillStep{rehearsed, validated}},
		{"no validation", "blocked VALIDATED" + no, []backfillStep{rehearsed, green}},
		{"a rehearsal that has expired", "blocked REHEARSED" + no, []backfillStep{of(rehearsed, func(s *backfillStep) { s.more = `"result":"succeeded","expires":"2026-01-01T01:00:00Z"` }), green, validated}},
		{"a rehearsal that failed after one that succeeded", "blocked REHEARSED" + no, []backfillStep{rehearsed, green, validated, {step: "rehearsal", more: `"result":"failed"`}}},
		{"a rehearsal of another run", "blocked REHEARSED" + no, []backfillStep{of(rehearsed, func(s *backfillStep) { s.run = "r0" }), green, validated}},
		{"a newer run", "blocked REHEARSED" + no + " CANARY" + no + " VALIDATED" + no, []backfillStep{rehearsed, green, validated, {step: "plan", more: `"result":"succeeded"`, run: "r2"}}},
		{"a checkpoint below the threshold after a green one", "blocked CANARY" + no, []backfillStep{rehearsed, green, {step: "checkpoint", more: judged("100%", "below-threshold")}, validated}},
		{"a blocked checkpoint", "blocked CANARY" + no, []backfillStep{rehearsed, {step: "checkpoint", more: judged("100%", "blocked")}, validated}},
		{"half of the table", "blocked CANARY" + no, []backfillStep{rehearsed, {step: "checkpoint", more: judged("50%", "pass")}, validated}},
		{"a checkpoint that was aborted", "blocked CANARY" + no, []backfillStep{rehearsed, green, {step: "checkpoint", more: `"result":"aborted","checkpoint":"100%"`}, validated}},
		{"differences after none", "blocked VALIDATED" + no, []backfillStep{rehearsed, green, validated, {step: "validation", more: `"result":"succeeded","differences":"1"`}}},
		{"a validation before the last checkpoint", "blocked VALIDATED" + no, []backfillStep{rehearsed, validated, green}},
		{"a validation that failed", "blocked VALIDATED" + no, []backfillStep{rehearsed, green, validated, {step: "validation", more: `"result":"failed"`}}},
		{"the evidence of another appender", "blocked REHEARSED=not-satisfied(missing-evidence) CANARY=not-satisfied(missing-evidence) VALIDATED=not-satisfied(missing-evidence)", []backfillStep{stranger(rehearsed), stranger(green), stranger(validated)}},
		{"a rehearsal by another appender", "blocked REHEARSED" + no, []backfillStep{green, validated, stranger(rehearsed)}},
	} {
		digest := fmt.Sprintf("%064x", i+1)
		g.records(digest, c.steps...)
		if got := g.asks(digest); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.what, got, c.want)
		}
	}
	if got := g.asks(strings.Repeat("e", 64)); !strings.HasPrefix(got, "blocked") {
		t.Errorf("another job file: %s", got)
	}
}

// TestBackfillException asks for the cutover of a job that was not rehearsed,
// with an exception that is requested, approved and revoked.
func TestBackfillException(t *testing.T) {
	g := newBackfillGate(t)
	digest := strings.Repeat("d", 64)
	g.records(digest, green, validated)
	const blocked = "blocked REHEARSED=not-satisfied(condition-false)"
	request := fmt.Sprintf(`{"id":"EXC-1","control":"BACKFILL-REHEARSED","scope":{"subjects":[{"digest":{"sha256":%q}}]},"reason":"r","expires":%q}`, digest, g.expires.UTC().Format(time.RFC3339))
	asked, err := g.event(g.people.token(g.testServer, "kim", "appender"), "exception-request", g.key(), request)
	if err != nil {
		t.Fatal(err)
	}
	if got := g.asks(digest); got != blocked {
		t.Errorf("requested: %s, want %s", got, blocked)
	}
	if err := g.decides("ada", "EXC-1", asked.Index, "approve", ""); err != nil {
		t.Fatal(err)
	}
	if got, want := g.asks(digest), "pass REHEARSED=excepted(excepted)"; got != want {
		t.Errorf("approved: %s, want %s", got, want)
	}
	if got := g.asks(strings.Repeat("c", 64)); !strings.HasPrefix(got, "blocked") {
		t.Errorf("another job: %s", got)
	}
	if err := g.decides("ada", "EXC-1", asked.Index, "revoke", `,"reason":"it was rehearsed"`); err != nil {
		t.Fatal(err)
	}
	if got := g.asks(digest); got != blocked {
		t.Errorf("revoked: %s, want %s", got, blocked)
	}
}
