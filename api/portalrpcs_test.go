package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/internal/soak"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A tenantOfViews has entries for every view of the portal, in which names
// contain the tenant's mark.
type tenantOfViews struct {
	name, mark, digest string
	exception          string // the index of the request
	entries            int
}

// portalRPCs has the request of each RPC of PortalService, for which one tenant
// names things of one, and the code of the answer if they are another tenant's:
// "" is an answer without them.
var portalRPCs = map[protoreflect.Name]struct {
	fields func(of *tenantOfViews) string
	// wants returns a part of the answer about the tenant's own things. Nil:
	// the mark.
	wants   func(of *tenantOfViews) string
	foreign string
}{
	"GetOverview":      {},
	"Search":           {fields: func(of *tenantOfViews) string { return fmt.Sprintf(`,"query":%q`, of.mark) }},
	"GetArtifact":      {fields: func(of *tenantOfViews) string { return fmt.Sprintf(`,"digest":"sha256:%s"`, of.digest) }},
	"ListFindings":     {fields: func(of *tenantOfViews) string { return fmt.Sprintf(`,"artifact":"sha256:%s"`, of.digest) }},
	"GetFinding":       {fields: func(of *tenantOfViews) string { return fmt.Sprintf(`,"id":"F-%s"`, of.mark) }, foreign: "not_found"},
	"ListExceptions":   {},
	"GetException":     {fields: func(of *tenantOfViews) string { return fmt.Sprintf(`,"index":%q`, of.exception) }, foreign: "not_found"},
	"PreviewException": {fields: func(of *tenantOfViews) string { return fmt.Sprintf(`,"request":%q`, of.exception) }, foreign: "not_found"},
	"ListIncidents":    {},
	"GetIncident":      {fields: func(of *tenantOfViews) string { return fmt.Sprintf(`,"id":"I-%s"`, of.mark) }, foreign: "not_found"},
	"GetPrivacyBudget": {},
	"GetLogHealth":     {wants: func(of *tenantOfViews) string { return fmt.Sprintf(`"streamEntries":"%d"`, of.entries) }},
}

// portalBody returns the RPC's request for a tenant, which names things of one.
func portalBody(t *testing.T, m protoreflect.MethodDescriptor, tenant string, of *tenantOfViews) string {
	t.Helper()
	row, ok := portalRPCs[m.Name()]
	if !ok {
		t.Fatalf("%s: portalRPCs has no row", m.FullName())
	}
	fields := ""
	if row.fields != nil {
		fields = row.fields(of)
	}
	return fmt.Sprintf(`{"tenant":%q%s}`, tenant, fields)
}

// portalMethods returns the RPCs of PortalService.
func portalMethods() []protoreflect.MethodDescriptor {
	return slices.DeleteFunc(methods(), func(m protoreflect.MethodDescriptor) bool { return m.Parent().Name() != "PortalService" })
}

func (b *browser) call(m protoreflect.MethodDescriptor, tenant, body string) httpAnswer {
	b.p.t.Helper()
	path, header := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()), []string{"Muniment-Tenant", tenant}
	if m.IsStreamingClient() || m.IsStreamingServer() {
		body, header = string(frame(0, body)), append(header, "Content-Type", "application/connect+json")
	}
	return b.do("POST", path, body, header...)
}

// fill records what the views show of a tenant. b is the session of a person
// with the role approver there.
func (p *portalRig) fill(b *browser, name, token, hex string) *tenantOfViews {
	p.t.Helper()
	of := &tenantOfViews{name: name, mark: name + "mark", digest: strings.Repeat(hex, 64)}
	put := func(call func(body string) httpAnswer, kind, key, payload string) string {
		p.t.Helper()
		if key != "" {
			key = fmt.Sprintf(`,"idempotencyKey":%q`, key)
		}
		a := call(fmt.Sprintf(`{"tenant":%q,"submission":{"kind":%q%s,"payload":%q}}`, name, kind, key, base64.StdEncoding.EncodeToString([]byte(payload))))
		var res struct{ Appended struct{ Index string } }
		if err := json.Unmarshal([]byte(a.body), &res); err != nil || a.status != 200 {
			p.t.Fatalf("%s of %s: status %d: %s", kind, name, a.status, a.body)
		}
		return res.Appended.Index
	}
	job := func(body string) httpAnswer { return p.post("Append", token, body) }
	person := func(body string) httpAnswer { return b.act("LedgerService/Append", body, "Muniment-Tenant", name) }
	control := strings.ReplaceAll(gateControl, "EVIDENCE", "C")
	put(job, "control", "c", control)
	put(job, "control-set", "s", fmt.Sprintf(`{"version":"1","stages":["deploy"],"controls":[{"id":"C","digest":"sha256:%x"}]}`, sha256.Sum256([]byte(control))))
	put(job, "attestation", "", statementAbout("registry.example/"+of.mark, hex))
	about := fmt.Sprintf(`,"subjects":[{"name":%q,"digest":{"sha256":%q}}]`, of.mark, of.digest)
	put(job, "finding", "f", strings.Replace(findingOf("F-"+of.mark, "open", about), "EVIDENCE", "C", 1))
	put(job, "export-manifest", "", fmt.Sprintf(`{"name":%q,"created":"2026-11-01T00:00:00Z","files":[{"path":"f","digest":{"sha256":%q}}],"residencyRegions":["DE"],"licenses":["MIT"],"privacyBudget":{"epsilon":0.5,"spent":0.5,"budget":4}}`, of.mark, of.digest))
	put(job, "triage-action", "t", fmt.Sprintf(`{"incident":"I-%s","playbook":"p","action":"flush","result":"succeeded","irreversible":true,"actor":"kim","started":"2026-11-01T00:10:00Z"}`, of.mark))
	// There is no evidence of this artifact, so an exception would let it pass.
	subject := fmt.Sprintf(`{"type":"image","artifact":{"name":"registry.example/%s","digest":{"sha256":%q}}}`, of.mark, strings.Repeat(hex, 63)+"0")
	a := b.act("GateService/Decide", fmt.Sprintf(`{"tenant":%q,"stage":"deploy","subjects":[%s]}`, name, subject), "Muniment-Tenant", name)
	if a.status != 200 {
		p.t.Fatalf("a decision of %s: status %d: %s", name, a.status, a.body)
	}
	of.exception = put(person, "exception-request", "e", exceptionRequest("EXC-"+of.mark, strings.Repeat(hex, 63)+"0", of.mark, time.Now().Add(time.Hour)))
	head, err := p.client(token).GetStreamHead(context.Background(), connect.NewRequest(&munimentv1.GetStreamHeadRequest{Tenant: name}))
	if err != nil {
		p.t.Fatal(err)
	}
	of.entries = int(head.Msg.Entries)
	return of
}

// fillBoth fills both tenants, in which dana has a role by the rules.
func (p *portalRig) fillBoth() (b *browser, both [2]*tenantOfViews) {
	p.t.Helper()
	p.hasRole(munimentv1.Role_ROLE_APPROVER)
	b = p.browser()
	b.signIn(dana)
	both[0] = p.fill(b, "acme", acmeToken, "a")
	p.append("globex", "one entry more than the other tenant")
	both[1] = p.fill(b, "globex", globexToken, "b")
	return b, both
}

// hasRole gives dana a role in both tenants.
func (p *portalRig) hasRole(role auth.Role) {
	p.t.Helper()
	p.reload(func(s *api.Settings) {
		for i := range s.Tenants {
			s.Tenants[i].Rules = slices.Clone(s.Tenants[i].Rules)
			s.Tenants[i].Rules[0].Role = role
		}
	})
}

// Two tenants see nothing of each other in any RPC of the portal, by its
// descriptor: with the session of a person who has both, with those of tokens,
// and with the tokens themselves.
func TestPortalKeepsTenantsApart(t *testing.T) {
	p := newPortal(t)
	person, both := p.fillBoth()
	for i, own := range both {
		other := both[1-i]
		session := p.browser()
		if a := session.do("POST", "/portal/token", fmt.Sprintf(`{"token":%q}`, roleToken(own.name, "reader"))); a.status != 200 {
			t.Fatalf("%s signs in: status %d: %s", own.name, a.status, a.body)
		}
		for _, m := range portalMethods() {
			row := portalRPCs[m.Name()]
			wants := own.mark
			if row.wants != nil {
				wants = row.wants(own)
			}
			for who, call := range map[string]func(tenant, body string) (code, text string){
				"a person":  func(tenant, body string) (string, string) { return person.call(m, tenant, body).codeAndText(t) },
				"a session": func(_, body string) (string, string) { return session.call(m, "", body).codeAndText(t) },
				"a token":   func(_, body string) (string, string) { return p.call(m, roleToken(own.name, "reader"), body) },
			} {
				if code, text := call(own.name, portalBody(t, m, own.name, own)); code != "" || !strings.Contains(text, wants) || strings.Contains(text, other.mark) {
					t.Errorf("%s of %s, for %s: %s, want %s and nothing of %s: %s", m.Name(), own.name, who, code, wants, other.name, text)
				}
				code, text := call(own.name, portalBody(t, m, own.name, other))
				for _, id := range []string{`no finding "F-`, `\"I-`, `"I-`} { // the requested ID
					text = strings.Replace(text, id+other.mark, "", 1)
				}
				if code != row.foreign || strings.Contains(text, other.mark) {
					t.Errorf("%s of %s about things of %s, for %s: %q, want %q: %s", m.Name(), own.name, other.name, who, code, row.foreign, text)
				}
				// A person has to choose the tenant with the header.
				if code, text := call(own.name, portalBody(t, m, other.name, other)); code != "permission_denied" || strings.Contains(text, other.mark) {
					t.Errorf("%s of %s with credentials of %s, for %s: %q: %s", m.Name(), other.name, own.name, who, code, text)
				}
			}
		}
	}
}

// codeAndText returns the code of an answer's error, or "", and its text.
func (a httpAnswer) codeAndText(t *testing.T) (code, text string) {
	t.Helper()
	if a.status == 200 {
		return "", a.body
	}
	code, text, _ = a.connectError(t)
	return code, text
}

// refused reports whether an answer is an error with the code. That of a stream
// is in its last frame.
func (a httpAnswer) refused(code string) bool {
	return strings.Contains(a.body, fmt.Sprintf(`{"code":%q`, code))
}

// The cookie of a session has the role of its rule or token in every RPC, and
// no RPC without one.
func TestEveryRPCBySessionAndRole(t *testing.T) {
	soak.WithoutRace(t)
	p := newPortal(t)
	person, both := p.fillBoth()
	acme := both[0]
	size := p.ledger.Published().Size
	none := p.browser()
	for _, role := range roleNames {
		byRole, err := auth.ParseRole(role)
		if err != nil {
			t.Fatal(err)
		}
		p.hasRole(byRole)
		session := p.browser()
		if a := session.do("POST", "/portal/token", fmt.Sprintf(`{"token":%q}`, roleToken("acme", role))); a.status != 200 {
			t.Fatalf("a token of the role %s: status %d: %s", role, a.status, a.body)
		}
		for _, m := range methods() {
			body := requestBody(m, "acme")
			if m.Parent().Name() == "PortalService" {
				body = portalBody(t, m, "acme", acme)
			}
			allowed := may[m.FullName()]
			if allowed == "anybody" {
				continue
			}
			if a := none.call(m, "", body); !a.refused("unauthenticated") {
				t.Errorf("%s without a session: status %d: %s", m.Name(), a.status, a.body)
			}
			for who, b := range map[string]*browser{"a person": person, "a token": session} {
				switch isAllowed := slices.Contains(strings.Fields(allowed), role); {
				case !isAllowed:
					if a := b.call(m, "acme", body); !a.refused("permission_denied") || !strings.Contains(a.body, "you have role "+role) {
						t.Errorf("%s by the session of %s in the role %s: status %d: %s", m.FullName(), who, role, a.status, a.body)
					}
				case m.Parent().Name() == "PortalService":
					if a := b.call(m, "acme", body); a.status != 200 {
						t.Errorf("%s by the session of %s in the role %s: status %d: %s", m.FullName(), who, role, a.status, a.body)
					}
				}
				if a := b.call(m, "initech", body); !a.refused("unauthenticated") {
					t.Errorf("%s by the session of %s in a tenant that it is not for: status %d: %s", m.FullName(), who, a.status, a.body)
				}
			}
		}
	}
	if now := p.ledger.Published().Size; now != size {
		t.Errorf("refused calls and views have recorded %d entries", now-size)
	}
}
