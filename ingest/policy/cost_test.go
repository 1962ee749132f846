package policy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/verifiers/dsse"
	"muniment.dev/muniment/verifiers/format"
	"muniment.dev/muniment/verifiers/sigstore"
)

// ended is a context that ends after a number of calls of Err.
type ended struct {
	context.Context
	after, looks int
}

func (c *ended) Err() error {
	if c.looks++; c.looks > c.after {
		return context.Canceled
	}
	return nil
}

func list(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%s%d",`, strings.Repeat("x", 20), i)
	}
	return "[" + strings.TrimSuffix(b.String(), ",") + "]"
}

// TestConditionAttacks checks that costly conditions on large evidence stop
// within their budget and when their context ends.
func TestConditionAttacks(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	documents := map[string]string{
		"lists": `{"a":` + list(20_000) + `,"b":` + list(20_000) + `}`,
		"text":  `{"a":"` + long + `","b":"` + strings.Repeat("a", 1<<19) + `b","l":[` + strings.Repeat("1,", 1000) + `1]}`,
		"deep":  `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"l":[` + strings.Repeat("1,", 2000) + `1]}`,
		"map":   `{"m":{"k":1},"k":"` + long + `","l":[` + strings.Repeat("1,", 60_000) + `1]}`,
	}
	for _, c := range []struct{ document, source string }{
		{"lists", "sets.contains(document.a, document.b + ['y'])"},
		{"lists", "sets.equivalent(document.a, document.b + ['y'])"},
		{"lists", "sets.intersects(document.a, document.b.map(x, x + 'y'))"},
		{"lists", "document.a.all(x, x in document.b)"},
		{"lists", "document.a.all(x, document.b.exists(y, x == y))"},
		{"lists", "document.a.all(x, document.a == document.b)"},
		{"lists", "document.a.map(x, document.b).map(x, x + x).size() > 0"},
		{"lists", "document.a.map(x, document.a + document.b).size() > 0"},
		{"lists", "document.a.all(x, {'a': document.a} == {'a': document.b})"},
		{"text", "document.a.indexOf(document.b) < 0"},
		{"text", "document.a.lastIndexOf(document.b) < 0"},
		{"text", "document.l.all(x, !document.a.contains(document.b))"},
		{"text", "document.l.all(x, !document.a.startsWith(document.b))"},
		{"text", "document.l.map(x, document.a + document.a).size() > 0"},
		{"text", "document.l.map(x, document.a.upperAscii()).size() > 0"},
		{"text", "document.l.map(x, document.a.reverse()).size() > 0"},
		{"text", "document.l.map(x, document.a.substring(1)).size() > 0"},
		{"text", "document.l.all(x, document.a.charAt(0) == 'a')"},
		{"text", "document.l.all(x, document.a.size() > 0)"},
		{"text", "document.l.map(x, strings.quote(document.a)).size() > 0"},
		{"text", "document.l.map(x, bytes(document.a)).size() > 0"},
		{"text", "document.l.all(x, document.a == document.a)"},
		{"text", "document.l.all(x, document.a <= document.a)"},
		{"text", "document.l.exists(x, int(document.a) == 1)"},
		{"text", "document.l.exists(x, timestamp(document.a) > timestamp(0))"},
		{"text", "document.a.split('').size() > 0"},
		{"text", "document.a.matches('(a|aa)*(a|b){50}c')"},
		{"text", "document.l.all(x, !document.a.matches('a*b*c*d'))"},
		{"text", "document.l.all(x, document.l.all(y, timestamp(0).getHours('Europe/Berlin') > 0))"},
		{"deep", "document.l.all(x, document.a == document.a)"},
		{"map", "document.l.exists(x, document.m[document.k] == 1 || false)"},
		{"map", "document.l.map(x, {document.k: 1}).size() > 0"},
		{"map", "document.l.exists(x, document.k in document.m)"},
	} {
		t.Run(c.source, func(t *testing.T) {
			cond, err := compile(c.source)
			if err != nil {
				t.Fatal(err)
			}
			vars := names(map[string]any{"document": jsonValue(t, documents[c.document])})
			m := newMeter(context.Background(), decisionCost)
			if err := cond.holds(m, vars); !errors.Is(err, errBudget) {
				t.Errorf("%v, after %d units", err, m.spent)
			}
			if m.spent > conditionCost {
				t.Errorf("%d units", m.spent)
			}
			ctx := &ended{Context: context.Background(), after: 3}
			m = newMeter(ctx, decisionCost)
			if err := cond.holds(m, vars); !errors.Is(err, context.Canceled) && !errors.Is(err, errBudget) {
				t.Errorf("interrupted: %v", err)
			}
			if m.err != nil && errors.Is(m.err, context.Canceled) && ctx.looks > 5 {
				t.Errorf("the context was checked %d times after its end", ctx.looks-4)
			}
		})
	}
}

// TestDecisionBudget checks that all rules of a policy share one budget. Once
// it is spent, rules that deny are met and rules that admit are not.
func TestDecisionBudget(t *testing.T) {
	var rules strings.Builder
	for i := range 50 {
		fmt.Fprintf(&rules, "  - {name: r%d, unsigned: true, condition: 'document.a.all(x, !document.a.exists(y, x == y + \"!\"))'}\n", i)
	}
	ev := &Evidence{Tenant: "acme", Document: []byte(`{"a":` + list(2000) + `}`)}
	p := mustParse(t, "version: 1\nmode: enforce\nrules:\n"+rules.String()+"  - {name: last, unsigned: true, condition: 'true'}\n")
	m := newMeter(context.Background(), decisionCost)
	if d := p.decide(m, ev, nil); d.Result != Refused || d.Rule != "" || m.spent > decisionCost || !strings.Contains(d.Steps[50].Why, "costs too much") {
		t.Errorf("%s by %q after %d units: %+v", d.Result, d.Rule, m.spent, d.Steps[50])
	}
	p = mustParse(t, "version: 1\nmode: enforce\nrules:\n"+rules.String()+"  - {name: d, deny: true, subjects: {names: [nothing]}}\n  - {name: last, unsigned: true}\n")
	ev.Subjects = []entry.Subject{{Name: "a", Digest: map[string]string{"sha256": "aa"}}}
	if d := p.Decide(context.Background(), ev, nil); d.Result != Refused || d.Rule != "d" {
		t.Errorf("%s by %q: %+v", d.Result, d.Rule, d.Steps[50:])
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p = mustParse(t, "version: 1\nmode: record\nrules:\n  - {name: last, unsigned: true}\n")
	if d := p.Decide(ctx, ev, nil); d.Result != Refused {
		t.Errorf("an interrupted decision: %+v", d)
	}
}

// TestManyGlobs checks that globs and names are compared within the budget.
func TestManyGlobs(t *testing.T) {
	var globs strings.Builder
	for i := range maxItems {
		fmt.Fprintf(&globs, "%q,", "a*a*a*a*a*a*a*a*"+strings.Repeat("a", 100)+"**b"+fmt.Sprint(i))
	}
	ev := &Evidence{Tenant: "acme"}
	for i := range 1024 {
		ev.Subjects = append(ev.Subjects, entry.Subject{Name: strings.Repeat("a", 2000) + fmt.Sprint("b", i), Digest: map[string]string{"sha256": "aa"}})
	}
	for _, deny := range []bool{true, false} {
		rule := "unsigned: true"
		if deny {
			rule = "deny: true"
		}
		p := mustParse(t, "version: 1\nmode: enforce\nrules:\n  - {name: r, "+rule+", subjects: {names: ["+globs.String()+"]}}\n  - {name: rest, unsigned: true}\n")
		m := newMeter(context.Background(), decisionCost)
		d := p.decide(m, ev, nil)
		if m.spent > decisionCost || d.Result == "admitted" && deny {
			t.Errorf("deny %v: %d units: %s by %q", deny, m.spent, d.Result, d.Rule)
		}
		ctx := &ended{Context: context.Background(), after: 1}
		m = newMeter(ctx, decisionCost)
		if d := p.decide(m, ev, nil); d.Result != Refused || ctx.looks > 6 {
			t.Errorf("interrupted: %s after %d looks", d.Result, ctx.looks)
		}
	}
}

// TestManySignatures checks that keys and signatures are tried within the
// budget. Untried signatures could be invalid, so no rule admits the evidence.
func TestManySignatures(t *testing.T) {
	var keys []*dsse.Key
	var signers []*Signer
	for range 32 {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k, err := dsse.NewKey("", private.Public())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	sig, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	one, err := ecdsa.SignASN1(rand.Reader, sig, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	p := mustParse(t, "version: 1\nmode: enforce\nrules:\n  - {name: r, unsigned: true}\n")
	for range 64 {
		signers = append(signers, &Signer{Name: "s", Keys: keys, Threshold: 1, Need: sigstore.Requirements{LogEntries: sigstore.None, Timestamps: sigstore.None, SCTs: sigstore.None}})
	}
	p.Signers = signers
	p.Rules = append([]*Rule{{Name: "signed", Signers: signers}}, p.Rules...)
	text := `{"payloadType":"x","payload":"e30=","signatures":[` + strings.TrimSuffix(strings.Repeat(`{"keyid":"k","sig":"`+base64.StdEncoding.EncodeToString(one)+`"},`, dsse.MaxSignatures), ",") + `]}`
	e := signed(t, format.Envelope, []byte(text))
	m := newMeter(context.Background(), decisionCost/8)
	d := p.decide(m, &Evidence{Tenant: "acme", Signed: e}, nil)
	if d.Result != Refused || m.spent > decisionCost/8 || !strings.Contains(d.Verification.Reason, "not verified") {
		t.Errorf("%d units: %+v", m.spent, d)
	}
	ctx := &ended{Context: context.Background(), after: 2}
	if d := p.decide(newMeter(ctx, decisionCost), &Evidence{Tenant: "acme", Signed: e}, nil); d.Result != Refused || ctx.looks > 6 {
		t.Errorf("interrupted after %d looks: %+v", ctx.looks, d)
	}
}
