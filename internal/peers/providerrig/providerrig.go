// Package providerrig runs the OpenID provider of github.com/zitadel/oidc on
// loopback, with which people sign in to the portal in tests.
package providerrig

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/text/language"

	"muniment.dev/muniment/internal/edge"
)

// A Client is a program that the provider knows.
type Client struct {
	ID       string
	Secret   string // "" for a public client
	Redirect string // its only redirect URI
}

// A Person can sign in.
type Person struct {
	Subject  string
	Username string
	Password string
}

// A Provider is a running OpenID provider.
type Provider struct {
	URL string // the issuer

	server *edge.Server
	store  *store
	people *people
}

// Start starts a provider on the address, such as 127.0.0.1:0. The caller must
// call Close.
func Start(address string, clients []Client, all []Person) (*Provider, error) {
	var handler atomic.Pointer[http.Handler]
	server, err := edge.Listen(address, edge.Site{Connections: 256, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := handler.Load(); h != nil {
			(*h).ServeHTTP(w, r)
		}
	})})
	if err != nil {
		return nil, err
	}
	p := &Provider{URL: server.URL, server: server, people: &people{byID: map[string]*storage.User{}}}
	for _, x := range all {
		p.people.byID[x.Subject] = &storage.User{ID: x.Subject, Username: x.Username, Password: x.Password, PreferredLanguage: language.English}
	}
	known := map[string]*storage.Client{}
	for _, c := range clients {
		known[c.ID] = storage.WebClient(c.ID, c.Secret, c.Redirect)
		if c.Secret == "" {
			known[c.ID] = storage.NativeClient(c.ID, c.Redirect)
		}
	}
	p.store = &store{Storage: storage.NewStorageWithClients(p.people, known), people: p.people}
	h, err := p.handler()
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	handler.Store(&h)
	return p, nil
}

// Close stops the provider.
func (p *Provider) Close() error { return p.server.Close() }

// Rotate makes the provider sign with a new key, and withdraw the old one.
func (p *Provider) Rotate() {
	k := newKey()
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	p.store.key = k
}

// Dismiss removes a person, as a company does when somebody leaves.
func (p *Provider) Dismiss(subject string) {
	p.people.mu.Lock()
	defer p.people.mu.Unlock()
	delete(p.people.byID, subject)
}

func (p *Provider) handler() (http.Handler, error) {
	var secret [32]byte
	rand.Read(secret[:])
	provider, err := op.NewProvider(&op.Config{CryptoKey: secret, CodeMethodS256: true, AuthMethodPost: true, GrantTypeRefreshToken: true, SupportedUILocales: []language.Tag{language.English}},
		p.store, op.StaticIssuer(p.URL), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login/username", showLogin)
	callback, issuer := op.AuthCallbackURL(provider), op.NewIssuerInterceptor(provider.IssuerFromRequest)
	mux.HandleFunc("POST /login/username", issuer.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.PostFormValue("id")
		if err := p.store.CheckUsernamePassword(r.PostFormValue("username"), r.PostFormValue("password"), id); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, callback(r.Context(), id), http.StatusFound)
	}))
	mux.Handle("/", provider)
	return mux, nil
}

var loginPage = template.Must(template.New("login").Parse(`<!doctype html><html lang="en"><title>Sign in</title>
<form method="post" action="/login/username"><input type="hidden" name="id" value="{{.}}">
<label>Name <input name="username" autocomplete="username"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button>Sign in</button></form></html>`))

func showLogin(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = loginPage.Execute(w, r.URL.Query().Get("authRequestID")) // the client may be gone
}

// people are the people by subject. It implements storage.UserStore.
type people struct {
	mu   sync.Mutex
	byID map[string]*storage.User
}

// GetUserByID implements storage.UserStore.
func (p *people) GetUserByID(id string) *storage.User {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID[id]
}

// GetUserByUsername implements storage.UserStore.
func (p *people) GetUserByUsername(name string) *storage.User {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.byID {
		if u.Username == name {
			return u
		}
	}
	return nil
}

// ExampleClientID implements storage.UserStore.
func (p *people) ExampleClientID() string { return storage.ServiceUserID }

// A store is the store of the library's example, with keys that can rotate and
// people who can leave.
type store struct {
	*storage.Storage
	people *people

	mu  sync.Mutex
	key *key // nil: the example's
}

// SigningKey implements op.Storage.
func (s *store) SigningKey(ctx context.Context) (op.SigningKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, nil
	}
	return s.Storage.SigningKey(ctx)
}

// KeySet implements op.Storage.
func (s *store) KeySet(ctx context.Context) ([]op.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return []op.Key{publicKey{s.key}}, nil
	}
	return s.Storage.KeySet(ctx)
}

// TokenRequestByRefreshToken implements op.Storage.
func (s *store) TokenRequestByRefreshToken(ctx context.Context, token string) (op.RefreshTokenRequest, error) {
	r, err := s.Storage.TokenRequestByRefreshToken(ctx, token)
	if err == nil && s.people.GetUserByID(r.GetSubject()) == nil {
		return nil, errors.New("the person has left")
	}
	return r, err
}

// A key signs identity tokens. It implements op.SigningKey.
type key struct {
	id      string
	private *rsa.PrivateKey
}

func newKey() *key {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // the size is valid
	}
	return &key{rand.Text(), private}
}

func (k *key) SignatureAlgorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k *key) Key() any                                    { return k.private }
func (k *key) ID() string                                  { return k.id }

// A publicKey verifies them. It implements op.Key.
type publicKey struct{ *key }

func (k publicKey) Algorithm() jose.SignatureAlgorithm { return jose.RS256 }
func (k publicKey) Use() string                        { return "sig" }
func (k publicKey) Key() any                           { return &k.private.PublicKey }

// SignIn plays a person in the browser of the client: it opens the provider's
// URL, fills in the form, and returns the redirect URI with the response. The
// client must not follow redirects.
func SignIn(browser *http.Client, address string, who Person) (string, error) {
	var id string
	for range 10 {
		res, err := browser.Get(address)
		if err != nil {
			return "", err
		}
		res.Body.Close()
		next, err := res.Location()
		if err != nil {
			return "", errors.New("the provider sends the browser nowhere: " + res.Status)
		}
		switch {
		case next.Path == "/login/username":
			id = next.Query().Get("authRequestID")
			res, err := browser.PostForm(next.Scheme+"://"+next.Host+next.Path, url.Values{"id": {id}, "username": {who.Username}, "password": {who.Password}})
			if err != nil {
				return "", err
			}
			res.Body.Close()
			if next, err = res.Location(); err != nil {
				return "", errors.New("the provider does not accept the person: " + res.Status)
			}
		case id != "":
			return next.String(), nil
		}
		address = next.String()
	}
	return "", errors.New("too many redirects")
}
