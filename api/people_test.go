package api_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api"
	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/api/oidc/oidctest"
	"muniment.dev/muniment/ledger"
	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
)

// A company is an identity provider whose people have roles in the tenant acme.
type company struct {
	*oidctest.Issuer
	t testing.TB
}

func newCompany(t *testing.T) *company { return &company{issuer(t), t} }

// employs returns an edit that gives the people of the company the role that
// their identity token states.
func (co *company) employs() func(*ledger.Config, *api.Config) {
	return func(_ *ledger.Config, c *api.Config) {
		if c.Now != nil {
			co.Now = c.Now
		}
		v, err := oidc.New([]oidc.Issuer{{URL: co.URL, Audiences: []string{ledgerAudience}}}, oidc.Options{Now: c.Now})
		if err != nil {
			co.t.Fatal(err)
		}
		c.Identities = v
		for _, role := range []munimentv1.Role{munimentv1.Role_ROLE_APPENDER, munimentv1.Role_ROLE_APPROVER, munimentv1.Role_ROLE_ADMIN} {
			name := auth.RoleName(role)
			c.Tenants[0].Rules = append(c.Tenants[0].Rules, auth.IdentityRule{Name: name, Rule: oidc.Rule{Issuer: co.URL, Claims: map[string]string{"role": name}}, Role: role})
		}
	}
}

// token returns a token of the ledger for a person in a role.
func (co *company) token(ts *testServer, subject, role string) string {
	co.t.Helper()
	res, err := ts.exchange("acme", co.Token(map[string]any{"aud": ledgerAudience, "sub": subject, "role": role}))
	if err != nil {
		co.t.Fatal(err)
	}
	return res.Token
}

// event appends an event of the tenant acme and returns its entry.
func (ts *testServer) event(token, kind, key, payload string) (*munimentv1.Appended, error) {
	res, err := ts.client(token).Append(context.Background(), connect.NewRequest(&munimentv1.AppendRequest{Tenant: "acme",
		Submission: &munimentv1.Submission{Kind: kind, IdempotencyKey: key, Payload: []byte(payload)}}))
	if err != nil {
		return nil, err
	}
	return res.Msg.Appended, nil
}

// exceptionRequest returns the document of a request for an artifact and the
// names that match a glob.
func exceptionRequest(id, digest, glob string, expires time.Time) string {
	return fmt.Sprintf(`{"id":%q,"control":"C","scope":{"subjects":[{"digest":{"sha256":%q}}],"globs":[%q]},"reason":"r","expires":%q}`, id, digest, glob, expires.UTC().Format(time.RFC3339))
}

func exceptionApproval(id string, request uint64) string {
	return fmt.Sprintf(`{"exception":%q,"request":"%d","decision":"approve"}`, id, request)
}
