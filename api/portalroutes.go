package api

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/api/portal"
	rpc "muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// openPortal makes the page for people, unless it is off.
func (s *Server) openPortal() (err error) {
	if s.cfg.Portal.Off {
		return nil
	}
	policy := ""
	if s.cfg.Policy != nil {
		policy = s.cfg.Policy.Text()
	}
	s.portal, err = portal.New(s.cfg.Portal, portal.Server{
		Auth: s.auth, Log: s.ledger.Origin(), Policy: policy, Replica: s.ledger.IsReplica(), Now: s.now, AsOf: s.ledger.AsOf, Exchange: s.exchange, Report: s.signedIn,
		RequestID: func(ctx context.Context) string {
			r, _ := ctx.Value(requestKey{}).(*request)
			if r == nil {
				return ""
			}
			return r.id
		},
	})
	if err == nil {
		s.cfg.Metrics.portal.Store(s.portal)
	}
	return err
}

// SetPortalURL sets the address at which browsers reach the server, unless the
// configuration has. People cannot sign in with a provider before.
func (s *Server) SetPortalURL(url string) error {
	if s.portal == nil {
		return nil
	}
	return s.portal.SetURL(url)
}

// browser identifies the holder of a browser's session.
func (s *Server) browser(r *http.Request) (*auth.Identity, error) {
	if s.portal == nil {
		return nil, nil
	}
	return s.portal.Identify(r)
}

// exchange exchanges a pasted identity token as the API does, at the same
// price.
func (s *Server) exchange(ctx context.Context, tenant, identityToken string) (*auth.Session, error) {
	t, err := s.auth.Exchange(ctx, rpc.IdentityServiceExchangeTokenProcedure, tenant, identityToken)
	for _, known := range []error{oidc.ErrRefused, oidc.ErrUnavailable, auth.ErrBusy, auth.ErrNoIssuers} {
		if errors.Is(err, known) {
			return nil, err
		}
	}
	if err != nil {
		return nil, s.public(err)
	}
	return t, nil
}

// mountPortal mounts the page for people, if there is one.
func (s *Server) mountPortal(rs *routes) {
	if s.portal == nil {
		return
	}
	for pattern, h := range s.portal.Routes() {
		rs.mount(pattern, s.admitCall, h)
	}
}

// root answers what no other route does. A browser that opens the server's
// address is sent to the portal.
func (s *Server) root(hint string) http.Handler {
	other := noPath(hint)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.portal != nil && r.URL.Path == "/" && portal.AcceptsPage(r) {
			w.Header().Set("Vary", "Accept")
			http.Redirect(w, r, portal.Path, http.StatusFound)
			return
		}
		other.ServeHTTP(w, r)
	})
}

// signedIn counts a sign-in or sign-out, and writes a line about it to the
// audit log. Anonymous callers can cause failures at will, so the number of
// lines about them is limited.
func (s *Server) signedIn(ctx context.Context, e *portal.Event) {
	if e.Outcome != portal.SignedOut {
		s.cfg.Metrics.signins.WithLabelValues(e.Method, string(e.Outcome)).Inc()
	}
	attrs := []slog.Attr{slog.String("method", e.Method), slog.String("outcome", string(e.Outcome))}
	if e.Provider != "" {
		attrs = append(attrs, text("provider", e.Provider))
	}
	if len(e.Identities) > 0 {
		roles := map[string]string{}
		for _, id := range e.Identities {
			roles[id.Tenant.Name] = auth.RoleName(id.Role)
		}
		var all []string
		for _, tenant := range slices.Sorted(maps.Keys(roles)) {
			all = append(all, tenant+":"+roles[tenant])
		}
		attrs = append(attrs, text("identity", e.Identities[0].Name), text("roles", strings.Join(all, " ")))
	}
	if e.Subject != "" {
		attrs = append(attrs, text("issuer", e.Issuer), text("subject", e.Subject))
	}
	if e.Err != nil {
		s.audit.bounded(ctx, s.now(), "signin", e.Err, attrs...)
		return
	}
	s.audit.log.LogAttrs(ctx, slog.LevelInfo, map[bool]string{true: "signout", false: "signin"}[e.Outcome == portal.SignedOut], append(about(ctx), attrs...)...)
}
