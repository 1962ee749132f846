package portal

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"connectrpc.com/connect"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
	"muniment.dev/muniment/internal/edge"
)

// signIn begins a sign-in with the provider in the query. Without one, it
// serves the page on which people choose.
func (p *Portal) signIn(w http.ResponseWriter, r *http.Request) {
	provider := r.URL.Query().Get("provider")
	if provider == "" {
		p.files.servePage(w)
		return
	}
	setHeaders(w, "")
	w.Header().Set("Cache-Control", "no-store")
	if address := p.elsewhere(r); address != "" {
		http.Redirect(w, r, address, http.StatusSeeOther)
		return
	}
	address, f := p.begin(w, r, provider)
	if f != nil {
		p.failed(w, r, &Event{Method: ByProvider, Provider: provider}, f)
		return
	}
	http.Redirect(w, r, address, http.StatusSeeOther)
}

// elsewhere returns the URL of the request at the server's address, if the
// browser has opened the server by another name. The provider leads back to the
// address, where the browser must then have the attempt's cookie. If a proxy
// changes the name of each request, the second request goes on.
func (p *Portal) elsewhere(r *http.Request) string {
	base := p.url.Load()
	q := r.URL.Query()
	if base == nil || r.Host == base.Host || q.Has("moved") {
		return ""
	}
	there := base.JoinPath(SignInPath)
	there.RawQuery = url.Values{"provider": {q.Get("provider")}, "return": {target(q.Get("return"))}, "moved": {"1"}}.Encode()
	return there.String()
}

// begin leaves an attempt with the browser and returns the provider's URL.
func (p *Portal) begin(w http.ResponseWriter, r *http.Request, provider string) (string, *failure) {
	if f := p.admitAttempt(r); f != nil {
		return "", f
	}
	// A picture or frame of another page must not begin a sign-in.
	if dest := r.Header.Get("Sec-Fetch-Dest"); dest != "" && dest != "document" {
		return "", fail(Invalid, errors.New("only a page can begin a sign-in"))
	}
	base := p.url.Load()
	if base == nil {
		return "", fail(Unavailable, errors.New("portal.url is not set"))
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	leave, err := p.enter(ctx, provider)
	if err != nil {
		return "", fail(Busy, err)
	}
	defer leave()
	a, address, err := p.server.Auth.Identities().Begin(ctx, provider, base.JoinPath(CallbackPath).String())
	if err != nil {
		return "", failureOf(err)
	}
	name := attemptName(a.State)
	// The session's cookie does not come with the provider's response, which
	// begins at another site.
	value, err := p.attempts.seal(name, &attempt{Attempt: *a, Return: target(r.URL.Query().Get("return")), Expires: p.server.Now().Add(attemptLife), Replaces: keyOf(cookie(r, sessionCookie))})
	if err != nil {
		return "", fail(Invalid, err)
	}
	// The provider's page leads back here, so the cookie cannot be Strict.
	setCookie(w, name, value, http.SameSiteLaxMode, attemptLife)
	return address, nil
}

// admitAttempt returns a failure if the browser cannot keep a session, or if
// its address has tried too often.
func (p *Portal) admitAttempt(r *http.Request) *failure {
	if !p.secure(r) {
		return fail(Insecure, errors.New("sign-in requires HTTPS, because browsers keep no session otherwise: open the portal by https, or set portal.url to the URL of the proxy that serves it so"))
	}
	return p.countAttempt(r)
}

// countAttempt returns a failure if the address has tried too often.
func (p *Portal) countAttempt(r *http.Request) *failure {
	if !p.rates.allow(edge.ClientAddress(r, p.cfg.Proxies), p.server.Now()) {
		return fail(Busy, errors.New("too many attempts to sign in; retry in a minute"))
	}
	return nil
}

// secure reports whether a browser keeps the session's cookie: if the
// connection is encrypted, here or by a proxy, or does not leave the machine.
func (p *Portal) secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if u := p.url.Load(); p.cfg.URL != "" && u.Scheme == "https" {
		return true
	}
	return edge.OnLoopback(r) && !edge.Forwarded(r)
}

// callback completes a sign-in with a provider.
func (p *Portal) callback(w http.ResponseWriter, r *http.Request) {
	setHeaders(w, "")
	w.Header().Set("Cache-Control", "no-store")
	e := &Event{Method: ByProvider}
	s, a, f := p.finish(w, r, e)
	if f != nil {
		p.failed(w, r, e, f)
		return
	}
	e.Outcome, e.Identities = SignedIn, s.seats
	p.start(w, s, a.Replaces)
	p.server.Report(r.Context(), e)
	http.Redirect(w, r, a.Return, http.StatusSeeOther)
}

// finish returns the session of the person that the provider names.
func (p *Portal) finish(w http.ResponseWriter, r *http.Request, e *Event) (*session, *attempt, *failure) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, nil, fail(Invalid, errors.New("the provider's response cannot be read"))
	}
	a, f := p.attemptOf(w, r, query.Get("state"))
	if f != nil {
		if busy := p.countAttempt(r); busy != nil {
			f = busy
		}
		return nil, nil, f
	}
	e.Provider = a.Provider
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	leave, err := p.enter(ctx, a.Provider)
	if err != nil {
		return nil, nil, fail(Busy, err)
	}
	defer leave()
	person, err := p.server.Auth.Identities().Finish(ctx, &a.Attempt, query)
	if err != nil {
		return nil, nil, failureOf(err)
	}
	now := p.server.Now()
	s := &session{method: ByProvider, provider: a.Provider, person: person, confirmed: now, expires: now.Add(p.cfg.Life)}
	s.browser = auth.NewBrowserSession(p.checker(s))
	if person.Refresh != "" {
		s.recheck = now.Add(recheckAfter)
	}
	if s.seats = p.seats(s); len(s.seats) == 0 {
		e.Issuer, e.Subject = person.Issuer, person.Subject
		return nil, nil, fail(NoRule, auth.ErrNoRule)
	}
	return s, a, nil
}

// attemptOf returns the browser's attempt with the state. An attempt can be
// completed once.
func (p *Portal) attemptOf(w http.ResponseWriter, r *http.Request, state string) (*attempt, *failure) {
	name, now := attemptName(state), p.server.Now()
	value := cookie(r, name)
	if value == "" {
		return nil, fail(Expired, errors.New("this browser has not begun the sign-in, or too long ago"))
	}
	removeCookie(w, name)
	a, err := p.attempts.open(name, value)
	if err != nil || a.State != state || !now.Before(a.Expires) {
		return nil, fail(Expired, errors.New("the response is not for the sign-in that this browser has begun last, or too late"))
	}
	if !p.finished.add(a.State, a.Expires, now) {
		return nil, fail(Expired, errors.New("the sign-in was completed before"))
	}
	return a, nil
}

// finished has the states of completed attempts until they expire.
type finished struct {
	mu     sync.Mutex // guards the rest
	states map[string]time.Time
}

// maxFinished limits the table. Above it, attempts are forgotten early: a
// provider accepts a code once in any case.
const maxFinished = 10_000

// add reports whether the state was not there yet.
func (f *finished) add(state string, until, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.states[state]; ok {
		return false
	}
	if f.states == nil {
		f.states = map[string]time.Time{}
	}
	if len(f.states) >= maxFinished {
		for s, t := range f.states {
			if len(f.states) >= maxFinished/2 || !now.Before(t) {
				delete(f.states, s)
			}
		}
	}
	f.states[state] = until
	return true
}

// start begins the session in the browser.
func (p *Portal) start(w http.ResponseWriter, s *session, replaces key) {
	setCookie(w, sessionCookie, p.sessions.begin(s, replaces), http.SameSiteStrictMode, 0)
}

// failed reports a failed attempt, and sends the browser to the page that shows
// why. The URL has no text that the author of a link could choose.
func (p *Portal) failed(w http.ResponseWriter, r *http.Request, e *Event, f *failure) {
	e.Outcome, e.Err = f.outcome, f.err
	p.server.Report(r.Context(), e)
	q := url.Values{"error": {string(f.outcome)}, "request": {p.server.RequestID(r.Context())}}
	http.Redirect(w, r, SignInPath+"?"+q.Encode(), http.StatusSeeOther)
}

// failureOf returns the failure of an error of package oidc or auth.
func failureOf(err error) *failure {
	var ce *connect.Error // of the ledger, which must record an exchange
	switch {
	case errors.As(err, &ce) && ce.Code() == connect.CodeResourceExhausted:
		return fail(Busy, errors.New(ce.Message()))
	case errors.As(err, &ce):
		return fail(Unavailable, errors.New(ce.Message()))
	case errors.Is(err, oidc.ErrNoProvider):
		return fail(Unknown, err)
	case errors.Is(err, oidc.ErrDenied):
		return fail(Denied, err)
	case errors.Is(err, oidc.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return fail(Unavailable, err)
	case errors.Is(err, auth.ErrBusy):
		return fail(Busy, err)
	}
	return fail(Refused, err)
}
