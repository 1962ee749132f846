package policy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"muniment.dev/muniment/internal/condition"
	"muniment.dev/muniment/internal/soak"
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

// TestDecisionBudget checks that all rules of a policy share one budget. Once
// it is spent, rules that deny are met and rules that admit are not.
func TestDecisionBudget(t *testing.T) {
	soak.WithoutRace(t)
	var rules strings.Builder
	for i := range 50 {
		fmt.Fprintf(&rules, "  - {name: r%d, unsigned: true, condition: 'document.a.all(x, !document.a.exists(y, x == y + \"!\"))'}\n", i)
	}
	ev := &Evidence{Tenant: "acme", Document: []byte(`{"a":` + list(2000) + `}`)}
	p := mustParse(t, "version: 1\nmode: enforce\nrules:\n"+rules.String()+"  - {name: last, unsigned: true, condition: 'true'}\n")
	m := condition.NewMeter(context.Background(), condition.DecisionCost)
	if d := p.decide(m, ev, nil); d.Result != Refused || d.Rule != "" || m.Spent() > condition.DecisionCost || !strings.Contains(d.Steps[50].Why, "costs too much") {
		t.Errorf("%s by %q after %d units: %+v", d.Result, d.Rule, m.Spent(), d.Steps[50])
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
	soak.WithoutRace(t)
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
		m := condition.NewMeter(context.Background(), condition.DecisionCost)
		d := p.decide(m, ev, nil)
		if m.Spent() > condition.DecisionCost || d.Result == "admitted" && deny {
			t.Errorf("deny %v: %d units: %s by %q", deny, m.Spent(), d.Result, d.Rule)
		}
		ctx := &ended{Context: context.Background(), after: 1}
		m = condition.NewMeter(ctx, condition.DecisionCost)
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
	m := condition.NewMeter(context.Background(), condition.DecisionCost/8)
	d := p.decide(m, &Evidence{Tenant: "acme", Signed: e}, nil)
	if d.Result != Refused || m.Spent() > condition.DecisionCost/8 || !strings.Contains(d.Verification.Reason, "not verified") {
		t.Errorf("%d units: %+v", m.Spent(), d)
	}
	ctx := &ended{Context: context.Background(), after: 2}
	if d := p.decide(condition.NewMeter(ctx, condition.DecisionCost), &Evidence{Tenant: "acme", Signed: e}, nil); d.Result != Refused || ctx.looks > 6 {
		t.Errorf("interrupted after %d looks: %+v", ctx.looks, d)
	}
}
