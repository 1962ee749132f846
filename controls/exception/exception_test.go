package exception

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"muniment.dev/muniment/internal/kindname"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	"muniment.dev/muniment/ledger/store/memstore"
)

// A testLog appends entries to one stream of a ledger.
type testLog struct {
	t      *testing.T
	ledger *ledger.Ledger
	stream *ledger.Stream
	count  int
}

func newTestLog(t *testing.T) *testLog {
	t.Helper()
	skey, _, err := note.GenerateKey(nil, "ledger.test/log")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(context.Background(), ledger.Config{Store: memstore.New(), Signer: signer, Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return &testLog{t: t, ledger: l, stream: ledger.NewStream(entry.StreamKey{1})}
}

func (l *testLog) append(h *entry.Header, erasure *ledger.Erasure) *ledger.Entry {
	l.t.Helper()
	ctx := context.Background()
	l.count++
	content := fmt.Appendf(nil, "{\"n\":%d}", l.count)
	d := ledger.Draft{Stream: l.stream, Header: h, Payload: receipt.PayloadOpening{Content: content}, Erase: erasure}
	d.LinkSalt, d.Opening.Salt, d.Payload.Salt = entry.NewSalts()
	h.Origin, h.Tenant, h.MediaType = l.ledger.Origin(), "acme", "application/json"
	if h.Submitter == "" {
		h.Submitter = "token:acme"
	}
	h.IdempotencyKey = fmt.Sprint(l.count)
	h.Verification = entry.Verification{Result: entry.Unverified}
	h.Payload = entry.PayloadRef{Size: uint64(len(content)), Commitment: entry.Commitment(d.Payload.Salt, content)}
	var err error
	if d.Opening.Content, err = h.AppendJSON(nil); err != nil {
		l.t.Fatal(err)
	}
	results, err := l.ledger.Append(ctx, []ledger.Draft{d})
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		l.t.Fatal(err)
	}
	e, err := l.ledger.Entry(ctx, l.stream, results[0].Index)
	if err != nil {
		l.t.Fatal(err)
	}
	return e
}

func artifacts(name, hex string) []entry.Subject {
	return []entry.Subject{{Name: name, Digest: map[string]string{"sha256": strings.Repeat(hex, 64)}}}
}

const (
	dana = "oidc:https://login.acme.example#dana"
	kim  = "oidc:https://login.acme.example#kim"
)

// asked returns the header of a request by dana.
func asked(id string, expires time.Time, subjects []entry.Subject, globs ...string) *entry.Header {
	a := map[string]string{"exception": id, "expires": expires.UTC().Format(time.RFC3339Nano)}
	for i, g := range globs {
		a[fmt.Sprintf("glob.%d", i+1)] = g
	}
	return &entry.Header{Kind: kindname.ExceptionRequest, Subjects: subjects, Controls: []string{"C-1"}, Attributes: a, Submitter: dana}
}

// decide returns the header of a decision about the exception in the entry.
func decide(e *ledger.Entry, by string, action Action) *entry.Header {
	a := map[string]string{"exception": e.Header.Attributes["exception"], "request": fmt.Sprint(e.Index), "decision": string(action)}
	return &entry.Header{Kind: kindname.ExceptionDecision, Attributes: a, Submitter: by}
}

// approved appends a request by dana and its approval by kim, and returns the
// request.
func (l *testLog) approved(h *entry.Header) *ledger.Entry {
	l.t.Helper()
	e := l.append(h, nil)
	l.append(decide(e, kim, Approve), nil)
	return e
}

// inForce returns the exceptions in force at a time, under the widest limits.
func (p *Projection) inForce(t *testing.T, s *ledger.Stream) (all []*Exception) {
	t.Helper()
	known, err := p.All(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range known {
		if status := x.At(p.Now(), most); status.InForce() {
			all = append(all, x)
		}
	}
	return all
}

func finding(subjects []entry.Subject) *entry.Header {
	return &entry.Header{Kind: kindname.Finding, Subjects: subjects}
}

// TestProjection checks which exceptions are in force, and what relies on them,
// as exceptions are added and expire.
func TestProjection(t *testing.T) {
	ctx := context.Background()
	l := newTestLog(t)
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	p := &Projection{Log: l.ledger, Now: func() time.Time { return now }}
	inForce := func() string {
		t.Helper()
		var ids []string
		for _, x := range p.inForce(t, l.stream) {
			ids = append(ids, x.ID)
		}
		return strings.Join(ids, " ")
	}
	if got := inForce(); got != "" {
		t.Errorf("in an empty stream: %q", got)
	}
	byDigest := l.append(asked("E-1", now.Add(time.Hour), artifacts("", "a")), nil) // 0
	if got := inForce(); got != "" {
		t.Errorf("a request is in force: %q", got)
	}
	approval := l.append(decide(byDigest, kim, Approve), nil)                       // 1
	l.approved(asked("E-2", now.Add(2*time.Hour), nil, "registry.example/app:1.*")) // 2
	l.approved(asked("E-3", now, artifacts("", "a")))                               // 4
	if got := inForce(); got != "E-1 E-2" {
		t.Errorf("in force: %q", got)
	}
	for _, c := range []struct {
		name string
		e    *ledger.Entry
		want string // in the reason
	}{
		{"the exception itself", byDigest, "the exception E-1 is in force until 2026-06-01T01:00:00Z"},
		{"the same digest", l.append(finding(artifacts("other", "a")), nil), "the exception E-1 (entry 0), in force until 2026-06-01T01:00:00Z, covers"},
		{"a matching name", l.append(finding(artifacts("registry.example/app:1.7", "b")), nil), "the exception E-2 (entry 2)"},
		{"its approval", approval, "the exception E-1 is in force until 2026-06-01T01:00:00Z"},
		{"another artifact", l.append(finding(artifacts("registry.example/app:2.0", "b")), nil), ""},
		{"no subjects", l.append(finding(nil), nil), ""},
	} {
		why, err := p.ReliedUpon(ctx, l.stream, c.e)
		if err != nil || !strings.Contains(why, c.want) || (c.want == "") != (why == "") {
			t.Errorf("%s: %q, %v", c.name, why, err)
		}
	}
	now = now.Add(time.Hour) // E-1 expires
	if got := inForce(); got != "E-2" {
		t.Errorf("after an hour: %q", got)
	}
	if why, err := p.ReliedUpon(ctx, l.stream, byDigest); err != nil || why != "" {
		t.Errorf("an expired exception: %q, %v", why, err)
	}
}

// TestErasedException checks that an erased exception is removed from memory
// and that nothing relies on it, just as after a restart.
func TestErasedException(t *testing.T) {
	ctx := context.Background()
	l := newTestLog(t)
	secret := l.approved(asked("EXC-SECRET", time.Now().Add(time.Hour), artifacts("", "e")))
	evidence := l.append(finding(artifacts("", "e")), nil)
	p := &Projection{Log: l.ledger, Now: time.Now}
	if why, err := p.ReliedUpon(ctx, l.stream, evidence); err != nil || !strings.Contains(why, "EXC-SECRET") {
		t.Fatalf("before the erasure: %q, %v", why, err)
	}
	plan, err := l.ledger.PlanErasure(ctx, l.stream, secret.Index, true)
	if err != nil {
		t.Fatal(err)
	}
	l.append(&entry.Header{Kind: ledger.ErasureKind, Attributes: map[string]string{"entry": fmt.Sprint(secret.Index), "scope": plan.Scope()}}, plan)
	for name, p := range map[string]*Projection{"after the erasure": p, "after a restart": {Log: l.ledger, Now: time.Now}} {
		if why, err := p.ReliedUpon(ctx, l.stream, evidence); err != nil || why != "" {
			t.Errorf("%s: %q, %v", name, why, err)
		}
		if st := p.stream(l.stream); len(st.requests)+len(st.byID)+len(st.decisionAbout) != 0 {
			t.Errorf("%s: in memory: %+v", name, st)
		}
	}
}

// TestMisdirectedDecisions checks that a decision counts for the request that
// it names by index and ID, and that only the oldest request with an ID counts.
func TestMisdirectedDecisions(t *testing.T) {
	ctx := context.Background()
	l := newTestLog(t)
	p := &Projection{Log: l.ledger, Now: time.Now}
	first := l.append(asked("E-1", time.Now().Add(time.Hour), artifacts("", "a")), nil)
	again := l.append(asked("e-1", time.Now().Add(time.Hour), artifacts("", "b")), nil)
	other := l.append(asked("E-2", time.Now().Add(time.Hour), artifacts("", "c")), nil)
	l.append(decide(again, kim, Approve), nil)
	wrong := decide(first, kim, Approve)
	wrong.Attributes["exception"] = "E-2"
	l.append(wrong, nil)
	early := decide(other, kim, Approve)
	early.Attributes["request"] = "6"
	early.Attributes["exception"] = "E-3"
	l.append(early, nil)
	l.append(asked("E-3", time.Now().Add(time.Hour), artifacts("", "d")), nil) // 6
	if all := p.inForce(t, l.stream); len(all) != 0 {
		t.Errorf("in force: %+v", all)
	}
	// When the oldest is erased, the next one with the ID counts.
	plan, err := l.ledger.PlanErasure(ctx, l.stream, first.Index, true)
	if err != nil {
		t.Fatal(err)
	}
	l.append(&entry.Header{Kind: ledger.ErasureKind, Attributes: map[string]string{"entry": fmt.Sprint(first.Index), "scope": plan.Scope()}}, plan)
	for name, p := range map[string]*Projection{"after the erasure": p, "after a restart": {Log: l.ledger, Now: time.Now}} {
		if all := p.inForce(t, l.stream); len(all) != 1 || all[0].Index != again.Index {
			t.Errorf("%s: in force: %+v", name, all)
		}
	}
}
