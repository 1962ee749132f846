package api_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// public lists the RPCs that concern no tenant: they show hashes of the public log only. Any other RPC must name its tenant in a field of that
// name, which is how these tests, and authorize, find it.
var public = []protoreflect.Name{"GetInclusionProof", "GetConsistencyProof", "GetCheckpoint"}

// rest is what a request of some RPCs needs beside a tenant.
var rest = map[protoreflect.Name]string{
	"Append":      `,"submission":{"kind":"attestation","mediaType":"text/plain","payload":"c3Rvd2F3YXk="}`,
	"AppendBatch": `,"submissions":[{"kind":"attestation","mediaType":"text/plain","payload":"c3Rvd2F3YXk="}]`,
}

// call makes a call of any kind by its descriptor, with JSON, and returns the code and message of its error; "" is success. A stream is left
// after its first message.
func (ts *testServer) call(m protoreflect.MethodDescriptor, token, body string) (code, message string) {
	ts.t.Helper()
	if !m.IsStreamingServer() {
		a := ts.post(string(m.Name()), token, body)
		if a.status == 200 {
			return "", a.body
		}
		code, message, _ = a.connectError(ts.t)
		return code, message
	}
	req, err := http.NewRequest("POST", ts.url+"/muniment.v1.LedgerService/"+string(m.Name()), bytes.NewReader(frame(0, body)))
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

// endOfStream is the flag of the last frame of a stream of the Connect protocol.
const endOfStream = 2

func frame(flags byte, message string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(message))), message...)
}

func methods() (all []protoreflect.MethodDescriptor) {
	ms := munimentv1.File_muniment_v1_ledger_proto.Services().ByName("LedgerService").Methods()
	for i := range ms.Len() {
		if m := ms.Get(i); m.Name() != "AppendStream" && m.Name() != "GetPayload" { // declared, and not built yet
			all = append(all, m)
		}
	}
	return all
}

// Every RPC that names a tenant refuses the token of another one, and every RPC refuses callers without a token.
func TestEveryRPCKeepsTenantsApart(t *testing.T) {
	ts := newServer(t)
	ts.append("acme", "acme's")
	ts.append("globex", "globex's")
	defer ts.unchanged()()
	for _, m := range methods() {
		field := m.Input().Fields().ByName("tenant")
		if isPublic := slices.Contains(public, m.Name()); isPublic == (field != nil) {
			t.Errorf("%s: it has a tenant field: %t, it is on the list of RPCs without: %t", m.Name(), field != nil, isPublic)
			continue
		}
		body := func(tenant string) string {
			if field == nil {
				return "{}"
			}
			return fmt.Sprintf(`{"tenant":%q%s}`, tenant, rest[m.Name()])
		}
		for what, c := range map[string]struct{ token, tenant, code string }{
			"no token":                        {"", "acme", "unauthenticated"},
			"a wrong token":                   {"mnt_acme_guess", "acme", "unauthenticated"},
			"a token with something after it": {acmeToken + "x", "acme", "unauthenticated"},
			"the token of another tenant":     {globexToken, "acme", "permission_denied"},
			"a tenant that doesn't exist":     {acmeToken, "initech", "permission_denied"},
		} {
			if field == nil && c.token != "" && c.code == "permission_denied" {
				continue
			}
			code, message := ts.call(m, c.token, body(c.tenant))
			if code != c.code {
				t.Errorf("%s with %s: got %q, %s, want %s", m.Name(), what, code, message, c.code)
			}
			if c.code == "permission_denied" {
				if a, b := message, fmt.Sprintf("tenant: this token is not for tenant %q", c.tenant); a != b {
					t.Errorf("%s with %s: the message is %q, not %q, so that it tells whether the tenant exists", m.Name(), what, a, b)
				}
			}
		}
		if field != nil && m.Input().Fields().ByName("index") != nil {
			code, message := ts.call(m, acmeToken, `{"tenant":"acme","index":"1"}`)
			if code != "not_found" || strings.Contains(message, "globex") {
				t.Errorf("%s of another tenant's entry: got %q, %s, want not_found", m.Name(), code, message)
			}
			if code, message := ts.call(m, acmeToken, `{"tenant":"acme","index":"0"}`); code != "" {
				t.Errorf("%s of the own entry: %s, %s", m.Name(), code, message)
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

// Lists, streams and heads show the own entries only, whatever the filter.
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
