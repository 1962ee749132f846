package api_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/ledger"
	"muniment.dev/muniment/ledger/entry"
	"muniment.dev/muniment/ledger/receipt"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A recorder is a transport that keeps all error responses of the server.
type recorder struct {
	base http.RoundTripper
	mu   sync.Mutex
	b    strings.Builder
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := r.base.RoundTrip(req)
	if err != nil || res.StatusCode == 200 && res.Header.Get("Grpc-Status") == "" {
		return res, err
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	res.Body.Close()
	res.Body = io.NopCloser(strings.NewReader(string(body)))
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.b, "%d %v %v\n%s\n", res.StatusCode, res.Header, res.Trailer, body)
	return res, nil
}

// No token, salt or stream key appears in logs, metrics or errors, whether
// calls succeed or fail.
func TestSecretsStaySecret(t *testing.T) {
	audit, i := &logBuffer{}, issuer(t)
	ts := newServer(t, takes(t, i), func(_ *ledger.Config, c *api.Config) { c.Audit = slog.New(slog.NewJSONHandler(audit, nil)) })
	rec := &recorder{base: ts.h2.Transport}
	ts.h2 = &http.Client{Transport: rec}
	ctx := context.Background()
	const wrong = "mnt_acme_nearly-correct-horse"
	secrets := ts.secrets()
	secrets["the wrong token"] = wrong
	salts := func(data []byte) {
		r, err := receipt.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		for name, salt := range map[string]entry.Salt{"link": r.Link.Salt, "header": r.Header.Salt, "payload": r.Payload.Salt} {
			secrets["a "+name+" salt, hexadecimal"] = hex.EncodeToString(salt[:])
			secrets["a "+name+" salt, base64"] = base64.RawStdEncoding.EncodeToString(salt[:])[:42]
			secrets["a "+name+" salt, as Go prints bytes"] = strings.Trim(fmt.Sprint(salt), "[]")
		}
	}
	for i := range 3 {
		salts(ts.append("acme", fmt.Sprint("a payload that is secret ", i)).Receipt)
	}
	issued, err := ts.issue(&munimentv1.Grant{Id: "ci", Role: munimentv1.Role_ROLE_READER})
	if err != nil {
		t.Fatal(err)
	}
	secrets["an issued token"] = issued
	for name, token := range map[string]string{"good": i.Token(job()), "of no rule": i.Token(job("repository_id", "99")), "expired": i.Token(job("exp", 1))} {
		if res, err := ts.exchange("acme", token); err == nil {
			secrets["a token that was exchanged for"] = res.Token
		}
		_, _ = ts.exchange("acme", token)
		secrets["the identity token that is "+name] = token[strings.LastIndex(token, ".")+1:]
	}
	_ = ts.revoke("ci")
	_, _ = ts.whoami(issued)
	secrets["a payload"] = "a payload that is secret"
	for _, token := range []string{"", wrong, acmeToken, globexToken} {
		for _, opts := range [][]connect.ClientOption{nil, {connect.WithGRPC()}} {
			c := ts.client(token, opts...)
			for _, tenant := range []string{"acme", "globex", "initech", "?"} {
				// Other tests check whether these succeed.
				_, _ = c.Append(ctx, request(tenant, "a payload that is secret 4"))
				_ = batch(0)(ctx, c)
				_ = submit(document(""))(ctx, c)
			}
		}
		for _, m := range methods() {
			ts.call(m, token, `{"tenant":"acme","index":"7","pageToken":"`+token+`"}`)
		}
		for _, path := range []string{"/tlog/checkpoint", "/tlog/tile/0/9", "/metrics", "/nothing"} {
			ts.do(ts.h2, "GET", path, token, map[string]string{"X-Forwarded-For": "192.0.2.1"}, nil)
		}
	}
	ts.failCommits(io.ErrUnexpectedEOF)
	_, err = ts.client(acmeToken).Append(ctx, request("acme", "a payload that is secret 5"))
	wantCode(t, "an append whose commit fails", err, connect.CodeUnavailable, "")

	errors := rec.b.String()
	for where, text := range map[string]string{"the log": ts.logs.String(), "the audit log": audit.String(), "the metrics": ts.metrics(), "/readyz": ts.get("/readyz").body, "an error": errors} {
		if text == "" {
			t.Errorf("there is nothing in %s", where)
		}
		for name, secret := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s is in %s: …%s…", name, where, text[max(0, at-200):at+len(secret)])
			}
		}
	}
	for _, name := range []string{"acme", "globex"} {
		if strings.Contains(ts.metrics(), name) {
			t.Errorf("the tenant %s shows in the metrics", name)
		}
	}
}
