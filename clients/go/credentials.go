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

// credentials put a token on each call: one that was given, or one that an
// identity token is exchanged for, again each time that it has expired.
type credentials struct {
	userAgent string
	// nil: the token was given
	exchange func(context.Context) (*munimentv1.ExchangeTokenResponse, error)

	mu      sync.Mutex // guards the rest
	token   string     // may be empty, where a client certificate is shown
	expires time.Time
}

// early is how long before its end a token is replaced, so that it does not end
// on its way.
const early = 30 * time.Second

func (c *credentials) current(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exchange == nil || c.token != "" && time.Now().Add(early).Before(c.expires) {
		return c.token, nil
	}
	res, err := c.exchange(ctx)
	if err != nil {
		return "", err
	}
	c.token, c.expires = res.Token, res.Expires.AsTime()
	return c.token, nil
}

// refused forgets a token that the server does not take, and says whether
// another one can be had.
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

// A failedConn is a stream that could not be begun.
type failedConn struct {
	connect.StreamingClientConn
	err error
}

func (c *failedConn) Send(any) error       { return c.err }
func (c *failedConn) Receive(any) error    { return c.err }
func (c *failedConn) CloseRequest() error  { return nil }
func (c *failedConn) CloseResponse() error { return nil }

// exchanger returns a function that exchanges identity tokens of the source.
func (c *Client) exchanger(source func(context.Context) (string, error)) func(context.Context) (*munimentv1.ExchangeTokenResponse, error) {
	identities := munimentv1connect.NewIdentityServiceClient(c.http, c.server)
	return func(ctx context.Context) (*munimentv1.ExchangeTokenResponse, error) {
		token, err := source(ctx)
		if err != nil {
			return nil, err
		}
		var res *connect.Response[munimentv1.ExchangeTokenResponse]
		err = retry(ctx, func() (err error) {
			res, err = identities.ExchangeToken(ctx, connect.NewRequest(&munimentv1.ExchangeTokenRequest{Tenant: c.Tenant, IdentityToken: token}))
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("exchange the identity token: %w", err)
		}
		return res.Msg, nil
	}
}

// IDTokenVariable is the environment variable in which JobIdentity looks for an
// identity token; a GitLab job lets id_tokens set it.
const IDTokenVariable = "MUNIMENT_ID_TOKEN"

// JobIdentity returns a source of identity tokens of the CI job that this
// process runs in: the one in the environment variable MUNIMENT_ID_TOKEN, or,
// in a GitHub Actions job with the permission "id-token: write", a new one for
// the audience each time. Client may be nil.
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
			return "", errors.New("this job has no identity token: in GitHub Actions give it the permission \"id-token: write\", in GitLab CI an id_tokens entry named " + IDTokenVariable)
		}
		return requestToken(ctx, client, address, secret, audience)
	}
}

// requestToken asks GitHub's runner
// (https://docs.github.com/en/actions/reference/security/oidc).
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
		return "", fmt.Errorf("ask for the job's identity token: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil || res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask for the job's identity token: %s", res.Status)
	}
	var answer struct {
		Value string `json:"value"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Value == "" {
		return "", errors.New("ask for the job's identity token: the answer has none")
	}
	return answer.Value, nil
}
