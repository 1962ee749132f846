package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/store/memstore"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

func (ts *testServer) admin(token string) munimentv1connect.AdminServiceClient {
	return munimentv1connect.NewAdminServiceClient(ts.h2, ts.url, connect.WithInterceptors(bearer(token)))
}

func (ts *testServer) identity(token string) munimentv1connect.IdentityServiceClient {
	return munimentv1connect.NewIdentityServiceClient(ts.h2, ts.url, connect.WithInterceptors(bearer(token)))
}

// on returns an edit that puts the server on a store that another one has left.
func on(st *memstore.Store) func(*ledger.Config, *api.Config) {
	return func(c *ledger.Config, _ *api.Config) { c.Store = st }
}

func (ts *testServer) issue(g *munimentv1.Grant) (string, error) {
	res, err := ts.admin(acmeToken).IssueToken(context.Background(), connect.NewRequest(&munimentv1.IssueTokenRequest{Tenant: "acme", Grant: g, Reason: "for the test"}))
	if err != nil {
		return "", err
	}
	return res.Msg.Token, nil
}

func (ts *testServer) revoke(id string) error {
	_, err := ts.admin(acmeToken).RevokeToken(context.Background(), connect.NewRequest(&munimentv1.RevokeTokenRequest{Tenant: "acme", Id: id, Reason: "lost"}))
	return err
}

func (ts *testServer) whoami(token string) (*munimentv1.WhoAmIResponse, error) {
	res, err := ts.identity(token).WhoAmI(context.Background(), connect.NewRequest(&munimentv1.WhoAmIRequest{}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

// A token is issued, works, is listed, and ends when it is revoked; and all of
// that outlives the server, because it is in the log.
func TestTokensAtRunTime(t *testing.T) {
	ts := newServer(t)
	ctx := context.Background()
	expires := timestamppb.New(time.Now().Add(time.Hour).Truncate(time.Second))
	ci, err := ts.issue(&munimentv1.Grant{Id: "ci", Role: munimentv1.Role_ROLE_APPENDER, Kinds: []string{"attestation"}, Expires: expires})
	if err != nil {
		t.Fatal(err)
	}
	lost, err := ts.issue(&munimentv1.Grant{Id: "lost", Role: munimentv1.Role_ROLE_READER})
	if err != nil {
		t.Fatal(err)
	}
	if err := ts.revoke("lost"); err != nil {
		t.Fatal(err)
	}
	if err := ts.revoke("reader"); err != nil { // one of the configuration
		t.Fatal(err)
	}
	check := func(ts *testServer) {
		t.Helper()
		who, err := ts.whoami(ci)
		if err != nil || who.Tenant != "acme" || who.Identity != "token:ci" || who.Role != munimentv1.Role_ROLE_APPENDER || !slices.Equal(who.Kinds, []string{"attestation"}) || !who.Expires.AsTime().Equal(expires.AsTime()) {
			t.Errorf("who: %v, %v", who, err)
		}
		if _, err := ts.client(ci).Append(ctx, request("acme", "from ci")); err != nil {
			t.Error(err)
		}
		for name, token := range map[string]string{"issued": lost, "of the configuration": roleToken("acme", "reader")} {
			if _, err := ts.whoami(token); connect.CodeOf(err) != connect.CodeUnauthenticated || !strings.Contains(err.Error(), "was revoked") {
				t.Errorf("a revoked token, %s: %v", name, err)
			}
		}
		if _, err := ts.whoami(roleToken("globex", "reader")); err != nil {
			t.Errorf("another tenant's token of the same ID: %v", err)
		}
		list, err := ts.admin(acmeToken).ListTokens(ctx, connect.NewRequest(&munimentv1.ListTokensRequest{Tenant: "acme"}))
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, g := range list.Msg.Grants {
			ids = append(ids, g.Id)
		}
		if fmt.Sprint(ids) != "[acme admin appender approver auditor ci]" {
			t.Errorf("listed: %v", ids)
		}
		for _, id := range []string{"ci", "lost", "acme"} {
			if _, err := ts.issue(&munimentv1.Grant{Id: id, Role: munimentv1.Role_ROLE_READER}); connect.CodeOf(err) != connect.CodeAlreadyExists {
				t.Errorf("the ID %s again: %v", id, err)
			}
		}
		if err := ts.revoke("lost"); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("revoked twice: %v", err)
		}
	}
	check(ts)
	ts.ledger.Close()
	check(newServer(t, on(ts.store)))
}

// A grant is an entry that records the role, the grantor, the reason and the
// hash of the token, but not the token.
func TestGrantsAreEntries(t *testing.T) {
	ts := newServer(t)
	token, err := ts.issue(&munimentv1.Grant{Id: "ci", Role: munimentv1.Role_ROLE_APPENDER})
	if err != nil {
		t.Fatal(err)
	}
	page, err := ts.client(acmeToken).ListEntries(context.Background(), connect.NewRequest(&munimentv1.ListEntriesRequest{Tenant: "acme",
		Filter: &munimentv1.Filter{Kind: "config", Attribute: "name=grant/ci"}}))
	if err != nil || len(page.Msg.Entries) != 1 {
		t.Fatalf("%v, %v", page, err)
	}
	e := page.Msg.Entries[0]
	got, err := ts.client(acmeToken).GetEntry(context.Background(), connect.NewRequest(&munimentv1.GetEntryRequest{Tenant: "acme", Index: e.Index, IncludePayload: true}))
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256([]byte(token))
	payload := string(got.Msg.Payload)
	if e.Submitter != "token:acme" || e.Attributes["reason"] != "for the test" || !strings.Contains(payload, `\"role\":\"appender\"`) || !strings.Contains(payload, hex.EncodeToString(hash[:])) {
		t.Errorf("the entry: %v\n%s", e, payload)
	}
	if strings.Contains(payload, token[len("mnt_acme_"):]) || strings.Contains(string(e.Header), token[len("mnt_acme_"):]) {
		t.Errorf("the token is in the log: %s", payload)
	}
}

func TestBadGrants(t *testing.T) {
	ts := newServer(t)
	defer ts.unchanged()()
	appender := munimentv1.Role_ROLE_APPENDER
	for field, g := range map[string]*munimentv1.Grant{
		"grant":         nil,
		"grant.id":      {Id: "CI!", Role: appender},
		"grant.role":    {Id: "ci"},
		"grant.kinds":   {Id: "ci", Role: munimentv1.Role_ROLE_READER, Kinds: []string{"attestation"}},
		"grant.kinds ":  {Id: "ci", Role: appender, Kinds: []string{"control"}},
		"grant.kinds  ": {Id: "ci", Role: appender, Kinds: []string{"config"}},
		"grant.kinds .": {Id: "ci", Role: appender, Kinds: []string{"no-such-kind"}},
		"grant.expires": {Id: "ci", Role: appender, Expires: timestamppb.New(longAgo)},
	} {
		_, err := ts.issue(g)
		wantCode(t, fmt.Sprint(g), err, connect.CodeInvalidArgument, strings.TrimRight(field, " ."))
	}
}

// Of many concurrent calls that issue the same ID, exactly one succeeds.
func TestIssueConcurrently(t *testing.T) {
	ts := newServer(t)
	var mu sync.Mutex
	var tokens []string
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			token, err := ts.issue(&munimentv1.Grant{Id: "ci", Role: munimentv1.Role_ROLE_READER})
			if connect.CodeOf(err) == connect.CodeAlreadyExists && err != nil {
				return
			} else if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			tokens = append(tokens, token)
		})
	}
	wg.Wait()
	if len(tokens) != 1 {
		t.Fatalf("%d got it", len(tokens))
	}
	if _, err := ts.whoami(tokens[0]); err != nil {
		t.Error(err)
	}
}

// A stream ends when its token does.
func TestRevokingEndsStreams(t *testing.T) {
	ts := newServer(t)
	token, err := ts.issue(&munimentv1.Grant{Id: "watcher", Role: munimentv1.Role_ROLE_READER})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := ts.client(token).WatchEntries(context.Background(), connect.NewRequest(&munimentv1.WatchEntriesRequest{Tenant: "acme", FromIndex: ts.ledger.Published().Size}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || stream.Msg().Entry != nil {
		t.Fatalf("it has not caught up: %v, %v", stream.Msg(), stream.Err())
	}
	if err := ts.revoke("watcher"); err != nil {
		t.Fatal(err)
	}
	ts.append("acme", "what the watcher should not see")
	for stream.Receive() {
		if e := stream.Msg().Entry; e != nil && e.Kind != "config" {
			// the revocation itself may come before it is in force
			t.Errorf("it was sent entry %d", e.Index)
		}
	}
	if err := stream.Err(); connect.CodeOf(err) != connect.CodeUnauthenticated || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("it ended with %v", err)
	}
}

// A caller may generate the token itself. Its hash is no secret, so it must not
// give access to another tenant's token.
func TestTokenDrawnByCaller(t *testing.T) {
	ts := newServer(t)
	issue := func(admin, tenant, id, token string) (*munimentv1.IssueTokenResponse, error) {
		hash := sha256.Sum256([]byte(token))
		res, err := ts.admin(admin).IssueToken(context.Background(), connect.NewRequest(&munimentv1.IssueTokenRequest{
			Tenant: tenant, Grant: &munimentv1.Grant{Id: id, Role: munimentv1.Role_ROLE_READER}, TokenSha256: hash[:]}))
		if err != nil {
			return nil, err
		}
		return res.Msg, nil
	}
	const token = "mnt_acme_drawn-by-the-caller"
	res, err := issue(acmeToken, "acme", "drawn", token)
	if err != nil || res.Token != "" {
		t.Fatal(res, err)
	}
	if who, err := ts.whoami(token); err != nil || who.Identity != "token:drawn" {
		t.Error(who, err)
	}
	if _, err := issue(acmeToken, "acme", "again", token); connect.CodeOf(err) != connect.CodeAlreadyExists {
		t.Errorf("the same token under another ID: %v", err)
	}
	globexAdmin := roleToken("globex", "admin")
	if _, err := issue(globexAdmin, "globex", "stolen", token); connect.CodeOf(err) != connect.CodeAlreadyExists {
		t.Errorf("another tenant's token: %v", err)
	}
	const unused = "mnt_acme_of-a-tenant-that-was-removed"
	if _, err := issue(globexAdmin, "globex", "planted", unused); err != nil {
		t.Fatal(err)
	}
	if _, err := ts.whoami(unused); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("a token that names another tenant: %v", err)
	}
	_, err = ts.admin(acmeToken).IssueToken(context.Background(), connect.NewRequest(&munimentv1.IssueTokenRequest{
		Tenant: "acme", Grant: &munimentv1.Grant{Id: "short", Role: munimentv1.Role_ROLE_READER}, TokenSha256: []byte("short")}))
	if connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a hash of 5 bytes: %v", err)
	}
}
