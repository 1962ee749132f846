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
	h.Origin, h.Tenant, h.MediaType, h.Submitter = l.ledger.Origin(), "acme", "application/json", "token:acme"
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

func artifact(name, hex string) []entry.Subject {
	return []entry.Subject{{Name: name, Digest: map[string]string{"sha256": strings.Repeat(hex, 64)}}}
}

func exception(id string, expires time.Time, subjects []entry.Subject, globs ...string) *entry.Header {
	a := map[string]string{"expires": expires.UTC().Format(time.RFC3339Nano)}
	if id != "" {
		a["exception"] = id
	}
	for i, g := range globs {
		a[fmt.Sprintf("glob.%d", i+1)] = g
	}
	return &entry.Header{Kind: kindname.Exception, Subjects: subjects, Controls: []string{"C-1"}, Attributes: a}
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
		all, err := p.InForce(ctx, l.stream)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, x := range all {
			ids = append(ids, x.ID)
		}
		return strings.Join(ids, " ")
	}
	if got := inForce(); got != "" {
		t.Errorf("in an empty stream: %q", got)
	}
	byDigest := l.append(exception("E-1", now.Add(time.Hour), artifact("", "a")), nil)
	l.append(exception("E-2", now.Add(2*time.Hour), nil, "registry.example/app:1.*"), nil)
	l.append(exception("E-3", now, artifact("", "a")), nil)
	if got := inForce(); got != "E-1 E-2" {
		t.Errorf("in force: %q", got)
	}
	for _, c := range []struct {
		name string
		e    *ledger.Entry
		want string // in the reason
	}{
		{"the exception itself", byDigest, "the exception E-1 is in force until 2026-06-01T01:00:00Z"},
		{"the same digest", l.append(finding(artifact("other", "a")), nil), "the exception E-1 (entry 0), in force until 2026-06-01T01:00:00Z, covers"},
		{"a matching name", l.append(finding(artifact("registry.example/app:1.7", "b")), nil), "the exception E-2 (entry 1)"},
		{"an exception without ID", l.append(exception("", now.Add(time.Hour), artifact("", "d")), nil), "the exception is in force until"},
		{"another artifact", l.append(finding(artifact("registry.example/app:2.0", "b")), nil), ""},
		{"no subjects", l.append(finding(nil), nil), ""},
	} {
		why, err := p.ReliedUpon(ctx, l.stream, c.e)
		if err != nil || !strings.Contains(why, c.want) || (c.want == "") != (why == "") {
			t.Errorf("%s: %q, %v", c.name, why, err)
		}
	}
	now = now.Add(time.Hour) // two exceptions expire
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
	secret := l.append(exception("EXC-SECRET", time.Now().Add(time.Hour), artifact("", "e")), nil)
	evidence := l.append(finding(artifact("", "e")), nil)
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
		if all := p.streams[l.stream.ID].inForce; len(all) != 0 {
			t.Errorf("%s: in memory: %+v", name, all)
		}
	}
}
