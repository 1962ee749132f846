package auth

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
)

var errNotOperator = errors.New("authorization: this call requires an operator of the ledger, and a tenant's credentials do not suffice: create an operator's token with 'muniment operator add'")

// Operator returns the operator identified by the request's token, or nil. An
// expired token is an error.
func (a *Authenticator) Operator(r *http.Request) (*Operator, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, nil
	}
	o := a.dir.Load().operators[sha256.Sum256([]byte(strings.TrimSpace(token)))]
	if o != nil && !o.Expires.IsZero() && !a.cfg.Now().Before(o.Expires) {
		return nil, errExpired("operator's token", o.Expires)
	}
	return o, nil
}
