package exception

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"muniment.dev/muniment/controls/keyevent"
	"muniment.dev/muniment/ledger/entry"
)

var start = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func day(n float64) time.Time { return start.Add(time.Duration(n * 24 * float64(time.Hour))) }

// decisions reads a script such as "approve:kim@1 renew:kim@3=20": actions by
// persons of one issuer, at the given day, and for renew with the new expiry.
// A person with a colon is a submitter.
func decisions(t *testing.T, script string) (all []Decision) {
	t.Helper()
	for i, word := range strings.Fields(script) {
		action, rest, _ := strings.Cut(word, ":")
		at := strings.LastIndex(rest, "@")
		by, when := rest[:at], rest[at+1:]
		d := Decision{Index: uint64(11 + i), Exception: "E-1", Request: 10, Action: Action(action), By: by}
		if !strings.Contains(by, ":") {
			d.By = "oidc:https://idp.example#" + by
		}
		var n, until float64
		if _, err := fmt.Sscanf(strings.Replace(when, "=", " ", 1)+" 0", "%g %g", &n, &until); err != nil {
			t.Fatal(err)
		}
		d.Time = day(n)
		if until != 0 {
			d.Expires = day(until)
		}
		all = append(all, d)
	}
	return all
}

// TestStates checks every transition of an exception that dana requests on day
// 0 until day 10, on day 5.
func TestStates(t *testing.T) {
	one, two := Limits{MaxDays: 30, Approvers: 1}, Limits{MaxDays: 30, Approvers: 2}
	for _, c := range []struct {
		name   string
		limits Limits
		script string
		want   string // the state, and the day of the expiry
	}{
		{"no decision", one, "", "requested 10"},
		{"approved", one, "approve:kim@1", "approved 10"},
		{"one of two approvals", two, "approve:kim@1", "requested 10"},
		{"two approvals", two, "approve:kim@1 approve:lee@2", "approved 10"},
		{"two approvals of one person", two, "approve:kim@1 approve:kim@2", "requested 10"},
		{"two spellings of one person", two, "approve:kim@1 approve:KIM@2", "requested 10"},
		{"the requester approves", one, "approve:dana@1", "requested 10"},
		{"the requester in upper case", one, "approve:DANA@1", "requested 10"},
		{"the requester with an invisible character", one, "approve:da\u200bna@1", "requested 10"},
		{"the requester in full width", one, "approve:\uff44ana@1", "requested 10"},
		{"the requester with a combining grapheme joiner", one, "approve:dan\u034fa@1", "requested 10"},
		{"the requester at the issuer in upper case", one, "approve:oidc:HTTPS://idp.example#dana@1", "requested 10"},
		{"the requester and another", two, "approve:dana@1 approve:kim@1", "requested 10"},
		{"a subject of another issuer", one, "approve:oidc:https://other.example#dana@1", "approved 10"},
		{"a token approves", one, "approve:token:acme@1", "requested 10"},
		{"a certificate approves", one, "approve:cert:kim@1", "requested 10"},
		{"the log approves", one, "approve:server:@1", "requested 10"},
		{"a person without subject", one, "approve:oidc:https://idp.example#@1", "requested 10"},
		{"a person with an invisible subject", one, "approve:oidc:https://idp.example#\u3164@1", "requested 10"},
		{"a person without issuer", one, "approve:oidc:#kim@1", "requested 10"},
		{"the prefix in upper case", one, "approve:OIDC:https://idp.example#kim@1", "requested 10"},
		{"rejected", one, "reject:kim@1", "rejected 10"},
		{"the requester rejects", one, "reject:dana@1", "requested 10"},
		{"a token rejects", one, "reject:token:acme@1", "requested 10"},
		{"approval after a rejection", one, "reject:kim@1 approve:lee@2", "rejected 10"},
		{"rejection after the approval", one, "approve:kim@1 reject:lee@2", "approved 10"},
		{"rejection between two approvals", two, "approve:kim@1 reject:lee@2 approve:max@3", "rejected 10"},
		{"revoked", one, "approve:kim@1 revoke:lee@2", "revoked 10"},
		{"revoked before the approval", one, "revoke:lee@1 approve:kim@2", "revoked 10"},
		{"the requester revokes", one, "approve:kim@1 revoke:dana@2", "revoked 10"},
		{"a token revokes", one, "approve:kim@1 revoke:token:acme@2", "approved 10"},
		{"renewed after the revocation", one, "approve:kim@1 revoke:lee@2 renew:kim@3=20", "revoked 10"},
		{"renewed", one, "approve:kim@1 renew:lee@2=20", "approved 20"},
		{"renewed to an earlier expiry", one, "approve:kim@1 renew:lee@2=4", "expired 4"},
		{"the requester renews", one, "approve:kim@1 renew:dana@2=20", "approved 10"},
		{"renewed before the approval", one, "renew:kim@1=20", "requested 10"},
		{"renewed before the approval, then approved", one, "renew:kim@1=20 approve:kim@2", "approved 10"},
		{"renewed after a rejection", one, "reject:kim@1 renew:kim@2=20", "rejected 10"},
		{"renewed by one of two", two, "approve:kim@1 approve:lee@1 renew:kim@2=20", "approved 10"},
		{"renewed twice by one person", two, "approve:kim@1 approve:lee@1 renew:kim@2=20 renew:kim@3=20", "approved 10"},
		{"renewed by two to different expiries", two, "approve:kim@1 approve:lee@1 renew:kim@2=20 renew:lee@3=21", "approved 10"},
		{"renewed by two", two, "approve:kim@1 approve:lee@1 renew:kim@2=20 renew:lee@3=20", "approved 20"},
		{"renewed to and fro", one, "approve:kim@1 renew:kim@2=20 renew:kim@3=4 renew:kim@4=20", "approved 20"},
		{"renewed beyond the limit", one, "approve:kim@1 renew:kim@2=100", "approved 32"},
		{"the limit counts from the request", Limits{MaxDays: 7, Approvers: 1}, "approve:kim@4", "approved 7"},
		{"a limit that has passed", Limits{MaxDays: 3, Approvers: 1}, "approve:kim@1", "expired 3"},
		{"exceptions are forbidden", Limits{Approvers: 1}, "approve:kim@1", "requested"},
		{"no approvers", Limits{MaxDays: 30}, "", "requested"},
		{"an unknown action", one, "confirm:kim@1", "requested 10"},
	} {
		x := &Exception{Request: Request{Index: 10, Time: day(0), ID: "E-1", Control: "C-1", Expires: day(10), Requester: "oidc:https://idp.example#dana"}, Decisions: decisions(t, c.script)}
		s := x.At(day(5), c.limits)
		got := string(s.State)
		if !s.Expires.IsZero() {
			got = fmt.Sprintf("%s %g", s.State, s.Expires.Sub(start).Hours()/24)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if in := s.State == Approved || s.State == BreakGlass; s.InForce() != in {
			t.Errorf("%s: in force: %v", c.name, s.InForce())
		}
	}
}

// TestExpiry checks that an exception does not count at its expiry.
func TestExpiry(t *testing.T) {
	x := &Exception{Request: Request{Index: 10, Time: day(0), ID: "E-1", Expires: day(10), Requester: "oidc:https://idp.example#dana"}, Decisions: decisions(t, "approve:kim@1")}
	for at, want := range map[time.Time]State{
		day(10).Add(-time.Millisecond): Approved, day(10): Expired, day(11): Expired,
	} {
		if s := x.At(at, DefaultLimits); s.State != want {
			t.Errorf("at %s: %s, want %s", at, s.State, want)
		}
	}
}

// TestBreakGlass checks exceptions that count before they are approved.
func TestBreakGlass(t *testing.T) {
	for _, c := range []struct {
		requester, script string
		at                float64
		want              State
		until             float64
	}{
		{"oidc:https://idp.example#dana", "", 0.5, BreakGlass, 1},
		{"oidc:https://idp.example#dana", "", 1, Expired, 1},
		{"oidc:https://idp.example#dana", "approve:kim@0.2", 0.5, Approved, 1},
		{"oidc:https://idp.example#dana", "approve:kim@0.2", 1, Expired, 1},
		{"oidc:https://idp.example#dana", "approve:dana@0.2", 0.5, BreakGlass, 1},
		{"oidc:https://idp.example#dana", "reject:kim@0.2", 0.5, Rejected, 1},
		{"oidc:https://idp.example#dana", "reject:dana@0.2", 0.5, BreakGlass, 1},
		{"oidc:https://idp.example#dana", "revoke:dana@0.2", 0.5, Revoked, 1},
		{"oidc:https://idp.example#dana", "renew:kim@0.2=9", 0.5, BreakGlass, 1},
		{"oidc:https://idp.example#dana", "approve:kim@0.2 renew:kim@0.3=9", 2, Approved, 9},
		{"token:acme", "", 0.5, Requested, 0},
	} {
		x := &Exception{Request: Request{Index: 10, Time: day(0), ID: "E-1", Expires: day(10), BreakGlass: true, Requester: c.requester}, Decisions: decisions(t, c.script)}
		s := x.At(day(c.at), DefaultLimits)
		if s.State != c.want || c.until != 0 && !s.Expires.Equal(day(c.until)) {
			t.Errorf("%s %q on day %g: %s until %s", c.requester, c.script, c.at, s.State, s.Expires)
		}
	}
}

// TestSignedRequest checks requests by a key of dana, which lee has registered.
func TestSignedRequest(t *testing.T) {
	for _, c := range []struct {
		name, script string
		event        string // of the key
		from         float64
		index        uint64 // of the event
		want         State
		unconfirmed  bool
	}{
		{"no decision", "", "", 0, 0, BreakGlass, true},
		{"confirmed", "approve:kim@0.2", "", 0, 0, Approved, false},
		{"confirmed by the person", "approve:dana@0.2", "", 0, 0, BreakGlass, true},
		{"confirmed by who registered the key", "approve:lee@0.2", "", 0, 0, BreakGlass, true},
		{"confirmed by who registered the key, in upper case", "approve:LEE@0.2", "", 0, 0, BreakGlass, true},
		{"rejected by who registered the key", "reject:lee@0.2", "", 0, 0, BreakGlass, true},
		{"rejected", "reject:kim@0.2", "", 0, 0, Rejected, false},
		{"revoked by who registered the key", "revoke:lee@0.2", "", 0, 0, Revoked, false},
		{"retired before", "", "retired", -1, 20, Void, false},
		{"retired before, and confirmed", "approve:kim@0.2", "retired", -1, 20, Void, false},
		{"retired at the same time", "", "retired", 0, 20, BreakGlass, true},
		{"retired later", "", "retired", 0.1, 20, BreakGlass, true},
		{"compromised before", "", "compromised", -1, 20, Void, false},
		{"compromised at the same time", "", "compromised", 0, 20, Void, false},
		{"compromised later", "", "compromised", 0.1, 20, BreakGlass, true},
		{"compromised, in an entry that does not exist yet", "", "compromised", 0, 30, BreakGlass, true},
		{"registered again", "", "registered", -1, 20, BreakGlass, true},
		{"rejected, and compromised", "reject:kim@0.2", "compromised", 0, 20, Rejected, false},
	} {
		x := &Exception{Request: Request{Index: 10, Time: day(0), ID: "E-1", Expires: day(1), BreakGlass: true, KeyID: "sha256:1", Requester: "oidc:https://idp.example#dana", Registrar: "oidc:https://idp.example#lee"},
			Decisions: decisions(t, c.script)}
		if c.event != "" {
			x.KeyEvents = []keyevent.Event{{Index: c.index, Event: c.event, KeyID: "sha256:1", From: day(c.from)}}
		}
		s := x.Below(30).At(day(0.5), DefaultLimits)
		if s.State != c.want || s.Unconfirmed != c.unconfirmed {
			t.Errorf("%s: %s, unconfirmed %v; want %s, %v", c.name, s.State, s.Unconfirmed, c.want, c.unconfirmed)
		}
		if s := x.At(day(2), DefaultLimits); s.Unconfirmed != c.unconfirmed && c.index != 30 {
			t.Errorf("%s, after its end: unconfirmed %v", c.name, s.Unconfirmed)
		}
	}
	x := &Exception{Request: Request{Index: 10, Time: day(0), ID: "E-1", Expires: day(1), BreakGlass: true, KeyID: "sha256:1"}}
	if s := x.At(day(0.5), DefaultLimits); s.InForce() {
		t.Errorf("by an unregistered key: %s", s.State)
	}
}

// TestUsedBy checks break-glass that robin has requested for dana, who has used
// it, and whose key lee has registered.
func TestUsedBy(t *testing.T) {
	dana := "oidc:https://idp.example#dana"
	for _, c := range []struct {
		name, usedBy, script string
		want                 State
		unconfirmed          bool
	}{
		{"no decision", dana, "", BreakGlass, true},
		{"confirmed by another", dana, "approve:kim@0.2", Approved, false},
		{"confirmed by the user", dana, "approve:dana@0.2", BreakGlass, true},
		{"confirmed by the user in another spelling", dana, "approve:oidc:HTTPS://IDP.example#Da\u200bna@0.2", BreakGlass, true},
		{"confirmed by the requester", dana, "approve:robin@0.2", BreakGlass, true},
		{"confirmed by who registered the key", dana, "approve:lee@0.2", BreakGlass, true},
		{"rejected by the user", dana, "reject:dana@0.2", BreakGlass, true},
		{"revoked by the user", dana, "revoke:dana@0.2", Revoked, false},
		{"renewed by the user to an earlier expiry", dana, "approve:kim@0.2 renew:dana@0.3=0.4", Approved, false},
		{"renewed by another to an earlier expiry", dana, "approve:kim@0.2 renew:kim@0.3=0.4", Expired, false},
		{"confirmed by the user of another issuer", "oidc:https://other.example#dana", "approve:dana@0.2", Approved, false},
		{"used by an account, confirmed", "kubernetes:oncall", "approve:kim@0.2", BreakGlass, true},
		{"used by an account, rejected", "kubernetes:oncall", "reject:kim@0.2", Rejected, false},
		{"used by an account, revoked", "kubernetes:oncall", "revoke:kim@0.2", Revoked, false},
		{"used by a text that is no person", "oidc:https://idp.example", "approve:kim@0.2", BreakGlass, true},
		{"used by the requester", "oidc:https://idp.example#robin", "approve:kim@0.2", Approved, false},
	} {
		x := &Exception{Request: Request{Index: 10, Time: day(0), ID: "E-1", Expires: day(1), BreakGlass: true, KeyID: "sha256:1", Requester: "oidc:https://idp.example#robin", Registrar: "oidc:https://idp.example#lee", UsedBy: c.usedBy},
			Decisions: decisions(t, c.script)}
		if s := x.At(day(0.5), DefaultLimits); s.State != c.want || s.Unconfirmed != c.unconfirmed {
			t.Errorf("%s: %s, unconfirmed %v; want %s, %v", c.name, s.State, s.Unconfirmed, c.want, c.unconfirmed)
		}
	}
}

// TestOtherDecisions checks that decisions about other requests have no effect.
func TestOtherDecisions(t *testing.T) {
	good := decisions(t, "approve:kim@1")[0]
	for name, change := range map[string]func(*Decision){
		"another ID":          func(d *Decision) { d.Exception = "E-2" },
		"an ID in lower case": func(d *Decision) { d.Exception = "e-1" },
		"another request":     func(d *Decision) { d.Request = 9 },
		"before the request":  func(d *Decision) { d.Index = 9 },
	} {
		d := good
		change(&d)
		x := &Exception{Request: Request{Index: 10, Time: day(0), ID: "E-1", Expires: day(10), Requester: "oidc:https://idp.example#dana"}, Decisions: []Decision{d}}
		if s := x.At(day(5), DefaultLimits); s.State != Requested {
			t.Errorf("%s: %s", name, s.State)
		}
	}
	x := &Exception{Request: Request{Index: 10, Time: day(0), ID: "E-1", Expires: day(10), Requester: "token:acme"}, Decisions: []Decision{good}}
	if s := x.At(day(5), DefaultLimits); s.State != Requested {
		t.Errorf("requested by a token: %s", s.State)
	}
}

// TestScope checks what an exception covers.
func TestScope(t *testing.T) {
	sha := func(hex string) map[string]string { return map[string]string{"sha256": strings.Repeat(hex, 64)} }
	app := entry.Subject{Name: "registry.example/app:1.2", Digest: sha("a")}
	for _, c := range []struct {
		name        string
		r           Request
		environment string
		want        bool
	}{
		{"the digest", Request{Subjects: []entry.Subject{{Digest: sha("a")}}}, "", true},
		{"the digest in upper case", Request{Subjects: []entry.Subject{{Digest: sha("A")}}}, "", true},
		{"another digest", Request{Subjects: []entry.Subject{{Name: app.Name, Digest: sha("b")}}}, "", false},
		{"a glob", Request{Globs: []string{"registry.example/*:1.*"}}, "", true},
		{"another glob", Request{Globs: []string{"registry.example/*:2.*"}}, "", false},
		{"a glob of another case", Request{Globs: []string{"Registry.example/*"}}, "", false},
		{"nothing", Request{}, "", false},
		{"an environment", Request{Globs: []string{"**"}, Environments: []string{"production/*"}}, "production/eu", true},
		{"another environment", Request{Globs: []string{"**"}, Environments: []string{"production/*"}}, "staging", false},
		{"no environment", Request{Globs: []string{"**"}, Environments: []string{"**"}}, "", false},
	} {
		if x := (&Exception{Request: c.r}); x.Covers(app, c.environment) != c.want {
			t.Errorf("%s: want %v", c.name, c.want)
		}
	}
	if x := (&Exception{Request: Request{Globs: []string{"**"}}}); x.Covers(entry.Subject{Digest: sha("a")}, "") {
		t.Error("a glob covers an artifact without name")
	}
}

// TestWildcards lists globs that cover everything, in hostile spellings.
func TestWildcards(t *testing.T) {
	for glob, want := range map[string]bool{
		"*": true, "**": true, "**/*": true, " * ": true, "*\u200b*": true, "\u3000*": true, "*/**": true, "**:*": true, "*.*": true, "**@*": true,
		"a*": false, "registry.example/**": false, "*1": false, "é**": false,
	} {
		if x := (&Exception{Request: Request{Globs: []string{"x", glob}}}); x.Wildcard() != want {
			t.Errorf("%q: want %v", glob, want)
		}
	}
}
