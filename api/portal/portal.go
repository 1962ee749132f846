// Package portal serves the portal, the web page for people, and keeps the
// sessions of their browsers.
package portal

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"muniment.dev/muniment/api/auth"
	page "muniment.dev/muniment/clients/portal"
)

// Paths of the sessions, beside those of the page.
const (
	SessionPath  = Path + "session"
	SignInPath   = Path + "signin"
	CallbackPath = Path + "callback"
	SignOutPath  = Path + "signout"
	TokenPath    = Path + "token"
)

// Config configures the portal.
type Config struct {
	// Off serves no portal.
	Off bool
	// URL is the server's address in browsers, without a path. "": the address
	// that SetURL is called with.
	URL  string
	Idle time.Duration // without use, after which a session ends; 0: DefaultIdle
	Life time.Duration // of a session; 0: DefaultLife
	// Proxies are the networks of proxies whose X-Forwarded-For is believed
	// about the addresses of people who sign in.
	Proxies []netip.Prefix
}

// The defaults and the largest value of the times of sessions.
const (
	DefaultIdle = time.Hour
	DefaultLife = 12 * time.Hour
	MaxLife     = 7 * 24 * time.Hour
)

// Server is what the portal needs of the server that it belongs to.
type Server struct {
	Auth    *auth.Authenticator
	Log     string // the log's origin
	Policy  string // the text of the log's trust policy, which browsers pin; "": none
	Replica bool
	Now     func() time.Time
	// AsOf returns the time up to which the server has all entries.
	AsOf func() time.Time
	// Exchange returns a token for an identity token.
	Exchange func(ctx context.Context, tenant, identityToken string) (*auth.Session, error)
	// Report is called for each sign-in that succeeds or fails, and for each
	// sign-out.
	Report func(context.Context, *Event)
	// RequestID returns the ID of a request.
	RequestID func(context.Context) string
}

// A Portal serves the page and its sessions.
type Portal struct {
	cfg      Config
	server   Server
	files    *Files
	sessions *sessions
	attempts sealer
	finished finished
	rates    *rates
	asking   places
	sameSite *http.CrossOriginProtection
	url      atomic.Pointer[url.URL]
}

var built = sync.OnceValues(func() (*Files, error) { return Load(page.Files()) })

// New returns a portal with the page that the program was built with.
func New(cfg Config, s Server) (*Portal, error) {
	files, err := built()
	if err != nil {
		return nil, err
	}
	if cfg.Idle == 0 {
		cfg.Idle = DefaultIdle
	}
	if cfg.Life == 0 {
		cfg.Life = DefaultLife
	}
	p := &Portal{cfg: cfg, server: s, files: files, sessions: newSessions(cfg.Idle, s.Now), attempts: newSealer(), rates: newRates(),
		sameSite: http.NewCrossOriginProtection()}
	if cfg.URL != "" {
		return p, p.SetURL(cfg.URL)
	}
	return p, nil
}

// SetURL sets the server's address in browsers, unless the configuration has.
func (p *Portal) SetURL(address string) error {
	u, err := url.Parse(strings.TrimSuffix(address, "/"))
	if err != nil || u.Host == "" {
		return errors.New("the portal's URL is not a URL")
	}
	if p.url.CompareAndSwap(nil, u) {
		// A proxy can change the name that a request is for.
		return p.sameSite.AddTrustedOrigin(u.Scheme + "://" + u.Host)
	}
	return nil
}

// Sessions returns the number of sessions.
func (p *Portal) Sessions() int { return p.sessions.count() }

// Routes returns the handlers of the portal, by their patterns.
func (p *Portal) Routes() map[string]http.Handler {
	return map[string]http.Handler{
		"GET " + Path:         p.files,
		"GET " + SessionPath:  p.answer(p.session),
		"GET " + SignInPath:   http.HandlerFunc(p.signIn),
		"GET " + CallbackPath: http.HandlerFunc(p.callback),
		"POST " + SignOutPath: p.answer(p.signOut),
		"POST " + TokenPath:   p.answer(p.token),
	}
}
