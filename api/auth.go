package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	"muniment.dev/muniment/ledger"
)

// A Tenant is one whose entries the log takes.
type Tenant struct {
	Name   string
	Stream *ledger.Stream
	Tokens [][sha256.Size]byte // SHA-256 of each token
}

// An identity is who is calling.
type identity struct {
	tenant *Tenant
	name   string // recorded in headers as the submitter
}

type identityKey struct{}

// authenticate lets requests with a known token pass, and puts the identity into their context.
func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := s.identify(r.Header.Get("Authorization"))
		if err != nil {
			s.log.Info("refused", "path", r.URL.Path, "remote", r.RemoteAddr, "reason", err.Error())
			s.refuse(w, r, connect.NewError(connect.CodeUnauthenticated, err))
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, id)))
	})
}

var (
	errNoToken    = errors.New("authorization: no token; send the header \"Authorization: Bearer TOKEN\"")
	errWrongToken = errors.New("authorization: the token is not valid here")
)

// identify finds the tenant of a token. It compares with every token in constant time, so that the time taken says nothing about any.
func (s *Server) identify(header string) (*identity, error) {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, errNoToken
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	var found *Tenant
	for i := range s.cfg.Tenants {
		for _, t := range s.cfg.Tenants[i].Tokens {
			if subtle.ConstantTimeCompare(t[:], sum[:]) == 1 {
				found = &s.cfg.Tenants[i]
			}
		}
	}
	if found == nil {
		return nil, errWrongToken
	}
	return &identity{tenant: found, name: "token:" + found.Name}, nil
}

// authorize returns the caller, if it may act for the tenant. Every RPC that names a tenant calls it first.
func authorize(ctx context.Context, tenant string) (*identity, error) {
	id, ok := ctx.Value(identityKey{}).(*identity)
	if !ok {
		return nil, connect.NewError(connect.CodeUnauthenticated, errNoToken)
	}
	if id.tenant.Name != tenant {
		return nil, fieldError(connect.CodePermissionDenied, "tenant", "this token is not for tenant %q", tenant)
	}
	return id, nil
}
