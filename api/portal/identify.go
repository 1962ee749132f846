package portal

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"muniment.dev/muniment/api/auth"
	"muniment.dev/muniment/api/oidc"
)

// TenantHeader is the header in which the page names the tenant that a request
// is for. Without it, a request is for the session's first.
const TenantHeader = "Muniment-Tenant"

var (
	errOtherPage = errors.New("authorization: a session can only be used by the portal's own page")
	errNoSeat    = errors.New("authorization: the session is not for this tenant; sign in to it")
)

// Identify returns the identity of the session whose cookie the request has, or
// nil if it has none.
func (p *Portal) Identify(r *http.Request) (*auth.Identity, error) {
	value := cookie(r, sessionCookie)
	if value == "" {
		return nil, nil
	}
	if err := p.fromOwnPage(r); err != nil {
		return nil, err
	}
	s := p.sessions.find(value)
	if s == nil {
		return nil, auth.ErrSessionEnded
	}
	if p.sessions.use(s) {
		p.ask(r.Context(), s)
		if err := p.sessions.check(s); err != nil {
			return nil, err
		}
	}
	seat, err := seatFor(p.sessions.seatsOf(s), r.Header.Get(TenantHeader))
	if err != nil {
		return nil, err
	}
	return p.server.Auth.Current(seat)
}

// seatFor returns the identity in the tenant, or the first if it is "".
func seatFor(seats []*auth.Identity, tenant string) (*auth.Identity, error) {
	if tenant == "" {
		return seats[0], nil
	}
	i := slices.IndexFunc(seats, func(id *auth.Identity) bool { return id.Tenant.Name == tenant })
	if i < 0 {
		return nil, errNoSeat
	}
	return seats[i], nil
}

// fromOwnPage returns an error unless the request comes from a page of this
// server. SameSite=Strict does not suffice: it includes subdomains, and other
// ports of this machine.
func (p *Portal) fromOwnPage(r *http.Request) error {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return errOtherPage
	}
	if p.sameSite.Check(r) != nil {
		return errOtherPage
	}
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	// Every browser sends one of these with an unsafe request.
	if !safe && r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return errOtherPage
	}
	return nil
}

const (
	// recheckAfter is how long a person is trusted before the provider is asked
	// again, if it gave a refresh token. Tokens of the API live as long.
	recheckAfter = auth.MaxSession
	// askAgain is the time until the next attempt while the provider does not
	// answer.
	askAgain = time.Minute
	// askTime limits one attempt.
	askTime = 15 * time.Second
	// trustFor is how long a person is trusted without an answer.
	trustFor = time.Hour
)

// ask asks the provider about the person. The session ends if the provider
// does not confirm the person, or has not answered for trustFor.
func (p *Portal) ask(ctx context.Context, s *session) {
	p.sessions.mu.Lock()
	name, before := s.provider, s.person
	p.sessions.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	leave, err := p.enter(ctx, name)
	after := before
	if err == nil {
		after, err = p.server.Auth.Identities().Refresh(ctx, name, before)
		leave()
	}
	now := p.server.Now()
	p.sessions.mu.Lock()
	defer p.sessions.mu.Unlock()
	s.asking = false
	switch {
	case s.ended:
	case err == nil:
		s.person, s.confirmed, s.recheck = after, now, now.Add(recheckAfter)
		if s.seats = p.seats(s); len(s.seats) == 0 {
			p.sessions.drop(s)
		}
	case errors.Is(err, oidc.ErrEnded) || now.Sub(s.confirmed) >= recheckAfter+trustFor:
		p.sessions.drop(s)
	default:
		s.recheck = now.Add(askAgain)
	}
}

// seats returns the person's identities by the rules in force.
func (p *Portal) seats(s *session) (all []*auth.Identity) {
	for _, tenant := range p.server.Auth.TenantsOf(s.person.Token) {
		if len(all) == maxTenants {
			break
		}
		if id, err := p.server.Auth.Person(tenant, s.person.Token, s.expires, s.browser); err == nil {
			all = append(all, id)
		}
	}
	return all
}

// checker returns the function by which identities find out that the session
// has ended.
func (p *Portal) checker(s *session) func() error {
	return func() error { return p.sessions.check(s) }
}

var errBusy = errors.New("too many people sign in at the moment; retry in a few seconds")

// maxAsking limits the requests to one provider at the same time.
const maxAsking = 16

// places are those of the requests to each provider, so that a slow one does
// not delay people who sign in with another.
type places struct {
	mu sync.Mutex // guards the rest
	of map[string]chan struct{}
}

// enter waits until a request to a provider may begin. The caller must call
// leave.
func (p *Portal) enter(ctx context.Context, provider string) (leave func(), err error) {
	if !slices.ContainsFunc(p.server.Auth.Providers(), func(known oidc.SignIn) bool { return known.Name == provider }) {
		return func() {}, nil // no provider is asked
	}
	p.asking.mu.Lock()
	c := p.asking.of[provider]
	if c == nil {
		c = make(chan struct{}, maxAsking)
		if p.asking.of == nil {
			p.asking.of = map[string]chan struct{}{}
		}
		p.asking.of[provider] = c
	}
	p.asking.mu.Unlock()
	select {
	case c <- struct{}{}:
		return func() { <-c }, nil
	case <-ctx.Done():
		return nil, errBusy
	}
}
