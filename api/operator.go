package api

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
)

var errNotOperator = errors.New("authorization: this is for operators of the ledger; a tenant's credentials are not enough (muniment operator add)")

// operator returns the operator of the request's token, or nil. An expired
// token is an error.
func (s *Server) operator(r *http.Request) (*Operator, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return nil, nil
	}
	o := s.dir.Load().operators[sha256.Sum256([]byte(strings.TrimSpace(token)))]
	if o != nil && !o.Expires.IsZero() && !s.now().Before(o.Expires) {
		return nil, errExpired("operator's token", o.Expires)
	}
	return o, nil
}
