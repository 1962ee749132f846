package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/ingest"
	"muniment.dev/muniment/internal/soak"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// public lists the RPCs that concern no tenant: they show hashes of the public
// log, or who is calling. Any other RPC must name its tenant in a field of that
// name, or of its header, which is how these tests, and the server, find it.
var public = []protoreflect.Name{"GetInclusionProof", "GetConsistencyProof", "GetCheckpoint", "WhoAmI"}

// rest contains the fields, besides the tenant, that some RPCs require.
var rest = map[protoreflect.Name]string{
	"Append":           `,"submission":{"kind":"attestation","mediaType":"text/plain","payload":"c3Rvd2F3YXk="}`,
	"AppendBatch":      `,"submissions":[{"kind":"attestation","mediaType":"text/plain","payload":"c3Rvd2F3YXk="}]`,
	"AppendStream":     `,"kind":"attestation","mediaType":"text/plain"`,
	"ExchangeToken":    `,"identityToken":"x.y.z"`,
	"SetPolicy":        `,"policy":"e30=","reason":"test"`,
	"IssueToken":       `,"grant":{"id":"stowaway","role":"ROLE_READER"}`,
	"RevokeToken":      `,"id":"nobody"`,
	"Erase":            `,"scope":"ERASURE_SCOPE_PAYLOAD","reason":"test"`,
	"SetRetention":     `,"reason":"test"`,
	"Decide":           `,"stage":"deploy","dryRun":true,"subjects":[{"type":"file","artifact":{"digest":{"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}}}]`,
	"Replay":           candidate(gateControl),
	"SetLegalHold":     `,"id":"hold","reason":"test"`,
	"SubmitDecisions":  `,"decisions":["bm90IEpTT04="]`,
	"Search":           `,"query":"stowaway"`,
	"GetArtifact":      `,"digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"`,
	"GetFinding":       `,"id":"CVE-2026-0001"`,
	"GetIncident":      `,"id":"INC-1"`,
	"PreviewException": `,"request":"0"`,
}

// candidate returns the members of a Replay request with a control set of one
// control.
func candidate(control string) string {
	set := fmt.Sprintf(`{"version":"1","stages":["deploy"],"controls":[{"id":"EVIDENCE","digest":"sha256:%x"}]}`, sha256.Sum256([]byte(control)))
	text := base64.StdEncoding.EncodeToString
	return fmt.Sprintf(`,"since":"2026-01-01T00:00:00Z","controlSet":%q,"controls":[%q]`, text([]byte(set)), text([]byte(control)))
}

// requestBody returns a valid request of the RPC.
func requestBody(m protoreflect.MethodDescriptor, tenant string) string {
	switch {
	case slices.Contains(public, m.Name()):
		return "{}"
	case m.IsStreamingClient():
		return fmt.Sprintf(`{"header":{"tenant":%q%s}}`, tenant, rest[m.Name()])
	}
	return fmt.Sprintf(`{"tenant":%q%s}`, tenant, rest[m.Name()])
}

// call makes a call of any kind by its descriptor, with JSON, and returns the
// code and message of its error; "" is success. A stream is left after its
// first message.
func (ts *testServer) call(m protoreflect.MethodDescriptor, token, body string) (code, message string) {
	ts.t.Helper()
	path := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
	if !m.IsStreamingServer() && !m.IsStreamingClient() {
		a := ts.do(ts.h1, "POST", path, token, map[string]string{"Content-Type": "application/json"}, strings.NewReader(body))
		if a.status == 200 {
			return "", a.body
		}
		code, message, _ = a.connectError(ts.t)
		return code, message
	}
	frames := frame(0, body)
	if m.IsStreamingClient() {
		frames = append(frames, frame(0, `{"chunk":"c3Rvd2F3YXk="}`)...)
	}
	req, err := http.NewRequest("POST", ts.url+path, bytes.NewReader(frames))
	if err != nil {
		ts.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/connect+json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := ts.h1.Do(req)
	if err != nil {
		ts.t.Fatal(err)
	}
	defer res.Body.Close() // the server sees that the caller has gone
	head := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, head); err != nil {
		ts.t.Fatalf("status %d: %v", res.StatusCode, err)
	}
	data := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(res.Body, data); err != nil {
		ts.t.Fatal(err)
	}
	if head[0]&endOfStream == 0 {
		return "", string(data)
	}
	var end struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(data, &end); err != nil {
		ts.t.Fatal(err)
	}
	return end.Error.Code, end.Error.Message
}

// endOfStream is the flag of the last frame of a stream of the Connect
// protocol.
const endOfStream = 2

func frame(flags byte, message string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message))), message...)
}

// methods returns every RPC of every service that is declared.
func methods() (all []protoreflect.MethodDescriptor) {
	protoregistry.GlobalFiles.RangeFilesByPackage("muniment.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			ms := f.Services().Get(i).Methods()
			for j := range ms.Len() {
				all = append(all, ms.Get(j))
			}
		}
		return true
	})
	return all
}

// may lists the allowed roles of each RPC, independently of the server's own
// table. A new RPC needs a line in both.
var may = map[protoreflect.FullName]string{
	"muniment.v1.LedgerService.Append":              "appender approver admin",
	"muniment.v1.LedgerService.AppendBatch":         "appender approver admin",
	"muniment.v1.LedgerService.AppendStream":        "appender approver admin",
	"muniment.v1.LedgerService.GetEntry":            "reader approver admin",
	"muniment.v1.LedgerService.GetPayload":          "reader approver admin",
	"muniment.v1.LedgerService.ListEntries":         "reader approver admin",
	"muniment.v1.LedgerService.WatchEntries":        "reader approver admin",
	"muniment.v1.LedgerService.GetReceipt":          "appender reader approver admin",
	"muniment.v1.LedgerService.GetStreamHead":       "reader approver auditor admin",
	"muniment.v1.LedgerService.GetInclusionProof":   "appender reader approver auditor admin",
	"muniment.v1.LedgerService.GetConsistencyProof": "appender reader approver auditor admin",
	"muniment.v1.LedgerService.GetCheckpoint":       "appender reader approver auditor admin",
	"muniment.v1.ExportService.Export":              "reader approver admin",
	"muniment.v1.BundleService.CreateBundle":        "reader approver admin",
	"muniment.v1.GateService.Decide":                "appender reader approver admin",
	"muniment.v1.GateService.GetControlSet":         "appender reader approver admin",
	"muniment.v1.GateService.Replay":                "reader approver admin",
	"muniment.v1.GateService.ListAffected":          "reader approver admin",
	"muniment.v1.GateService.ListInventory":         "reader approver admin",
	"muniment.v1.GateService.ListCoverage":          "reader approver admin",
	"muniment.v1.GateService.SubmitDecisions":       "appender reader approver admin",
	"muniment.v1.PortalService.GetOverview":         "reader approver admin",
	"muniment.v1.PortalService.Search":              "reader approver admin",
	"muniment.v1.PortalService.GetArtifact":         "reader approver admin",
	"muniment.v1.PortalService.ListFindings":        "reader approver admin",
	"muniment.v1.PortalService.GetFinding":          "reader approver admin",
	"muniment.v1.PortalService.ListExceptions":      "reader approver admin",
	"muniment.v1.PortalService.GetException":        "reader approver admin",
	"muniment.v1.PortalService.PreviewException":    "reader approver admin",
	"muniment.v1.PortalService.ListIncidents":       "reader approver admin",
	"muniment.v1.PortalService.GetIncident":         "reader approver admin",
	"muniment.v1.PortalService.GetPrivacyBudget":    "reader approver admin",
	"muniment.v1.PortalService.GetLogHealth":        "reader approver admin",
	"muniment.v1.IdentityService.ExchangeToken":     "anybody",
	"muniment.v1.IdentityService.WhoAmI":            "appender reader approver auditor admin",
	"muniment.v1.AdminService.GetPolicy":            "reader approver admin",
	"muniment.v1.AdminService.SetPolicy":            "admin",
	"muniment.v1.AdminService.IssueToken":           "admin",
	"muniment.v1.AdminService.RevokeToken":          "admin",
	"muniment.v1.AdminService.ListTokens":           "admin",
	"muniment.v1.AdminService.Erase":                "admin",
	"muniment.v1.AdminService.SetRetention":         "admin",
	"muniment.v1.AdminService.ApplyRetention":       "admin",
	"muniment.v1.AdminService.SetLegalHold":         "admin",
	"muniment.v1.AdminService.ListLegalHolds":       "admin",
}

// For each RPC, role and tenant: a caller without the role is refused, and
// nothing changes; a caller with it is not refused.
func TestEveryRPCByRoleAndTenant(t *testing.T) {
	soak.WithoutRace(t)
	ts := newServer(t)
	ts.append("acme", "acme's")
	ts.append("globex", "globex's")
	unchanged := ts.unchanged()
	denied := func(code string) bool { return code == "permission_denied" || code == "unauthenticated" }
	for _, m := range methods() {
		allowed, ok := may[m.FullName()]
		if !ok {
			t.Errorf("%s: nothing says who may call it", m.FullName())
			continue
		}
		if allowed == "anybody" {
			continue
		}
		for _, token := range []string{"", "mnt_acme_guess", acmeToken + "x", acmeToken + " " + globexToken} {
			if code, message := ts.call(m, token, requestBody(m, "acme")); code != "unauthenticated" {
				t.Errorf("%s with the token %q: got %q, %s", m.FullName(), token, code, message)
			}
		}
		for _, tenant := range []string{"acme", "globex"} {
			for _, role := range roleNames {
				isAllowed := slices.Contains(strings.Fields(allowed), role)
				for _, target := range []string{"acme", "globex", "initech"} {
					if isAllowed && (tenant == target || slices.Contains(public, m.Name())) {
						continue
					}
					code, message := ts.call(m, roleToken(tenant, role), requestBody(m, target))
					if code == "unimplemented" && isAllowed && m.IsStreamingClient() {
						continue // it has not been read
					}
					if code != "permission_denied" {
						t.Errorf("%s of %s by a %s of %s: got %q, %s", m.FullName(), target, role, tenant, code, message)
					} else if want := fmt.Sprintf("tenant: this token is not for tenant %q", target); isAllowed && message != want {
						t.Errorf("%s of %s by a %s of %s: the message is %q, not %q, so that it tells whether the tenant exists", m.FullName(), target, role, tenant, message, want)
					}
				}
			}
		}
		if m.Input().Fields().ByName("tenant") != nil && m.Input().Fields().ByName("index") != nil {
			body := requestBody(m, "acme")
			code, message := ts.call(m, acmeToken, body[:len(body)-1]+`,"index":"1"}`)
			if code != "not_found" && code != "unimplemented" || strings.Contains(message, "globex") {
				t.Errorf("%s of another tenant's entry: got %q, %s, want not_found", m.FullName(), code, message)
			}
		}
	}
	unchanged()
	for _, m := range methods() {
		for _, role := range strings.Fields(may[m.FullName()]) {
			token := ""
			if role != "anybody" {
				token = roleToken("acme", role)
			}
			code, message := ts.call(m, token, requestBody(m, "acme"))
			ofKind := role == "approver" && strings.Contains(message, "requires role appender or admin; you have role approver")
			if denied(code) && role != "anybody" && !ofKind {
				t.Errorf("%s by a %s: got %q, %s", m.FullName(), role, code, message)
			}
		}
	}
	for _, header := range []string{"", "Bearer", "Bearer ", "Basic " + acmeToken, acmeToken, "Bearer " + acmeToken + " " + globexToken} {
		a := ts.do(ts.h1, "POST", "/muniment.v1.LedgerService/GetCheckpoint", "", map[string]string{"Content-Type": "application/json", "Authorization": header}, strings.NewReader("{}"))
		if a.status != 401 || a.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("Authorization %q: status %d, WWW-Authenticate %q", header, a.status, a.header.Get("WWW-Authenticate"))
		}
	}
}

// Each RPC has its tenant in a field where the server looks for it.
func TestEveryRPCNamesItsTenant(t *testing.T) {
	for _, m := range methods() {
		in := m.Input()
		if f := in.Fields().ByName("header"); m.IsStreamingClient() && f != nil {
			in = f.Message()
		}
		names := in.Fields().ByName("tenant") != nil
		if isPublic := slices.Contains(public, m.Name()); isPublic == names {
			t.Errorf("%s: it has a tenant field: %t, it is on the list of RPCs without: %t", m.FullName(), names, isPublic)
		}
	}
}

// appenders lists who may append entries of each kind, besides admin and
// independently of the server's own table. A + marks an appender whose grant
// names the kind. A new kind needs a line in both.
var appenders = map[string]string{
	"attestation":         "appender appender+",
	"backfill-checkpoint": "appender appender+",
	"backfill-step":       "appender appender+",
	"config":              "the server",
	"control":             "approver",
	"control-set":         "approver",
	"erasure":             "the server",
	"exception-decision":  "approver",
	"exception-request":   "appender appender+ approver",
	"export-manifest":     "appender appender+",
	"finding":             "approver appender+",
	"gate-decision":       "the server",
	"inventory":           "approver appender+",
	"key-event":           "approver",
	"metric-snapshot":     "appender appender+",
	"triage-action":       "appender appender+ approver",
	"verification-report": "approver appender+",
	"vetting":             "approver appender+",
}

// Which kinds a role may append; single, in a batch, and as a stream: every
// role, kind, and grant that names the kind, another kind or none.
func TestKindsByRole(t *testing.T) {
	type attempt struct{ who, kind, refused string }
	var attempts []attempt
	var named []func(*ledger.Config, *api.Config)
	if len(appenders) != len(ingest.Kinds()) {
		t.Errorf("%d kinds, and who may append %d of them", len(ingest.Kinds()), len(appenders))
	}
	for kind, who := range appenders {
		token := "mnt_acme_named-" + kind
		named = append(named, withToken(token, auth.Token{ID: "named-" + kind, Role: munimentv1.Role_ROLE_APPENDER, Kinds: []string{kind}}))
		other := "mnt_acme_named-attestation"
		if kind == "attestation" {
			other = "mnt_acme_named-finding"
		}
		for name, token := range map[string]string{
			"appender": roleToken("acme", "appender"), "approver": roleToken("acme", "approver"), "admin": roleToken("acme", "admin"), "appender+": token, "appender of another": other,
		} {
			role, _, _ := strings.Cut(strings.TrimSuffix(name, "+"), " ")
			refused := ""
			switch {
			case who == "the server":
				refused = "only the server records entries of kind " + kind
			case name == "admin" || slices.Contains(strings.Fields(who), name):
			case who == "approver appender+":
				refused = fmt.Sprintf("kind %s requires role approver or admin, or an appender whose grant names the kind; you have role %s", kind, role)
			case name == "appender of another" && who != "approver":
				refused = "these credentials may append entries of kind"
			default:
				refused = fmt.Sprintf("kind %s requires role %s or admin; you have role %s", kind, strings.Fields(who)[0], role)
			}
			attempts = append(attempts, attempt{token, kind, refused})
		}
	}
	ts := newServer(t, named...)
	for _, c := range attempts {
		what := fmt.Sprintf("%s with %s", c.kind, c.who)
		sub := &munimentv1.Submission{Kind: c.kind, MediaType: "text/plain", Payload: []byte("text")}
		ctx, client := context.Background(), ts.client(c.who)
		_, err := client.Append(ctx, connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme", Submission: sub}))
		b, berr := client.AppendBatch(ctx, connect.NewRequest(&munimentv1.AppendBatchRequest{Tenant: "acme", Submissions: []*munimentv1.Submission{sub}}))
		if berr != nil {
			t.Errorf("%s, in a batch: %v", what, berr)
			continue
		}
		stream := client.AppendStream(ctx)
		_ = stream.Send(&munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Header{Header: &munimentv1.AppendStreamHeader{Tenant: "acme", Kind: c.kind, MediaType: "text/plain"}}})
		_ = stream.Send(&munimentv1.AppendStreamRequest{Part: &munimentv1.AppendStreamRequest_Chunk{Chunk: []byte("text")}})
		_, serr := stream.CloseAndReceive()
		batchError := b.Msg.Results[0].GetError()
		if c.refused == "" {
			if connect.CodeOf(err) == connect.CodePermissionDenied || connect.CodeOf(serr) == connect.CodePermissionDenied || batchError.GetCode() == "permission_denied" {
				t.Errorf("%s: %v; %v; %v", what, err, serr, batchError)
			}
			continue
		}
		wantCode(t, what, err, connect.CodePermissionDenied, "submission.kind")
		if err == nil || !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s: %v, want %s", what, err, c.refused)
		}
		if batchError.GetCode() != "permission_denied" || batchError.GetField() != "kind" || !strings.Contains(batchError.GetMessage(), c.refused) {
			t.Errorf("%s, in a batch: %v", what, batchError)
		}
		if code := connect.CodeOf(serr); code != connect.CodePermissionDenied && code != connect.CodeUnimplemented {
			t.Errorf("%s, as a stream: %v", what, serr)
		}
	}
}

// Tokens are refused after their expiry, and if they are wrong.
func TestTokensExpire(t *testing.T) {
	now, token := longAgo, "mnt_acme_short"
	ts := newServer(t, withToken(token, auth.Token{ID: "short", Role: munimentv1.Role_ROLE_READER, Expires: longAgo.Add(time.Minute)}),
		func(_ *ledger.Config, c *api.Config) { c.Now = func() time.Time { return now } })
	if a := ts.post("GetCheckpoint", token, "{}"); a.status != 200 {
		t.Fatalf("before it expires: status %d, %s", a.status, a.body)
	}
	now = longAgo.Add(time.Minute)
	a := ts.post("GetCheckpoint", token, "{}")
	code, message, _ := a.connectError(t)
	if code != "unauthenticated" || message != "authorization: the token expired at 2001-02-03T04:06:06Z; get a new one" {
		t.Errorf("%s: %s", code, message)
	}
}

// Lists, streams and heads contain only the tenant's own entries, whatever the
// filter.
func TestListsKeepTenantsApart(t *testing.T) {
	ts := newServer(t)
	own := map[string][]uint64{}
	for i := range 20 {
		tenant := []string{"acme", "globex"}[i*i/3%2]
		own[tenant] = append(own[tenant], ts.append(tenant, fmt.Sprint("document ", i)).Index)
	}
	for tenant, token := range map[string]string{"acme": acmeToken, "globex": globexToken} {
		c := ts.client(token, connect.WithGRPC())
		for _, f := range []*munimentv1.Filter{nil, {Kind: "attestation"}} {
			var listed []uint64
			req := &munimentv1.ListEntriesRequest{Tenant: tenant, Filter: f, PageSize: 3, Order: munimentv1.Order_ORDER_OLDEST_FIRST}
			for {
				res, err := c.ListEntries(context.Background(), connect.NewRequest(req))
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range res.Msg.Entries {
					listed = append(listed, e.Index)
					if !strings.Contains(string(e.Header), `"tenant":"`+tenant+`"`) || e.Submitter != "token:"+tenant {
						t.Errorf("%s is shown the header %s", tenant, e.Header)
					}
				}
				if req.PageToken = res.Msg.NextPageToken; req.PageToken == "" {
					break
				}
			}
			if !slices.Equal(listed, own[tenant]) {
				t.Errorf("%s lists %v, its own are %v", tenant, listed, own[tenant])
			}
			if got := watched(t, c, tenant, f, 0); !slices.Equal(got, own[tenant]) {
				t.Errorf("%s watches %v, its own are %v", tenant, got, own[tenant])
			}
		}
		head, err := c.GetStreamHead(context.Background(), connect.NewRequest(&munimentv1.GetStreamHeadRequest{Tenant: tenant}))
		if err != nil || head.Msg.Entries != uint64(len(own[tenant])) || head.Msg.GetLastIndex() != own[tenant][len(own[tenant])-1] {
			t.Errorf("head of %s: %v, %v", tenant, head, err)
		}
	}
}
