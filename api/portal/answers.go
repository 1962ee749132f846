package portal

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/internal/bounded"
	"muniment.dev/muniment/internal/edge"
)

// A state describes the session to the page. docs/portal.md has its fields.
type state struct {
	SignedIn    bool       `json:"signedIn"`
	Ended       bool       `json:"ended,omitempty"` // the browser had a session
	Tenants     []seat     `json:"tenants"`
	Method      string     `json:"method,omitempty"`
	Provider    string     `json:"provider,omitempty"`
	Expires     *time.Time `json:"expires,omitempty"`
	IdleExpires *time.Time `json:"idleExpires,omitempty"`
	Now         time.Time  `json:"now"`
	AsOf        *time.Time `json:"asOf,omitempty"` // the server has all entries up to this time
	Log         string     `json:"log"`
	Policy      string     `json:"policy,omitempty"`
	Replica     bool       `json:"replica"`
	Providers   []provider `json:"providers"`
}

// A seat is an identity in a tenant.
type seat struct {
	Tenant   string   `json:"tenant"`
	Identity string   `json:"identity"`
	Name     string   `json:"name,omitempty"`
	Role     string   `json:"role"`
	Kinds    []string `json:"kinds,omitempty"`
}

type provider struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// problem is the body of an answer that is not a state.
type problem struct {
	Code    Outcome `json:"code"`
	Message string  `json:"message"`
}

// statuses has the HTTP status of each outcome.
var statuses = map[Outcome]int{
	Refused: http.StatusUnauthorized, NoRule: http.StatusForbidden, Unavailable: http.StatusServiceUnavailable, Busy: http.StatusTooManyRequests,
	Insecure: http.StatusForbidden, Invalid: http.StatusBadRequest,
}

// answer returns the handler of a request of the page's own code, which gets
// JSON.
func (p *Portal) answer(h func(http.ResponseWriter, *http.Request) (*state, *failure)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w, "")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/json")
		s, f := h(w, r)
		var body any = s
		if f != nil {
			if f.outcome == Busy {
				w.Header().Set("Retry-After", "60")
			}
			w.WriteHeader(statuses[f.outcome])
			body = problem{f.outcome, f.err.Error()}
		}
		_ = json.NewEncoder(w).Encode(body) // the client may be gone
	})
}

// session describes the browser's session. It does not use it, so that a page
// can ask as often as it likes.
func (p *Portal) session(w http.ResponseWriter, r *http.Request) (*state, *failure) {
	value := cookie(r, sessionCookie)
	if value == "" || p.fromOwnPage(r) != nil {
		return p.describe(nil), nil
	}
	s := p.describe(p.sessions.find(value))
	if s.Ended = !s.SignedIn; s.Ended {
		removeCookie(w, sessionCookie)
	}
	return s, nil
}

// describe returns the state of a session, or that there is none.
func (p *Portal) describe(s *session) *state {
	out := &state{Tenants: []seat{}, Now: p.server.Now().UTC(), Log: p.server.Log, Policy: p.server.Policy, Replica: p.server.Replica, Providers: []provider{}}
	for _, known := range p.server.Auth.Providers() {
		out.Providers = append(out.Providers, provider{known.Name, known.DisplayName})
	}
	if s == nil {
		return out
	}
	for _, id := range p.sessions.seatsOf(s) {
		now, err := p.server.Auth.Current(id)
		if err != nil { // of a revoked token, or a rule that is gone
			continue
		}
		out.Tenants = append(out.Tenants, seat{now.Tenant.Name, now.Name, now.Display, auth.RoleName(now.Role), now.Kinds})
	}
	if len(out.Tenants) == 0 {
		p.sessions.end(s)
		return out
	}
	p.sessions.mu.Lock()
	defer p.sessions.mu.Unlock()
	expires, idle := s.expires.UTC(), s.used.Add(p.cfg.Idle).UTC()
	if idle.After(expires) {
		idle = expires
	}
	asOf := p.server.AsOf()
	out.AsOf = &asOf
	out.SignedIn, out.Method, out.Provider, out.Expires, out.IdleExpires = true, s.method, s.provider, &expires, &idle
	return out
}

// signOut ends the browser's session.
func (p *Portal) signOut(w http.ResponseWriter, r *http.Request) (*state, *failure) {
	value := cookie(r, sessionCookie)
	if value == "" {
		return p.describe(nil), nil
	}
	if err := p.fromOwnPage(r); err != nil {
		return nil, fail(Insecure, err)
	}
	removeCookie(w, sessionCookie)
	if s := p.sessions.find(value); s != nil {
		p.sessions.end(s)
		p.server.Report(r.Context(), &Event{Method: s.method, Provider: s.provider, Outcome: SignedOut, Identities: p.sessions.seatsOf(s)})
	}
	return p.describe(nil), nil
}

// maxTokenRequest limits the body of a request with a token, in bytes.
const maxTokenRequest = oidc.MaxTokenBytes + 4<<10

// token signs in with a pasted token.
func (p *Portal) token(w http.ResponseWriter, r *http.Request) (*state, *failure) {
	e := &Event{Method: ByToken}
	s, f := p.byToken(w, r, e)
	if f != nil {
		e.Outcome, e.Err = f.outcome, f.err
		p.server.Report(r.Context(), e)
		if f.outcome == Unavailable && errors.Is(f.err, oidc.ErrUnavailable) {
			f.err = errors.New("the issuer of the token does not answer as it must: see the server's audit log")
		}
		return nil, f
	}
	e.Outcome, e.Identities = SignedIn, s.seats
	p.start(w, s, keyOf(cookie(r, sessionCookie)))
	p.server.Report(r.Context(), e)
	return p.describe(s), nil
}

func (p *Portal) byToken(w http.ResponseWriter, r *http.Request, e *Event) (s *session, f *failure) {
	if err := p.sameSite.Check(r); err != nil {
		return nil, fail(Insecure, errOtherPage)
	}
	if f := p.admitAttempt(r); f != nil {
		return nil, f
	}
	var body struct{ Token, Tenant string }
	if f := readBody(w, r, &body); f != nil {
		return nil, f
	}
	body.Token = strings.TrimSpace(body.Token)
	now := p.server.Now()
	s = &session{method: ByToken, expires: now.Add(p.cfg.Life)}
	if isIdentityToken(body.Token) {
		e.Method, s.method = ByIdentityToken, ByIdentityToken
		if body.Token, f = p.exchange(r, body.Tenant, body.Token); f != nil {
			return nil, f
		}
	}
	id, err := p.server.Auth.Holder(body.Token, p.checker(s))
	if err != nil {
		return nil, fail(Refused, err)
	}
	if body.Tenant != "" && id.Tenant.Name != body.Tenant {
		return nil, fail(Refused, errors.New("the token is not for this tenant"))
	}
	if !id.Expires.IsZero() && id.Expires.Before(s.expires) {
		s.expires = id.Expires
	}
	s.seats = []*auth.Identity{id}
	// A session of tokens can be for several tenants. A person's session is
	// replaced: what another has signed in for must not be mixed with it.
	if old := p.sessions.find(cookie(r, sessionCookie)); old != nil && old.method == ByToken && s.method == ByToken {
		p.adopt(s, old)
	}
	return s, nil
}

// adopt moves the identities of other tenants from a session to the one that
// replaces it.
func (p *Portal) adopt(s, replaces *session) {
	for _, other := range p.sessions.seatsOf(replaces) {
		now, err := p.server.Auth.Current(other)
		if err != nil || other.Tenant.Name == s.seats[0].Tenant.Name || len(s.seats) == maxTenants {
			continue
		}
		s.seats = append(s.seats, p.server.Auth.InSession(now, p.checker(s)))
	}
	slices.SortFunc(s.seats[1:], func(a, b *auth.Identity) int { return strings.Compare(a.Tenant.Name, b.Tenant.Name) })
}

// isIdentityToken reports whether a token has the three parts of a JWT. Tokens
// of the ledger have no dots.
func isIdentityToken(token string) bool { return strings.Count(token, ".") == 2 }

// exchange exchanges an identity token for a token of the ledger. Without a
// tenant, it takes the only one that has a rule for the holder.
func (p *Portal) exchange(r *http.Request, tenant, identityToken string) (string, *failure) {
	if tenant == "" {
		tok, err := p.server.Auth.Verify(r.Context(), identityToken)
		if err != nil {
			return "", failureOf(err)
		}
		all := p.server.Auth.TenantsOf(tok)
		switch len(all) {
		case 0:
			return "", fail(NoRule, auth.ErrNoRule)
		case 1:
			tenant = all[0]
		default:
			return "", fail(Invalid, errors.New("tenant: the token matches rules of several tenants: choose one of "+strings.Join(all, ", ")))
		}
	}
	t, err := p.server.Exchange(r.Context(), tenant, identityToken)
	if err != nil {
		return "", failureOf(err)
	}
	return t.Token, nil
}

// readBody reads a JSON object. Other pages cannot send its media type without
// asking first.
func readBody(w http.ResponseWriter, r *http.Request, v any) *failure {
	if mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mediaType != "application/json" {
		return fail(Invalid, errors.New("the request must be application/json"))
	}
	data, err := bounded.ReadAll(edge.MaxBytes(w, r.Body, maxTokenRequest), maxTokenRequest)
	if err != nil {
		return fail(Invalid, errors.New("the request is too large or did not arrive"))
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fail(Invalid, errors.New("the request is not a JSON object with token and tenant"))
	}
	return nil
}
