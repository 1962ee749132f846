package muniment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	munimentv1 "muniment.dev/muniment/proto/muniment/v1"
	"muniment.dev/muniment/proto/muniment/v1/munimentv1connect"
)

// credentials add a token to each call. The token is either fixed or obtained
// in exchange for an identity token, and renewed when it expires.
type credentials struct {
	userAgent string
	// exchange obtains a token. It is nil if the token is fixed.
	exchange func(context.Context) (*munimentv1.ExchangeTokenResponse, error)

	mu      sync.Mutex // guards the rest
	token   string     // empty if a client certificate is used instead
	expires time.Time
	renew   time.Time // an exchange has failed: not before
}

// early is the remaining lifetime at which a token is renewed, so that it does
// not expire in flight.
const early = 30 * time.Second

// again is the time after which a failed renewal is repeated, while the token
// is still valid.
const again = 2 * time.Second

func (c *credentials) current(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	valid := c.token != "" && now.Before(c.expires)
	if c.exchange == nil || valid && (now.Add(early).Before(c.expires) || now.Before(c.renew)) {
		return c.token, nil
	}
	res, err := c.exchange(ctx)
	if err != nil && valid {
		// The file with the identity token is not replaced yet, for example.
		c.renew = now.Add(again)
		return c.token, nil
	}
	if err != nil {
		return "", err
	}
	c.token, c.expires = res.Token, res.Expires.AsTime()
	return c.token, nil
}

// refused discards a token that the server has rejected. It reports whether the
// call is worth repeating with a new one.
func (c *credentials) refused(token string, err error) bool {
	if c.exchange == nil || connect.CodeOf(err) != connect.CodeUnauthenticated {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.token = ""
	}
	return true
}

func (c *credentials) set(h http.Header, token string) {
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	if c.userAgent != "" {
		h.Set("User-Agent", c.userAgent)
	}
}

func (c *credentials) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		for again := false; ; again = true {
			token, err := c.current(ctx)
			if err != nil {
				return nil, err
			}
			c.set(req.Header(), token)
			res, err := next(ctx, req)
			if err == nil || again || !c.refused(token, err) {
				return res, err
			}
		}
	}
}

func (c *credentials) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		token, err := c.current(ctx)
		if err != nil {
			return &failedConn{conn, err}
		}
		c.set(conn.RequestHeader(), token)
		return conn
	}
}

func (c *credentials) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// A failedConn is a stream that could not be opened.
type failedConn struct {
	connect.StreamingClientConn
	err error
}

func (c *failedConn) Send(any) error       { return c.err }
func (c *failedConn) Receive(any) error    { return c.err }
func (c *failedConn) CloseRequest() error  { return nil }
func (c *failedConn) CloseResponse() error { return nil }

// exchanger returns a function that exchanges the source's identity tokens for
// tokens of the ledger.
func (c *Client) exchanger(source func(context.Context) (string, error)) func(context.Context) (*munimentv1.ExchangeTokenResponse, error) {
	identities := munimentv1connect.NewIdentityServiceClient(c.http, c.server)
	return func(ctx context.Context) (*munimentv1.ExchangeTokenResponse, error) {
		token, err := source(ctx)
		if err != nil {
			return nil, err
		}
		var res *connect.Response[munimentv1.ExchangeTokenResponse]
		err = c.retry(ctx, func() (err error) {
			res, err = identities.ExchangeToken(ctx, connect.NewRequest(&munimentv1.ExchangeTokenRequest{Tenant: c.Tenant, IdentityToken: token}))
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("exchange the identity token: %w", err)
		}
		return res.Msg, nil
	}
}

// IDTokenVariable is the environment variable from which JobIdentity reads an
// identity token. In GitLab CI, an id_tokens entry sets it.
const IDTokenVariable = "MUNIMENT_ID_TOKEN"

// JobIdentity returns a source of identity tokens for the CI job in which the
// process runs. It returns the token in the environment variable
// MUNIMENT_ID_TOKEN if that is set. In a GitHub Actions job with the permission
// "id-token: write", it requests a new token for the audience on each call.
// Client may be nil.
func JobIdentity(audience string, client *http.Client) func(context.Context) (string, error) {
	if client == nil {
		client = &http.Client{Timeout: 30 * time.Second}
	}
	return func(ctx context.Context) (string, error) {
		if t := os.Getenv(IDTokenVariable); t != "" {
			return strings.TrimSpace(t), nil
		}
		address, secret := os.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), os.Getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
		if address == "" || secret == "" {
			return "", errors.New("the job has no identity token: grant it the permission \"id-token: write\" (GitHub Actions), or add an id_tokens entry named " + IDTokenVariable + " (GitLab CI)")
		}
		return requestToken(ctx, client, address, secret, audience)
	}
}

// requestToken requests an identity token from GitHub's runner. See
// https://docs.github.com/en/actions/reference/security/oidc.
func requestToken(ctx context.Context, client *http.Client, address, secret, audience string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && !(u.Scheme == "http" && net.ParseIP(u.Hostname()).IsLoopback()) {
		return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL: not an https URL")
	}
	q := u.Query()
	q.Set("audience", audience)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", errors.New("ACTIONS_ID_TOKEN_REQUEST_URL: not a URL")
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("request the job's identity token: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil || res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("request the job's identity token: %s", res.Status)
	}
	var answer struct {
		Value string `json:"value"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Value == "" {
		return "", errors.New("request the job's identity token: the response contains no token")
	}
	return answer.Value, nil
}
