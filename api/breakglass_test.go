package api_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/proto/kinds"
	"muniment.dev/muniment/verifiers/dsse"
)

// A personalKey is a key that signs requests for break-glass.
type personalKey struct {
	crypto.Signer
	id, public string
}

func newPersonalKey(t *testing.T) *personalKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := dsse.NewKey("", public)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return &personalKey{private, key.ID, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
}

// person returns the submitter of entries by a person of the company.
func (r *exceptionRig) person(name string) string { return "oidc:" + r.people.URL + "#" + name }

// registers appends the registration of a key to a person.
func (r *exceptionRig) registers(token string, k *personalKey, person string, from time.Time) error {
	_, err := r.event(token, "key-event", r.key(), fmt.Sprintf(`{"keyId":%q,"event":"registered","from":%q,"person":%q,"publicKey":%q}`, k.id, from.UTC().Format(time.RFC3339), person, k.public))
	return err
}

// ends appends the end of a key.
func (r *exceptionRig) ends(k *personalKey, event string, from time.Time) {
	r.t.Helper()
	token := r.people.token(r.testServer, "lee", "approver")
	if _, err := r.event(token, "key-event", r.key(), fmt.Sprintf(`{"keyId":%q,"event":%q,"from":%q,"reason":"r"}`, k.id, event, from.UTC().Format(time.RFC3339))); err != nil {
		r.t.Fatal(err)
	}
}

// A use is the use of break-glass at a time, until an expiry.
type use struct {
	id, origin, tenant string
	at, until          time.Time
}

func (u *use) document() string {
	return fmt.Sprintf(`{"id":%q,"control":"C","scope":{"subjects":[{"digest":{"sha256":%q}}]},"reason":"r","expires":%q,"breakGlass":true,"used":{"origin":%q,"tenant":%q,"time":%q}}`,
		u.id, strings.Repeat("a", 64), u.until.UTC().Format(time.RFC3339), u.origin, u.tenant, u.at.UTC().Format(time.RFC3339))
}

func (u *use) sign(t *testing.T, k *personalKey) string {
	t.Helper()
	envelope, err := dsse.Sign(kinds.BreakGlassType, []byte(u.document()), k)
	if err != nil {
		t.Fatal(err)
	}
	return string(envelope)
}

// uses returns a use that is now.
func (r *exceptionRig) uses(id string) *use {
	return &use{id: id, origin: r.ledger.Origin(), tenant: "acme", at: time.Now(), until: time.Now().Add(8 * time.Hour)}
}

// TestSignedBreakGlass follows requests by a key of dana, which lee has
// registered, and which a shared token submits.
func TestSignedBreakGlass(t *testing.T) {
	logFile, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	r := newExceptionRig(t, func(_ *ledger.Config, c *api.Config) { c.Logger = slog.New(slog.NewTextHandler(logFile, nil)) })
	k := newPersonalKey(t)
	before := time.Now().Add(-time.Hour)
	lee := r.people.token(r.testServer, "lee", "approver")
	submit := func(envelope string) (uint64, error) {
		e, err := r.event(roleToken("acme", "appender"), "exception-request", r.key(), envelope)
		return e.GetIndex(), err
	}
	_, err = submit(r.uses("BG-0").sign(t, k))
	wantRefusal(t, "an unregistered key", err, "submission.payload", "is not registered to a person")
	wantRefusal(t, "a registration by a shared token", r.registers(roleToken("acme", "admin"), k, r.person("dana"), before), "submission.kind", "only people can register keys")
	if err := r.registers(lee, k, r.person("dana"), before); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, "a registration to another person", r.registers(lee, k, r.person("kim"), before), "submission.payload", "registered the key to "+r.person("dana"))
	wantRefusal(t, "a second registration", r.registers(lee, k, r.person("dana"), before), "submission.payload", "has registered the key")

	one := r.uses("BG-1")
	one.at, one.until = r.afterLast(), r.afterLast().Add(24*time.Hour)
	index, err := submit(one.sign(t, k))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.inForce(); got != "BG-1" {
		t.Errorf("after the submission: %q is in force", got)
	}
	_, err = submit(one.sign(t, k))
	wantRefusal(t, "the same record again", err, "submission.payload", fmt.Sprintf("entry %d requests exception BG-1", index))
	wantRefusal(t, "confirmation by the person", r.decides("dana", "BG-1", index, "approve", ""), "submission.payload", "another person must approve it")
	wantRefusal(t, "confirmation by who registered the key", r.decides("lee", "BG-1", index, "approve", ""), "submission.payload", "registered the key that signed exception BG-1")
	_, err = r.event(roleToken("acme", "approver"), "exception-decision", r.key(), exceptionApproval("BG-1", index))
	wantRefusal(t, "confirmation by a shared token", err, "submission.kind", "can be shared")
	if got := r.metrics(); !strings.Contains(got, "\nmuniment_break_glass_unconfirmed 1\n") {
		t.Error("before the rejection: the metric does not count one unconfirmed request")
	}
	if err := r.decides("kim", "BG-1", index, "reject", because); err != nil {
		t.Fatal(err)
	}
	if got := r.metrics(); !strings.Contains(got, "\nmuniment_break_glass_unconfirmed 0\n") {
		t.Error("after the rejection: the metric counts an unconfirmed request")
	}
	if got := r.inForce(); got != "" {
		t.Errorf("after the rejection: %q is in force", got)
	}

	two := r.uses("BG-2")
	two.at = r.afterLast()
	if _, err := submit(two.sign(t, k)); err != nil {
		t.Fatal(err)
	}
	r.ends(k, "compromised", before)
	if got := r.inForce(); got != "" {
		t.Errorf("after the key is compromised: %q is in force", got)
	}
	three := r.uses("BG-3")
	three.at = r.afterLast()
	_, err = submit(three.sign(t, k))
	wantRefusal(t, "a compromised key", err, "submission.payload", "was compromised from")
	wantRefusal(t, "the registration of a compromised key", r.registers(lee, k, r.person("dana"), before), "submission.payload", "has registered the key")
	fresh := newPersonalKey(t)
	r.ends(fresh, "retired", before)
	if got := r.metrics(); !strings.Contains(got, "\nmuniment_break_glass_total 2\n") {
		t.Error("the metric does not count two requests")
	}
	logged, err := os.ReadFile(logFile.Name())
	if err != nil {
		t.Fatal(err)
	}
	warning := fmt.Sprintf(`level=WARN msg="break-glass: another person must confirm or reject it" tenant=acme exception=BG-1 controls=C entry=%d `, index)
	if n := strings.Count(string(logged), warning); n != 1 {
		t.Errorf("%d warnings %q in the log:\n%s", n, warning, logged)
	}
	wantRefusal(t, "the registration of a retired key", r.registers(lee, fresh, r.person("dana"), before), "submission.payload", "was retired from")
}

// afterLast returns a time in whole seconds that is not before the last entry.
func (r *exceptionRig) afterLast() time.Time {
	return time.UnixMilli(int64(r.ledger.Published().Time)).UTC().Add(time.Second).Truncate(time.Second)
}

// TestSignedBreakGlassRefused lists records with false claims.
func TestSignedBreakGlassRefused(t *testing.T) {
	r := newExceptionRig(t)
	k, retired, other := newPersonalKey(t), newPersonalKey(t), newPersonalKey(t)
	before := time.Now().Add(-time.Hour)
	lee := r.people.token(r.testServer, "lee", "approver")
	for who, key := range map[string]*personalKey{"dana": k, "max": retired, "kim": other} {
		if err := r.registers(lee, key, r.person(who), before); err != nil {
			t.Fatal(err)
		}
	}
	late := newPersonalKey(t)
	if err := r.registers(lee, late, r.person("ada"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	r.ends(retired, "retired", before)
	at := r.afterLast()
	for _, c := range []struct {
		name   string
		key    *personalKey
		change func(*use)
		edit   func(string) string // of the envelope
		reason string
	}{
		{"another log", k, func(u *use) { u.origin = "other.example" }, nil, "used.origin: the request is for the log"},
		{"another tenant", k, func(u *use) { u.tenant = "globex" }, nil, "used.tenant: the request is for the tenant"},
		{"no log", k, func(u *use) { u.origin = "" }, nil, "used.origin"},
		{"25 hours", k, func(u *use) { u.until = u.at.Add(25 * time.Hour) }, nil, "expires: "},
		{"no time", k, func(u *use) { u.until = u.at }, nil, "is not after the use"},
		{"no break-glass", k, nil, func(string) string {
			u := r.uses("BG-1")
			u.at = at
			envelope, err := dsse.Sign(kinds.BreakGlassType, []byte(strings.Replace(u.document(), `"breakGlass":true,`, "", 1)), k)
			if err != nil {
				t.Fatal(err)
			}
			return string(envelope)
		}, "only a request with breakGlass can have used"},
		{"a clock in the future", k, func(u *use) { u.at = u.at.Add(time.Hour) }, nil, "is in the future"},
		{"before the registration", k, func(u *use) { u.at = u.at.Add(-2 * time.Hour) }, nil, "was registered later"},
		{"a registration that is not yet in force", late, nil, nil, "was registered later"},
		{"a retired key", retired, nil, nil, "was retired from"},
		{"the key of another person in the envelope", k, nil, func(e string) string { return strings.Replace(e, k.id, other.id, 1) }, "did not sign it"},
		{"a changed reason", k, nil, func(e string) string {
			u := r.uses("BG-1")
			u.at = at
			changed := strings.Replace(u.document(), `"reason":"r"`, `"reason":"s"`, 1)
			return withPayload(t, e, changed)
		}, "did not sign it"},
		{"half of the file", k, nil, func(e string) string { return e[:len(e)/2] }, "submission.payload"},
		{"no signature", k, nil, func(e string) string { return e[:strings.Index(e, `"signatures"`)] + `"signatures":[]}` }, "signatures: missing"},
		{"no key ID", k, nil, func(e string) string { return strings.Replace(e, k.id, "", 1) }, "not a key ID"},
		{"another payload type", k, nil, func(e string) string { return strings.Replace(e, kinds.BreakGlassType, "application/json", 1) }, "payloadType"},
		{"without the envelope", k, nil, func(string) string { u := r.uses("BG-1"); u.at = at; return u.document() }, "only a signed request can have it"},
	} {
		u := r.uses("BG-1")
		u.at = at
		if c.change != nil {
			c.change(u)
		}
		envelope := u.sign(t, c.key)
		if c.edit != nil {
			envelope = c.edit(envelope)
		}
		_, err := r.event(roleToken("acme", "appender"), "exception-request", r.key(), envelope)
		wantRefusal(t, c.name, err, "submission.payload", c.reason)
	}
	if got := r.inForce(); got != "" {
		t.Errorf("%q is in force", got)
	}
	late24 := r.uses("BG-1") // a record that arrives after its end
	late24.at, late24.until = at, at.Add(time.Second)
	if _, err := r.event(roleToken("acme", "appender"), "exception-request", r.key(), late24.sign(t, k)); err != nil {
		t.Errorf("a late record: %v", err)
	}
}

// withPayload returns an envelope with another payload and the old signature.
func withPayload(t *testing.T, envelope, payload string) string {
	t.Helper()
	other, err := dsse.Sign(kinds.BreakGlassType, []byte(payload), newPersonalKey(t))
	if err != nil {
		t.Fatal(err)
	}
	head, _, found := strings.Cut(string(other), `"signatures"`)
	_, signatures, too := strings.Cut(envelope, `"signatures"`)
	if !found || !too {
		t.Fatalf("signatures are not the last member: %s", envelope)
	}
	return head + `"signatures"` + signatures
}
