package muniment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// A ledgerOfTokens accepts the last token that it issued, and each identity
// token once.
type ledgerOfTokens struct {
	munimentv1connect.UnimplementedIdentityServiceHandler
	munimentv1connect.UnimplementedLedgerServiceHandler
	life  time.Duration
	used  map[string]bool
	given int
}

func (l *ledgerOfTokens) ExchangeToken(_ context.Context, req *connect.Request[munimentv1.ExchangeTokenRequest]) (*connect.Response[munimentv1.ExchangeTokenResponse], error) {
	if req.Header().Get("Authorization") != "" || req.Msg.Tenant != "acme" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("an exchange has no other credentials, and names the tenant"))
	}
	if l.used[req.Msg.IdentityToken] {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("used before"))
	}
	l.used[req.Msg.IdentityToken] = true
	l.given++
	return connect.NewResponse(&munimentv1.ExchangeTokenResponse{Token: fmt.Sprint("token-", l.given), Expires: timestamppb.New(time.Now().Add(l.life))}), nil
}

func (l *ledgerOfTokens) authorize(h http.Header) error {
	if h.Get("Authorization") != fmt.Sprint("Bearer token-", l.given) {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("not the last token"))
	}
	return nil
}

func (l *ledgerOfTokens) GetCheckpoint(_ context.Context, req *connect.Request[munimentv1.GetCheckpointRequest]) (*connect.Response[munimentv1.GetCheckpointResponse], error) {
	return connect.NewResponse(&munimentv1.GetCheckpointResponse{}), l.authorize(req.Header())
}

func (l *ledgerOfTokens) WatchEntries(_ context.Context, req *connect.Request[munimentv1.WatchEntriesRequest], s *connect.ServerStream[munimentv1.WatchEntriesResponse]) error {
	if err := l.authorize(req.Header()); err != nil {
		return err
	}
	return s.Send(&munimentv1.WatchEntriesResponse{})
}

func TestIdentityTokensAreExchanged(t *testing.T) {
	l := &ledgerOfTokens{life: time.Hour, used: map[string]bool{}}
	mux := http.NewServeMux()
	mux.Handle(munimentv1connect.NewIdentityServiceHandler(l))
	mux.Handle(munimentv1connect.NewLedgerServiceHandler(l))
	hs := httptest.NewServer(mux)
	t.Cleanup(hs.Close)
	asked := 0
	fresh := func(context.Context) (string, error) {
		asked++
		return fmt.Sprint("identity-", asked), nil
	}
	client := func(source func(context.Context) (string, error)) *Client {
		c, err := New(Options{Server: hs.URL, Tenant: "acme", Identity: source})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ctx := context.Background()
	get := func(c *Client) error {
		_, err := c.GetCheckpoint(ctx, connect.NewRequest(&munimentv1.GetCheckpointRequest{}))
		return err
	}
	watch := func(c *Client) error {
		s, err := c.WatchEntries(ctx, connect.NewRequest(&munimentv1.WatchEntriesRequest{Tenant: "acme"}))
		if err != nil {
			return err
		}
		defer s.Close()
		for s.Receive() {
		}
		return s.Err()
	}
	want := func(what string, err error, asks int) {
		t.Helper()
		if err != nil || asked != asks {
			t.Errorf("%s: %v, after %d identity tokens, not %d", what, err, asked, asks)
		}
	}
	c := client(fresh)
	want("the first call", get(c), 1)
	want("the second call", get(c), 1)
	want("a stream", watch(c), 1)
	l.given++ // the server takes the token no longer
	want("a call whose token has ended", get(c), 2)
	l.life = time.Second // too near its end to be sent
	l.given++
	want("another", get(c), 3)
	want("a token that is about to end", get(c), 4)
	want("the same, of a stream", watch(c), 5)

	// A kubelet replaces the file with an identity token at a time of its own.
	identity := "projected-1"
	projected := client(func(context.Context) (string, error) { return identity, nil })
	l.life = early / 2
	for range 3 {
		want("a call before the identity token is replaced", get(projected), asked)
	}
	given := l.given
	identity, projected.auth.renew = "projected-2", time.Time{}
	if err := get(projected); err != nil || l.given != given+1 {
		t.Errorf("after it is replaced: %v, %d exchanges, want %d", err, l.given, given+1)
	}

	stale := client(func(context.Context) (string, error) { return "identity-1", nil })
	for what, err := range map[string]error{"a call": get(stale), "a stream": watch(stale)} {
		if err == nil || !strings.Contains(err.Error(), "used before") || connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("%s with an identity token that was used before: %v", what, err)
		}
	}
	none := client(func(context.Context) (string, error) { return "", errors.New("this job has none") })
	for what, err := range map[string]error{"a call": get(none), "a stream": watch(none)} {
		if err == nil || !strings.Contains(err.Error(), "this job has none") {
			t.Errorf("%s without an identity token: %v", what, err)
		}
	}
}

// The request token of a job is sent only to an https URL or to this machine.
func TestJobIdentity(t *testing.T) {
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer job-secret":
			http.Error(w, "no", http.StatusForbidden)
		case r.URL.Query().Get("audience") == "empty":
			fmt.Fprint(w, `{}`)
		case r.URL.Query().Get("audience") == "huge":
			fmt.Fprint(w, `{"value":"`+strings.Repeat("x", 1<<20)+`"}`)
		default:
			fmt.Fprintf(w, `{"value":"token for %s, %s"}`, r.URL.Query().Get("audience"), r.URL.Query().Get("run"))
		}
	}))
	t.Cleanup(hs.Close)
	for _, c := range []struct{ id, url, secret, audience, token, err string }{
		{url: hs.URL + "?run=7", secret: "job-secret", audience: "https://ledger.test", token: "token for https://ledger.test, 7"},
		{id: "given\n", url: hs.URL, secret: "job-secret", token: "given"},
		{url: hs.URL, secret: "wrong", err: "403 Forbidden"},
		{url: hs.URL, secret: "job-secret", audience: "empty", err: "the response contains no token"},
		{url: hs.URL, secret: "job-secret", audience: "huge", err: "the response contains no token"},
		{url: "http://192.0.2.1/", secret: "job-secret", err: "not an https URL"},
		{url: "", secret: "job-secret", err: `the permission "id-token: write"`},
		{url: hs.URL, err: `the permission "id-token: write"`},
	} {
		t.Setenv(IDTokenVariable, c.id)
		t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", c.url)
		t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", c.secret)
		token, err := JobIdentity(c.audience, nil)(context.Background())
		if token != c.token || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %q, %v", c, token, err)
		}
		if err != nil && strings.Contains(err.Error(), "job-secret") {
			t.Errorf("the secret is in the error: %v", err)
		}
	}
}
