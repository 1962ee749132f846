package api

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"

	"connectrpc.com/connect"
)

var errNotOperator = errors.New("authorization: this is for operators of the ledger; a tenant's credentials are not enough (muniment operator add)")

// operator returns the operator whose token the request carries, or nil. An
// expired token is an error.
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

// operatorOnly admits the holders of an operator's token.
func (s *Server) operatorOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch o, err := s.operator(r); {
		case err != nil:
			s.chargeRefusal(r)
			s.refuse(w, r, connect.NewError(connect.CodeUnauthenticated, err))
		case o != nil:
			next.ServeHTTP(w, r)
		default:
			s.chargeRefusal(r)
			if _, err := s.identify(r); err != nil {
				s.refuse(w, r, connect.NewError(connect.CodeUnauthenticated, err))
				return
			}
			s.refuse(w, r, connect.NewError(connect.CodePermissionDenied, errNotOperator))
		}
	})
}

// authenticateAny admits operators and every caller with credentials of a
// tenant.
func (s *Server) authenticateAny(next http.Handler) http.Handler {
	tenants := s.authenticate(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o, _ := s.operator(r); o != nil {
			next.ServeHTTP(w, r)
			return
		}
		tenants.ServeHTTP(w, r)
	})
}
